"""The ends of an interval for a rate over strata: all that the samples do not contradict.

A rate ``p = sum W_h p_h`` over strata ``h`` is inside the interval if there are rates ``p_h`` with
this mean that the samples do not contradict: ``sum_h d_h(p_h) <= z^2``. Two test statistics ``d``
are taken (``fi.statistics.interval_methods.profile``), and of the two ends the outer one:

- the score. For one stratum it is Wilson's interval with the finite-population correction (Wilson
  1927, doi 10.1080/01621459.1927.10502953);
- the deviance, the log-likelihood ratio of the faults that were run against all faults.

Wilson's lower end is too high where few faults are critical: with 1 critical fault in 1,000, of
which 100 are drawn, it covers 90 % at nominal 99 %. So is its upper end too low where most faults
are drawn. The deviance is right there, and too narrow where no critical fault was seen.

Faults come whole. Where one or a few are seen, ends for a rate that may be any number cover too
little: 95 % intervals from 10 of 90 faults cover 89 % if one is critical. So the deviance is taken
half a fault beyond what was seen (the continuity correction, Yates 1934, doi 10.2307/2983604), less
where many were. Together they cover, at any level: exactly computed in
``tests/statistics/test_intervals.py``, on real campaigns in ``docs/coverage.md``.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from fi.statistics.interval_methods.compiled_functions import compile_upper_half_width
from fi.statistics.interval_methods.profile import Strata, upper_half_width
from fi.statistics.sample_size import normal_quantile

#: Stands for a population that is not known: as good as infinite.
_UNKNOWN = 1e300
#: So many strata are searched in plain Python before numba is loaded to search the others: as much
#: time as loading it takes.
_PLAIN = 1000
_searched = 0


class Sample(NamedTuple):
    """What was seen of one stratum, a part of the population.

    Attributes:
        rate: mean over the faults that were run, in [0, 1].
        n: how many were run.
        population: how many there are; ``None`` if that is not known.
        weight: its part of all faults; the weights of all strata add up to 1.
    """

    rate: float
    n: float
    population: int | None
    weight: float = 1.0


def profile_interval(strata: Sequence[Sample], confidence: float = 0.99) -> tuple[float, float]:
    """Both ends for the rate of the whole population, from independent samples of its strata.

    With several strata a statistic has the weight factor ``(n - 1) / n``: the spread within a
    sample is too small by that factor (Bessel's correction), which many small strata would add up.

    Args:
        strata: what was seen of each.
        confidence: nominal coverage, above 0 and below 1.

    Raises:
        ValueError: a rate, a size or the confidence is outside its range.

    >>> low, high = profile_interval([Sample(rate=0.1, n=200, population=10_000)])
    >>> round(low, 4), round(high, 4)
    (0.0531, 0.1673)
    >>> parts = [Sample(0.0, 100, 5_000, weight=0.5), Sample(0.2, 100, 5_000, weight=0.5)]
    >>> low, high = profile_interval(parts, confidence=0.95)
    >>> round(low, 4), round(high, 4)
    (0.0642, 0.145)
    """
    bound = _critical_value(confidence)
    table = _tabulate(strata)
    rate = sum(s.weight * s.rate for s in strata if s.n)
    unseen = sum(s.weight for s in strata if not s.n)
    down, up = _half_widths(table, bound)
    return max(0.0, min(rate + unseen - down, rate)), min(1.0, rate + up)


@lru_cache
def _critical_value(confidence: float) -> float:
    """The largest sum of the statistics, ``z^2``; kept, because scipy is slower than the search."""
    return normal_quantile(confidence) ** 2


def _half_widths(table: Strata, bound: float) -> tuple[float, float]:
    """How far the mean may be below and above what was seen."""
    global _searched
    if not table:
        return 0.0, 0.0
    # below: the same search for the rate of samples that were not hit
    mirrored = [(1 - row[0] if row[1] > 0 else row[0], *row[1:]) for row in table]
    if _searched < _PLAIN and "numba" not in sys.modules:
        _searched += len(table)
        return upper_half_width(mirrored, bound), upper_half_width(table, bound)
    search = compile_upper_half_width()
    return search(np.array(mirrored), bound), search(np.array(table), bound)


def _tabulate(strata: Sequence[Sample]) -> Strata:
    """The strata for the search, without those whose faults were all run."""
    for sample in strata:
        _check(sample)
    left = [s for s in strata if s.n != s.population]
    several = sum(s.n > 0 for s in left) > 1
    return [
        (
            float(s.rate) if s.n else 0.0,
            float(s.n),
            _as_float(s.population),
            float(s.weight),
            _weight_factor(s.n, several),
        )
        for s in left
    ]


def _as_float(population: int | None) -> float:
    """A population that may be larger than any float, as of trials of many faults."""
    return _UNKNOWN if population is None else float(min(population, _UNKNOWN))


def _weight_factor(n: float, several: bool) -> float:
    """The factor of the statistic by ``n`` faults of a stratum; 0 where they say nothing."""
    if n == 0:
        return 0.0
    return max(0.0, 1 - 1 / n) if several else 1.0


def _check(sample: Sample) -> None:
    rate, n, population, _ = sample
    if n < 0 or (population is not None and n > population):
        raise ValueError(f"n is {n}; allowed: 0 to the population, {population}")
    if n and not 0 <= rate <= 1:
        raise ValueError(f"rate is {rate}; allowed: 0 to 1")
