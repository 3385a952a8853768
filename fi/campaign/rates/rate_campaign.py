"""A campaign of rates: trials in each of which every bit is hit with a given probability."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, ClassVar

import numpy as np
import pandas as pd

from fi.base.errors import ContractBroken, UserError
from fi.campaign.cluster.work_order import MakeRuns
from fi.campaign.rates.engine_choice import EngineChoice
from fi.campaign.rates.rate_runs import (
    RateRuns,
    choose_engines,
    make_rate_runs,
    protect_rates,
)
from fi.campaign.rates.rate_schedule import RateTrials
from fi.campaign.runner import Campaign
from fi.campaign.running.basis import RunBasis
from fi.campaign.running.decision_counts import DecisionCounts
from fi.campaign.running.family_check import check_families
from fi.campaign.running.group_runs import PackedPairs
from fi.campaign.running.session import StoringSession
from fi.engine.agreement import TOLERATED
from fi.engine.full import FullEngine
from fi.faults.fault import Trial
from fi.metrics.counts import COUNT_COLUMNS, GroupCounts
from fi.store.run_summary import RunSummary

#: Trials of which some are run on both engines before the first.
_CHECKED = 64


class _RateSession(StoringSession):
    """A session that stores a row a trial."""

    def _store(self, group: Sequence[Any], counts: GroupCounts, packed: PackedPairs | None) -> None:
        self.buffer.add(group, counts, ())


class RateCampaign(Campaign):
    """Runs the trials of rates; all else is as in a campaign on a fault list.

    Each trial is run by its differences where these are few, by one plain forward where not.

    Args:
        subject: the network and its test set.
        schedule: the trials.
        more: as ``Campaign`` takes them by name: settings, source, ...
    """

    schedule: RateTrials
    storing_session: ClassVar[type[StoringSession]] = _RateSession
    trial_part: ClassVar[float] = 1.0  # a plain forward

    def __init__(self, subject: Any, schedule: RateTrials, **more: Any) -> None:
        super().__init__(subject, schedule, **more)
        if schedule.protection is not None:
            schedule.protected_hits = protect_rates(schedule.protection, schedule.space)
        if self.settings.save_scores:
            raise UserError("--save-scores: not with --faults.rate, whose trials are many faults")
        if self.settings.save_pairs:
            raise UserError("--save-pairs: not with --faults.rate, whose trials are many faults")

    @property
    def _many(self) -> bool:
        return self.settings.engine == "differential"

    def _make_choice(self) -> EngineChoice:
        parts = (self.trainer, self.engine, self.subject)
        schedule = self.schedule
        return choose_engines(*parts, schedule.space, self._many, schedule.protected_hits)

    def _choose_runs(self) -> MakeRuns:
        space, code, plan = self.schedule.space, self.settings.ecc, self.settings.protection
        return partial(make_rate_runs, space=space, many=self._many, ecc=code, plan=plan)

    def _describe_list(self, name: str) -> str:
        plan, shard = self.schedule.plan, self.schedule.shard
        part = f"shard {shard}, {len(self.trials)} of " if shard else ""
        rates = ", ".join(f"{rate:g}" for rate in plan.rates)
        choice = self._make_choice()
        sparse = sum(map(choice.is_sparse, self.schedule.rate_trials))
        what = f"{part}{len(self.schedule.listed)} trials of {name}: rates {rates}"
        return (
            f"{what} of {self.schedule.space.size} bits; {sparse} of {len(self.trials)} trials by "
            f"their differences, the others a plain forward each: {self.why}"
        )

    def _check_families(self) -> None:
        """Some sparse trials on the full engine too."""
        choice = self._make_choice()
        some = [
            trial for trial in self.schedule.rate_trials if trial.hits and choice.is_sparse(trial)
        ]
        if not some:
            return
        full = FullEngine(self.subject.network, self.subject.infer)
        few: list[Trial] = [t.merge_by_word(choice.bulk.draw(t)) for t in some[:_CHECKED]]
        few = [trial for trial in few if trial]  # a code may leave nothing
        if not few:
            return
        first = self.subject.batches.first()
        try:
            self._checked = check_families(self.trainer, self.engine, full, few, first)
        except ContractBroken:
            self.processes.run_on_first(self.files.remove_unused)
            raise
        found = self._checked
        self.say(
            f"checked on the full engine: {found.trials} trials, {found.pairs - found.differing} "
            f"of {found.pairs} pairs agree, {found.unmasked} of them not masked"
        )

    def _make_summary(
        self, basis: RunBasis, earlier: pd.DataFrame, decisions: DecisionCounts
    ) -> RunSummary:
        summary = super()._make_summary(basis, earlier, decisions)
        summary.count_rows = len
        return summary

    def verify(self, results: pd.DataFrame, count: int, seed: int) -> str:
        """Run random trials of a finished campaign again by plain forwards; what is found, a line.

        Raises:
            ContractBroken: more pairs differ than the contract allows.
        """
        chosen = np.random.default_rng(seed).permutation(len(self.trials))[:count]
        trials: list[Any] = [self.schedule.rate_trials[place] for place in sorted(chosen.tolist())]
        every = EngineChoice(None, self.subject, self._make_choice().bulk)
        runs = RateRuns(self.trainer, self.subject, self.golden, every)
        stored = results.set_index("Injection")[list(COUNT_COLUMNS)]
        moved, wrong = 0, []
        with self.prepare():
            for group, counts, _ in runs.run(trials):
                rows: Sequence[Any] = group
                for place, trial in enumerate(rows):
                    own = np.array([counts[name][place] for name in COUNT_COLUMNS])
                    apart = np.abs(own - stored.loc[trial.injection].to_numpy())
                    if apart.any():
                        moved += int(max(apart.max(), -(-apart.sum() // 2)))
                        wrong.append(trial)
        pairs = len(trials) * self.golden.samples
        text = (
            f"verified {len(trials)} trials by plain forwards: "
            f"{pairs - moved} of {pairs} pairs agree"
        )
        exact = self.settings.hardware.precision == "64-true"
        if moved > pairs * (0.0 if exact else TOLERATED):
            raise ContractBroken(f"{text}; such as {wrong[0]}")
        return text
