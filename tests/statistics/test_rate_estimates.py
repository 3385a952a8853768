"""Intervals over trials, and the rate at which accuracy falls below a value."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest

from fi.metrics.outcomes import RATES
from fi.statistics.estimators import Estimate
from fi.statistics.histogram import Histogram
from fi.statistics.intervals import interval
from fi.statistics.rate_estimates import CellEstimates, estimate_rates, find_crossing


def cell(rate: float, mean: float, half: float = 0.01, trials: int = 50) -> CellEstimates:
    accuracy = Estimate(mean, mean - half, mean + half)
    return CellEstimates(rate, "network", trials, 1.0, 0.95, {"correct": accuracy})


def test_intervals_are_those_of_the_trials() -> None:
    draw = np.random.default_rng(0)
    correct = draw.integers(60, 90, 40)
    counts = dict.fromkeys(RATES, 0) | {"samples": 100, "golden_correct": 95}
    results = pd.DataFrame(
        {"Injection": range(40), "Rate": [1e-5, 1e-4] * 20, "Scope": "network", "Faults": 3}
        | {**counts, "correct": correct}
    )
    low, high = estimate_rates(results, 0.9)
    assert (low.rate, high.rate) == (1e-5, 1e-4)
    assert low.trials == 20
    assert low.golden == 0.95
    own = Histogram.of(correct[::2] / 100)
    assert low.accuracy.rate == pytest.approx(correct[::2].mean() / 100)
    assert (low.accuracy.low, low.accuracy.high) == pytest.approx(interval([own], 0.9))


def test_a_crossing_between_two_rates() -> None:
    cells = [cell(1e-6, 0.95), cell(1e-5, 0.94), cell(1e-4, 0.86), cell(1e-3, 0.5)]
    found = find_crossing(cells, 0.9)
    assert found.rate == pytest.approx(10**-4.5)  # half-way from 0.94 to 0.86, of the logarithm
    assert (found.low, found.high) == (1e-5, 1e-4)


def test_a_rate_that_may_be_on_either_side_is_inside() -> None:
    cells = [cell(1e-6, 0.95), cell(1e-5, 0.905), cell(1e-4, 0.895), cell(1e-3, 0.5)]
    assert find_crossing(cells, 0.9)[1:] == (1e-6, 1e-3)


def test_an_early_doubt_ends_the_harmless_rates() -> None:
    cells = [cell(1e-6, 0.95), cell(1e-5, 0.93, half=0.1), cell(1e-4, 0.94), cell(1e-3, 0.5)]
    assert find_crossing(cells, 0.9)[1:] == (1e-6, 1e-3)


@pytest.mark.parametrize(
    ("until", "wanted"), [(0.2, (None, 1e-4, math.inf)), (0.99, (None, 0.0, 1e-5))]
)
def test_rates_that_do_not_enclose_it(until: float, wanted: tuple[float | None, ...]) -> None:
    assert find_crossing([cell(1e-5, 0.9), cell(1e-4, 0.8)], until) == wanted


def test_the_crossing_is_covered_as_often_as_it_says() -> None:
    """Of trials whose mean accuracy is known: 0.5 at a rate of 0.01, at which none is run."""
    draw, rates = np.random.default_rng(3), [10**p for p in (-3.0, -2.5, -2.1, -1.9, -1.5, -1.0)]
    missed = 0
    for _ in range(150):
        rows = []
        for rate in rates:
            mean = 1 / (1 + (rate / 0.01) ** 2)
            values = draw.beta(6 * mean, 6 * (1 - mean), 25)
            rows += [(rate, round(1000 * value)) for value in values]
        frame = pd.DataFrame(rows, columns=["Rate", "correct"])
        frame = frame.assign(Injection=range(len(frame)), Scope="network", Faults=1, samples=1000)
        for name in set(RATES) - {"correct"}:
            frame[name] = 0
        found = find_crossing(estimate_rates(frame, 0.9), 0.5)
        missed += not found.low <= 0.01 <= found.high
    assert missed <= 150 * 0.1 + 2.6 * math.sqrt(150 * 0.1 * 0.9)
