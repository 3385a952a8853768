"""The differential engine: golden run once, then only what each fault changes."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from fi.engine.base import Engine, Infer, as_trials
from fi.engine.compiled.pool_recorder import recorded_activities
from fi.engine.compiled.runner import FastPath, Need, Plan, Trace
from fi.engine.differential.late_start import LateStart
from fi.engine.differential.multi_fault import Together, TogetherPlan
from fi.engine.differential.path_choice import on_kernels
from fi.engine.generic.path import GenericPath
from fi.engine.tally import Tally
from fi.faults.fault import Fault, Trial
from fi.metrics.pairs import Pairs
from fi.network.stages import SpikingNetwork, StageActivity

#: A group is a quarter of the list, within these bounds: few golden runs, some milestones.
SMALLEST_GROUP, LARGEST_GROUP = 4096, 65536
#: More samples at a time gain nothing.
LARGEST_BLOCK = 128


def default_memory() -> int:
    """A quarter of the machine's memory, in bytes."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 4


class DifferentialEngine(Engine):
    """Carries the difference between the faulty and the golden run through the network.

    Faults that the compiled kernels know take the fast path, the others the generic torch path;
    trials of several faults start late.

    Args:
        network: a network that declares stages.
        infer: its scores.
        memory: budget in bytes for traces and differences.
        threads: threads of the kernels; as many as torch uses by default.
    """

    name: ClassVar[str] = "differential"

    def __init__(
        self,
        network: nn.Module,
        infer: Infer,
        memory: int | None = None,
        threads: int | None = None,
    ) -> None:
        super().__init__(network, infer)
        reason = self.why_not(network)
        if reason or not isinstance(network, SpikingNetwork):
            raise ValueError(f"the differential engine cannot take this network: {reason}")
        self.stages: SpikingNetwork = network
        self.memory = memory or default_memory()
        self.threads = threads
        self.generic = GenericPath(network, self.memory // 2)
        self.fast: FastPath | None = None
        self.why_not_fast: str | None = None
        self.late = LateStart(network)
        self._group: list[Trial] = []
        self._plan: Plan | None = None
        self._generic_places: list[int] = []
        self._several: list[int] = []
        self._late: list[int] = []
        self.together: Together | None = None
        self._together: TogetherPlan | None = None
        self._traces: dict[tuple[int, int], Trace] = {}

    @staticmethod
    def why_not(network: nn.Module) -> str | None:
        """Why this engine cannot take the network; ``None`` where it can."""
        if not isinstance(network, SpikingNetwork):
            return f"{type(network).__name__} is no SpikingNetwork: it declares no stages"
        return GenericPath.why_not(network)

    @property
    def tally(self) -> Tally:
        """How the pairs were decided, on all paths."""
        tally = self.generic.tally + self.late.tally
        if self.together is not None:
            tally += self.together.tally
        return tally if self.fast is None else tally + self.fast.tally

    def group_size(self, faults: int) -> int:
        return max(1, min(faults, LARGEST_GROUP, max(SMALLEST_GROUP, -(-faults // 4))))

    @contextmanager
    def injected(self, faults: Sequence[Fault | Trial]) -> Iterator[None]:
        self._group, self._plan = as_trials(faults), None
        try:
            yield
        finally:
            self._group, self._plan = [], None

    def pairs(self, events: Tensor, batch: int) -> Iterator[Pairs]:
        self._prepare(events)
        size = self._block(events.shape[1])
        for first in range(0, events.shape[1], size):
            for found in self._block_pairs(events[:, first : first + size], (batch, first)):
                yield found._replace(sample=found.sample + first)

    def _block_pairs(self, events: Tensor, key: tuple[int, int]) -> Iterator[Pairs]:
        """The pairs of some samples; their golden run is left out where its trace is known."""
        assert self._plan is not None
        trace = self._traces.get(key)
        known = trace is not None and self._plan.needs <= trace.serves
        run = not known or bool(self._generic_places) or bool(self._several)
        activities = self._activities(events) if run else []
        if self.fast is not None and not self._plan.empty:
            if trace is None or not known:
                trace = self._kept(key, self.fast.trace(self._needs(), activities))
            yield from self.fast.pairs(self._plan, trace)
        if self._generic_places:
            yield from self._generic_pairs(activities)
        if self._together is not None and self._together.chunks:
            assert self.together is not None
            if trace is None or not self._together.needs <= trace.serves:
                trace = self._kept(key, self.together.fast.trace(self._needs(), activities))
            yield from self.together.pairs(self._together, trace, activities)
        if self._late:
            yield from self._late_pairs(activities)

    def _activities(self, events: Tensor) -> list[StageActivity]:
        """The golden run."""
        if self.fast is None:
            return list(self.stages.activities(events))
        return recorded_activities(self.stages, self.fast.models, events)

    def _needs(self) -> Plan:
        """What the trace of this group's faults must have."""
        assert self._plan is not None
        together = frozenset[Need]() if self._together is None else self._together.needs
        return Plan([], self._plan.needs | together)

    def _prepare(self, events: Tensor) -> None:
        """Choose the path of each fault, once a group."""
        if self.fast is None and self.why_not_fast is None:
            activities = list(self.stages.activities(events[:, :1]))
            self.why_not_fast = FastPath.why_not(self.stages, activities)
            if self.why_not_fast is None:
                self.fast = FastPath(self.stages, activities, self.memory // 4, self.threads)
        if self._plan is not None:
            return
        alone = np.array([len(trial) == 1 for trial in self._group], bool)
        self._several = np.flatnonzero(~alone).tolist()
        self._plan_several()
        singles = np.flatnonzero(alone)
        taken = on_kernels(self.fast, self._faults(singles.tolist()))
        self._generic_places = singles[~taken].tolist()
        places = singles[taken]
        if self.fast is not None:
            self._plan = self.fast.plan(self._faults(places.tolist()), places)
        else:
            self._plan = Plan([], frozenset())

    def _plan_several(self) -> None:
        """Trials of several faults: on the kernels where these can, else from where they strike."""
        self._together, self._late = None, self._several
        if self.fast is None or not self._several:
            return
        self.together = self.together or Together(self.fast, self.late)
        trials = [self._group[place] for place in self._several]
        taken = self.together.takes(trials)
        places = np.array(self._several)
        chosen = [trial for trial, fits in zip(trials, taken, strict=True) if fits]
        self._together = self.together.plan(chosen, places[taken])
        self._late = places[~taken].tolist()

    def _faults(self, places: Sequence[int]) -> list[Fault]:
        """The only faults of these trials."""
        return [self._group[place][0] for place in places]

    def _block(self, batch: int) -> int:
        """How many samples are taken at a time: their trace fits a quarter of the memory."""
        if self.fast is None:  # the generic path cuts for itself
            return batch
        return max(1, min(batch, LARGEST_BLOCK, self.memory // 4 // self.fast.sample_bytes))

    def _kept(self, key: tuple[int, int], trace: Trace) -> Trace:
        """The trace, kept for later groups while half of the memory allows it."""
        held = sum(kept.bytes for other, kept in self._traces.items() if other != key)
        if held + trace.bytes <= self.memory // 2:
            self._traces[key] = trace
        return trace

    def _generic_pairs(self, activities: Sequence[StageActivity]) -> Iterator[Pairs]:
        scores = self._golden_scores(activities[-1])
        positions = torch.tensor(self._generic_places, device=scores.device)
        faults = self._faults(self._generic_places)
        yield from self.generic.pairs(activities, scores, faults, positions)

    def _late_pairs(self, activities: Sequence[StageActivity]) -> Iterator[Pairs]:
        scores = self._golden_scores(activities[-1])
        positions = torch.tensor(self._late, device=scores.device)
        trials = [self._group[place] for place in self._late]
        yield from self.late.pairs(activities, scores, trials, positions)

    def _golden_scores(self, last: StageActivity) -> torch.Tensor:
        membranes = (state["mem"] for state in last.states)
        steps = zip(last.spikes, membranes, strict=True)
        return self.stages.readout.scores(self.stages.readout.gather(steps))
