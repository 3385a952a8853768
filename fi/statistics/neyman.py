"""How many faults each stratum gets next: a pilot, then Neyman's allocation within bounds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from fi.statistics.histogram import FloatArray, Histogram
from fi.statistics.intervals import DEFAULT_METHOD, interval
from fi.statistics.sample_size import normal_quantile


@lru_cache(maxsize=4096)
def least_size(
    population: float, margin: float, confidence: float, method: str = DEFAULT_METHOD
) -> float:
    """The fewest of ``population`` faults whose interval can have the half-width ``margin``.

    An interval is narrowest where all rates are 0 (or 1): whatever a sample shows, a smaller one is
    not enough. Of Wilson's that is from 0 to ``z^2 / (m + z^2)``, and half of it is the margin for
    the effective size ``m = z^2 (1 / (2 e) - 1)``, see ``fi.statistics.estimators``. Of the others
    the size is found by bisection.

    >>> least_size(381_120, 0.01, 0.99)
    264.0
    """
    if method == "wilson":
        m = max(0.0, normal_quantile(confidence) ** 2 * (1 / (2 * margin) - 1))
        return m * population / (population - 1 + m) if m else 0.0
    size = int(population)

    def is_enough(n: int) -> bool:
        none = Histogram(np.zeros(min(n, 1)), np.full(min(n, 1), float(n)), size, 1.0, np.zeros(n))
        low, high = interval([none], confidence, method)
        return (high - low) / 2 <= margin

    return float(_find_least(is_enough, size))


def _find_least(is_enough: Callable[[int], bool], most: int) -> int:
    """The least number that is enough, at most ``most``; larger ones are enough as well."""
    low, high = -1, 1
    while high < most and not is_enough(high):
        low, high = high, 2 * high
    high = min(high, most)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if is_enough(middle) else (middle, high)
    return high


def expected_size(
    seen: Histogram, population: int, margin: float, confidence: float, method: str = DEFAULT_METHOD
) -> int:
    """How many of ``population`` faults have an interval of the half-width ``margin``.

    If their rates are spread as those that were seen: the interval is that of so many faults in the
    same proportions, with half a fault added at 0 and at 1, since what was not seen may be there.

    Args:
        seen: of faults of the same sort; of none, the worst case is expected.
        population: how many there are.
        margin, confidence, method: of the interval.

    >>> few = Histogram.of([0.0] * 12)
    >>> expected_size(few, 10_000, 0.05, 0.99)
    122
    >>> expected_size(Histogram.of([]), 10_000, 0.05, 0.99)
    640
    """
    values, place = np.unique(np.concatenate([seen.values, [0.0, 1.0]]), return_inverse=True)
    counts = np.bincount(place, np.concatenate([seen.counts, [0.5, 0.5]]))
    order = np.random.default_rng(0)  # betting only: some order of so many faults

    def is_enough(n: int) -> bool:
        number = counts * (n / counts.sum())
        drawn = order.choice(values, n, p=number / n) if method == "betting" and n else None
        low, high = interval(
            [Histogram(values, number, population, 1.0, drawn)], confidence, method
        )
        return (high - low) / 2 <= margin

    return _find_least(is_enough, population)


def pool(strata: Sequence[Histogram]) -> Histogram:
    """The faults of several strata as those of one, each stratum with its part of all faults.

    >>> halves = [Histogram.of([0.0] * 30, 100, 0.5), Histogram.of([1.0] * 10, 100, 0.5)]
    >>> pool(halves)
    Histogram of 40 of an unknown number of faults, mean rate 0.5
    """
    seen = [stratum for stratum in strata if stratum.n]
    if not seen:
        return Histogram.of([])
    n, weight = sum(s.n for s in seen), sum(s.weight for s in seen)
    values, place = np.unique(np.concatenate([s.values for s in seen]), return_inverse=True)
    counts = np.zeros(len(values))
    shares = [s.counts / s.n * (s.weight / weight * n) for s in seen]
    np.add.at(counts, place, np.concatenate(shares))
    return Histogram(values, counts)


def observed_deviations(seen: Sequence[Histogram]) -> FloatArray:
    """The standard deviations that strata are planned with, of the rates that were seen, never 0.

    Half a fault is added at 0 and at 1: 10 faults without a single SDC are planned for with 0.21,
    1,000 with 0.02.
    """
    n = np.array([stratum.n for stratum in seen]) + 1
    means = np.array([stratum.values @ stratum.counts + 0.5 for stratum in seen]) / n
    squares = np.array([stratum.values**2 @ stratum.counts + 0.5 for stratum in seen]) / n
    root: FloatArray = np.sqrt(np.maximum(squares - means**2, 0.0))
    return root


def pilot_sizes(populations: FloatArray, least: float, minimum: int) -> FloatArray:
    """``least`` faults spread in proportion to ``populations``; ``minimum`` of each, or all."""
    share = np.ceil(least * populations / populations.sum())
    sizes: FloatArray = np.minimum(np.maximum(share, minimum), populations)
    return sizes


def yes_no_deviations(rates: FloatArray, sizes: FloatArray, z: float) -> FloatArray:
    """The same for Wilson's intervals, which take every fault for a yes or no.

    ``sqrt(p (1 - p))``, the largest that rates in [0, 1] with mean ``p`` can have; ``p`` is the
    centre of Wilson's interval, ``(n r + z^2 / 2) / (n + z^2)``. That is the floor: 10 faults
    without a single SDC are planned for as ``p = 0.2``, 1,000 as 0.003 (at 99 %).
    """
    centre = (sizes * rates + z**2 / 2) / (sizes + z**2)
    root: FloatArray = np.sqrt(centre * (1 - centre))
    return root


def variance_terms(spread: FloatArray, sizes: FloatArray, populations: FloatArray) -> FloatArray:
    """What each stratum adds to the variance of its group's mean, ``(W s)^2 (1 / n - 1 / N)``."""
    added: FloatArray = spread**2 * (1 / sizes - 1 / populations)
    return added


def neyman_sizes(
    spread: FloatArray,
    taken: FloatArray,
    populations: FloatArray,
    groups: NDArray[np.int64],
    wanted: FloatArray,
    growth: tuple[float, float],
) -> FloatArray:
    """The sizes of all strata with which each group of strata has its wanted variance.

    Neyman's allocation, ``n_h = c W_h s_h`` (J. R. Stat. Soc. 97, 1934, doi 10.2307/2342192), is
    the smallest sample for a variance. No stratum may fall below what was taken, nor exceed its
    population; ``c`` is found for each group by bisection.

    Args:
        spread: ``W_h s_h`` of each stratum ``[strata]``.
        taken: faults of each that were run.
        populations: faults of each.
        groups: the number of the group that each belongs to.
        wanted: variance of the mean of each group ``[groups]``.
        growth: the least and the most that a group grows to, as factors of what was taken.
    """
    count = len(wanted)

    def sums(values: FloatArray) -> FloatArray:
        added: FloatArray = np.bincount(groups, values, count).astype(np.float64)
        return added

    def sizes(c: FloatArray) -> FloatArray:
        clipped: FloatArray = np.clip(np.ceil(c[groups] * spread), taken, populations)
        return clipped

    least, most = (factor * sums(taken) for factor in growth)
    low = np.full(count, -50.0)
    high = np.full(count, float(np.log((populations / spread).max())) + 1)  # takes all faults
    for _ in range(60):
        middle = (low + high) / 2
        n = sizes(np.exp(middle))
        total, variance = sums(n), sums(variance_terms(spread, n, populations))
        enough = (total >= most) | ((total >= least) & (variance <= wanted))
        low, high = np.where(enough, low, middle), np.where(enough, middle, high)
    return sizes(np.exp(high))
