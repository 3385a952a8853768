"""``summary.json``: what was run, and how it ended."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from fi.base.provenance import list_versions, now
from fi.faults.fault import Trial
from fi.statistics.intervals import DEFAULT_METHOD
from fi.statistics.sample_size import CONFIDENCE
from fi.statistics.survey_design import Design
from fi.store.campaign_folder import CampaignFiles


@dataclass(frozen=True)
class ListRecord:
    """Where the faults come from, for the summary.

    Attributes:
        name: of the list's file.
        scheme: how it was drawn; ``list`` is a list that the user gave.
        populations: site family -> number of its faults in the fault space; ``None``: not known.
        seed: of the draw; ``None`` for a list that was given.
        design: how it was drawn, and from which faults; ``None`` where that is not known.
        confidence: nominal coverage of the intervals in tables.
        interval: the method of these intervals.
    """

    name: str = "faults"
    scheme: str = "list"
    populations: Mapping[str, int | None] = field(default_factory=dict)
    seed: int | None = None
    design: Design | None = None
    confidence: float = CONFIDENCE
    interval: str = DEFAULT_METHOD


class RunSummary:
    """The summary of a campaign while one run of it goes on, after earlier ones.

    Args:
        folder: of the campaign, which this process holds.
        entries: what is run.
        earlier: the results of earlier runs.
        samples: pairs of every trial.
        count_decisions: how the pairs of the first so many trials were decided.
    """

    def __init__(
        self,
        folder: CampaignFiles,
        entries: Mapping[str, Any],
        earlier: pd.DataFrame,
        samples: int,
        count_decisions: Callable[[int], Mapping[str, int]],
    ) -> None:
        self._folder = folder
        self._entries = {**entries, "decided": count_decisions(0)}
        self._samples = samples
        self.count_rows: Callable[[Sequence[Any]], int] = count_faults  # in the results file
        self._count_decisions, self._trials = count_decisions, 0
        self._done = len(earlier)
        self._start = time.monotonic()
        self._runs = list_past_runs(folder.load_summary())
        if self._runs:  # the last one may have been killed after it stored, before it said so
            last, pairs = self._runs[-1], earlier["Injection"].nunique() * samples
            last["faults"] += len(earlier) - sum(run["faults"] for run in self._runs)
            last["pairs"] += pairs - sum(run["pairs"] for run in self._runs)
        self._run: dict[str, Any] = {
            "status": "started",
            "started": now(),
            "ended": None,
            "host": platform.node(),
            "faults": 0,
            "pairs": 0,
        }

    def note_stored(
        self, trials: Sequence[Trial], entries: Mapping[str, Any] | None = None
    ) -> None:
        """Note that the results of these trials are in the file, and ``entries`` of their run."""
        self._entries |= entries or {}
        rows = self.count_rows(trials)
        self._trials += len(trials)
        self._entries["decided"] = self._count_decisions(self._trials)
        self._done += rows
        self._run["faults"] += rows
        self._run["pairs"] += len(trials) * self._samples
        self.write("started")

    def note_longer_list(self, entries: Mapping[str, Any]) -> None:
        """Put in what an interim analysis has changed."""
        self._entries |= entries
        self.write("started")

    def write(self, status: str) -> None:
        """Replace the file: the run is ``started``, ``finished``, ``interrupted`` or ``failed``."""
        self._run["status"] = status
        self._run["ended"] = None if status == "started" else now()
        self._run["wall_seconds"] = round(time.monotonic() - self._start, 3)
        runs = [*self._runs, self._run]
        self._folder.write_summary(
            {
                "status": status,
                **self._entries,
                "done": self._done,
                "versions": list_versions(),
                "started": runs[0]["started"],
                "ended": self._run["ended"],
                **sum_runs(runs),
                "runs": runs,
            }
        )


def count_faults(trials: Sequence[Trial]) -> int:
    """The rows of trials in a results file that has one a fault."""
    return sum(map(len, trials))


def sum_runs(runs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Time, pairs and speed of all runs together."""
    seconds = sum(run["wall_seconds"] for run in runs)
    pairs = sum(run["pairs"] for run in runs)
    return {
        "wall_seconds": round(seconds, 3),
        "pairs": pairs,
        "pairs_per_second": round(pairs / seconds, 1) if seconds else None,
    }


def list_past_runs(summary: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The runs that a summary names; one that never wrote its end was killed."""
    runs = [dict(run) for run in summary.get("runs", [])]
    for run in runs:
        if run["status"] == "started":
            run["status"] = "killed"
    return runs


@contextmanager
def record_run(run: RunSummary) -> Iterator[None]:
    """Keep the summary around a run; its status says whether that has ended, and how.

    ``started``, then ``finished``, ``interrupted`` (Ctrl-C) or ``failed``. A killed run leaves
    ``started``, and the next one writes ``killed`` for it.
    """
    run.write("started")
    try:
        yield
    except BaseException as error:
        with suppress(OSError):  # on a full disk; the error that ended the run is reported
            run.write("interrupted" if isinstance(error, KeyboardInterrupt) else "failed")
        raise
    run.write("finished")
