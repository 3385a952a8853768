"""The golden run of some samples of a batch, and the traces of it that are kept."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import NamedTuple

from torch import Tensor

from fi.engine.compiled.fast_path import FastPath
from fi.engine.compiled.golden_trace import Trace
from fi.engine.compiled.planner import Need
from fi.engine.differential.paths import Paths
from fi.network.stages import StageActivity

#: Number of a batch, and the first of its samples that belong to the block.
BlockKey = tuple[int, int]


class KeptRun(NamedTuple):
    """A golden run, and what it takes in memory.

    Attributes:
        run: the activity of every stage.
        bytes: of its tensors.
    """

    run: list[StageActivity]
    bytes: int


class TraceStore:
    """Golden runs and traces that later groups of faults use again.

    Args:
        memory: the most that all of them may take, in bytes; what does not fit is not kept.

    Attributes:
        seconds: that making them has taken, kept or not.
    """

    def __init__(self, memory: int) -> None:
        self.memory = memory
        self.seconds = 0.0
        self._traces: dict[BlockKey, Trace] = {}
        self._runs: dict[BlockKey, KeptRun] = {}

    @property
    def bytes(self) -> int:
        """What they take in memory."""
        return self._count_bytes(self._traces, self._runs)

    def _count_bytes(
        self, traces: Mapping[BlockKey, Trace], runs: Mapping[BlockKey, KeptRun]
    ) -> int:
        """Of traces and runs; a trace that runs stages in torch holds its run as well."""
        alone = [run for key, run in runs.items() if key not in traces or not traces[key].torch]
        return sum(trace.bytes for trace in traces.values()) + sum(run.bytes for run in alone)

    def serves(self, key: BlockKey, needs: frozenset[Need]) -> bool:
        """Whether there is a trace of this block with all that the faults need."""
        return key in self._traces and needs <= self._traces[key].serves

    def find(self, key: BlockKey) -> Trace | None:
        """The trace of a block, whatever it has; ``None`` where none is kept."""
        return self._traces.get(key)

    def find_run(self, key: BlockKey) -> list[StageActivity] | None:
        """The golden run of a block; ``None`` where none is kept."""
        kept = self._runs.get(key)
        return None if kept is None else kept.run

    def get(self, key: BlockKey) -> Trace:
        """The trace of a block; ``KeyError`` where none is kept."""
        return self._traces[key]

    def keep(self, key: BlockKey, trace: Trace) -> None:
        """Keep ``trace`` in place of one of the same block, if there is room for it.

        Golden runs, which are faster made than traces, give way.
        """
        traces = {**self._traces, key: trace}
        if self._count_bytes(traces, {}) > self.memory:
            return
        self._traces = traces
        while self._runs and self.bytes > self.memory:
            self._runs.popitem()

    def keep_run(self, key: BlockKey, run: list[StageActivity]) -> None:
        """Keep a golden run, if there is room for it."""
        runs = {**self._runs, key: KeptRun(run, count_run_bytes(run))}
        if self._count_bytes(self._traces, runs) <= self.memory:
            self._runs = runs

    @contextmanager
    def timed(self) -> Iterator[None]:
        """Within, a golden run or a trace is made."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds += time.perf_counter() - start

    def clear(self) -> None:
        """Keep nothing."""
        self._traces.clear()
        self._runs.clear()


def count_run_bytes(run: Sequence[StageActivity]) -> int:
    """What a golden run takes in memory; tensors of the same memory count once."""
    held: dict[int, int] = {}
    for activity in run:
        states = (state for states in activity.states for state in states.values())
        kept = [activity.inputs, activity.currents, activity.spikes, *states]
        kept += [made for made in (activity.unpooled, activity.entered) if made is not None]
        for tensor in kept:
            storage = tensor.untyped_storage()
            held[storage.data_ptr()] = storage.nbytes()
    return sum(held.values())


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
        kept = self.store.find_run(self.key)
        if kept is not None:
            return kept
        with self.store.timed():
            run = self.paths.record(self.events)
        self.store.keep_run(self.key, run)
        return run

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
        run, kept = self.activities, self.store.find(self.key)
        with self.store.timed():
            trace = kernels.trace(needs, run, kept)
        self.store.keep(self.key, trace)
        return trace
