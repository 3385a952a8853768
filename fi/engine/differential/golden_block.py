"""The golden run of some samples of a batch, and the traces of it that are kept."""

from __future__ import annotations

from functools import cached_property

from torch import Tensor

from fi.engine.compiled.fast_path import FastPath
from fi.engine.compiled.golden_trace import Trace
from fi.engine.compiled.planner import Need
from fi.engine.differential.paths import Paths
from fi.network.stages import StageActivity

#: Number of a batch, and the first of its samples that belong to the block.
BlockKey = tuple[int, int]


class TraceStore:
    """Golden traces that later groups of faults use again.

    Args:
        memory: the most that all of them may take, in bytes; what does not fit is not kept.
    """

    def __init__(self, memory: int) -> None:
        self.memory = memory
        self._traces: dict[BlockKey, Trace] = {}

    @property
    def bytes(self) -> int:
        """What the kept traces take in memory."""
        return sum(trace.bytes for trace in self._traces.values())

    def serves(self, key: BlockKey, needs: frozenset[Need]) -> bool:
        """Whether there is a trace of this block with all that the faults need."""
        return key in self._traces and needs <= self._traces[key].serves

    def find(self, key: BlockKey) -> Trace | None:
        """The trace of a block, whatever it has; ``None`` where none is kept."""
        return self._traces.get(key)

    def get(self, key: BlockKey) -> Trace:
        """The trace of a block; ``KeyError`` where none is kept."""
        return self._traces[key]

    def keep(self, key: BlockKey, trace: Trace) -> None:
        """Keep ``trace`` in place of one of the same block, if there is room for it."""
        others = sum(kept.bytes for other, kept in self._traces.items() if other != key)
        if others + trace.bytes <= self.memory:
            self._traces[key] = trace

    def clear(self) -> None:
        """Keep no trace."""
        self._traces.clear()


class GoldenBlock:
    """Some samples without a fault; what no path asks for is never computed.

    Args:
        paths: through the network, for events of this shape.
        events: ``[time, samples, ...]``.
        key: by which the trace of the block is known.
        store: of traces.
    """

    def __init__(self, paths: Paths, events: Tensor, key: BlockKey, store: TraceStore) -> None:
        self.paths, self.events, self.key, self.store = paths, events, key, store

    @cached_property
    def activities(self) -> list[StageActivity]:
        """The golden activity of every stage."""
        return self.paths.record(self.events)

    @cached_property
    def scores(self) -> Tensor:
        """The golden scores ``[samples, classes]``."""
        last, readout = self.activities[-1], self.paths.network.readout
        membranes = (state["mem"] for state in last.states)
        return readout.scores(readout.gather(zip(last.spikes, membranes, strict=True)))

    def trace(self, kernels: FastPath, needs: frozenset[Need]) -> Trace:
        """The trace for faults with these needs: a kept one if it serves, else a new one."""
        if self.store.serves(self.key, needs):
            return self.store.get(self.key)
        trace = kernels.trace(needs, self.activities, self.store.find(self.key))
        self.store.keep(self.key, trace)
        return trace
