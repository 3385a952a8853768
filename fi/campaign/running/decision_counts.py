"""How the pairs of a campaign were decided: without a simulation, by one, or at the readout."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict

import pandas as pd

from fi.engine.base import Engine
from fi.engine.differential.engine import DifferentialEngine
from fi.engine.full import FullEngine
from fi.store.campaign_folder import CampaignFiles
from fi.store.decisions import add_decision_counts


class DecisionCounts:
    """Counts how an engine decides pairs from now on, and adds what earlier runs have counted.

    Only the first process of several knows its engine's counts: the pairs of the others are
    ``not_counted``.

    Args:
        engine: the engine of the campaign.
        samples: the number of pairs of a trial.
        processes: among which each group of trials is split.
        earlier: the counts of earlier runs.
        count_not_run: gives how many trials of this process needed no test run so far.
    """

    def __init__(
        self,
        engine: Engine,
        samples: int,
        processes: int,
        earlier: Mapping[str, int],
        count_not_run: Callable[[], int] = lambda: 0,
    ) -> None:
        self._engine, self._samples, self._processes = engine, samples, processes
        self._earlier = dict(earlier)
        self._count_not_run = count_not_run
        self._start = _read_tally(engine)
        self._expected: list[tuple[int, int]] = []

    def expect(self, trials: int, group: int) -> None:
        """The next ``trials`` are run in groups of ``group``."""
        self._expected.append((trials, group))

    def count(self, done: int) -> dict[str, int]:
        """Pairs by way, now that this run has stored its first ``done`` trials."""
        own = self._count_own(done)
        ways = {way: n for way, n in self._split(own * self._samples).items() if n}
        others = (done - own) * self._samples
        now = add_decision_counts(ways, {"not_counted": others} if others else {})
        return add_decision_counts(self._earlier, now)

    def _count_own(self, done: int) -> int:
        """Of the first ``done`` trials those that the first process ran."""
        own = 0
        for trials, group in self._expected:
            own += count_own_share(min(done, trials), group, self._processes)
            done = max(0, done - trials)
        return own

    def _split(self, pairs: int) -> dict[str, int]:
        """The ``pairs`` of this process by way."""
        if isinstance(self._engine, FullEngine):
            no_run = self._count_not_run() * self._samples
            return {"no_change": no_run, "forward": pairs - no_run}
        now = _read_tally(self._engine)
        if now is None:
            return {"not_counted": pairs}
        start = self._start or dict.fromkeys(now, 0)
        seen = {key: value - start[key] for key, value in now.items()}
        return {
            "no_change": pairs - seen["pairs"],
            "proof": seen["pairs"] - seen["simulated"],
            "own_stage": seen["simulated"] - seen["diverged"],
            "later_stage": seen["diverged"] - seen["computed"],
            "readout": seen["computed"],
        }


def count_own_share(trials: int, group: int, processes: int) -> int:
    """How many of ``trials`` the first process ran, as ``FaultTest`` splits each group."""
    whole, rest = divmod(trials, group)
    return whole * (group // processes) + rest // processes


def read_earlier_counts(
    files: CampaignFiles, earlier: pd.DataFrame, samples: int
) -> dict[str, int]:
    """The counts of earlier runs, which have stored the results ``earlier``.

    Pairs that a killed run had stored before it could write its counts are ``not_counted``.
    """
    counts = files.load_decision_counts()
    stored = int(earlier["Injection"].nunique()) * samples
    unsaid = stored - sum(counts.values())
    return add_decision_counts(counts, {"not_counted": unsaid}) if unsaid else counts


def _read_tally(engine: Engine) -> dict[str, int] | None:
    tally = engine.tally if isinstance(engine, DifferentialEngine) else None
    return None if tally is None else asdict(tally)
