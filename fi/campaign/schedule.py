"""The faults of a campaign as they become known: a list at once, or by interim analyses."""

from __future__ import annotations

from collections.abc import Callable, Sequence, Set
from pathlib import Path
from typing import Any, ClassVar

import pandas as pd

from fi.base.errors import UserError, report_errors
from fi.faults.fault import Fault, Trial, group_trials
from fi.faults.fault_list import grow_fault_list
from fi.faults.groups.grouped_families import split_group
from fi.faults.groups.user_maps import user_map_sources
from fi.faults.protection.protected_words import ProtectedWords
from fi.sampling.plan_file import write_plan
from fi.sampling.sequential import STOPPING_ERROR, InterimAnalysis, IterativeDraw
from fi.sampling.shards import Shard
from fi.sampling.stratum_sizes import GROWTH, PILOT
from fi.store.identity import faults_hash, json_hash, text_hash
from fi.store.results_file import ProtectedResultsFile, ResultsFile

#: Names of targets in a line; the others are counted.
_NAMED = 3


class ListedFaults:
    """A fault list that is known from the start.

    Args:
        faults: the list.
        shard: the part of it that is run; ``None`` is all of it.

    Attributes:
        listed: the whole list, as far as it is known.
        faults: those of them that are run here.
        trials: the same, by trial.
        complete: whether no interim analysis can follow, whatever the results are.

    Raises:
        UserError: there is no fault, or none in the shard.
    """

    complete = True
    #: What the code of a memory makes of its trials; ``None`` where the memory has none.
    protection: ProtectedWords | None = None
    #: The kind of file that its results go into.
    results_file: ClassVar[type[ResultsFile]] = ResultsFile
    #: The same where the memory has a code.
    protected_file: ClassVar[type[ResultsFile]] = ProtectedResultsFile

    def __init__(self, faults: Sequence[Fault], shard: Shard | None = None) -> None:
        if not faults:
            raise UserError("the fault list is empty")
        self.shard = shard
        self.listed: list[Fault] = []
        self.extend(faults)
        if not self.faults:
            raise UserError(f"--shard {shard}: nothing is left, the list has {len(faults)}")

    def extend(self, added: Sequence[Fault]) -> None:
        """Add faults to the list."""
        self.listed = [*self.listed, *added]
        self.faults = self.listed if self.shard is None else self.shard.select(self.listed)
        self.trials: list[Trial] = group_trials(self.faults)

    def catch_up(self, listed: Sequence[Fault]) -> None:
        """Add what the first process has listed since."""
        self.extend(listed[len(self.listed) :])

    @property
    def listed_trials(self) -> int:
        """The number of trials in the whole list."""
        return len({fault.injection for fault in self.listed})

    @property
    def multi_fault(self) -> bool:
        """Whether a trial has several faults."""
        return self.listed_trials < len(self.listed)

    @property
    def digest(self) -> str:
        """A hash of what the list is, or of all that it will follow from."""
        return faults_hash(self.listed)

    @property
    def models(self) -> set[str]:
        """The fault models that may come."""
        return {fault.model for fault in self.listed}

    @property
    def transient_layers(self) -> list[str]:
        """The site families in which a fault may last for some steps."""
        return list(dict.fromkeys(fault.layer for fault in self.faults if fault.steps is not None))

    def identify(self) -> dict[str, str]:
        """What else tells campaigns on such lists from others: maps of the user's own."""
        own = user_map_sources({split_group(fault.layer)[1] for fault in self.listed} - {""})
        return {"groups": text_hash("\n".join(own))} if own else {}

    def list_left(self, done: Set[int]) -> list[Trial]:
        """The trials that are not ``done``, injection numbers."""
        return [trial for trial in self.trials if trial[0].injection not in done]

    def group(self, listed: Sequence[Fault]) -> list[Trial]:
        """The trials of a part of the list."""
        return group_trials(listed)

    def name_list(self, given: str, tag: str) -> str:
        """The name of the list without its ending; ``tag`` stands for the campaign."""
        return given

    def replay(self, results: pd.DataFrame) -> None:
        """Add all faults that these stored results determine."""

    def draw_next(self, results: Callable[[], pd.DataFrame]) -> list[Fault]:
        """What an interim analysis adds, now that all listed faults have results; none in the end.

        Args:
            results: gives the results, one row a fault.

        Raises:
            UserError: the results are not those of the list.
        """
        return []

    def write(self, path: Path) -> None:
        """Write a list that grows."""

    def check_written(self, path: Path) -> None:
        """Raise ``FileError`` where another list than this one stands in its file."""

    def summary_entries(self) -> dict[str, Any]:
        """What ``summary.json`` says of the list, as far as it grows with it."""
        entries: dict[str, Any] = {
            "faults": len(self.faults),
            "trials": len(self.trials),
            "listed": len(self.listed),
        }
        if self.protection is not None:
            fates = self.protection.count(self.trials)
            entries[self.protection.entry] = {"code": self.protection.name, **fates}
        return entries

    def describe_status(self) -> str:
        """What the last interim analysis has shown, in a line."""
        return ""


class IterativeFaults(ListedFaults):
    """A list that grows: each interim analysis adds what the earlier results ask for.

    Args:
        draw: what draws the faults, before its first draw.
    """

    complete = False

    def __init__(self, draw: IterativeDraw) -> None:
        self.draw = draw
        super().__init__(draw.next_faults(ResultsFile.nothing()))

    @property
    def digest(self) -> str:
        rule: dict[str, Any] = {"pilot": PILOT, "growth": GROWTH, "stopping": STOPPING_ERROR}
        if self.draw.interval != "wilson":  # which was the only one, of stored campaigns as well
            rule |= {"interval": self.draw.interval}
        plan = {**self.draw.plan.record(), "rates": self.draw.rates, **rule}
        return json_hash([plan, self.draw.confidence, self.draw.design.record()])

    @property
    def models(self) -> set[str]:
        return set(self.draw.space.models)

    @property
    def transient_layers(self) -> list[str]:
        return self.draw.space.transient_families

    def name_list(self, given: str, tag: str) -> str:
        """What is drawn depends on all that the campaign's results do."""
        return f"{self.draw.plan.seed}-{tag}_fault_list"

    def replay(self, results: pd.DataFrame) -> None:
        done = set(results["Injection"])
        while done.issuperset(range(len(self.listed))):
            if not (added := self.draw_next(lambda: results)):
                return
            self.extend(added)

    def draw_next(self, results: Callable[[], pd.DataFrame]) -> list[Fault]:
        with report_errors(ValueError):
            return self.draw.next_faults(results())

    def write(self, path: Path) -> None:
        grow_fault_list(path, self.listed)
        iterative = {
            "confidence": self.draw.confidence,
            "rates": list(self.draw.rates),
            "interval": self.draw.interval,
        }
        write_plan(path, self.draw.plan, self.draw.design, iterative)

    def summary_entries(self) -> dict[str, Any]:
        return {
            **super().summary_entries(),
            "iterative": {"margin": self.draw.plan.margin, "rates": list(self.draw.rates)},
            "looks": list(map(_summarise, self.draw.analyses)),
        }

    def describe_status(self) -> str:
        analyses, targets = self.draw.analyses, len(self.draw.targets)
        if not analyses:
            return ""
        return _describe(analyses[-1], len(analyses), self.draw.plan.margin, targets)


def _summarise(analysis: InterimAnalysis) -> dict[str, Any]:
    """What ``summary.json`` says of an interim analysis."""
    return {
        "faults": analysis.faults,
        "half_widths": {rate: round(width, 6) for rate, width in analysis.half_widths.items()},
        "open": len(analysis.open),
    }


def _describe(analysis: InterimAnalysis, number: int, margin: float, targets: int) -> str:
    """An interim analysis in a line: the widest interval, and what goes on."""
    widest = max(analysis.half_widths, key=analysis.half_widths.__getitem__)
    seen = (
        f"interim analysis {number}: {analysis.faults} faults, half-width "
        f"{analysis.half_widths[widest]:.2%} ({widest}) of {margin:.4g} wanted"
    )
    still = analysis.open
    if not still:
        return f"{seen}: done"
    if targets == 1:
        return f"{seen}: going on"
    more = f" and {len(still) - _NAMED} more" if len(still) > _NAMED else ""
    return f"{seen}: {', '.join(still[:_NAMED])}{more} of {targets} go on"


def make_schedule(
    faults: Sequence[Fault] | IterativeDraw | ListedFaults, shard: Shard | None
) -> ListedFaults:
    """The faults of a campaign; ``UserError`` for the shard of a list that is not known yet."""
    if isinstance(faults, ListedFaults):
        return faults
    if not isinstance(faults, IterativeDraw):
        return ListedFaults(faults, shard)
    if shard is not None:
        raise UserError(
            f"--shard {shard}: the interim analyses of --iterative need all earlier results; run "
            "it in one job, of several processes (--devices) where that helps"
        )
    return IterativeFaults(faults)
