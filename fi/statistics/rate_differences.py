"""Intervals for the difference of two rates, over faults."""

from __future__ import annotations

from collections.abc import Sequence
from math import sqrt
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fi.statistics.estimators import Estimate, estimate
from fi.statistics.histogram import Histogram
from fi.statistics.intervals import DEFAULT_METHOD


class Difference(NamedTuple):
    """The second rate minus the first, and the ends of its interval."""

    value: float
    low: float
    high: float

    @property
    def is_certain(self) -> bool:
        """Whether the interval leaves out 0."""
        return self.low > 0 or self.high < 0


class PairedSample(NamedTuple):
    """One stratum in which the same faults ran in both campaigns.

    Attributes:
        first, second: rates of each fault in [0, 1], ``[faults]``.
        population: how many faults there are; ``None`` if that is not known.
        weight: its part of all faults.
    """

    first: NDArray[np.float64]
    second: NDArray[np.float64]
    population: int | None
    weight: float = 1.0


def compare_independent(first: Estimate, second: Estimate) -> Difference:
    """The difference of two estimates from different faults.

    ``d - sqrt((p2 - l2)^2 + (u1 - p1)^2)`` and ``d + sqrt((u2 - p2)^2 + (p1 - l1)^2)``: the squares
    of the distances to the ends of both intervals add up as variances do (Newcombe's hybrid score
    interval, Stat. Med. 17, 1998, method 10, doi
    10.1002/(SICI)1097-0258(19980430)17:8<873::AID-SIM779>3.0.CO;2-I).

    >>> difference = compare_independent(Estimate(0.5, 0.4, 0.6), Estimate(0.1, 0.1, 0.1))
    >>> round(difference.low, 2), round(difference.high, 2), difference.is_certain
    (-0.5, -0.3, True)
    """
    return _combine(first, second, 0.0)


def compare_paired(
    strata: Sequence[PairedSample], confidence: float, method: str = DEFAULT_METHOD
) -> Difference:
    """The mean difference of faults that ran in both campaigns.

    A fault's difference ``d = b - a`` is in [-1, 1], and ``(1 + d) / 2`` a rate with an interval
    by fault. Faults that do the same in both campaigns cost no width, and no variance is estimated
    that could come out as zero. For ``wilson``, which takes rates for a yes or no, see
    ``_compare_changes``.

    >>> before, after = np.zeros(100), np.array([1.0] * 20 + [0.0] * 80)
    >>> difference = compare_paired([PairedSample(before, after, population=10_000)], 0.99)
    >>> round(difference.value, 4), difference.is_certain
    (0.2, True)
    """
    if method == "wilson":
        return _compare_changes(strata, confidence)
    halves = [Histogram.of((1 + s.second - s.first) / 2, s.population, s.weight) for s in strata]
    rate, low, high = (2 * value - 1 for value in estimate(halves, confidence, method))
    return Difference(rate, low, high)


def _compare_changes(strata: Sequence[PairedSample], confidence: float) -> Difference:
    """The difference as what faults add, ``max(0, b - a)``, minus what they take off.

    Both means are rates in [0, 1] with a Wilson interval by fault; a fault does not do both, so
    that their covariance is ``-up * down / n``, and the ends combine by MOVER (Zou and Donner,
    Stat. Med. 27, 2008, doi 10.1002/sim.3095).
    """
    up = estimate([_sample_changes(stratum, 1) for stratum in strata], confidence, "wilson")
    down = estimate([_sample_changes(stratum, -1) for stratum in strata], confidence, "wilson")
    if up.rate != up.rate:
        return Difference(float("nan"), -1.0, 1.0)
    odds = up.rate * down.rate / ((1 - up.rate) * (1 - down.rate)) if up.rate + down.rate < 1 else 1
    return _combine(down, up, -sqrt(odds))


def _sample_changes(stratum: PairedSample, sign: int) -> Histogram:
    change = np.maximum(0.0, sign * (stratum.second - stratum.first))
    return Histogram.of(change, stratum.population, stratum.weight)


def _combine(first: Estimate, second: Estimate, correlation: float) -> Difference:
    value = second.rate - first.rate
    if value != value:
        return Difference(value, -1.0, 1.0)
    below = _length(second.rate - second.low, first.high - first.rate, correlation)
    above = _length(second.high - second.rate, first.rate - first.low, correlation)
    return Difference(value, max(-1.0, value - below), min(1.0, value + above))


def _length(one: float, other: float, correlation: float) -> float:
    return sqrt(max(0.0, one**2 + other**2 - 2 * correlation * one * other))
