"""One step of snnTorch's neurons, and what a fault makes of the words that hold their states."""

# mypy: allow-untyped-decorators
from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.core.extending import intrinsic

from fi.engine.compiled.kernels.arrays import SPIKE, SUBTRACT, SYN, THRESHOLD, ZERO
from fi.engine.compiled.kernels.building.compiling import inlined
from fi.engine.compiled.kernels.simd import ones_like, select, zeros_like

_Built = Callable[..., Any]
_intrinsic: Any = intrinsic


@inlined
def next_step(
    syn: Any, mem: Any, now: Any, alpha: Any, beta: Any, threshold: Any, synaptic: bool, reset: int
) -> tuple[Any, Any]:
    """One step of snnTorch's Leaky or Synaptic: the new ``syn, mem``.

    Synaptic: ``syn = alpha * syn + now``, ``mem = beta * mem + syn``; Leaky: ``mem = beta * mem +
    now``. What a reset takes off depends on whether the membrane was above the threshold before.
    """
    one, zero = type(mem)(1), type(mem)(0)
    fired = one if mem - threshold > 0 else zero
    if synaptic:
        syn = alpha * syn + now
        mem = beta * mem + syn
        if reset == SUBTRACT:
            mem = mem - fired * threshold
        elif reset == ZERO:
            mem = mem - mem * fired
    elif reset == SUBTRACT:
        mem = (beta * mem + now) - fired * threshold
    elif reset == ZERO:
        mem = beta * ((one - fired) * mem) + now
    else:
        mem = beta * mem + now
    return syn, mem


@inlined
def vector_step(
    syn: Any, mem: Any, now: Any, alpha: Any, beta: Any, threshold: Any, synaptic: bool, reset: int
) -> tuple[Any, Any]:
    """``next_step`` of vectors."""
    one, zero = ones_like(mem), zeros_like(mem)
    silent = zero * threshold  # taken off at rest: NaN of a threshold that is infinite or NaN
    fired = mem > threshold
    if synaptic:
        syn = alpha * syn + now
        mem = beta * mem + syn
        if reset == SUBTRACT:
            mem = mem - select(fired, threshold, silent)
        elif reset == ZERO:
            mem = mem - mem * select(fired, one, zero)
    elif reset == SUBTRACT:
        mem = (beta * mem + now) - select(fired, threshold, silent)
    elif reset == ZERO:
        mem = beta * (select(fired, zero, one) * mem) + now
    else:
        mem = beta * mem + now
    return syn, mem


@inlined
def is_parameter(word: int) -> bool:
    """Whether a word of a neuron is one of its parameters."""
    return word <= THRESHOLD


@inlined
def is_state(word: int) -> bool:
    """Whether a word of a neuron is one of its states."""
    return SYN <= word < SPIKE


@_intrinsic
def word_of(typing: Any, value: Any) -> tuple[Any, _Built]:
    """The ``uint32`` that holds a number, rounded to float32."""

    def built(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        single = context.cast(builder, values[0], value, types.float32)
        return builder.bitcast(single, ir.IntType(32))

    return types.uint32(value), built


@_intrinsic
def value_of(typing: Any, word: Any, like: Any) -> tuple[Any, _Built]:
    """The number that a ``uint32`` holds, in the type of ``like``."""

    def built(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        single = builder.bitcast(values[0], ir.FloatType())
        return context.cast(builder, single, types.float32, like)

    return like(types.uint32, like), built


@inlined
def corrupt(value: Any, keep: Any, force: Any, flip: Any) -> Any:
    """A number under masks of its stored word; as precise as before where the word stays."""
    golden = word_of(value)
    faulty = ((golden & keep) | force) ^ flip
    return value_of(faulty, value) if faulty != golden else value
