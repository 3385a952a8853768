"""Trials on a memory with a code: only what its decoder lets through is run."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
import pytorch_lightning as pl

from fi.base.errors import UserError, report_errors
from fi.campaign.fault_test import FaultTest
from fi.campaign.golden_run import GoldenRun
from fi.campaign.running.group_runs import GroupRuns, PackedPairs
from fi.campaign.schedule import ListedFaults
from fi.campaign.settings import Settings
from fi.campaign.subject import Subject
from fi.engine.base import Engine
from fi.faults.fault import Trial
from fi.faults.protection.codes import parse_code
from fi.faults.protection.planned_words import PlannedWords
from fi.faults.protection.protected_words import ProtectedWords, check_protected_models
from fi.faults.protection.protection_plan import ProtectionPlan
from fi.metrics.counts import COUNT_COLUMNS, GroupCounts
from fi.metrics.outcomes import DETECTED
from fi.metrics.pair_codes import move_faults


def protect(subject: Subject, schedule: ListedFaults, settings: Settings) -> ProtectedWords:
    """What the code, or the plan, of ``settings`` makes of the trials of a list.

    Raises:
        UserError: there is no such code, the plan does not fit, the list has faults that are of no
            bits, or scores are to be kept.
    """
    plan = settings.protection
    option, given = ("--ecc", settings.ecc) if plan is None else ("--protect", plan.name)
    if plan is not None and settings.ecc:
        raise UserError(f"--ecc {settings.ecc}: not with --protect, which has codes of its own")
    if settings.save_scores:
        raise UserError(f"--save-scores: not with {option}, where a detected trial has no scores")
    with report_errors(ValueError, prefix=f"{option}: "):
        check_protected_models(schedule.models, f"{option} {given}")
        return make_protection(subject, schedule.models, settings.ecc, plan)


def make_protection(
    subject: Subject, models: Collection[str], ecc: str, plan: ProtectionPlan | None
) -> ProtectedWords:
    """The words of a subject under a plan, or with a code of their memory where there is none."""
    if plan is not None:
        return PlannedWords(subject.network, subject.sites, plan, subject.steps, models)
    return ProtectedWords(subject.network, subject.sites, parse_code(ecc), subject.steps)


def make_protected_runs(
    trainer: pl.Trainer,
    engine: Engine,
    subject: Subject,
    golden: GoldenRun,
    models: Collection[str],
    ecc: str,
    plan: ProtectionPlan | None,
    keep_pairs: bool = False,
) -> ProtectedRuns:
    """The test runs of trials of ``models`` on a protected memory, made where they are run."""
    protection = make_protection(subject, models, ecc, plan)
    parts = (trainer, engine, subject, golden)
    return ProtectedRuns(*parts, protection=protection, keep_pairs=keep_pairs)


class ProtectedRuns(GroupRuns):
    """``GroupRuns`` in which a trial is run with the errors that are left behind the decoder.

    A trial without any has the golden counts. One that the code reports is not run: its samples are
    ``detected``, none of them is masked, corrupted or classified right.

    Args:
        parts: as ``GroupRuns`` takes them.
        protection: of the memory.
        more: as ``GroupRuns`` takes it by name; a trial that the code reports has no pairs.
    """

    def __init__(self, *parts: Any, protection: ProtectedWords, **more: Any) -> None:
        super().__init__(*parts, **more)
        self.protection = protection

    def _run_group(
        self, test: FaultTest, group: Sequence[Trial]
    ) -> tuple[GroupCounts, PackedPairs | None]:
        decoded = [self.protection.decode(trial) for trial in group]
        run = [place for place, trial in enumerate(decoded) if trial.acting]
        packed = np.zeros(0, np.int64) if self.keep_pairs else None
        reported = [place for place, trial in enumerate(decoded) if trial.fate == DETECTED]
        counts = count_decided(self.golden, len(group), reported)
        if run:
            found, pairs = super()._run_group(test, [decoded[place].acting for place in run])
            packed = None if pairs is None else move_faults(pairs, run)
            for name, values in found.items():
                counts[name][run] = values
        processes = self.trainer.world_size
        self.not_run += len(group) // processes - len(run) // processes
        return counts, packed


def count_decided(golden: GoldenRun, trials: int, reported: Sequence[int]) -> GroupCounts:
    """The counts of trials that change no score, those ``reported`` by the code apart."""
    samples, right = golden.samples, golden.correct
    known = {"samples": samples, "fully_masked": samples}
    known |= {"correct": right, "golden_correct": right}
    names = (*COUNT_COLUMNS, DETECTED)
    counts = {name: np.full(trials, known.get(name, 0), np.int64) for name in names}
    for name in ("fully_masked", "correct"):
        counts[name][list(reported)] = 0
    counts[DETECTED][list(reported)] = samples
    return counts
