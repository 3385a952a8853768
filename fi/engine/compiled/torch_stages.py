"""Stages that the kernels do not know, among those that they do: run in torch, for pair lists."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import torch
from torch import Tensor

from fi.engine.compiled.kernels.arrays import Array, PairList
from fi.engine.compiled.kernels.pair_lists import choose_pairs, join_pairs
from fi.engine.compiled.kernels.read_out import Statistics
from fi.engine.generic.golden_stage import GoldenStage, InputEvents
from fi.engine.generic.propagation import Propagation
from fi.engine.generic.spike_differences import Incoming, SpikeDifferences


class TorchStages:
    """The torch path through single stages, on one golden block.

    Args:
        propagation: through the network, of the block.
        memory: for working tensors, in bytes.
    """

    def __init__(self, propagation: Propagation, memory: int) -> None:
        self.propagation, self.memory = propagation, memory
        self.batch = propagation.goldens[0].batch

    @property
    def bytes(self) -> int:
        """About what the golden run takes in memory."""
        return sum(golden.bytes for golden in self.propagation.goldens)

    @torch.no_grad()  # in a thread of its own, which knows nothing of the campaign's
    def fire(self, number: int, sources: Mapping[int, PairList]) -> PairList:
        """What differs behind a stage, of what differs in its sources."""
        golden, found = self.propagation.goldens[number], []
        for start, incoming in self._portions(number, sources):
            spikes = self.propagation.fire(number, start, incoming)
            fault, sample = np.divmod(spikes.origin.numpy(), self.batch)
            found.append(to_pairs(spikes, golden, start, fault, sample))
        return join_pairs(found)

    @torch.no_grad()
    def read_out(self, sources: Mapping[int, PairList]) -> Statistics:
        """The pairs whose statistic may differ, of what differs before the last stage."""
        found = []
        for start, incoming in self._portions(self.propagation.last, sources):
            origin, statistic = self.propagation.read_out(start, incoming)
            fault, sample = np.divmod(origin.numpy(), self.batch)
            found.append((fault, sample, statistic.numpy()))
        return Statistics(*(np.concatenate(arrays) for arrays in zip(*found, strict=True)))

    def _portions(
        self, number: int, sources: Mapping[int, PairList]
    ) -> Iterator[tuple[int, Incoming]]:
        """What comes in, for as many pairs at a time as the memory holds, and its first step."""
        golden = self.propagation.goldens[number]
        keys = {source: self._find_keys(pairs) for source, pairs in sources.items()}
        everyone = np.unique(np.concatenate([*keys.values()]))
        width = golden.footprint + 6 * golden.neurons
        element = golden.inputs.element_size()
        size = max(1, self.memory // (golden.steps * width * element))
        for first in range(0, len(everyone), size):
            low, high = everyone[first], everyone[min(first + size, len(everyone)) - 1]
            chosen = {
                source: choose_pairs(pairs, (keys[source] >= low) & (keys[source] <= high))
                for source, pairs in sources.items()
            }
            chosen = {source: pairs for source, pairs in chosen.items() if len(pairs.fault)}
            start = min(int(pairs.step.min()) for pairs in chosen.values())
            differences = {
                source: self._to_differences(pairs, source, start)
                for source, pairs in chosen.items()
            }
            yield start, Incoming.join(differences)

    def _find_keys(self, pairs: PairList) -> Array:
        """One number for fault and sample of each pair, int64 ``[pairs]``."""
        return pairs.fault.astype(np.int64) * self.batch + pairs.sample

    def _to_differences(self, pairs: PairList, source: int, start: int) -> SpikeDifferences:
        golden = self.propagation.golden(source)
        owner = np.repeat(np.arange(len(pairs.fault)), np.diff(pairs.end, prepend=0))
        pair, step, neuron = map(_to_index, (owner, pairs.step, pairs.neuron))
        sample = _to_index(pairs.sample)
        before = golden.spikes[step, sample[pair], neuron]
        value = before + torch.from_numpy(np.ascontiguousarray(pairs.change))
        origin = torch.from_numpy(self._find_keys(pairs))
        return SpikeDifferences(origin, sample, step - start, pair, neuron, value)


def to_pairs(
    spikes: SpikeDifferences,
    golden: GoldenStage | InputEvents,
    start: int,
    fault: Array,
    sample: Array,
) -> PairList:
    """Differences as a pair list; every pair has an entry.

    Args:
        spikes: that differ.
        golden: the stage that fired them.
        start: the step from which they count.
        fault, sample: of each pair, as the list is to have them.
    """
    order = torch.argsort(spikes.pair * golden.steps + spikes.step, stable=True)
    pair, step, neuron = spikes.pair[order], spikes.step[order] + start, spikes.neuron[order]
    change = spikes.value[order] - golden.spikes[step, spikes.sample[pair], neuron]
    count = torch.bincount(pair, minlength=len(spikes.sample))
    return PairList(
        fault.astype(np.int32),
        sample.astype(np.int32),
        count.cumsum(0).numpy(),
        step.numpy().astype(np.int32),
        neuron.numpy().astype(np.int32),
        change.numpy(),
    )


def _to_index(values: Array) -> Tensor:
    return torch.from_numpy(values.astype(np.int64))
