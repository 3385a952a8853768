"""Two campaigns side by side: two networks, two formats, before and after hardening."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from fi.base.errors import UserError
from fi.base.text_files import FileError
from fi.statistics.estimators import Estimate, estimate
from fi.statistics.group_estimates import GroupHistograms
from fi.statistics.histogram import Histogram
from fi.statistics.intervals import DEFAULT_METHOD, METHODS, check_method
from fi.statistics.rate_differences import (
    Difference,
    PairedSample,
    compare_independent,
    compare_paired,
)
from fi.statistics.result_table import OVERALL, group_by_trial
from fi.statistics.survey_design import STRATUM, Design, stratum_name
from fi.store.campaign_reader import PastCampaign
from fi.store.results_file import ResultsFile

#: Column of the results -> what it is called in a comparison.
RATES = {"sdc_1": "SDC-1", "fully_masked": "masked", "correct": "accuracy"}


class Part(NamedTuple):
    """What a campaign ran of one stratum: rows of results, its population and weight."""

    rows: pd.DataFrame
    population: int | None
    weight: float


@dataclass(frozen=True)
class Side:
    """One of the two campaigns.

    Attributes:
        name: what to call it.
        results: one row a trial; ``Key`` says what its faults are.
        design: how the trials were drawn, the trial being the unit.
        confidence: nominal coverage that it was planned with.
        method: of its intervals.
    """

    name: str
    results: pd.DataFrame
    design: Design
    confidence: float = 0.99
    method: str = DEFAULT_METHOD

    @classmethod
    def read(cls, path: Path) -> Side:
        """A campaign's folder, or a ``results.csv`` (with its summary, if that is beside it).

        Raises:
            FileError: there is none, nothing is finished, or results and summary do not fit.
        """
        file = path / "results.csv" if path.is_dir() else path
        PastCampaign(file.parent).refuse_rates("fi.compare")
        results = ResultsFile(file).load(whole=False)
        if results.empty:
            raise FileError(f"{file}: no fault is finished, there is nothing to compare")
        if not (file.parent / "summary.json").is_file() or file.name != "results.csv":
            families = list(results["Layer"].unique())
            return cls(str(path), *group_by_trial(_keyed(results), Design.of_list(families)))
        summary = PastCampaign(file.parent).summary()
        results, design = group_by_trial(_keyed(results), summary.design)
        try:
            GroupHistograms.of(results, design, ["family"], list(RATES))
        except ValueError as problem:
            raise FileError(f"{file.parent}: {problem}") from None
        name = f"{summary.model}/{file.parent.name}"
        return cls(name, results, design, summary.confidence, summary.interval)

    @property
    def golden(self) -> float:
        """Accuracy without a fault."""
        return float(self.results["golden_correct"].iloc[0] / self.results["samples"].iloc[0])

    def of(self, family: str) -> pd.DataFrame:
        """Its trials in a family."""
        rows = self.results
        return rows if family == OVERALL else rows[rows["Layer"] == family]

    def parts(self, family: str) -> list[Part]:
        """What was run of the family in each stratum of the draw."""
        rows = self.of(family)
        if not self.design.known:
            return [Part(rows, None, 1.0)]
        sizes = self._populations if family == OVERALL else self._by_family[family]
        seen = dict(list(rows.groupby(self._strata[rows.index])))
        total = sum(sizes.values())
        return [
            Part(seen.get(stratum, rows[:0]), size, size / total)
            for stratum, size in sizes.items()
            if size
        ]

    @cached_property
    def _strata(self) -> pd.Series:
        pairs = zip(self.results["Layer"], self.results["Bit"].astype(str), strict=True)
        names = [stratum_name(self.design.scheme, *pair) for pair in pairs]
        return pd.Series(names, index=self.results.index)

    @cached_property
    def _populations(self) -> dict[str, int]:
        """Stratum -> its trials."""
        return dict(self.design.populations().set_index(STRATUM)["population"])

    @cached_property
    def _by_family(self) -> dict[str, dict[str, int]]:
        """Site family -> stratum -> its trials."""
        groups = self.design.populations(["family"]).groupby("family")
        return {str(f): dict(part.set_index(STRATUM)["population"]) for f, part in groups}


@dataclass(frozen=True)
class Comparison:
    """What two campaigns have in common and what differs.

    Attributes:
        first, second: the campaigns; differences are second minus first.
        paired: whether both ran the same faults, compared fault by fault.
        confidence: with which all intervals of one rate hold together.
        method: of the intervals.
        table: one row for each family and rate: ``family``, ``rate``, ``faults_a``, ``faults_b``,
            ``a``, ``b``, ``difference``, ``low``, ``high``, ``certain``.
    """

    first: Side
    second: Side
    paired: bool
    confidence: float
    method: str
    table: pd.DataFrame

    @property
    def families(self) -> list[str]:
        """The families that were compared."""
        return [name for name in dict.fromkeys(self.table["family"]) if name != OVERALL]

    @property
    def each(self) -> float:
        """The nominal coverage of one family's interval, corrected for their number."""
        return corrected(self.confidence, len(self.families))

    @property
    def only(self) -> list[str]:
        """The families in which only one of the campaigns has faults."""
        one, other = (set(side.results["Layer"]) for side in (self.first, self.second))
        return sorted(one ^ other)


def _keyed(results: pd.DataFrame) -> pd.DataFrame:
    """The results with the column ``Key``: all the faults of a trial as text."""
    key = results["Layer"].astype(str)
    for column in ("TensorIndex", "Bit", "Model", "Step"):
        key = key + "|" + results[column].astype(str)
    if results["Injection"].duplicated().any():
        key = key.groupby(results["Injection"]).transform(";".join)
    return results.assign(Key=key)


def corrected(confidence: float, families: int) -> float:
    """Bonferroni's correction: with this in each family, ``confidence`` holds in all of them."""
    return 1 - (1 - confidence) / max(1, families)


def compare(
    first: Side, second: Side, confidence: float | None = None, method: str | None = None
) -> Comparison:
    """Compare two campaigns by site family and as a whole.

    Where every fault of the smaller campaign ran in the other one as well, those faults are
    compared one by one; otherwise the campaigns are independent samples.

    Args:
        first, second: the campaigns.
        confidence, method: of the intervals; those of the first campaign by default.

    Raises:
        UserError: no family has faults in both.
        ValueError: an unknown method.
    """
    confidence = first.confidence if confidence is None else confidence
    method = first.method if method is None else method
    check_method(method)
    in_both = set(first.results["Layer"]) & set(second.results["Layer"])
    families = [family.name for family in first.design.families if family.name in in_both]
    if not families:
        raise UserError(
            f"nothing to compare: {first.name} has faults in "
            f"{', '.join(dict.fromkeys(first.results['Layer']))}; {second.name} in "
            f"{', '.join(dict.fromkeys(second.results['Layer']))}"
        )
    common = _common(first, second)
    sides = (first, second) if common is None else _restricted(first, second, common)
    each = corrected(confidence, len(families))
    rows = [
        _row(*sides, name, rate, (level, method), common is not None)
        for name, level in [*((family, each) for family in families), (OVERALL, confidence)]
        for rate in RATES
    ]
    return Comparison(first, second, common is not None, confidence, method, pd.DataFrame(rows))


def _common(first: Side, second: Side) -> pd.DataFrame | None:
    """The faults of the smaller campaign, where the other one ran all of them; else ``None``."""
    one, other = (side.results[["Injection", "Key"]] for side in (first, second))
    both = one.merge(other)
    return both if len(both) == min(len(one), len(other)) else None


def _restricted(first: Side, second: Side, common: pd.DataFrame) -> tuple[Side, Side]:
    """Both campaigns with the faults that they have in common, in the same order.

    Those are the faults of the smaller campaign, and were drawn as it was.
    """
    smaller = min(first, second, key=lambda side: (len(side.results), not side.design.known))

    def part(side: Side) -> Side:
        rows = side.results[side.results["Injection"].isin(common["Injection"])]
        rows = rows.sort_values("Injection").reset_index(drop=True)
        return Side(side.name, rows, smaller.design, side.confidence, side.method)

    return part(first), part(second)


def _row(
    first: Side, second: Side, family: str, rate: str, rule: tuple[float, str], is_paired: bool
) -> dict[str, Any]:
    """A row of the table; ``rule`` is confidence and method of its interval."""
    one, other = (_estimate(side, family, rate, *rule) for side in (first, second))
    if is_paired:
        found = compare_paired(_pairs(first, second, family, rate), *rule)
    else:
        found = compare_independent(one, other)
    return _cells(first, second, family, rate, one, other, found)


def _cells(
    first: Side,
    second: Side,
    family: str,
    rate: str,
    one: Estimate,
    other: Estimate,
    found: Difference,
) -> dict[str, Any]:
    return {
        "family": family,
        "rate": RATES[rate],
        "faults_a": len(first.of(family)),
        "faults_b": len(second.of(family)),
        "a": one.rate,
        "b": other.rate,
        "difference": found.value,
        "low": found.low,
        "high": found.high,
        "certain": found.is_certain,
    }


def _estimate(side: Side, family: str, rate: str, confidence: float, method: str) -> Estimate:
    strata = [
        Histogram.of(_rates(rows, rate), population, weight)
        for rows, population, weight in side.parts(family)
    ]
    return estimate(strata, confidence, method)


def _pairs(first: Side, second: Side, family: str, rate: str) -> list[PairedSample]:
    return [
        PairedSample(_rates(one, rate), _rates(other, rate), population, weight)
        for (one, population, weight), (other, *_) in zip(
            first.parts(family), second.parts(family), strict=True
        )
    ]


def _rates(rows: pd.DataFrame, rate: str) -> np.ndarray:
    return (rows[rate] / rows["samples"]).to_numpy(dtype=np.float64)


def footer(found: Comparison) -> str:
    """How the comparison was made, and how to read it."""
    number = len(found.families)
    method = METHODS[found.method]
    how = (
        "Both ran the same faults: each is compared with itself."
        if found.paired
        else "The fault lists differ: two independent samples, combined by Newcombe's method."
    )
    only = f" Not compared, faults in one only: {', '.join(found.only)}." if found.only else ""
    return (
        f"{how} Intervals: {method.title}, {method.basis}. Those of {number} families have "
        f"{100 * found.each:.6g} % each, so that with {100 * found.confidence:g} % all of one rate "
        f"hold (Bonferroni); that of all faults together has {100 * found.confidence:g} %. "
        f"* leaves out 0: a difference. They hold over faults, for these test sets.{only}"
    )
