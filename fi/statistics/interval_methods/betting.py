"""An interval with a proof: what a gambler could not have won, had the rate been the true one.

Hedged betting without replacement (Waudby-Smith and Ramdas, J. R. Stat. Soc. B 86, 2024, arXiv
2010.09686; without replacement, NeurIPS 2020, arXiv 2006.04347). Rates ``x_i`` of faults come one
after another, in the order drawn. If the mean rate of all ``N`` faults were ``m``, the next one
would be expected at

    mu_i = (N m - S_(i-1)) / (N - i + 1),   S_i the sum of the first i

and who bets the share ``l_i`` of a capital of 1 that it is below has ``K = prod (1 - l_i (x_i -
mu_i))`` afterwards. At the true rate no bet wins in the mean, whatever the earlier rates were, so
that the chance to reach ``2 / a`` at any time is ``a / 2`` at most (Ville's inequality): all ``m``
at which that happened are left out. Bets follow from earlier faults alone and from no sample size,

    l_i = min(0.9 / (1 - mu_i), sqrt(2 log(2 / a) / (v_(i-1) i log(1 + i))))

with ``v`` the variance so far, so that one may stop at any time, for any reason.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import log

import numpy as np

from fi.statistics.histogram import FloatArray, Histogram

#: The most of what it may lose that a bet puts at stake.
_MOST = 0.9
#: What is known of the variance before the first fault: that of a rate of one half, as of so many
#: faults.
_PRIOR_VARIANCE, _PRIOR_FAULTS = 0.25, 0.2
#: Ends are found to this accuracy, outwards.
_ACCURACY = 1e-7
#: Stands for a population that is not known.
_UNKNOWN = 1e300


def betting_interval(strata: Sequence[Histogram], confidence: float) -> tuple[float, float]:
    """Both ends of the mean rate, from independent samples of its strata.

    With several strata each has an interval at ``1 - a / H``, and these add up (Bonferroni).

    Args:
        strata: what was seen of each, with ``drawn``.
        confidence: nominal coverage.

    Raises:
        ValueError: the order of the faults is not kept.

    >>> rates = np.random.default_rng(0).binomial(1, 0.1, 200)
    >>> low, high = betting_interval([Histogram.of(rates, population=10_000)], 0.99)
    >>> float(rates.mean()), round(low, 3), round(high, 3)
    (0.15, 0.052, 0.264)
    """
    error = (1 - confidence) / max(1, sum(s.n > 0 and s.n != s.population for s in strata))
    ends = [_interval(stratum, error) for stratum in strata]
    low, high = (
        sum(s.weight * end[side] for s, end in zip(strata, ends, strict=True)) for side in (0, 1)
    )
    return max(0.0, low), min(1.0, high)


def _interval(stratum: Histogram, error: float) -> tuple[float, float]:
    if not stratum.n:
        return 0.0, 1.0
    if stratum.n == stratum.population:
        return stratum.rate, stratum.rate
    if stratum.drawn is None:
        raise ValueError("betting needs the rates in the order in which the faults were drawn")
    size = _UNKNOWN if stratum.population is None else float(min(stratum.population, _UNKNOWN))
    return 1 - _upper_end(1 - stratum.drawn, size, error), _upper_end(stratum.drawn, size, error)


def _upper_end(rates: FloatArray, population: float, error: float) -> float:
    """The least mean rate above what was seen that is left out, by bisection.

    The capital rises with the mean that is bet against.
    """
    n = len(rates)
    number = np.arange(1, n + 1)
    before = np.concatenate([[0.0], np.cumsum(rates)[:-1]])
    goal = log(2 / error)
    bets = np.sqrt(2 * goal / (_variances(rates) * number * np.log1p(number)))
    left = (population - number + 1) / population
    low, high = float(rates.mean()), float(1 - n / population * (1 - rates.mean()))
    while high - low > _ACCURACY * high:
        middle = (low + high) / 2
        expected = (middle - before / population) / left
        with np.errstate(divide="ignore"):
            share = np.minimum(_MOST / (1 - expected), bets)
        if np.cumsum(np.log1p(share * (expected - rates))).max() >= goal:
            high = middle
        else:
            low = middle
    return high


def _variances(rates: FloatArray) -> FloatArray:
    """The variance of the rates before each of them ``[faults]``."""
    seen = np.arange(1, len(rates) + 1) + _PRIOR_FAULTS
    means = (_PRIOR_FAULTS / 2 + np.cumsum(rates)) / seen
    after = (_PRIOR_FAULTS * _PRIOR_VARIANCE + np.cumsum((rates - means) ** 2)) / seen
    before: FloatArray = np.concatenate([[_PRIOR_VARIANCE], after[:-1]])
    return before
