"""One step of snnTorch's neurons, and what a fault makes of their states."""

# mypy: disable-error-code="no-untyped-def"
from __future__ import annotations

from fi.engine.compiled.kernels.compiling import compiled, inlined
from fi.engine.compiled.kernels.simd import select


@inlined
def next_step(syn, mem, now, alpha, beta, threshold, synaptic, reset):
    """One step of snnTorch's Leaky or Synaptic: the new ``syn, mem``."""
    one, zero = type(mem)(1), type(mem)(0)
    fired = one if mem - threshold > 0 else zero
    if synaptic:
        syn = alpha * syn + now
        mem = beta * mem + syn
        if reset == 0:
            mem = mem - fired * threshold
        elif reset == 1:
            mem = mem - mem * fired
    elif reset == 0:
        mem = (beta * mem + now) - fired * threshold
    elif reset == 1:
        mem = beta * ((one - fired) * mem) + now
    else:
        mem = beta * mem + now
    return syn, mem


@inlined
def vector_step(syn, mem, now, alpha, beta, threshold, silent, one, zero, synaptic, reset):
    """``next_step`` of vectors; ``silent`` is ``0 * threshold``, what is subtracted at rest."""
    fired = mem > threshold
    if synaptic:
        syn = alpha * syn + now
        mem = beta * mem + syn
        if reset == 0:
            mem = mem - select(fired, threshold, silent)
        elif reset == 1:
            mem = mem - mem * select(fired, one, zero)
    elif reset == 0:
        mem = (beta * mem + now) - select(fired, threshold, silent)
    elif reset == 1:
        mem = beta * (select(fired, zero, one) * mem) + now
    else:
        mem = beta * mem + now
    return syn, mem


@compiled
def corrupt(values, keep, force, flip, store, words):
    """Corrupt values as stored float32 words; ``store`` and ``words`` share their memory."""
    for lane in range(len(values)):
        store[lane] = values[lane]
    for lane in range(len(values)):
        golden = words[lane]
        faulty = ((golden & keep) | force) ^ flip
        words[lane] = faulty
        if faulty != golden:
            values[lane] = store[lane]
