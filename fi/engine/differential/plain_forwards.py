"""Trials whose result hangs on the last bit of a sum: a plain forward each.

Where all words are on a coarse grid, as those of a fixed-point format, membranes stand exactly on
their thresholds. What a spike of ``1 + 2**-22`` adds to them then crosses or not by the order of
summation, in which differences are not the network. Such faults take the network's own forward.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property

from torch import Tensor, nn

from fi.engine.base import Infer
from fi.engine.full import FullEngine
from fi.engine.tally import Tally
from fi.faults.family_names import attribute_of
from fi.faults.fault import Trial
from fi.faults.fault_sites import INPUT, SiteFamily
from fi.metrics.pairs import Pairs
from fi.network.neurons import neuron_words, spiking_neurons

#: Words are coarse that are multiples of this, and no larger than its inverse.
GRID = 2.0**-10
#: The highest bit of a spike whose change such sums may round away.
LOW_BITS = 12


class PlainForwards:
    """Tells such trials from others, and runs them.

    Args:
        network: that has the faults.
        infer: its scores.
        families: its sites.

    Attributes:
        tally: of the pairs that were run.
    """

    def __init__(self, network: nn.Module, infer: Infer, families: Sequence[SiteFamily]) -> None:
        self.full = FullEngine(network, infer, families)
        self.tally = Tally()
        self._trials: dict[int, Trial] = {}

    @cached_property
    def coarse(self) -> bool:
        """Whether there may be such trials; looked up when the first is met."""
        return has_coarse_words(self.full.network)

    def take(self, trials: Sequence[Trial]) -> list[Trial]:
        """The trials of a group, those that are run here without their faults."""
        places = _find_nearly_even(trials)
        self._trials = {place: trials[place] for place in places if self.coarse}
        left = list(trials)
        for place in self._trials:
            left[place] = ()
        return left

    def pairs(
        self, events: Tensor, batch: int, golden: Tensor | None, first: int
    ) -> Iterator[Pairs]:
        """All pairs of the trials that it has taken; arguments as ``Engine.pairs``."""
        for place, trial in self._trials.items():
            with self.full.injected([trial]):
                for pairs in self.full.pairs(events, batch, golden, first):
                    count = len(pairs.sample)
                    self.tally += Tally(0, count, count, count)
                    yield pairs._replace(fault=pairs.fault + place)


def _find_nearly_even(trials: Sequence[Trial]) -> list[int]:
    """Where a fault changes a spike by very little."""
    layers = {fault.layer for trial in trials for fault in trial}
    lines = {layer for layer in layers if layer == INPUT or attribute_of(layer) == "spike"}
    hit = [
        place
        for place, trial in enumerate(trials)
        for fault in trial
        if fault.layer in lines and fault.bits and fault.bits[-1] <= LOW_BITS
    ]
    return list(dict.fromkeys(hit))


def has_coarse_words(network: nn.Module) -> bool:
    """Whether all words of layers and neurons are on a coarse grid.

    >>> has_coarse_words(nn.Linear(2, 2).requires_grad_(False))
    False
    """
    words = [word for word in network.parameters() if word.is_floating_point()]
    for neuron in spiking_neurons(network).values():
        words += [getattr(neuron, name) for name in neuron_words(neuron)]
    return all(bool(_is_coarse(word.detach())) for word in words)


def _is_coarse(word: Tensor) -> Tensor:
    scaled = word.double() / GRID
    return (scaled == scaled.round()).all() & (word.abs() <= 1 / GRID).all()
