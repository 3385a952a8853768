"""Bounds for clamps: what golden words are, and what golden states become on training data."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from fi.faults.family_names import layer_of
from fi.faults.fault_sites import Kind, SiteFamily, named_words
from fi.faults.formats.clamps import Clamp, Clamps, check_clampable

#: Bounds are of a tensor, or of each place of its first axis: an output channel, a neuron.
PER = ("tensor", "channel")
#: Other names of what states are: a user's word, and the name in a site family.
_STATES = {"current": "syn"}
#: States of a batch that a percentile is found among, at most.
_KEPT = 10_000


@dataclass(frozen=True)
class BoundRule:
    """How bounds follow from golden values.

    Attributes:
        percentile: part of the values, in %, that are within both bounds; 100 takes them all.
        per: one of ``PER``; of states, always the layer.
        beyond: what a value beyond its bounds reads, ``zero`` or ``bound``. Parameters of neurons
            always read the bound: a threshold of 0 would fire at each step.
    """

    percentile: float = 100.0
    per: str = "channel"
    beyond: str = "zero"

    def bound(self, values: Tensor, kind: Kind) -> tuple[float, float]:
        """Both bounds of some finite values; 0 is within those of weights and states."""
        rest = (100 - self.percentile) / 2
        flat = values.detach().double().flatten().cpu().numpy()
        low, high = np.percentile(flat, [rest, 100 - rest]) if rest else (flat.min(), flat.max())
        low, high = torch.tensor([low, high], dtype=torch.float32).tolist()
        return (low, high) if kind is Kind.NEURON else (min(low, 0.0), max(high, 0.0))

    def find_beyond(self, kind: Kind) -> str:
        """What a value beyond the bounds of words or states of that kind reads."""
        return "bound" if kind is Kind.NEURON else self.beyond


def match_families(patterns: Sequence[str], families: Sequence[SiteFamily]) -> list[SiteFamily]:
    """The families that the patterns name, in the network's order.

    ``*.current`` names synaptic currents, ``*.syn``.

    Raises:
        ValueError: a pattern names none, or words that have no bounds: spikes.
    """
    found: dict[str, SiteFamily] = {}
    for given in patterns:
        layer, dot, attribute = given.rpartition(".")
        pattern = f"{layer}{dot}{_STATES.get(attribute, attribute)}"
        fitting = [family for family in families if fnmatchcase(family.name, pattern)]
        kinds = {Kind.SYNAPSE, Kind.NEURON, Kind.STATE}
        fitting = [family for family in fitting if family.kind in kinds]
        if not fitting:
            there = ", ".join(family.name for family in families if family.kind in kinds)
            raise ValueError(f"{given} fits no words and no states; there are: {there}")
        found |= {family.name: family for family in fitting}
    return [family for family in families if family.name in found]


def bound_words(network: nn.Module, families: Sequence[SiteFamily], rule: BoundRule) -> Clamps:
    """Bounds of the golden words of ``families``.

    Raises:
        ValueError: a word is infinite or NaN.
    """
    words, clamps = named_words(network), {}
    for family in families:
        tensor = words[family.name].detach()
        if not bool(tensor.isfinite().all()):
            raise ValueError(f"{family.name} has infinite or NaN words: they have no bounds")
        parts = [tensor] if rule.per == "tensor" or tensor.ndim < 2 else list(tensor)
        ends = [rule.bound(part, family.kind) for part in parts]
        low, high = zip(*ends, strict=True)
        clamps[family.name] = Clamp(low, high, rule.find_beyond(family.kind))
    return Clamps(clamps)


def bound_states(
    network: nn.Module,
    families: Sequence[SiteFamily],
    rule: BoundRule,
    infer: Callable[[Tensor], Tensor],
    batches: Iterable[tuple[Tensor, Tensor]],
) -> Clamps:
    """Bounds of what the states of ``families`` become in golden runs, layer by layer.

    Args:
        network: without faults and clamps of states.
        families: of states.
        rule: how bounds follow; a percentile is that of a random part of each batch's states.
        infer: runs the network.
        batches: of training data.

    Raises:
        ValueError: a layer's states cannot be clamped, or are infinite or NaN.
    """
    for family in families:
        check_clampable(network, family.name)
    with _watched(network, families) as seen, torch.no_grad():
        for events, _ in batches:
            infer(events)
    clamps = {}
    for family in families:
        states = torch.cat(seen[family.name].seen)
        if not bool(states.isfinite().all()):
            raise ValueError(f"{family.name} becomes infinite or NaN: it has no bounds")
        low, high = rule.bound(states, family.kind)
        clamps[family.name] = Clamp((low,), (high,), rule.beyond)
    return Clamps(clamps)


class _Watch:
    """Takes the place of a neuron's ``state_quant``, where clamps act: before it may fire."""

    def __init__(self, own: Callable[[Tensor], Tensor] | None) -> None:
        self.own, self.seen = own, list[Tensor]()
        self._generator = torch.Generator().manual_seed(0)

    def __call__(self, states: Tensor) -> Tensor:
        if self.own:
            states = self.own(states)
        values = states.detach().flatten().float().cpu()
        kept = values
        if len(values) > _KEPT:
            kept = values[torch.randint(len(values), (_KEPT,), generator=self._generator)]
        self.seen.append(torch.cat([kept, torch.stack(values.aminmax())]))
        return states


@contextmanager
def _watched(network: nn.Module, families: Sequence[SiteFamily]) -> Iterator[dict[str, _Watch]]:
    """What the states become: the extremes, and some of the rest, of every call."""
    watches: dict[str, _Watch] = {}
    try:
        for family in families:
            neuron: Any = network.get_submodule(layer_of(family.name))
            watches[family.name] = neuron.state_quant = _Watch(neuron.state_quant or None)
        yield watches
    finally:
        for name, watch in watches.items():
            neuron = network.get_submodule(layer_of(name))
            neuron.state_quant = watch.own or False
