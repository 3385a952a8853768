"""The float32 words of a neuron that mean what the file's float64 values mean."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import product

import torch
from torch import Tensor

from fi.exchange.nir_neurons import NirNeuron

#: A time constant and the weight that it scales: only together they give a factor of 1.
_PAIRS = (("tau", "r"), ("tau_mem", "r"), ("tau_syn", "w_in"))
#: By how many last bits a word may be moved.
_MOVES = (0, 1, -1, 2, -2)


def fit_words(
    values: Mapping[str, Tensor], make: Callable[[Mapping[str, Tensor]], NirNeuron]
) -> tuple[dict[str, Tensor], int]:
    """Float32 words near ``values`` of which the rule derives the same float32 constants.

    A word is the nearest float32 but where ``1 - dt / tau``, say, would then be another one than of
    the float64 value: there a neighbour is taken that gives it, if one does.

    Args:
        values: float64, by NIR's names.
        make: a neuron of such words.

    Returns:
        The words, and how many neurons have constants that are a last bit or more away.
    """
    exact = make(values).constants(torch.float32)
    words = {name: value.to(torch.float32) for name, value in values.items()}
    for tau, weight in _PAIRS:
        if tau in words and _differing(make(words), exact).any():
            _fit_pair(words, tau, weight, make, exact)
    return words, int(_differing(make(words), exact).sum())


def _fit_pair(
    words: dict[str, Tensor],
    tau: str,
    weight: str,
    make: Callable[[Mapping[str, Tensor]], NirNeuron],
    exact: Mapping[str, Tensor],
) -> None:
    nearest = words[tau], words[weight]
    best = _count_differing(make(words), exact)
    chosen = nearest
    for moves in product(_MOVES, _MOVES):
        moved = [_move(word, by) for word, by in zip(nearest, moves, strict=True)]
        found = _count_differing(make({**words, tau: moved[0], weight: moved[1]}), exact)
        better = found < best
        best = torch.where(better, found, best)
        pairs = zip(moved, chosen, strict=True)
        chosen = tuple(torch.where(better, new, old) for new, old in pairs)  # type: ignore[assignment]
    words[tau], words[weight] = chosen


def _move(word: Tensor, by: int) -> Tensor:
    """``word`` so many float32 numbers further."""
    towards = torch.full_like(word, float("inf") if by > 0 else float("-inf"))
    for _ in range(abs(by)):
        word = torch.nextafter(word, towards)
    return word


def _differing(neuron: NirNeuron, exact: Mapping[str, Tensor]) -> Tensor:
    return _count_differing(neuron, exact) > 0


def _count_differing(neuron: NirNeuron, exact: Mapping[str, Tensor]) -> Tensor:
    """How many constants of each neuron are not the exact ones."""
    counts = torch.zeros((), dtype=torch.int64)
    for name, value in neuron.constants(torch.float32).items():
        same = (value == exact[name]) | (value.isnan() & exact[name].isnan())
        counts = counts + (~same).long()
    return counts
