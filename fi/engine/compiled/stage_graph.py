"""Which stages feed a stage, and how what differs in several of them becomes one pair list."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from fi.engine.compiled import kernels
from fi.engine.compiled.kernels.arrays import Array, EntryWindows, LineSums, PairList
from fi.engine.compiled.kernels.pair_lists import join_pairs
from fi.engine.compiled.stage_constants import StageModel
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
        self,
        number: int,
        incoming: Mapping[int, PairList],
        into: LineSums,
        maxima: tuple[EntryWindows, Array] | None = None,
    ) -> PairList:
        """What differs in front of the weights of a stage.

        Args:
            number: of the stage.
            incoming: what differs in its sources.
            into: what its lines add up to.
            maxima: a pool of maxima at its entry, and ``f [B, T, lines]``, what comes in without a
                fault.
        """
        parts = []
        for source, offset in zip(self.sources[number], self.offsets[number], strict=True):
            if source in incoming:
                pairs = incoming[source]
                parts.append(pairs._replace(neuron=pairs.neuron + offset) if offset else pairs)
        adds = len(parts) > 1 or not into.plain
        if not adds and maxima is None:
            return parts[0]
        joined = join_pairs([kernels.order_by_time(part, self.steps) for part in parts])
        if adds:
            begins = np.concatenate([[0], joined.end[:-1]])
            order = np.lexsort((joined.sample, joined.fault))
            joined = kernels.add_pairs(joined, begins, order, into)
        return joined if maxima is None else kernels.pool_maxima(joined, *maxima)


def find_line_sums(model: StageModel, lines: int) -> LineSums:
    """What the ``lines`` that come into a stage add up to in front of its weights."""
    windows = None if model.entry is None else model.entry.windows
    first, sums_of, count, share = np.arange(lines + 1), np.arange(lines), lines, 1.0
    means = windows is not None and windows.mean
    if windows is not None and means:
        first, sums_of = windows.first, windows.windows_of
        count, share = len(windows.windows), 1 / windows.windows.shape[1]
    place = model.fan_out.place
    line_of = np.argsort(place, kind="stable") if len(place) == count else np.arange(count)
    slots = np.empty(count, np.int32)
    slots[line_of] = np.arange(count)
    return LineSums(
        first.astype(np.int32), slots[sums_of], line_of.astype(np.int32), share, not means
    )
