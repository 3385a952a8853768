"""The trials of a campaign of rates as they become known: all at once, or rate by rate."""

from __future__ import annotations

from collections.abc import Callable, Sequence, Set
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import Any, ClassVar

import pandas as pd

from fi.base.errors import UserError
from fi.base.text_files import FileError, read_text, write_text
from fi.campaign.schedule import ListedFaults
from fi.faults.groups.grouped_families import split_group
from fi.faults.groups.user_maps import user_map_sources
from fi.faults.hits.hit_space import HitSpace
from fi.faults.hits.rate_trial import RateTrial
from fi.faults.protection.protected_hits import RateProtection
from fi.sampling.rate_plan import RatePlan
from fi.sampling.shards import Shard
from fi.sampling.stratum_sizes import GROWTH
from fi.statistics.rate_estimates import Cell, estimate_cell
from fi.store.identity import json_hash, text_hash
from fi.store.rate_results import (
    RATE_COLUMNS,
    ProtectedRateResultsFile,
    RateResultsFile,
    trial_list_text,
)
from fi.store.results_file import ResultsFile

#: Trials of each rate before the first interim analysis.
RATE_PILOT = 20
_NAMED = 3


class RateTrials(ListedFaults):
    """The trials of all rates, known from the start: rows, whose faults are drawn when they run.

    Args:
        plan: the rates, and how many trials of each.
        space: the bits that are hit.
        shard: the part of the list that is run; ``None`` is all of it.
        until: accuracy, of which it is to be said at which rate it falls below; for the summary.

    Raises:
        UserError: nothing is left in the shard.
    """

    results_file: ClassVar[type[ResultsFile]] = RateResultsFile
    protected_file: ClassVar[type[ResultsFile]] = ProtectedRateResultsFile
    #: What the code of a memory makes of its trials; ``None`` where the memory has none.
    protected_hits: RateProtection | None = None
    multi_fault = True  # of every list of trials

    def __init__(
        self,
        plan: RatePlan,
        space: HitSpace,
        shard: Shard | None = None,
        until: float | None = None,
    ) -> None:
        self.plan, self.space, self.shard, self.until = plan, space, shard, until
        self.cells = plan.cells(space)
        self.listed: list[Any] = []
        self.extend(self._first_trials())
        if not self.trials:
            raise UserError(f"--shard {shard}: nothing is left, the list has {len(self.listed)}")

    def _first_trials(self) -> list[RateTrial]:
        return self._list({cell: range(self.plan.trials) for cell in self.cells})

    def _list(self, places: dict[Cell, range]) -> list[RateTrial]:
        """The trials at these places of their cells, numbered on from those that are listed."""
        trials: list[RateTrial] = []
        for cell, wanted in places.items():
            first = len(self.listed) + len(trials)
            trials += self.plan.make_trials(self.space, cell, wanted, first)
        return trials

    def extend(self, added: Sequence[Any]) -> None:
        self.listed = [*self.listed, *added]
        part = (
            slice(None)
            if self.shard is None
            else slice(self.shard.number - 1, None, self.shard.count)
        )
        self.faults = self.listed[part]
        self.trials = self.faults  # type: ignore[assignment]  # a trial is a row

    @property
    def rate_trials(self) -> list[RateTrial]:
        """The trials that are run here, as what they are."""
        rows: list[Any] = self.faults
        return rows

    @property
    def listed_trials(self) -> int:
        return len(self.listed)

    @property
    def digest(self) -> str:
        return text_hash(trial_list_text(self.listed))

    @property
    def models(self) -> set[str]:
        return set(self.space.space.models)

    @property
    def transient_layers(self) -> list[str]:
        return self.space.space.transient_families

    def identify(self) -> dict[str, str]:
        """The bits that the trials are drawn from: the list has only their seeds."""
        space = self.space.space
        families = [(f.name, list(f.shape), f.width) for f in space.families]
        what = [families, list(space.models), list(space.bits), list(map(str, space.steps))]
        own = user_map_sources({split_group(family.name)[1] for family in space.families} - {""})
        maps = {"groups": text_hash("\n".join(own))} if own else {}
        return {"rates": json_hash([what, RATE_COLUMNS]), **maps}

    def list_left(self, done: Set[int]) -> list[Any]:
        return [trial for trial in self.rate_trials if trial.injection not in done]

    def group(self, listed: Sequence[Any]) -> list[Any]:
        return list(listed)

    def name_list(self, given: str, tag: str) -> str:
        return f"{self.plan.plan.seed}-{tag}_rates"

    def write(self, path: Path) -> None:
        """Write the list; one that is there must begin like it.

        Raises:
            FileError: another list is there, or the folder cannot be written.
        """
        text = trial_list_text(self.listed)
        self.check_written(path)
        if path.exists() and read_text(path, FileError).startswith(text):
            return
        try:
            write_text(path, text)
        except OSError as problem:
            raise FileError(f"{path} cannot be written: {problem.strerror}") from problem

    def check_written(self, path: Path) -> None:
        own = trial_list_text(self.listed).splitlines()
        there = read_text(path, FileError).splitlines() if path.exists() else []
        for line, (mine, found) in enumerate(zip(own, there, strict=False), start=1):
            if mine != found:
                raise FileError(
                    f"{path}:{line} is {found[:80]!r}, and the options give {mine!r}: trials are "
                    "drawn from --seed and --faults.rate, not read from that file; remove it, and "
                    "it is written again"
                )
        if self.complete and len(there) > len(own):
            raise FileError(
                f"{path} has {len(there) - 1} trials, and the options give {len(own) - 1}; remove "
                "it, and it is written again"
            )

    def summary_entries(self) -> dict[str, Any]:
        numbers = {"faults": len(self.trials), "trials": len(self.trials)}
        plan = {**self.plan.record(), "until": self.until, "bits": self.space.size}
        entries = {**numbers, "listed": len(self.listed), "rates": plan}
        if self.protected_hits is not None:
            fates = self.protected_hits.count(self.rate_trials)
            memory = self.protected_hits.memory
            entries[memory.entry] = {"code": memory.name, **fates}
        return entries


@dataclass(frozen=True)
class RateAnalysis:
    """What was known of the rates when the next trials were planned.

    Attributes:
        trials: how many were run.
        half_widths: of every rate, that of its widest interval.
        open: the rates that go on.
        exhausted: those that have all their trials, but wider intervals than wanted.
    """

    trials: int
    half_widths: dict[Cell, float]
    open: tuple[Cell, ...]
    exhausted: tuple[Cell, ...]


class IterativeRates(RateTrials):
    """Trials that become known in parts: each rate is stopped by itself.

    After each part every rate whose intervals are as narrow as the margin is done, or has all the
    trials that it may have. The others get as many more as their half-width asks for, a tenth more
    at least and twice as many at most.

    Args:
        plan: with ``iterative``.
        space: the bits that are hit.
        confidence, interval: of the intervals.
        until: as ``RateTrials`` takes it.
    """

    complete = False

    def __init__(
        self,
        plan: RatePlan,
        space: HitSpace,
        confidence: float,
        interval: str,
        until: float | None = None,
    ) -> None:
        self.confidence, self.interval = confidence, interval
        self.sizes = dict.fromkeys(plan.cells(space), min(RATE_PILOT, plan.trials))
        self.analyses: list[RateAnalysis] = []
        super().__init__(plan, space, None, until)

    def _first_trials(self) -> list[RateTrial]:
        return self._list({cell: range(size) for cell, size in self.sizes.items()})

    @property
    def digest(self) -> str:
        rule = [RATE_PILOT, GROWTH, self.confidence, self.interval]
        return json_hash([self.plan.record(), rule])

    def replay(self, results: pd.DataFrame) -> None:
        done = set(results["Injection"])
        while done.issuperset(range(len(self.listed))):
            if not (added := self.draw_next(lambda: results)):
                return
            self.extend(added)

    def draw_next(self, results: Callable[[], pd.DataFrame]) -> list[Any]:
        seen = results()
        seen = seen[seen["Injection"] < len(self.listed)]
        half_widths = {cell: self._half_width(seen, cell) for cell in self.cells}
        margin, most = self.plan.plan.margin, self.plan.trials
        wide = [cell for cell in self.cells if half_widths[cell] > margin]
        still = tuple(cell for cell in wide if self.sizes[cell] < most)
        exhausted = tuple(cell for cell in wide if self.sizes[cell] >= most)
        analysis = RateAnalysis(len(self.listed), half_widths, still, exhausted)
        earlier = [a for a in self.analyses if a.trials < len(self.listed)]
        self.analyses = [*earlier, analysis]
        places = {}
        for cell in still:
            size = self.sizes[cell]
            grown = min(max((half_widths[cell] / margin) ** 2, GROWTH[0]), GROWTH[1])
            self.sizes[cell] = min(most, ceil(size * grown))
            places[cell] = range(size, self.sizes[cell])
        return self._list(places)

    def _half_width(self, seen: pd.DataFrame, cell: Cell) -> float:
        rate, scope = cell
        own = seen[(seen["Rate"] == rate) & (seen["Scope"] == scope)]
        found = estimate_cell(own, self.plan.tracked, self.confidence, self.interval)
        return max((high - low) / 2 for _, low, high in found.values())

    def summary_entries(self) -> dict[str, Any]:
        return {**super().summary_entries(), "looks": list(map(_summarise, self.analyses))}

    def describe_status(self) -> str:
        if not self.analyses:
            return ""
        last = self.analyses[-1]
        widest = max(last.half_widths.values())
        text = (
            f"interim analysis {len(self.analyses)}: {last.trials} trials, widest half-width "
            f"{widest:.2%} of {self.plan.plan.margin:.4g} wanted"
        )
        if last.exhausted:
            text += f"; all {self.plan.trials} trials used up at {_name(last.exhausted)}"
        return f"{text}; going on at {_name(last.open)}" if last.open else f"{text}: done"


def _name(cells: Sequence[Cell]) -> str:
    names = [f"{rate:g}" + ("" if scope == "network" else f" in {scope}") for rate, scope in cells]
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more


def _summarise(analysis: RateAnalysis) -> dict[str, Any]:
    widths = {f"{scope} {rate!r}": round(w, 6) for (rate, scope), w in analysis.half_widths.items()}
    return {"trials": analysis.trials, "half_widths": widths, "open": len(analysis.open)}
