"""Fault models: in which way a word goes wrong, found by name.

>>> list(FAULT_MODELS)
['bit-flip', 'stuck-at-0', 'stuck-at-1', 'dead', 'saturated', 'stuck-value', 'scale']
"""

from __future__ import annotations

import inspect
import os
import re
import sys
from collections.abc import Callable, Collection
from functools import lru_cache
from pathlib import Path
from typing import ClassVar, ParamSpec, Protocol, TypeVar, cast

import torch
from torch import Tensor

from fi.faults.bits import WordMasks, float_pattern
from fi.faults.fault_sites import Kind

P = ParamSpec("P")
R = TypeVar("R")

#: Words whose value is known before a run; states, spikes and inputs differ by sample and step.
STORED = frozenset({Kind.SYNAPSE, Kind.NEURON})


class FaultModel:
    """One way in which a word goes wrong; a model of your own overrides one of the two methods.

    ``masks`` serves words of any kind. ``value`` serves stored words (weights and parameters), and
    comes first there. A parameter of the constructor, a float, stands behind the name:
    ``scale:0.8``.

    Class attributes:
        name: in fault lists and on the command line, lower case and hyphens.
        takes_bits: whether it changes given bits of the word, else all of it.
        kinds: the kinds of sites that it may be at.
        parameter: what the number behind the name is called; empty where there is none.

    >>> class SignLost(FaultModel):
    ...     takes_bits = False
    ...     kinds = frozenset({Kind.SYNAPSE})
    ...
    ...     def value(self, golden, tensor):
    ...         return golden.abs()
    >>> SignLost().value(torch.tensor([-0.5, 2.0]), torch.zeros(3))
    tensor([0.5000, 2.0000])
    """

    name: ClassVar[str] = ""
    takes_bits: ClassVar[bool] = True
    kinds: ClassVar[Collection[Kind]] = frozenset(Kind)
    parameter: ClassVar[str] = ""

    def masks(self, bits: int) -> WordMasks:
        """What it does to a word of which the set bits of ``bits`` are hit."""
        raise NotImplementedError(f"{type(self).__name__} says nothing of such words")

    def value(self, golden: Tensor, tensor: Tensor) -> Tensor:
        """What the values ``golden`` ``[faults]`` of ``tensor`` become, both float32."""
        raise NotImplementedError(f"{type(self).__name__} says nothing of stored values")

    @classmethod
    def gives_values(cls) -> bool:
        """Whether it says what a stored value becomes, rather than which bits change."""
        return cls.value is not FaultModel.value


class BitFlip(FaultModel):
    """The bits read inverted: a single or multiple bit upset."""

    name = "bit-flip"

    def masks(self, bits: int) -> WordMasks:
        return WordMasks.flipping(bits)


class StuckAt0(FaultModel):
    """The bits read 0."""

    name = "stuck-at-0"

    def masks(self, bits: int) -> WordMasks:
        return WordMasks.clearing(bits)


class StuckAt1(FaultModel):
    """The bits read 1."""

    name = "stuck-at-1"

    def masks(self, bits: int) -> WordMasks:
        return WordMasks.setting(bits)


class Dead(FaultModel):
    """A synapse that conducts nothing, a neuron or an input line that never spikes: 0.0."""

    name = "dead"
    takes_bits = False
    kinds = frozenset({Kind.SYNAPSE, Kind.SPIKE, Kind.INPUT})

    def masks(self, bits: int) -> WordMasks:
        return WordMasks.holding(0)


class Saturated(FaultModel):
    """A neuron or an input line that spikes at every step: 1.0.

    A synapse takes the largest finite magnitude of its tensor and keeps its sign.
    """

    name = "saturated"
    takes_bits = False
    kinds = frozenset({Kind.SYNAPSE, Kind.SPIKE, Kind.INPUT})

    def masks(self, bits: int) -> WordMasks:
        return WordMasks.holding(float_pattern(1.0))

    def value(self, golden: Tensor, tensor: Tensor) -> Tensor:
        sizes = tensor[tensor.isfinite()].abs()
        return torch.copysign(sizes.max(), golden) if len(sizes) else golden


class StuckValue(FaultModel):
    """The word holds a given value."""

    name = "stuck-value"
    takes_bits = False
    parameter = "VALUE"

    def __init__(self, value: float) -> None:
        self.held = value

    def masks(self, bits: int) -> WordMasks:
        return WordMasks.holding(float_pattern(self.held))

    def value(self, golden: Tensor, tensor: Tensor) -> Tensor:
        return torch.full_like(golden, self.held)


class Scale(FaultModel):
    """A parametric fault: the value times rho, rounded once."""

    name = "scale"
    takes_bits = False
    kinds = STORED
    parameter = "RHO"

    def __init__(self, rho: float) -> None:
        self.rho = rho

    def value(self, golden: Tensor, tensor: Tensor) -> Tensor:
        return (golden.double() * self.rho).float()


class _Clearable(Protocol):
    def cache_clear(self) -> None: ...


#: What is to be forgotten where a model takes the place of another one of its name.
_caches: list[_Clearable] = []


def cached_by_model(size: int) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """``lru_cache`` of so many entries for what depends on fault models by name."""

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        cached = lru_cache(maxsize=size)(function)
        _caches.append(cached)
        return cast("Callable[P, R]", cached)

    return decorate


#: Name -> class of every fault model that is known; ``register_model`` adds to it.
FAULT_MODELS: dict[str, type[FaultModel]] = {
    model.name: model for model in (BitFlip, StuckAt0, StuckAt1, Dead, Saturated, StuckValue, Scale)
}


def register_model(model: type[FaultModel]) -> str:
    """Make a fault model of your own known, and return its name.

    Without a ``name`` it is that of the class: ``SignLost`` is ``sign-lost``. A newer class takes
    the place of an older one.

    Raises:
        ValueError: its name is one of ours, or no name.
    """
    own_name = vars(model).get("name")
    model.name = own_name or re.sub("(?<=.)(?=[A-Z])", "-", model.__name__).lower()
    taken = FAULT_MODELS.get(model.name)
    ours = taken is not None and taken.__module__ == __name__
    if ours or not re.fullmatch("[a-z0-9][a-z0-9-]*", model.name):
        raise ValueError(
            f"fault model {model.__name__} is called {model.name!r}; allowed: a name of its own, "
            "lower case and hyphens"
        )
    FAULT_MODELS[model.name] = model
    for cache in _caches:
        cache.cache_clear()
    return model.name


def user_model_sources(names: Collection[str]) -> list[str]:
    """The source of those fault models of ``names`` that are a user's, as far as there is one.

    A model that was typed into an interpreter has none; its dotted path stands for it.
    """
    models = {type(fault_model(name)) for name in names}
    return sorted(_source(model) for model in models if model.__module__ != __name__)


def _source(model: type[FaultModel]) -> str:
    """All files that a model and its bases of the user's stand in, wherever these are.

    A whole file, since a model may read constants and call functions that stand beside it.
    """
    own = [base for base in model.__mro__ if issubclass(base, FaultModel)]
    texts = dict.fromkeys(_read_module(base) for base in own if base.__module__ != __name__)
    return "\n".join([model.__qualname__, *texts])


def _read_module(model: type) -> str:
    """The text of a class's file; that of the class alone where it was typed into a notebook."""
    file = getattr(sys.modules.get(model.__module__), "__file__", None)
    if file is not None and os.path.isfile(file):
        return Path(file).read_text(encoding="utf-8", errors="surrogateescape")
    try:
        return inspect.getsource(model)
    except (OSError, TypeError):  # typed into an interpreter
        return f"{model.__module__}.{model.__qualname__}"


def list_models() -> str:
    """The names of all fault models, as they are typed."""
    return ", ".join(f"{n}{':' * bool(m.parameter)}{m.parameter}" for n, m in FAULT_MODELS.items())


@cached_by_model(4096)
def fault_model(name: str) -> FaultModel:
    """The fault model of a name as in fault lists; ``ValueError`` names the known ones.

    >>> fault_model("stuck-at-1").masks(0b101)
    WordMasks(keep=4294967295, force=5, flip=0)
    >>> fault_model("scale:0.5").value(torch.tensor([3.0]), torch.zeros(1))
    tensor([1.5000])
    """
    base, colon, text = name.partition(":")
    model = FAULT_MODELS.get(base)
    if model is None or bool(colon) != bool(model.parameter):
        raise ValueError(f"unknown fault model {name!r}; known: {list_models()}")
    if not colon:
        return model()
    try:
        return model(float(text))  # type: ignore[call-arg]  # those with a parameter take it
    except ValueError:
        raise ValueError(
            f"fault model {name!r}: {model.parameter} must be a number, not {text!r}"
        ) from None
