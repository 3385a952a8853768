"""Intervals: by hand, against plain searches, and their exact coverage."""

from __future__ import annotations

import struct
import subprocess
import sys
from itertools import pairwise
from math import exp, log, sqrt

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_pages import ROOT
from scipy.special import xlogy
from scipy.stats import binom, chi2, hypergeom

from fi.statistics.estimators import wilson
from fi.statistics.interval_methods.compiled_functions import compile_upper_half_width
from fi.statistics.interval_methods.profile import upper_half_width
from fi.statistics.interval_methods.profile_interval import Sample, profile_interval

Z2 = float(chi2(1).ppf(0.99))  # 2.5758^2 = 6.6349


def deviance(p: float, r: float, n: float, population: float) -> float:
    """The log-likelihood ratio of the faults that were run against all, term by term."""
    rest = population - n
    q = (population * p - n * r) / rest
    if not -1e-12 <= q <= 1 + 1e-12:
        return float("inf")
    q = min(max(q, 0.0), 1.0)
    seen = xlogy(r, r / p) + xlogy(1 - r, (1 - r) / (1 - p))
    others = xlogy(q, q / p) + xlogy(1 - q, (1 - q) / (1 - p))
    return float(2 * n * seen + 2 * rest * others)


def score(p: float, r: float, n: float, population: float) -> float:
    return (r - p) ** 2 / (p * (1 - p) / n * (population - n) / (population - 1))


def inside(p: float, r: float, n: int, population: int, z2: float) -> bool:
    certain = n * r / population <= p + 1e-12 and p <= 1 - n / population * (1 - r) + 1e-12
    if not certain or p in (0.0, 1.0):
        return certain and p == r
    half = 0.5 / (1 + n * min(r, 1 - r) / 100) / n  # the continuity correction
    beyond = min(r + half, 1.0) if p > r else max(r - half, 0.0)
    if min(r, beyond) <= p <= max(r, beyond):
        return certain
    small = min(score(p, r, n, population), deviance(p, beyond, n, population))
    return certain and small <= z2 * (1 + 1e-9)


def test_no_critical_fault_by_hand() -> None:
    # r = 0: the score z^2 / (m + z^2) with m = 100; the deviance of half a fault is smaller:
    # 2 (0.5 log(0.005 / p) + 99.5 log(0.995 / (1 - p))) = z^2 at p = 0.049
    assert profile_interval([Sample(0.0, 100, None)]) == pytest.approx(
        (0, Z2 / (100 + Z2)), abs=1e-9
    )
    # 50 of 500: m = 50 * 499 / 450
    m = 50 * 499 / 450
    assert profile_interval([Sample(0.0, 50, 500)]) == pytest.approx((0, Z2 / (m + Z2)), abs=1e-9)


def test_most_faults_run_by_hand() -> None:
    # 900 of 1,000 run, none critical; of D critical ones, half a one is among the 900:
    # 2 (0.5 log(0.5 / 0.9 D) + (D - 0.5) log((D - 0.5) / 0.1 D)) = z^2, D = 2.46
    low, high = profile_interval([Sample(0.0, 900, 1000)])
    count = high * 1000
    rest = (count - 0.5) * log((count - 0.5) / (0.1 * count))
    assert low == 0
    assert 2 * (0.5 * log(0.5 / (0.9 * count)) + rest) == pytest.approx(Z2, rel=0.01)
    # Wilson says 0.74, and misses a single one
    assert wilson(0.0, 900, 1000)[1] * 1000 < 1 < count < 3


def test_one_critical_fault_by_hand() -> None:
    # 1 of 100 (population unknown), half a fault less, but for one seen: k = 1 - 0.5 / 1.01 and
    # 2 (k log(k / 100 p) + (100 - k) log((100 - k) / 100 (1 - p))) = z^2
    low, high = profile_interval([Sample(0.01, 100, None)])
    k = 1 - 0.5 / 1.01
    own = k * log(k / 100 / low) + (100 - k) * log((100 - k) / 100 / (1 - low))
    assert 2 * own == pytest.approx(Z2, rel=1e-6)
    assert low < wilson(0.01, 100)[0]
    assert high == pytest.approx(wilson(0.01, 100)[1])


def test_one_fault_run_by_hand() -> None:
    # not critical: half a fault of one, 2 (0.5 log(0.5 / p) + 0.5 log(0.5 / (1 - p))) = z^2, so
    # that p (1 - p) = exp(-z^2) / 4; Wilson's p / (1 - p) = z^2 leaves out all above 0.87, and one
    # draw in eight shows such a fault
    root = sqrt(1 - exp(-Z2))
    assert profile_interval([Sample(0.0, 1, None)]) == pytest.approx((0, (1 + root) / 2), abs=1e-9)
    assert wilson(0.0, 1)[1] == pytest.approx(Z2 / (1 + Z2))


def test_what_was_seen_is_certain() -> None:
    assert profile_interval([Sample(1 / 3, 3, 4)])[0] == pytest.approx(0.25)  # 1 of 4 is critical
    assert profile_interval([Sample(0.3, 20, 20)]) == (0.3, 0.3)
    assert profile_interval([Sample(0.5, 0, 10)]) == (0.0, 1.0)


@settings(deadline=None)
@given(st.integers(0, 60), st.integers(0, 60), st.integers(1, 10**6), st.floats(0.6, 0.999))
def test_one_stratum_against_its_definition(k: int, more: int, rest: int, level: float) -> None:
    n, z2 = k + more, float(chi2(1).ppf(level))
    if n == 0:
        return
    r, population = k / n, n + rest
    low, high = profile_interval([Sample(r, n, population)], level)
    assert 0 <= low <= r <= high <= 1
    for end, out in ((low, -1), (high, 1)):
        step = 1e-5 * max(min(end, 1 - end), 1e-4)
        nearer, farther = end - out * step, end + out * step
        assert not 0 < farther < 1 or not inside(farther, r, n, population, z2)
        assert not low < nearer < high or inside(nearer, r, n, population, z2)


def test_two_strata_against_a_search_of_the_plane() -> None:
    samples = [Sample(0.1, 40, 400, 0.7), Sample(0.4, 15, 60, 0.3)]
    grid = np.linspace(0.0005, 0.9995, 1000)
    means = 0.7 * grid[:, None] + 0.3 * grid
    found = profile_interval(samples)
    # half a fault of 1 / (0.49 / 40 + 0.09 / 15), less for the mean rate of 0.19
    size = 1 / (0.49 / 40 + 0.09 / 15)
    half = 0.5 / (1 + size * 0.19 / 100) / size
    ends = []
    for out in (-1, 1):
        possible = np.zeros(means.shape, dtype=bool)
        for measure, beyond in ((score, 0.0), (deviance, out * half)):
            first, second = (
                [
                    (s.n - 1) / s.n * measure(p, s.rate + beyond, s.n, s.population)
                    if out * (p - s.rate - beyond) > 0
                    else 0.0
                    for p in grid
                ]
                for s in samples
            )
            possible |= np.array(first)[:, None] + second <= Z2
        ends.append(out * (out * means[possible]).max())
    assert found == pytest.approx(ends, abs=2e-3)


def test_many_strata_are_as_one_where_they_are_alike() -> None:
    # every stratum 100 of 10,000 with rate 0.2: as 5,000 of 500,000, but for (n - 1) / n
    many = profile_interval([Sample(0.2, 100, 10_000, 1 / 50) for _ in range(50)])
    one = profile_interval([Sample(0.2, 5000 * 0.99, 500_000)])
    assert many == pytest.approx(one, abs=2e-4)


def test_a_stratum_that_is_known_takes_no_part() -> None:
    known = Sample(0.5, 10, 10, 0.2)
    low, high = profile_interval([Sample(0.1, 50, 500)])
    assert profile_interval([known, Sample(0.1, 50, 500, 0.8)]) == pytest.approx(
        (0.1 + 0.8 * low, 0.1 + 0.8 * high)
    )


def test_an_unseen_stratum_is_open() -> None:
    low, high = profile_interval([Sample(0.2, 1000, 10_000, 0.99), Sample(0.0, 0, 100, 0.01)])
    assert low == pytest.approx(0.99 * profile_interval([Sample(0.2, 1000, 10_000)])[0], abs=1e-4)
    assert high == pytest.approx(
        0.99 * profile_interval([Sample(0.2, 1000, 10_000)])[1] + 0.01, abs=1e-4
    )


def test_rare_faults_one_a_stratum() -> None:
    """100 strata of 20 of 2,000 faults, 9 critical ones seen in 9 of them: a Poisson count of 9."""
    samples = [Sample(0.05 if h < 9 else 0.0, 20, 2000, 0.01) for h in range(100)]
    low, high = profile_interval(samples)
    poisson = [chi2(2 * 9).ppf(0.005) / 2, chi2(2 * 10).ppf(0.995) / 2]
    assert low * 2000 == pytest.approx(poisson[0], rel=0.15)
    assert high * 2000 == pytest.approx(poisson[1], rel=0.15)


@pytest.mark.parametrize("level", [0.99, 0.95])
def test_exact_coverage_of_many_strata_nearly_exhausted(level: float) -> None:
    """9 of 10 faults run in each of 9 strata, 3 of which have one critical fault.

    How many of the 3 are missed is binomial; without half a fault more, 2 of them were too many.
    """
    holds = []
    for missed in range(4):
        seen = [0] * missed + [1] * (3 - missed) + [0] * 4 + [9, 9]
        low, high = profile_interval([Sample(k / 9, 9, 10, 1 / 9) for k in seen], level)
        holds.append(low - 1e-9 <= 23 / 90 <= high + 1e-9)
    assert binom(3, 0.1).pmf(np.arange(4))[holds].sum() > level
    assert holds[:2] == [True, True]


@pytest.mark.parametrize(
    ("population", "n"),
    [
        *[(10, 5), (90, 1), (90, 10), (90, 80), (50, 5), (50, 45), (5000, 3)],
        *[(1000, 10), (1000, 100), (1000, 600), (1000, 900), (5000, 300)],
    ],
)
@pytest.mark.parametrize("level", [0.99, 0.95, 0.9])
def test_exact_coverage_of_critical_faults(population: int, n: int, level: float) -> None:
    """Faults that corrupt all samples or none are the worst case: every count, every population."""
    seen = np.arange(n + 1)
    ends = np.array([profile_interval([Sample(k / n, n, population)], level) for k in seen])
    few = np.unique(np.geomspace(1, population - 1, 60).astype(int))
    critical = np.unique([*few, *(population - few)])
    coverages = []
    for count in critical:
        holds = (ends[:, 0] <= count / population + 1e-9) & (
            count / population - 1e-9 <= ends[:, 1]
        )
        coverages.append(hypergeom(population, count, n).pmf(seen)[holds].sum())
    miss = 1 - level
    assert np.mean(coverages) > level
    assert min(coverages) > 1 - 1.2 * miss  # Wilson alone goes down to 0.90 at 0.99


def test_wilson_alone_does_not_cover_rare_faults() -> None:
    covered = [wilson(k / 100, 100, 1000)[0] <= 0.001 for k in (0, 1)]
    assert covered == [True, False]  # 1 of 1,000 faults is critical, 10 % of the draws meet it


@settings(deadline=None, max_examples=60)
@given(
    st.lists(
        st.tuples(st.integers(0, 9), st.integers(0, 9), st.integers(0, 500), st.integers(1, 50)),
        min_size=1,
        max_size=8,
    )
)
def test_intervals_hold_the_rate_and_shrink_with_the_level(
    rows: list[tuple[int, int, int, int]],
) -> None:
    total = sum(weight for *_, weight in rows)
    samples = [
        Sample(k / (k + m) if k + m else 0.0, k + m, k + m + rest or None, weight / total)
        for k, m, rest, weight in rows
    ]
    found = [profile_interval(samples, level) for level in (0.8, 0.95, 0.99, 0.9999)]
    for (low, high), (lower, higher) in pairwise(found):
        assert 0 <= lower <= low + 1e-9 <= high + 2e-9 <= higher + 3e-9 <= 1 + 4e-9


def test_the_width_is_that_of_the_sample_size_formula() -> None:
    # N = 381,120, n = 15,944 at p = 0.5: half-width 1 % (t = 2.58)
    low, high = profile_interval([Sample(0.5, 15_944, 381_120)])
    assert (high - low) / 2 == pytest.approx(0.01 * 2.5758 / 2.58, rel=2e-3)
    assert sqrt(Z2) == pytest.approx(2.5758, abs=1e-4)


@pytest.mark.parametrize(
    ("sample", "level", "message"),
    [
        (Sample(1.2, 10, None), 0.99, "rate is 1.2"),
        (Sample(float("nan"), 10, None), 0.99, "rate is nan"),
        (Sample(0.5, 11, 10), 0.99, "n is 11; allowed: 0 to the population, 10"),
        (Sample(0.5, -1, 10), 0.99, "n is -1"),
        (Sample(0.5, 10, 20), 1.0, "confidence is 1.0"),
    ],
)
def test_a_wrong_argument_is_named(sample: Sample, level: float, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        profile_interval([sample], level)


SEEN = st.tuples(
    st.floats(0, 1) | st.sampled_from([0.0, 1.0, 0.001]),
    st.integers(0, 10**5),
    st.integers(1, 10**9) | st.just(10**300),
    st.floats(0.01, 1),
)


@given(st.lists(SEEN, min_size=1, max_size=6), st.floats(0.1, 40))
@settings(max_examples=300, deadline=None)
def test_the_compiled_search_gives_the_bits_of_the_plain_one(
    seen: list[tuple[float, int, int, float]], bound: float
) -> None:
    total = sum(weight for *_, weight in seen)
    strata = [
        (r if n else 0.0, float(n), float(n + rest), weight / total, float(n > 0))
        for r, n, rest, weight in seen
    ]
    compiled = compile_upper_half_width()(np.array(strata), bound)
    plain = upper_half_width(strata, bound)
    assert struct.pack("d", compiled) == struct.pack("d", plain)
    assert 0 <= plain <= 1 + 1e-12


def test_numba_is_loaded_where_a_table_has_many_intervals_and_nowhere_else() -> None:
    script = """
import sys
from fi.statistics.interval_methods.profile_interval import Sample, profile_interval
few = [profile_interval([Sample(rate / 200, 200, 10_000)]) for rate in range(200)]
print("numba" in sys.modules)
many = 6 * [[Sample(rate / 200, 200, 10_000)] for rate in range(200)]
many = list(map(profile_interval, many))
print("numba" in sys.modules, many == 6 * few)
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert done.stdout.split() == ["False", "True", "True"]
