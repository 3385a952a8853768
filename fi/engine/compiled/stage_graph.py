"""Which stages feed a stage, and how what differs in several of them becomes one pair list."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from fi.engine.compiled import kernels
from fi.engine.compiled.kernels.arrays import PairList
from fi.engine.compiled.kernels.pair_lists import join_pairs
from fi.network.stages import EVENTS, Stage, StageActivity, find_sources


@dataclass(frozen=True)
class StageGraph:
    """The sources of each stage.

    Attributes:
        sources: their numbers, as often as a stage has them.
        offsets: by how much the lines of each source are moved: all 0 where they add up.
        lines: how many come in.
        steps: of an inference.
    """

    sources: tuple[tuple[int, ...], ...]
    offsets: tuple[tuple[int, ...], ...]
    lines: tuple[int, ...]
    steps: int

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
        lines = tuple(activity.inputs[0, 0].numel() for activity in activities)
        return cls(tuple(sources), tuple(offsets), lines, len(activities[0].inputs))

    def find_incoming(self, number: int, differing: Mapping[int, PairList]) -> dict[int, PairList]:
        """What differs in the sources of a stage."""
        return {
            source: differing[source]
            for source in dict.fromkeys(self.sources[number])
            if source in differing and len(differing[source].fault)
        }

    def merge(
        self, number: int, incoming: Mapping[int, PairList], in_order: bool = False
    ) -> PairList:
        """What differs in the input lines of a stage, in the order of time if that matters."""
        parts = []
        for source, offset in zip(self.sources[number], self.offsets[number], strict=True):
            if source in incoming:
                pairs = incoming[source]
                parts.append(pairs._replace(neuron=pairs.neuron + offset) if offset else pairs)
        if len(parts) == 1 and not in_order:
            return parts[0]
        ordered = [kernels.order_by_time(part, self.steps) for part in parts]
        if len(ordered) == 1:
            return ordered[0]
        joined = join_pairs(ordered)
        begins = np.concatenate([[0], joined.end[:-1]])
        order = np.lexsort((joined.sample, joined.fault))
        return kernels.add_pairs(joined, begins, order, self.lines[number])
