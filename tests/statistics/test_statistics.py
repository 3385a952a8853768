"""Intervals by fault: hand-worked numbers, the defining equation, and exact coverage."""

from __future__ import annotations

import subprocess
import sys
from math import inf, isnan

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from markdown_pages import ROOT
from scipy.stats import hypergeom, norm

from fi.statistics.estimators import effective_size, estimate, wilson
from fi.statistics.histogram import Histogram
from fi.statistics.intervals import interval


def test_wilson_by_hand() -> None:
    # p = 1/2, n = 100, z = 1.95996: 0.5 +- z / (1 + z^2 / 100) sqrt(1 / 400 + z^2 / 40000)
    assert wilson(0.5, 100, confidence=0.95) == pytest.approx((0.4038315, 0.5961685), abs=1e-7)
    # p = 0: from 0 to z^2 / (n + z^2), z^2 = 6.634897
    assert wilson(0.0, 10) == pytest.approx((0.0, 6.634897 / 16.634897), abs=1e-7)
    assert wilson(1.0, 10) == pytest.approx((10 / 16.634897, 1.0), abs=1e-7)


def test_finite_population_by_hand() -> None:
    # 10 of 20: as many as 10 * 19 / 10 = 19 with replacement; p = 0: z^2 / (19 + z^2)
    assert effective_size(10, 20) == 19
    assert wilson(0.0, 10, 20) == pytest.approx((0.0, 6.634897 / 25.634897), abs=1e-7)
    assert effective_size(1, 20) == 1
    assert effective_size(5) == 5


def test_the_whole_population_leaves_nothing_open() -> None:
    assert effective_size(20, 20) == inf
    assert wilson(0.3, 20, 20) == (0.3, 0.3)
    assert wilson(0.0, 1, 1) == (0.0, 0.0)


def test_nothing_seen_leaves_all_open() -> None:
    assert wilson(0.3, 0, 20) == (0.0, 1.0)
    assert wilson(float("nan"), 0) == (0.0, 1.0)


@given(st.floats(0, 1), st.integers(1, 10**6), st.integers(1, 10**6), st.floats(0.5, 0.999))
def test_wilson_solves_its_equation(rate: float, n: int, more: int, confidence: float) -> None:
    population = n + more
    assume(population > 1)
    z = norm.ppf((1 + confidence) / 2)
    low, high = wilson(rate, n, population, confidence)
    assert 0 <= low <= rate <= high <= 1
    for end in (low, high):
        spread = end * (1 - end) / n * (population - n) / (population - 1)
        assert (rate - end) ** 2 == pytest.approx(z**2 * spread, rel=1e-5, abs=1e-13)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((1.2, 10), "rate is 1.2"),
        ((float("nan"), 10), "rate is nan"),
        ((0.5, 11, 10), "n is 11; allowed: 0 to the population, 10"),
        ((0.5, -1), "n is -1"),
        ((0.5, 10, 20, 1.0), "confidence is 1.0"),
    ],
)
def test_a_wrong_argument_is_named(arguments: tuple, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        wilson(*arguments)


def test_exact_coverage_without_replacement() -> None:
    population, n = 200, 80
    seen = np.arange(n + 1)
    intervals = np.array([wilson(k / n, n, population) for k in seen])
    coverages = []
    for faulty in range(population + 1):
        inside = (intervals[:, 0] <= faulty / population) & (faulty / population <= intervals[:, 1])
        coverages.append(hypergeom(population, faulty, n).pmf(seen)[inside].sum())
    assert np.mean(coverages) > 0.989
    assert min(coverages) > 0.95  # a discrete distribution dips, Wald goes to 0 here


def test_stratified_estimate_by_hand() -> None:
    # weights 0.9 and 0.1, rates 0.2 and 0.5: 0.18 + 0.05
    strata = [Histogram.of([0.1, 0.3] * 50, None, 0.9), Histogram.of([0.0, 1.0] * 25, None, 0.1)]
    found = estimate(strata)
    assert found.rate == pytest.approx(0.23)
    assert (found.low, found.high) == interval(strata)


def test_a_stratum_that_was_not_run_leaves_the_mean_of_the_others() -> None:
    seen = [0.1] * 5 + [0.3] * 5
    found = estimate([Histogram.of(seen, 100, 0.5), Histogram.of([], 100, 0.5)])
    # the half that was not run may be anything from 0 to 1; the other one has 10 faults
    low, high = interval([Histogram.of(seen, 100)])
    assert found.rate == pytest.approx(0.2)
    assert (found.low, found.high) == pytest.approx((low / 2, high / 2 + 0.5))
    whole = estimate([Histogram.of(seen, 10, 1.0), Histogram.of([], 0, 0.0)])
    assert whole == pytest.approx((0.2, 0.2, 0.2))


def test_no_fault_at_all_has_no_rate() -> None:
    found = estimate([Histogram.of([], 100)])
    assert isnan(found.rate)
    assert found[1:] == (0.0, 1.0)


def test_estimates_and_tables_need_no_pytorch() -> None:
    script = "import sys, fi.statistics.result_table; print('torch' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert done.stdout.strip() == "False"
