"""The rates of a campaign that is running, from the counts so far."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from fi.metrics.counts import COUNT_COLUMNS
from fi.metrics.outcomes import OUTCOMES
from fi.statistics.estimators import Sample, estimate
from fi.statistics.result_table import OVERALL
from fi.statistics.sample_size import CONFIDENCE
from fi.statistics.survey_design import STRATUM, Design, stratum_name

#: Column of the counts -> name of the rate.
RATES = {**{name: name for name in (*OUTCOMES, "non_finite")}, "correct": "faulty_accuracy"}
_Part = tuple[str, str]  # a site family or all of them, and a stratum


class RunningRates:
    """Adds counts up by site family and stratum; the rates are those of the result table.

    Args:
        design: how the trials were drawn; that of a list where it is not known.
        confidence: nominal coverage of the intervals.

    Attributes:
        done: the number of trials so far.
    """

    def __init__(self, design: Design, confidence: float = CONFIDENCE) -> None:
        self._design, self._confidence = design.by_trial(), confidence
        self.done = 0
        self._faults: dict[_Part, int] = defaultdict(int)
        self._sums: dict[_Part, NDArray[np.float64]] = defaultdict(
            lambda: np.zeros(len(COUNT_COLUMNS))
        )
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
        numbers: dict[tuple[str, str], int] = {}
        rows = np.array([numbers.setdefault(site, len(numbers)) for site in sites], np.int64)
        rates = table / table[:, :1]
        for site, number in numbers.items():
            chosen = rates[rows == number]
            for part in self._name_parts(*site):
                self._faults[part] += len(chosen)
                self._sums[part] += chosen.sum(axis=0)

    def compute_scalars(self, family: str) -> dict[str, float]:
        """Every rate of a family with the ends of its interval."""
        values: dict[str, float] = {}
        for column, name in RATES.items():
            samples = self._collect_samples(family, COUNT_COLUMNS.index(column))
            rate = estimate(samples, self._confidence)
            values |= {name: rate.rate, f"{name}_low": rate.low, f"{name}_high": rate.high}
        return values

    def _collect_samples(self, family: str, column: int) -> Sequence[Sample]:
        """What was seen of every stratum of a family."""
        known = self._design.known
        sizes = self._populations if known else self._faults
        parts = {part: size for part, size in sizes.items() if part[0] == family and size}
        total = sum(parts.values())
        return [
            Sample(
                self._mean_rate(part, column),
                self._count_faults(part),
                size if known else None,
                size / total,
            )
            for part, size in parts.items()
        ]

    def _count_faults(self, part: _Part) -> int:
        return self._faults.get(part, 0)

    def _mean_rate(self, part: _Part, column: int) -> float:
        number = self._count_faults(part)
        return min(float(self._sums[part][column]) / number, 1.0) if number else float("nan")
