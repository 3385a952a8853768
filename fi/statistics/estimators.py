"""Estimates over faults and their intervals, for one test set."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf, nan, sqrt
from typing import NamedTuple

from fi.statistics.histogram import Histogram
from fi.statistics.intervals import DEFAULT_METHOD, interval
from fi.statistics.sample_size import normal_quantile


class Estimate(NamedTuple):
    """A rate in [0, 1] (NaN where no fault was run) and the ends of its interval."""

    rate: float
    low: float
    high: float


def effective_size(n: int, population: int | None = None) -> float:
    """The sample size that has the same variance without replacement: ``n (N - 1) / (N - n)``.

    The finite-population correction of the sample size formula (DATE 2009), whose variance is
    ``p (1 - p) / n * (N - n) / (N - 1)``. Infinite where every fault was run.

    Raises:
        ValueError: ``n`` is negative or above the population.

    >>> effective_size(100), effective_size(100, 199)
    (100.0, 200.0)
    """
    if n < 0 or (population is not None and n > population):
        raise ValueError(f"n is {n}; allowed: 0 to the population, {population}")
    if n == 0 or population is None:
        return float(n)
    return inf if n == population else n * (population - 1) / (population - n)


def wilson(
    rate: float, n: int, population: int | None = None, confidence: float = 0.99
) -> tuple[float, float]:
    """Wilson's score interval by fault, finite-population corrected.

    The values ``p`` with ``|rate - p| <= z sqrt(p (1 - p) / m)``, where ``m`` is
    ``effective_size(n, population)`` (Wilson, J. Am. Stat. Assoc. 22, 1927, doi
    10.1080/01621459.1927.10502953). The unit drawn is a fault; its value is a rate over the test
    set, in [0, 1], and has at most the variance ``p (1 - p)`` of a yes or no: the interval is
    conservative.

    Args:
        rate: mean of the faults' rates.
        n: number of faults, not of pairs.
        population: number of faults they were drawn from without replacement; ``None`` for no
            correction.
        confidence: the nominal coverage.

    Returns:
        The ends: ``(0, 1)`` for ``n = 0``, the rate itself for ``n = population``.

    Raises:
        ValueError: an argument outside its range.

    >>> low, high = wilson(rate=0.1, n=200, population=10_000)
    >>> round(low, 4), round(high, 4)
    (0.0579, 0.1673)
    """
    return score_interval(rate, effective_size(n, population), confidence)


def score_interval(rate: float, size: float, confidence: float = 0.99) -> tuple[float, float]:
    """Wilson's interval for an effective sample of any ``size``, also 0 and infinite.

    >>> score_interval(0.0, 0), score_interval(0.25, inf)
    ((0.0, 1.0), (0.25, 0.25))
    """
    if not 0 < confidence < 1:
        raise ValueError(f"confidence is {confidence}; allowed: above 0 and below 1")
    if size == 0:
        return 0.0, 1.0
    if not 0 <= rate <= 1:
        raise ValueError(f"rate is {rate}; allowed: 0 to 1")
    z = normal_quantile(confidence)
    shrink = 1 + z**2 / size
    centre = (rate + z**2 / (2 * size)) / shrink
    half = z / shrink * sqrt(rate * (1 - rate) / size + z**2 / (4 * size**2))
    return min(max(0.0, centre - half), rate), max(min(1.0, centre + half), rate)


def estimate(
    strata: Sequence[Histogram], confidence: float = 0.99, method: str = DEFAULT_METHOD
) -> Estimate:
    """The rate of the whole population, from a sample of each of its strata.

    The rate is the stratified mean ``p = sum W_h p_h``, of those strata of which something was run;
    for the interval and its ``method`` see ``fi.statistics.intervals``.

    >>> rates = [0.0] * 80 + [1.0] * 20
    >>> strata = [Histogram.of([0.0] * 100, 5_000, 0.5), Histogram.of(rates, 5_000, 0.5)]
    >>> rate, low, high = estimate(strata)
    >>> rate, round(low, 3), round(high, 3)
    (0.1, 0.055, 0.163)
    """
    sampled = [stratum for stratum in strata if stratum.n]
    total = sum(stratum.weight for stratum in sampled)
    if not total:
        return Estimate(nan, 0.0, 1.0)
    rate = min(sum(stratum.weight * stratum.rate for stratum in sampled) / total, 1.0)
    low, high = interval(strata, confidence, method)
    return Estimate(rate, min(low, rate), max(high, rate))
