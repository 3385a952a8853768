"""The rates of a campaign that is running, from the counts so far."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from fi.metrics.counts import COUNT_COLUMNS
from fi.metrics.outcomes import OUTCOMES
from fi.statistics.estimators import estimate
from fi.statistics.histogram import Histogram
from fi.statistics.intervals import DEFAULT_METHOD
from fi.statistics.result_table import OVERALL
from fi.statistics.sample_size import CONFIDENCE
from fi.statistics.survey_design import STRATUM, Design, stratum_name

#: Column of the counts -> name of the rate.
RATES = {**{name: name for name in (*OUTCOMES, "non_finite")}, "correct": "faulty_accuracy"}
_Part = tuple[str, str]  # a site family or all of them, and a stratum


class RunningRates:
    """Collects counts by site family and stratum; the rates are those of the result table.

    Args:
        design: how the trials were drawn; that of a list where it is not known.
        confidence: nominal coverage of the intervals.
        method: of the intervals, see ``fi.statistics.intervals``.

    Attributes:
        done: the number of trials so far.
    """

    def __init__(
        self, design: Design, confidence: float = CONFIDENCE, method: str = DEFAULT_METHOD
    ) -> None:
        self._design, self._rule = design.by_trial(), (confidence, method)
        self.done = 0
        self._seen: dict[_Part, dict[str, Histogram]] = defaultdict(_see_nothing)
        self._populations: dict[_Part, int] = defaultdict(int)
        if design.known:
            counted = self._design.populations(["family"])
            for family, stratum, size in counted[["family", STRATUM, "population"]].to_numpy():
                self._populations[family, stratum] += size
                self._populations[OVERALL, stratum] += size

    def _name_parts(self, family: str, bit: str) -> tuple[_Part, _Part]:
        stratum = stratum_name(self._design.scheme, family, bit)
        return (family, stratum), (OVERALL, stratum)

    def add(self, sites: Iterable[tuple[str, str]], table: NDArray[np.int64]) -> None:
        """Take counts ``[trials, columns]`` of trials with this family and bit, as in lists."""
        self.done += len(table)
        rows: dict[_Part, list[int]] = defaultdict(list)
        for row, site in enumerate(sites):
            for part in self._name_parts(*site):
                rows[part].append(row)
        rates = table / table[:, :1]
        for part, numbers in rows.items():
            seen, chosen = self._seen[part], rates[numbers]
            for column in RATES:
                seen[column] += Histogram.of(chosen[:, COUNT_COLUMNS.index(column)])

    def compute_scalars(self, family: str) -> dict[str, float]:
        """Every rate of a family with the ends of its interval."""
        values: dict[str, float] = {}
        for column, name in RATES.items():
            rate = estimate(self._collect_strata(family, column), *self._rule)
            values |= {name: rate.rate, f"{name}_low": rate.low, f"{name}_high": rate.high}
        return values

    def _collect_strata(self, family: str, column: str) -> Sequence[Histogram]:
        """What was seen of every stratum of a family."""
        if self._design.known:
            sizes = {p: size for p, size in self._populations.items() if p[0] == family and size}
            total = sum(sizes.values())
            return [
                self._seen.get(part, _see_nothing())[column].within(size, size / total)
                for part, size in sizes.items()
            ]
        seen = [each[column] for part, each in self._seen.items() if part[0] == family]
        faults = sum(histogram.n for histogram in seen)
        return [histogram.within(None, histogram.n / faults) for histogram in seen]


def _see_nothing() -> dict[str, Histogram]:
    return dict.fromkeys(RATES, Histogram.of([]))
