"""The rates of a campaign that is running, from the counts so far."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from fi.counts import COUNT_COLUMNS
from fi.outcomes import OUTCOMES
from fi.statistics import Estimate, Sample, estimate
from fi.summary import CONFIDENCE
from fi.table import OVERALL

#: Column of the counts -> name of the rate.
RATES = {**{name: name for name in (*OUTCOMES, "non_finite")}, "correct": "faulty_accuracy"}


class RunningRates:
    """Adds counts up by site family; the rates and intervals are those of the result table.

    Args:
        populations: site family -> its faults in the fault space, where that is known.
        layer_wise: whether each layer is drawn from on its own.

    Attributes:
        done: the number of trials so far.
    """

    def __init__(self, populations: Mapping[str, int | None], layer_wise: bool) -> None:
        self._populations = dict(populations)
        self._layer_wise = layer_wise
        self.done = 0
        self._faults: dict[str, int] = defaultdict(int)
        self._parts: dict[str, NDArray[np.float64]] = defaultdict(
            lambda: np.zeros(len(COUNT_COLUMNS))
        )

    def add(self, layers: Sequence[str], table: NDArray[np.int64]) -> None:
        """Take counts ``[trials, columns]`` of trials in these families."""
        self.done += len(table)
        for layer, part in zip(layers, table / table[:, :1], strict=True):
            for name in (layer, OVERALL, f"{layer.rpartition('.')[0]}/"):
                self._faults[name] += 1
                self._parts[name] += part

    def scalars(self, family: str) -> dict[str, float]:
        """Every rate of a family with the ends of its interval."""
        values: dict[str, float] = {}
        for column, name in RATES.items():
            found = self._estimate(family, COUNT_COLUMNS.index(column))
            values |= {name: found.rate, f"{name}_low": found.low, f"{name}_high": found.high}
        return values

    def _estimate(self, family: str, column: int) -> Estimate:
        if family != OVERALL:
            population = self._populations.get(family)
            return estimate([self._sample(family, column, population)], CONFIDENCE)
        sizes = list(self._populations.values())
        known = [size for size in sizes if size is not None]
        total = sum(known) if known and len(known) == len(sizes) else None
        if not self._layer_wise or total is None:
            return estimate([self._sample(OVERALL, column, total)], CONFIDENCE)
        layers: dict[str, int] = defaultdict(int)
        for name, size in self._populations.items():
            layers[f"{name.rpartition('.')[0]}/"] += size or 0
        strata = [
            self._sample(name, column, size, size / total) for name, size in layers.items() if size
        ]
        return estimate(strata, CONFIDENCE)

    def _sample(
        self, name: str, column: int, population: int | None, weight: float = 1.0
    ) -> Sample:
        number = self._faults[name]
        rate = float(self._parts[name][column]) / number if number else float("nan")
        known = None if population is None or number > population else population
        return Sample(min(rate, 1.0), number, known, weight)
