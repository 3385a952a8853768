"""Which stages feed a stage, and how what differs in several of them becomes one pair list."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from fi.engine.compiled.kernels.arrays import Array, PairList
from fi.network.stages import EVENTS, Stage, StageActivity, find_sources


@dataclass(frozen=True)
class StageGraph:
    """The sources of each stage.

    Attributes:
        sources: their numbers, as often as a stage has them.
        offsets: by how much the lines of each source are moved: all 0 where they add up.
    """

    sources: tuple[tuple[int, ...], ...]
    offsets: tuple[tuple[int, ...], ...]

    @classmethod
    def of(cls, stages: Sequence[Stage], activities: Sequence[StageActivity]) -> StageGraph:
        """Of stages, and what they did in any inference."""
        sources = find_sources(stages)
        sizes = {number: a.spikes[0, 0].numel() for number, a in enumerate(activities)}
        sizes[EVENTS] = activities[0].inputs[0, 0].numel()
        offsets: list[tuple[int, ...]] = []
        for stage, own in zip(stages, sources, strict=True):
            ends = np.cumsum([0, *(sizes[source] for source in own)])[:-1].tolist()
            offsets.append(tuple(ends if stage.merge == "concatenate" else [0] * len(own)))
        return cls(tuple(sources), tuple(offsets))

    def find_incoming(self, number: int, differing: Mapping[int, PairList]) -> dict[int, PairList]:
        """What differs in the sources of a stage."""
        return {
            source: differing[source]
            for source in dict.fromkeys(self.sources[number])
            if source in differing and len(differing[source].fault)
        }

    def merge(self, number: int, incoming: Mapping[int, PairList], batch: int) -> PairList:
        """What differs in the input lines of a stage."""
        parts = []
        for source, offset in zip(self.sources[number], self.offsets[number], strict=True):
            if source in incoming:
                pairs = incoming[source]
                parts.append(pairs._replace(neuron=pairs.neuron + offset) if offset else pairs)
        return parts[0] if len(parts) == 1 else merge_pairs(parts, batch)


def merge_pairs(parts: Sequence[PairList], batch: int) -> PairList:
    """All differences by fault and sample, in the order of time; those of one line add up.

    Args:
        parts: whose entries are in the order of time.
        batch: the number of samples.
    """
    keys = [part.fault.astype(np.int64) * batch + part.sample for part in parts]
    sizes = [np.diff(part.end, prepend=0) for part in parts]
    key = np.concatenate([np.repeat(k, size) for k, size in zip(keys, sizes, strict=True)])
    step = np.concatenate([part.step for part in parts])
    neuron = np.concatenate([part.neuron for part in parts]).astype(np.int32)
    change = np.concatenate([part.change for part in parts])
    order = np.lexsort((neuron, step, key))
    key, step, neuron, change = key[order], step[order], neuron[order], change[order]
    first = np.ones(len(key), bool)
    first[1:] = (key[1:] != key[:-1]) | (step[1:] != step[:-1]) | (neuron[1:] != neuron[:-1])
    starts = np.flatnonzero(first)
    if len(starts) < len(key):
        change = np.add.reduceat(change, starts)
        key, step, neuron = key[starts], step[starts], neuron[starts]
    left = change != 0  # NaN is
    return _group_by_key(key[left], step[left], neuron[left], change[left], batch)


def _group_by_key(key: Array, step: Array, neuron: Array, change: Array, batch: int) -> PairList:
    """Entries in the order of their pairs as a list."""
    last = np.flatnonzero(np.diff(key, append=-1) != 0)
    fault, sample = np.divmod(key[last], batch)
    return PairList(fault.astype(np.int32), sample.astype(np.int32), last + 1, step, neuron, change)
