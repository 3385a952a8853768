"""Gaffke's interval: against a plain reference, exact bounds, simulated quantiles and coverage."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from itertools import pairwise
from math import exp, log, sqrt

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.stats import binom, hypergeom, norm

from fi.statistics.histogram import Histogram
from fi.statistics.interval_methods.compiled_functions import compile_upper_end
from fi.statistics.interval_methods.gaffke import Urns, upper_end, upper_total
from fi.statistics.intervals import interval

Array = NDArray[np.float64]
#: Values, counts, faults that were not run, and the weight of a fault, of one stratum.
Part = tuple[Array, Array, float, float]


def tilted(part: Part, s: float) -> tuple[float, float, float, float]:
    """Half of r^2, V, sum v / K0 and the mean total of a stratum, by the formulas as published."""
    x, c, rest, scale = part
    drops = s * scale * (x[-1] - x)
    ends = np.log1p([c[-1] / rest, c.sum() / rest])

    def excess(b: float) -> float:
        return float((c / np.expm1(b + drops)).sum() - rest)

    b = brentq(excess, ends[0] * (1 - 1e-12), ends[1] * (1 + 1e-12), xtol=1e-16, rtol=1e-15)
    rho, seen = np.exp(-b - drops), c.sum()
    u = c / np.expm1(b + drops)
    rho_0 = rest / (seen + rest)
    v = u / (1 - rho)
    half = (u * np.log(rho / rho_0) + c * np.log((1 - rho) / (1 - rho_0))).sum()
    variance = (v * x**2).sum() - (v * x).sum() ** 2 / v.sum()
    return half, variance, v.sum() * seen / (rest * (seen + rest)), float((u * x).sum())


def reference(parts: Sequence[Part], z: float) -> float:
    """The quantile of the total: the tilt at which r* is the normal quantile."""

    def root(log_s: float) -> float:
        s = exp(log_s)
        each = [tilted(part, s) for part in parts]
        r = sqrt(2 * sum(half for half, *_ in each))
        spread = sum(p[3] ** 2 * variance for p, (_, variance, *_) in zip(parts, each, strict=True))
        w = (1 - exp(-s)) * sqrt(spread) * np.prod([sqrt(ratio) for *_, ratio, _ in each])
        return float((1.0 if r > z + 1 else r + log(w / r) / r - z) if r >= 0.5 else r - z)

    steps = np.arange(-10, 5, 0.2)
    beyond = next(step for step in steps if root(step) > 0)
    s = exp(brentq(root, beyond - 0.2, beyond, xtol=1e-13))
    return sum(part[3] * tilted(part, s)[3] for part in parts)


def find_total(parts: Sequence[Part], z: float) -> float:
    """The quantile of the total by the search of the tool."""
    values, counts = (np.concatenate([part[i] for part in parts]) for i in (0, 1))
    starts = np.cumsum([0, *(len(part[0]) for part in parts)])
    rest, scales = (np.array([part[i] for part in parts]) for i in (2, 3))
    room = (np.zeros(len(values)), np.zeros(len(parts)))
    given = (values, counts, room[0], starts, rest, scales, room[1])
    return upper_total(z, len(parts), Urns(*(each.tolist() for each in given)))


def some_parts(rng: np.random.Generator, strata: int) -> list[Part]:
    """Strata with a few values each, the first one with the extra fault of rate 1."""
    parts = []
    for h in range(strata):
        values = np.unique(rng.random(rng.integers(1, 7)).round(2))
        counts = rng.integers(1, 30, len(values)).astype(float)
        if h == 0:
            values, counts = np.append(values[values < 1], 1.0), np.append(counts[: len(values)], 1)
        scale = 1.0 if h == 0 else float(rng.random())
        parts.append((values, counts[: len(values)], float(rng.choice([15, 80, 2000])), scale))
    return parts


@pytest.mark.parametrize("strata", [1, 2, 5])
def test_the_search_against_the_formulas(strata: int) -> None:
    rng, z = np.random.default_rng(strata), float(norm.ppf(0.975))
    exact = 0
    for _ in range(40):
        parts = some_parts(rng, strata)
        found, wanted = find_total(parts, z), reference(parts, z)
        largest = sum(values[-1] * rest * scale for values, _, rest, scale in parts)
        exact += found == pytest.approx(wanted, rel=1e-8)
        # r* may exceed z for a moment only, next to the largest total, which is taken then
        assert found == pytest.approx(wanted, rel=1e-8) or wanted < found <= largest * (1 + 1e-9)
    assert exact >= 38


@pytest.mark.parametrize("strata", [1, 3])
@pytest.mark.parametrize("level", [0.95, 0.995])
def test_the_quantile_against_polyas_urn(strata: int, level: float) -> None:
    """200,000 totals of Dirichlet-multinomial counts: the quantile is met, or a fault above."""
    rng = np.random.default_rng(3)
    for _ in range(4):
        parts = some_parts(rng, strata)
        totals = np.zeros(200_000)
        for values, counts, rest, scale in parts:
            shares = rng.dirichlet(counts, len(totals))
            totals += scale * (rng.multinomial(int(rest), shares) @ values)
        found = find_total(parts, float(norm.ppf(level)))
        least, most = np.quantile(totals, [level - 0.0015, min(level + 0.0015, 1.0)])
        assert least <= found <= most + 1


@settings(deadline=None, max_examples=100)
@given(st.integers(0, 10**6), st.integers(1, 6), st.floats(0.3, 5), st.booleans())
def test_the_compiled_search_gives_the_bits_of_the_plain_one(
    seed: int, strata: int, z: float, mirror: bool
) -> None:
    rng = np.random.default_rng(seed)
    parts = some_parts(rng, strata)
    values, counts = (np.concatenate([part[i] for part in parts]) for i in (0, 1))
    starts = np.cumsum([0, *(len(part[0]) for part in parts)])
    sizes = np.array([part[1].sum() + rng.choice([0, part[2], 1e300]) for part in parts])
    weights = rng.dirichlet(np.ones(strata))
    given = (values, counts, starts, sizes, weights)
    each, room = np.zeros((3, len(values) + 1)), np.zeros((3, strata))
    urns = Urns(*each, np.zeros(strata + 1, dtype=np.int64), *room)
    compiled = compile_upper_end()(z, *given, mirror, urns)
    lists = Urns(*(part.tolist() for part in urns))
    plain = upper_end(z, *(part.tolist() for part in given), mirror, lists)
    assert struct.pack("d", compiled) == struct.pack("d", plain)
    rates = [1 - part[0] if mirror else part[0] for part in parts]
    means = [rate @ part[1] / part[1].sum() for rate, part in zip(rates, parts, strict=True)]
    assert means @ weights - 1e-12 <= plain <= 1


def yes_or_no(critical: int, n: int, population: int | None) -> Histogram:
    return Histogram.of([0.0] * (n - critical) + [1.0] * critical, population)


def clopper_pearson(k: int, n: int, population: int, level: float) -> tuple[float, float]:
    """All numbers of critical faults that k of n do not contradict, as parts of all."""
    number, tail = np.arange(population + 1), (1 - level) / 2
    low = number[hypergeom(population, number, n).sf(k - 1) > tail].min()
    high = number[hypergeom(population, number, n).cdf(k) > tail].max()
    return low / population, high / population


def test_yes_or_no_faults_against_clopper_and_pearson() -> None:
    rng, wider = np.random.default_rng(1), []
    for trial in range(300):
        population = int(rng.integers(2, 400))
        n = int(rng.integers(1, population))
        k = int(rng.integers(0, n + 1)) if trial % 2 else min(n, int(rng.integers(0, 4)))
        level = float(rng.choice([0.9, 0.95, 0.99]))
        low, high = interval([yes_or_no(k, n, population)], level)
        exact_low, exact_high = clopper_pearson(k, n, population, level)
        wider += [(exact_low - low) * population, (high - exact_high) * population]
    assert min(wider) > -1e-9  # never narrower
    assert max(wider) < 2.5  # faults
    assert 0.5 < np.mean(wider) < 1.5


@pytest.mark.parametrize(
    ("population", "n"),
    [(10, 5), (90, 10), (90, 80), (50, 45), (5000, 3), (1000, 100), (1000, 900)],
)
@pytest.mark.parametrize("level", [0.99, 0.95, 0.9])
def test_exact_coverage_of_critical_faults(population: int, n: int, level: float) -> None:
    """Faults that corrupt all samples or none: at least nominal for every number of them."""
    seen = np.arange(n + 1)
    ends = np.array([interval([yes_or_no(k, n, population)], level) for k in seen])
    few = np.unique(np.geomspace(1, population - 1, 60).astype(int))
    for count in np.unique([*few, *(population - few)]):
        rate = count / population
        holds = (ends[:, 0] <= rate + 1e-9) & (rate - 1e-9 <= ends[:, 1])
        assert hypergeom(population, count, n).pmf(seen)[holds].sum() >= level


def test_by_hand() -> None:
    # none of 100, population unknown: 1 - p = 0.005^(1 / 100), Clopper and Pearson's upper end
    assert interval([yes_or_no(0, 100, None)]) == pytest.approx((0, 1 - 0.005**0.01), rel=6e-3)
    # 3 of 4, 1 critical: the fourth may be so or not
    assert interval([yes_or_no(1, 3, 4)]) == pytest.approx((0.25, 0.5))
    # 100 of 1,000 with a mean rate of 10 %: ten of rate 1, or all of rate 0.1, or 20 of 0.5
    ends = [
        [round(100 * end, 2) for end in interval([Histogram.of(rates, 1000)])]
        for rates in ([0.0] * 90 + [1.0] * 10, [0.1] * 100, [0.0] * 80 + [0.5] * 20)
    ]
    assert ends == [[3.99, 19.79], [9.37, 14.54], [5.51, 16.84]]


def test_what_was_seen_is_certain() -> None:
    assert interval([Histogram.of([0.3] * 20, 20)]) == (0.3, 0.3)
    assert interval([Histogram.of([], 10)]) == (0.0, 1.0)
    assert interval([Histogram.of([0.7], 2)]) == pytest.approx((0.35, 0.85))  # one left: anything
    low, high = interval([Histogram.of([0.915] * 10, 90)])
    assert (low, high) == pytest.approx((0.54, 0.96), abs=0.01)


def test_an_unknown_population_is_as_good_as_endless() -> None:
    seen = Histogram.of([0.0, 0.2, 0.2, 0.9])
    ends = [interval([seen.within(size, 1.0)]) for size in (10**7, 10**40, 10**400, None)]
    assert ends[1] == ends[2] == ends[3]
    assert ends[0] == pytest.approx(ends[1], rel=1e-5)


def test_a_stratum_that_is_known_takes_no_part() -> None:
    part = Histogram.of([0.0] * 40 + [0.5] * 10, 500)
    low, high = interval([part])
    known = Histogram.of([0.5] * 10, 10, 0.2)
    ends = interval([known, part.within(500, 0.8)])
    assert ends == pytest.approx((0.1 + 0.8 * low, 0.1 + 0.8 * high), abs=1e-9)


def test_an_unseen_stratum_and_one_of_a_single_fault_are_open() -> None:
    part = Histogram.of([0.0] * 800 + [1.0] * 200, 10_000)
    low, high = interval([part])
    ends = interval([part.within(10_000, 0.99), Histogram.of([], 100, 0.01)])
    assert ends == pytest.approx((0.99 * low, 0.99 * high + 0.01), abs=1e-4)
    ends = interval([part.within(10_000, 0.99), Histogram.of([0.5], 100, 0.01)])
    assert ends == pytest.approx((0.99 * low, 0.99 * high + 0.01), abs=3e-4)


def test_many_strata_are_as_one_where_they_are_alike() -> None:
    part = Histogram.of([0.0] * 80 + [1.0] * 20, 10_000)
    many = interval([part.within(10_000, 1 / 50)] * 50)
    one = interval([Histogram.of([0.0] * 4000 + [1.0] * 1000, 500_000)])
    assert many == pytest.approx(one, abs=3e-4)


@pytest.mark.parametrize("level", [0.99, 0.95])
def test_exact_coverage_of_many_strata_nearly_exhausted(level: float) -> None:
    """9 of 10 faults run in each of 9 strata, 3 of which have one critical fault."""
    holds = []
    for missed in range(4):
        seen = [0] * missed + [1] * (3 - missed) + [0] * 4 + [9, 9]
        low, high = interval([yes_or_no(k, 9, 10).within(10, 1 / 9) for k in seen], level)
        holds.append(low - 1e-9 <= 23 / 90 <= high + 1e-9)
    assert binom(3, 0.1).pmf(np.arange(4))[holds].sum() > level


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.tuples(st.lists(st.integers(0, 8), max_size=9), st.integers(0, 500)), min_size=1)
)
def test_intervals_hold_the_rate_and_shrink_with_the_level(
    rows: list[tuple[list[int], int]],
) -> None:
    samples = [
        Histogram.of(np.array(hits) / 8, len(hits) + rest or None, 1 / len(rows))
        for hits, rest in rows
    ]
    found = [interval(samples, level) for level in (0.8, 0.95, 0.99, 0.9999)]
    for (low, high), (lower, higher) in pairwise(found):
        assert 0 <= lower <= low + 1e-9 <= high + 2e-9 <= higher + 3e-9 <= 1 + 4e-9


#: Fractional rates: what share of all faults may be run.
POPULATIONS = {
    "beta": lambda rng, size: rng.beta(0.3, 3, size),
    "one critical": lambda rng, size: np.append(np.full(size - 1, 0.01), 1.0),
    "0.9 with 2 % at 0": lambda rng, size: np.where(rng.random(size) < 0.02, 0.0, 0.9),
    "noise and 1 % at 1": lambda rng, size: np.where(
        rng.random(size) < 0.01, 1.0, rng.integers(0, 20, size) / 200
    ),
}


@pytest.mark.parametrize("name", POPULATIONS)
@pytest.mark.parametrize(("size", "n"), [(90, 10), (90, 81), (1000, 5), (1000, 900), (20_000, 300)])
def test_coverage_of_rates_between_0_and_1(name: str, size: int, n: int) -> None:
    """400 draws, at 95 %: fewer than 366 have a probability of 0.2 %, over 20 settings 3 %."""
    rng = np.random.default_rng(n)
    rates = np.round(POPULATIONS[name](rng, size), 3)
    inside = 0
    for _ in range(400):
        low, high = interval([Histogram.of(rng.choice(rates, n, replace=False), size)], 0.95)
        inside += low - 1e-9 <= rates.mean() <= high + 1e-9
    assert inside >= 366


def test_rates_that_vary_little_have_narrow_intervals() -> None:
    """The point of it: of 1,000 accuracies around 91 % Wilson's rule allows 2.3 %."""
    rng = np.random.default_rng(0)
    seen = [Histogram.of(rng.normal(0.91, 0.01, 1000).round(3), 100_000)]
    (low, high), (least, most) = interval(seen), interval(seen, method="wilson")
    assert (high - low) / 2 < 0.005 < 0.02 < (most - least) / 2
    z, spread = 2.5758, float(seen[0].drawn.std()) / sqrt(1000)  # type: ignore[union-attr]
    assert z * spread < high - seen[0].rate < 1.3 * z * spread


@pytest.mark.parametrize(
    ("rates", "population", "message"),
    [
        ([1.2], None, "rate is 1.2"),
        ([0.5, float("nan")], None, "rate is nan"),
        ([0.5] * 11, 10, "n is 11; allowed: 0 to the population, 10"),
    ],
)
def test_a_wrong_sample_is_named(rates: list[float], population: int | None, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Histogram.of(rates, population)


def test_a_wrong_confidence_or_method_is_named() -> None:
    with pytest.raises(ValueError, match=r"confidence is 1\.0"):
        interval([Histogram.of([0.5], 10)], 1.0)
    with pytest.raises(ValueError, match="interval is 'bayes'; allowed: gaffke, betting, wilson"):
        interval([Histogram.of([0.5], 10)], method="bayes")
