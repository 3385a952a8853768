"""Bounds for clamps: what golden words are, and what golden neurons see on training data."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase

import numpy as np
import torch
from snntorch import SpikingNeuron
from torch import Tensor, nn

from fi.faults.fault_sites import Kind, SiteFamily, named_words
from fi.faults.formats.clamps import Clamp, Clamps, check_clampable
from fi.faults.formats.neuron_clamps import CURRENT
from fi.faults.formats.state_formats import SPIKE
from fi.network.neurons import spiking_neurons, state_attributes

#: Bounds are of a tensor, or of each place of its first axis: an output channel, a neuron.
PER = ("tensor", "channel")
#: States, or currents, of a call that a percentile is found among, at most.
_KEPT = 10_000


@dataclass(frozen=True)
class BoundRule:
    """How bounds follow from golden values.

    Attributes:
        percentile: part of the values, in %, that are within both bounds; 100 takes them all.
        per: one of ``PER``; of neurons, always the layer.
        beyond: what a value beyond its bounds reads, ``zero`` or ``bound``. Parameters of neurons
            always read the bound: a threshold of 0 would fire at each step; so do spikes: a flip
            that makes 1.5 of a spike would take it away.
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
        """What a value beyond the bounds of that kind reads."""
        return "bound" if kind in (Kind.NEURON, Kind.SPIKE) else self.beyond


def match_families(patterns: Sequence[str], families: Sequence[SiteFamily]) -> list[SiteFamily]:
    """The families that the patterns name, in the network's order.

    ``*.current`` names what goes into each layer of neurons, which has no words of its own, and
    ``*.spike`` what comes out; a pattern that does not end so has neither.

    Raises:
        ValueError: a pattern names none.
    """
    known = list(_list_clampable(families))
    found: set[str] = set()
    for pattern in patterns:
        asked = pattern.rpartition(".")[2]
        fitting = [
            family.name
            for family in known
            if fnmatchcase(family.name, pattern)
            and (family.attribute not in (CURRENT, SPIKE) or asked == family.attribute)
        ]
        if not fitting:
            there = ", ".join(family.name for family in known)
            raise ValueError(f"{pattern} fits nothing that can be clamped; there are: {there}")
        found.update(fitting)
    return [family for family in known if family.name in found]


def _list_clampable(families: Sequence[SiteFamily]) -> Iterator[SiteFamily]:
    """Words, states and spikes, and before a layer's spikes its currents."""
    for family in families:
        if family.kind is Kind.SPIKE:
            yield replace(family, name=f"{family.layer}.{CURRENT}", kind=Kind.STATE)
        if family.kind in (Kind.SYNAPSE, Kind.NEURON, Kind.STATE, Kind.SPIKE):
            yield family


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


def bound_neurons(
    network: nn.Module,
    families: Sequence[SiteFamily],
    rule: BoundRule,
    infer: Callable[[Tensor], Tensor],
    batches: Iterable[tuple[Tensor, Tensor]],
) -> Clamps:
    """Bounds of what states become and currents are in golden runs, layer by layer.

    A spike is 0 or 1, whatever the runs.

    Args:
        network: without faults and clamps of neurons.
        families: of states, currents and spikes.
        rule: how bounds follow; a percentile is that of a random part of each call's values.
        infer: runs the network.
        batches: of training data.

    Raises:
        ValueError: a layer cannot be clamped, or its values are infinite or NaN.
    """
    for family in families:
        check_clampable(network, family.name)
    observed = [family for family in families if family.kind is not Kind.SPIKE]
    with _watched(network, observed) as seen, torch.no_grad():
        for events, _ in batches if observed else ():
            infer(events)
    clamps = {}
    for family in families:
        if family.kind is Kind.SPIKE:
            clamps[family.name] = Clamp((0.0,), (1.0,), rule.find_beyond(family.kind))
            continue
        values = seen[family.name].gather()
        if not bool(values.isfinite().all()):
            raise ValueError(f"{family.name} becomes infinite or NaN: it has no bounds")
        low, high = rule.bound(values, family.kind)
        clamps[family.name] = Clamp((low,), (high,), rule.find_beyond(family.kind))
    return Clamps(clamps)


class _Seen:
    """The extremes of each call's values, and some of the rest."""

    def __init__(self) -> None:
        self._kept: list[Tensor] = []
        self._generator = torch.Generator().manual_seed(0)

    def add(self, given: Tensor) -> None:
        """Take some values of any shape."""
        values = given.detach().flatten().float().cpu()
        kept = values
        if len(values) > _KEPT:
            kept = values[torch.randint(len(values), (_KEPT,), generator=self._generator)]
        self._kept.append(torch.cat([kept, torch.stack(values.aminmax())]))

    def gather(self) -> Tensor:
        """What was taken, ``[values]``."""
        return torch.cat(self._kept)


class _StateWatch:
    """Takes the place of a neuron's ``state_quant``, where clamps act: before it may fire.

    Args:
        neuron: that is watched.
        own: what was there.
        seen: by snnTorch's name of a state.
    """

    def __init__(
        self, neuron: SpikingNeuron, own: Callable[[Tensor], Tensor] | None, seen: dict[str, _Seen]
    ) -> None:
        self.neuron, self.own, self.seen = neuron, own, seen

    def __call__(self, states: Tensor) -> Tensor:
        stored = self.own(states) if self.own else states
        for name, seen in self.seen.items():
            if states is getattr(self.neuron, name):
                seen.add(stored)
        return stored


@contextmanager
def _watched(network: nn.Module, families: Sequence[SiteFamily]) -> Iterator[dict[str, _Seen]]:
    """What states become and currents are, by the name of the family."""
    found = {family.name: _Seen() for family in families}
    states: dict[str, dict[str, _Seen]] = {}
    with ExitStack() as placed:
        for family in families:
            neuron = spiking_neurons(network)[family.layer]
            if family.attribute == CURRENT:
                note = _note_current(found[family.name])
                handle = neuron.register_forward_pre_hook(note, with_kwargs=True)
                placed.callback(handle.remove)
            else:
                name = state_attributes(neuron)[family.attribute]
                states.setdefault(family.layer, {})[name] = found[family.name]
        for layer, seen in states.items():
            neuron = spiking_neurons(network)[layer]
            placed.callback(setattr, neuron, "state_quant", neuron.state_quant)
            neuron.state_quant = _StateWatch(neuron, neuron.state_quant or None, seen)
        yield found


def _note_current(seen: _Seen) -> Callable[..., None]:
    """A hook that notes the first argument of a neuron's forward."""
    return lambda neuron, args, kwargs: seen.add([*args, *kwargs.values()][0])
