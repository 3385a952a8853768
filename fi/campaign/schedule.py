"""The faults of a campaign as they become known: a list at once, or look after look."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd

from fi.base.errors import UserError, reported
from fi.faults.fault import Fault, Trial, group_trials
from fi.faults.fault_list import grow_fault_list
from fi.sampling.plan_file import write_plan
from fi.sampling.sequential import STOPPING_ERROR, InterimAnalysis, IterativeDraw
from fi.sampling.shards import Shard
from fi.sampling.stratum_sizes import GROWTH, PILOT
from fi.store.identity import faults_hash, json_hash
from fi.store.results_file import ResultsFile

#: Names of targets in a line; the others are counted.
_NAMED = 3


class ListedFaults:
    """A fault list that is known from the start: it has one look.

    Args:
        faults: the list.
        shard: the part of it that is run; ``None`` is all of it.

    Attributes:
        listed: the whole list, as far as it is known.
        faults: those of them that are run here.
        trials: the same, by trial.
        last: whether no look can follow, whatever the results are.
    """

    last = True

    def __init__(self, faults: Sequence[Fault], shard: Shard | None = None) -> None:
        if not faults:
            raise UserError("the fault list is empty")
        self.shard = shard
        self.listed: list[Fault] = []
        self.add(faults)
        if not self.faults:
            raise UserError(f"--shard {shard}: nothing is left, the list has {len(faults)}")

    def add(self, look: Sequence[Fault]) -> None:
        """Take the faults of a look to the list."""
        self.listed = [*self.listed, *look]
        self.faults = self.listed if self.shard is None else self.shard.select(self.listed)
        self.trials: list[Trial] = group_trials(self.faults)

    @property
    def digest(self) -> str:
        """A hash of what the list is, or of all that it will follow from."""
        return faults_hash(self.listed)

    @property
    def models(self) -> set[str]:
        """The fault models that may come."""
        return {fault.model for fault in self.listed}

    def name(self, given: str, tag: str) -> str:
        """The name of the list without its ending; ``tag`` stands for the campaign."""
        return given

    def replay(self, results: pd.DataFrame) -> None:
        """Take all looks that these stored results determine."""

    def following(self, results: Callable[[], pd.DataFrame]) -> list[Fault]:
        """The next look, now that all listed faults have these results; none after the last."""
        return []

    def write(self, path: Path) -> None:
        """Write a list that grows."""

    def entries(self) -> dict[str, Any]:
        """What ``summary.json`` says of the looks."""
        return {}

    def told(self) -> str:
        """What the last results have shown, in a line."""
        return ""


class IterativeFaults(ListedFaults):
    """A list that grows: each look is drawn from what the earlier ones have shown.

    Args:
        draw: what draws them, before its first look.
    """

    last = False

    def __init__(self, draw: IterativeDraw) -> None:
        self.draw = draw
        super().__init__(draw.next_faults(ResultsFile.nothing()))

    @property
    def digest(self) -> str:
        rule = {"pilot": PILOT, "growth": GROWTH, "stopping": STOPPING_ERROR}
        plan = {**asdict(self.draw.plan), "rates": self.draw.rates, **rule}
        return json_hash([plan, self.draw.confidence, self.draw.design.record()])

    @property
    def models(self) -> set[str]:
        return set(self.draw.space.models)

    def name(self, given: str, tag: str) -> str:
        """What is drawn depends on all that the campaign's results do."""
        return f"{self.draw.plan.seed}-{tag}_fault_list"

    def replay(self, results: pd.DataFrame) -> None:
        done = set(results["Injection"])
        while done.issuperset(range(len(self.listed))):
            if not (look := self.following(lambda: results)):
                return
            self.add(look)

    def following(self, results: Callable[[], pd.DataFrame]) -> list[Fault]:
        with reported(ValueError):
            return self.draw.next_faults(results())

    def write(self, path: Path) -> None:
        grow_fault_list(path, self.listed)
        iterative = {"confidence": self.draw.confidence, "rates": list(self.draw.rates)}
        write_plan(path, self.draw.plan, self.draw.design, iterative)

    def entries(self) -> dict[str, Any]:
        return {
            "iterative": {"margin": self.draw.plan.margin, "rates": list(self.draw.rates)},
            "looks": [
                {
                    "faults": look.faults,
                    "half_widths": {rate: round(w, 6) for rate, w in look.half_widths.items()},
                    "open": len(look.open),
                }
                for look in self.draw.analyses
            ],
        }

    def told(self) -> str:
        looks, targets = self.draw.analyses, len(self.draw.targets)
        return _line(looks[-1], len(looks), self.draw.plan.margin, targets) if looks else ""


def _line(look: InterimAnalysis, number: int, margin: float, targets: int) -> str:
    widest = max(look.half_widths, key=look.half_widths.__getitem__)
    seen = f"look {number}: {look.faults} faults, half-width {look.half_widths[widest]:.2%}"
    seen = f"{seen} ({widest}) of {margin:.4g} wanted"
    if not look.open:
        return f"{seen}: done"
    if targets == 1:
        return f"{seen}: going on"
    more = f" and {len(look.open) - _NAMED} more" if len(look.open) > _NAMED else ""
    return f"{seen}: {', '.join(look.open[:_NAMED])}{more} of {targets} go on"


def looks_of(faults: Sequence[Fault] | IterativeDraw, shard: Shard | None) -> ListedFaults:
    """The looks of a campaign; ``UserError`` for the shard of a list that is not known yet."""
    if not isinstance(faults, IterativeDraw):
        return ListedFaults(faults, shard)
    if shard is not None:
        raise UserError(
            f"--shard {shard}: the looks of --iterative follow from all results of the earlier "
            "ones; run it in one job, of several processes (--devices) where that helps"
        )
    return IterativeFaults(faults)
