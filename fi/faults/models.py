"""Fault models: in which way a word, or a circuit, goes wrong, found by name.

>>> list(FAULT_MODELS)[:7]
['bit-flip', 'stuck-at-0', 'stuck-at-1', 'dead', 'saturated', 'stuck-value', 'scale']
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from functools import lru_cache
from math import isfinite, nan
from typing import ParamSpec, Protocol, TypeVar, cast

from fi.faults.modelling.circuit_models import CIRCUIT_MODELS
from fi.faults.modelling.class_sources import choose_name, is_ours, read_source
from fi.faults.modelling.line_models import LINE_MODELS
from fi.faults.modelling.model_base import FaultModel
from fi.faults.modelling.word_models import WORD_MODELS

P = ParamSpec("P")
R = TypeVar("R")


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
    model.name: model for model in (*WORD_MODELS, *CIRCUIT_MODELS, *LINE_MODELS)
}


def register_model(model: type[FaultModel]) -> str:
    """Make a fault model of your own known, and return its name.

    Without a ``name`` it is that of the class: ``SignLost`` is ``sign-lost``. A newer class takes
    the place of an older one.

    Raises:
        ValueError: its name is one of ours, or no name.
    """
    model.name = choose_name(model, FAULT_MODELS, "fault model")
    FAULT_MODELS[model.name] = model
    for cache in _caches:
        cache.cache_clear()
    return model.name


def user_model_sources(names: Collection[str]) -> list[str]:
    """The source of those fault models of ``names`` that are a user's, as far as there is one.

    A model that was typed into an interpreter has none; its dotted path stands for it.
    """
    models = {type(fault_model(name)) for name in names}
    return sorted(read_source(model, FaultModel) for model in models if not is_ours(model))


def list_models() -> str:
    """The names of all fault models, as they are typed."""
    return ", ".join(f"{n}{':' * bool(m.parameter)}{m.parameter}" for n, m in FAULT_MODELS.items())


@cached_by_model(4096)
def fault_model(name: str) -> FaultModel:
    """The fault model of a name as in fault lists; ``ValueError`` names the known ones.

    >>> fault_model("stuck-at-1").masks(0b101)
    WordMasks(keep=4294967295, force=5, flip=0)
    >>> import torch
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
        value = float(text)
    except ValueError:
        value = nan
    if not isfinite(value):
        raise ValueError(
            f"fault model {name!r}: {model.parameter} must be a finite number, not {text!r}"
        )
    try:
        return model(value)  # type: ignore[call-arg]  # those with a parameter take it
    except ValueError as problem:
        raise ValueError(f"fault model {name!r}: {problem}") from None
