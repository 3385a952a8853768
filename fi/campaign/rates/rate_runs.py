"""The test runs of a campaign of rates, each trial on the engine that suits it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch

from fi.campaign.golden_run import GoldenRun
from fi.campaign.rates.engine_choice import EngineChoice
from fi.campaign.running.decision_counts import DecisionCounts
from fi.campaign.running.group_runs import GroupRun, GroupRuns
from fi.campaign.running.protected_runs import count_decided, make_protection
from fi.campaign.subject import Subject
from fi.engine.base import Engine
from fi.engine.bulk import BulkEngine
from fi.engine.differential.engine import DifferentialEngine, find_memory
from fi.faults.hits.hit_space import HitSpace
from fi.faults.hits.rate_trial import RateTrial
from fi.faults.protection.planned_hits import PlannedHits
from fi.faults.protection.planned_words import PlannedWords
from fi.faults.protection.protected_hits import ProtectedHits, RateProtection
from fi.faults.protection.protected_words import ProtectedWords
from fi.faults.protection.protection_plan import ProtectionPlan
from fi.metrics.outcomes import DETECTED

#: Faults that the trials of one test run on the differential engine have together, at most.
_AT_ONCE = 65_536
#: How a trial is run: not at all, by its differences, by a plain forward.
_CODE, _SPARSE, _DENSE = "code", "sparse", "dense"
#: What plain forwards may keep of the golden run: a part of what this process may use.
_KEPT = 8


def choose_engines(
    trainer: pl.Trainer,
    engine: Engine,
    subject: Subject,
    space: HitSpace,
    many: bool,
    protection: RateProtection | None,
) -> EngineChoice:
    """What says of each trial on which engine it is run; ``many`` as ``EngineChoice`` takes it."""
    device = trainer.strategy.root_device
    kept = find_memory(device) // (_KEPT * trainer.world_size)
    bulk = BulkEngine(subject.network, subject.infer, space, kept, protection)
    by_differences = engine if isinstance(engine, DifferentialEngine) else None
    return EngineChoice(by_differences, subject, bulk, many, device)


def make_rate_runs(
    trainer: pl.Trainer,
    engine: Engine,
    subject: Subject,
    golden: GoldenRun,
    space: HitSpace,
    many: bool,
    ecc: str,
    plan: ProtectionPlan | None = None,
) -> RateRuns:
    """The test runs of a campaign of rates, made where they are run.

    ``many`` as ``EngineChoice`` takes it; ``ecc`` is the code of the memory, empty for none, and
    ``plan`` what else protects it.
    """
    protection = None
    if ecc or plan is not None:
        memory = make_protection(subject, space.space.models, ecc, plan)
        protection = protect_rates(memory, space)
    choice = choose_engines(trainer, engine, subject, space, many, protection)
    return RateRuns(trainer, subject, golden, choice)


def protect_rates(memory: ProtectedWords, space: HitSpace) -> RateProtection:
    """What a code, or a plan, leaves of trials of rates."""
    if isinstance(memory, PlannedWords):
        return PlannedHits(memory, space)
    return ProtectedHits(memory, space)


class RateRuns(GroupRuns):
    """Runs trials of rates: in groups by their differences, or one by one by plain forwards.

    Args:
        trainer, subject, golden: as ``GroupRuns`` takes them.
        choice: of the engines.

    Attributes:
        by_forward: of every trial that was run, in order, whether it was by a plain forward.
    """

    def __init__(
        self,
        trainer: pl.Trainer,
        subject: Subject,
        golden: GoldenRun,
        choice: EngineChoice,
    ) -> None:
        super().__init__(trainer, choice.engine or choice.bulk, subject, golden)
        self.choice, self.bulk = choice, choice.bulk
        self.by_forward: list[bool] = []
        self._dense = GroupRuns(trainer, self.bulk, subject, golden)
        self._ready = False

    def make_decisions(self, earlier: Mapping[str, int]) -> DecisionCounts:
        return _RateDecisions(self, earlier)

    def run(self, trials: Sequence[Any]) -> Iterator[GroupRun]:
        ways = {_CODE: self._count_decided, _SPARSE: self._run_sparse, _DENSE: self._run_dense}
        for way, part in groupby(trials, key=self._find_way):
            for group, counts, packed in ways[way](list(part)):
                self.by_forward += [way == _DENSE] * len(group)
                if self.bulk.protection is not None:
                    counts = {DETECTED: np.zeros(len(group), np.int64), **counts}
                yield group, counts, packed

    def _find_way(self, trial: RateTrial) -> str:
        if self.bulk.protection is not None and not self.bulk.draw(trial):
            return _CODE
        return _SPARSE if self.choice.is_sparse(trial) else _DENSE

    def _count_decided(self, trials: Sequence[RateTrial]) -> Iterator[GroupRun]:
        """Trials of which the code leaves nothing to be run."""
        assert self.bulk.protection is not None
        fates = [self.bulk.protection.decode(trial).fate for trial in trials]
        reported = [place for place, fate in enumerate(fates) if fate == DETECTED]
        self.not_run += len(trials) // self.trainer.world_size
        yield trials, count_decided(self.golden, len(trials), reported), None

    def _run_sparse(self, trials: Sequence[RateTrial]) -> Iterator[GroupRun]:
        for group in split_by_hits(trials, _AT_ONCE):
            drawn = [trial.merge_by_word(self.bulk.draw(trial)) for trial in group]
            first = 0
            for part, counts, packed in super().run(drawn):
                yield group[first : first + len(part)], counts, packed
                first += len(part)

    def _run_dense(self, trials: Sequence[RateTrial]) -> Iterator[GroupRun]:
        if not self._ready:
            self._ready = True
            with torch.inference_mode():
                device = self.trainer.strategy.root_device
                convert = self.trainer.precision_plugin.convert_input
                for number, (events, _) in enumerate(self.subject.batches):
                    self.bulk.keep_golden(convert(events.to(device)), number)
        dense: Sequence[Any] = trials
        yield from self._dense.run(dense)

    def forget(self) -> None:
        self.bulk.forget()
        super().forget()


def split_by_hits(trials: Sequence[RateTrial], most: int) -> Iterator[Sequence[RateTrial]]:
    """Trials in groups that have ``most`` faults together, or are one trial."""
    start = total = 0
    for place, trial in enumerate(trials):
        if total and total + trial.hits > most:
            yield trials[start:place]
            start, total = place, 0
        total += trial.hits
    yield trials[start:]


class _RateDecisions(DecisionCounts):
    """Counts plain forwards beside what the differential engine decides."""

    def __init__(self, runs: RateRuns, earlier: Mapping[str, int]) -> None:
        self._runs, self._first, self._stored = runs, len(runs.by_forward), 0
        super().__init__(runs.engine, runs.golden.samples, runs.trainer.world_size, earlier)

    def count(self, done: int) -> dict[str, int]:
        self._stored = done
        return super().count(done)

    def _split(self, pairs: int) -> dict[str, int]:
        dense = sum(self._runs.by_forward[self._first :][: self._stored]) * self._samples
        dense = dense if self._processes == 1 else min(pairs, dense // self._processes)
        return {**super()._split(pairs - dense), "forward": dense}
