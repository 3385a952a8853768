"""Trials on a memory with a code: only what its decoder lets through is run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from fi.base.errors import UserError, report_errors
from fi.campaign.fault_test import FaultTest
from fi.campaign.golden_run import GoldenRun
from fi.campaign.running.group_runs import GroupRuns, PackedPairs
from fi.campaign.schedule import ListedFaults
from fi.campaign.settings import Settings
from fi.campaign.subject import Subject
from fi.faults.fault import Trial
from fi.faults.protection.codes import parse_code
from fi.faults.protection.protected_words import ProtectedWords, check_protected_models
from fi.metrics.counts import COUNT_COLUMNS, GroupCounts
from fi.metrics.outcomes import DETECTED


def protect(subject: Subject, schedule: ListedFaults, settings: Settings) -> ProtectedWords:
    """What the code of ``settings`` makes of the trials of a list.

    Raises:
        UserError: there is no such code, the list has faults that are of no bits, or pairs or
            scores are to be kept.
    """
    with report_errors(ValueError, prefix="--ecc: "):
        code = parse_code(settings.ecc)
        check_protected_models(schedule.models, code)
    for option, given in (
        ("--save-pairs", settings.save_pairs),
        ("--save-scores", settings.save_scores),
    ):
        if given:
            raise UserError(f"{option}: not with --ecc, where a detected trial has no outcome")
    return ProtectedWords(subject.network, subject.sites, code, subject.steps)


class ProtectedRuns(GroupRuns):
    """``GroupRuns`` in which a trial is run with the errors that are left behind the decoder.

    A trial without any has the golden counts. One that the code reports is not run: its samples are
    ``detected``, none of them is masked, corrupted or classified right.

    Args:
        parts: as ``GroupRuns`` takes them.
        protection: of the memory.
    """

    def __init__(self, *parts: Any, protection: ProtectedWords) -> None:
        super().__init__(*parts)
        self.protection = protection

    def _run_group(
        self, test: FaultTest, group: Sequence[Trial]
    ) -> tuple[GroupCounts, PackedPairs | None]:
        decoded = [self.protection.decode(trial) for trial in group]
        run = [place for place, trial in enumerate(decoded) if trial.acting]
        reported = [place for place, trial in enumerate(decoded) if trial.fate == DETECTED]
        counts = count_decided(self.golden, len(group), reported)
        if run:
            found, _ = super()._run_group(test, [decoded[place].acting for place in run])
            for name, values in found.items():
                counts[name][run] = values
        processes = self.trainer.world_size
        self.not_run += len(group) // processes - len(run) // processes
        return counts, None


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
