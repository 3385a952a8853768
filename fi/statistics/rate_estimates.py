"""What the trials of each rate show, with intervals over trials, and where accuracy falls."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import exp, log
from typing import NamedTuple

import numpy as np
import pandas as pd

from fi.metrics.outcomes import DETECTED, RATES
from fi.statistics.estimators import Estimate, estimate
from fi.statistics.histogram import Histogram
from fi.statistics.intervals import DEFAULT_METHOD

#: Rate of hits, and the layer that has them or the whole network.
Cell = tuple[float, str]


@dataclass(frozen=True)
class CellEstimates:
    """What the trials of one rate show.

    Attributes:
        rate: at which bits are hit.
        scope: ``network``, or the layer that alone has faults.
        trials: how many were run.
        hits: faults of a trial, their mean.
        golden: accuracy without a fault.
        found: column of the results -> its mean over trials, with its interval.
    """

    rate: float
    scope: str
    trials: int
    hits: float
    golden: float
    found: dict[str, Estimate]

    @property
    def accuracy(self) -> Estimate:
        """Accuracy under the faults of a trial, the mean over trials."""
        return self.found["correct"]


def estimate_cell(
    results: pd.DataFrame,
    columns: Sequence[str],
    confidence: float = 0.99,
    method: str = DEFAULT_METHOD,
) -> dict[str, Estimate]:
    """Mean and interval of each column, over the trials of one rate.

    A trial's value is its count over its samples, in [0, 1]; trials are independent draws, of
    endlessly many that there may be.
    """
    samples = results["samples"].to_numpy(np.float64)
    return {
        column: estimate([Histogram.of(results[column].to_numpy() / samples)], confidence, method)
        for column in columns
    }


def estimate_rates(
    results: pd.DataFrame, confidence: float = 0.99, method: str = DEFAULT_METHOD
) -> list[CellEstimates]:
    """The cells of results, by scope in their order, rates ascending.

    Args:
        results: as ``RateResultsFile.load`` gives them.
        confidence: nominal coverage of the intervals, over trials, for this test set.
        method: of the intervals, see ``fi.statistics.intervals``.

    >>> trials = {"Injection": [0, 1], "Rate": 0.1, "Scope": "network", "Faults": [3, 5]}
    >>> counts = dict.fromkeys(RATES, 0) | {"samples": 10, "correct": [9, 7], "golden_correct": 9}
    >>> cell, = estimate_rates(pd.DataFrame({**trials, **counts}))
    >>> cell.hits, cell.accuracy.rate, round(cell.accuracy.low, 3), cell.golden
    (4.0, 0.8, 0.055, 0.9)
    """
    results = results.sort_values("Injection")
    scopes = list(dict.fromkeys(results["Scope"]))
    cells = []
    for scope in scopes:
        of_scope = results[results["Scope"] == scope]
        for rate in sorted(of_scope["Rate"].unique()):
            own = of_scope[of_scope["Rate"] == rate]
            golden = float((own["golden_correct"] / own["samples"]).iloc[0])
            columns = (*RATES, DETECTED) if DETECTED in own else RATES
            found = estimate_cell(own, columns, confidence, method)
            hits = float(own["Faults"].mean())
            cells.append(CellEstimates(float(rate), scope, len(own), hits, golden, found))
    return cells


class Crossing(NamedTuple):
    """Where accuracy falls below a value.

    Attributes:
        rate: the estimate; ``None`` where the rates that were run do not enclose it.
        low: accuracy is not below at this rate; 0 where no rate is known to be so harmless.
        high: accuracy is below at this rate; infinite where none is known to be so harmful.
    """

    rate: float | None
    low: float
    high: float


def find_crossing(cells: Sequence[CellEstimates], until: float) -> Crossing:
    """The rate at which accuracy falls below ``until``, of the cells of one scope.

    It is only supposed that the mean accuracy does not rise with the rate. The lower end is the
    highest rate up to which the accuracy's interval is nowhere below ``until`` with its lower end,
    the upper end the lowest rate from which on it is everywhere below with its upper end. Each goes
    wrong only if the interval of one certain rate does (the first at which accuracy is below
    ``until``; the last at which it is not): tests in a fixed order need no correction for their
    number (Maurer, Hothorn and Lehmacher, 1995), and the interval covers as those of accuracy do.

    The estimate is interpolated linearly over the logarithm of the rate, between isotonic means.

    Args:
        cells: rates ascending.
        until: accuracy, in [0, 1].
    """
    low, high = 0.0, float("inf")
    for cell in cells:
        if cell.accuracy.low < until:
            break
        low = cell.rate
    for cell in reversed(cells):
        if cell.accuracy.high >= until:
            break
        high = cell.rate
    return Crossing(_interpolate(cells, until), low, high)


def _interpolate(cells: Sequence[CellEstimates], until: float) -> float | None:
    from scipy.optimize import isotonic_regression  # a fifth of a second, for rates only

    means = [cell.accuracy.rate for cell in cells]
    weights = [float(cell.trials) for cell in cells]
    fitted = isotonic_regression(means, weights=weights, increasing=False).x.tolist()
    for place in range(len(cells) - 1):
        above, below = fitted[place : place + 2]
        if above >= until > below:
            start, end = log(cells[place].rate), log(cells[place + 1].rate)
            return exp(start + (end - start) * (above - until) / (above - below))
    return None
