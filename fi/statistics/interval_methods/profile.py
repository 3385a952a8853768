"""How far a rate can be from what was seen: the search behind ``profile_interval``.

A profile interval: the rate of the population is held at a value, and the rates of the strata are
those with this mean that fit the samples best. ``n`` of the ``N`` faults of a stratum were run,
their mean rate is ``r``; a stratum whose faults were all run is not given. A rate ``p`` is tested
by

- the score statistic ``m (p - r)^2 / (p (1 - p)) = m (r^2 / p + (1 - r)^2 / (1 - p) - 1)`` with
  ``m = n (N - 1) / (N - n)``;
- the deviance ``2 n KL(r, p) + 2 (N - n) KL(q, p)``, where ``q`` is the rate of the faults that
  were not run; its derivative is ``2 N log(odds(q) / odds(p))``.

Both are convex in ``p``. All functions search upwards, ``p >= r``. Each is plain Python, and is
compiled as it stands where there is much to compute (``compiled_functions``): both give the same
bits, so that powers are products here, and nothing is divided by zero.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import exp, expm1, inf, log1p, sqrt

SCORE, DEVIANCE = 0, 1
#: Strata ``[strata, 5]``: rate, faults run, population, weight, and the weight factor of the
#: statistic, 0 for a stratum that nothing is known of.
Strata = Sequence[tuple[float, float, float, float, float]]
#: So many faults seen halve the continuity correction: of many, one more makes no difference.
_MANY = 100


def highest_rate(r: float, n: float, population: float) -> float:
    """The largest rate that is possible: what was seen stays, all that was not run is faulty."""
    return 1.0 - n / population * (1.0 - r)


def scaled_log(share: float, ratio: float) -> float:
    """``share log(1 + ratio)``, 0 without a share (which rounding may leave above 0)."""
    return share * log1p(max(ratio, 1e-15 - 1)) if share > 0 else 0.0


def statistic(kind: int, p: float, r: float, n: float, population: float) -> float:
    """The score statistic or the deviance of ``p``."""
    if p <= r:
        return 0.0
    if p >= 1:
        return inf
    if kind == SCORE:
        m = n * ((population - 1) / (population - n))
        return m * ((p - r) * (p - r)) / (p * (1 - p))
    more = n * (p - r) / (population - n)  # q - p
    q = min(p + more, 1.0)
    own = scaled_log(r, (r - p) / p) + scaled_log(1 - r, (p - r) / (1 - p))
    rest = scaled_log(q, more / p) + scaled_log(1 - q, -more / (1 - p))
    return 2 * n * own + 2 * (population - n) * rest


def rate_at_score_slope(c: float, r: float, n: float, population: float) -> float:
    """Where ``((1 - r) / (1 - p))^2 - (r / p)^2 = c``, by Newton's steps within a bracket."""
    high, root = highest_rate(r, n, population), sqrt(c)
    low = max(r, 1 - (1 - r) / root) if root > 1 - r else r  # exact for r = 0
    if r == 0 or low >= high:
        return min(low, high)
    p = low
    for _ in range(100):
        x, y = (1 - r) / (1 - p), r / p
        excess = x * x - y * y - c
        if excess > 0:
            high = p
        else:
            low = p
        new = p - excess / (2 * (x * x / (1 - p) + y * y / p))
        if not low < new < high:
            new = (low + high) / 2
        if abs(new - p) <= 1e-15 * new:
            break
        p = new
    return p


def rate_at_slope(kind: int, slope: float, r: float, n: float, population: float) -> float:
    """The rate from ``r`` to the highest at which the statistic has this derivative."""
    if slope == inf:
        return highest_rate(r, n, population)
    if kind == SCORE:
        return rate_at_score_slope(
            slope / (n * ((population - 1) / (population - n))), r, n, population
        )
    growth = expm1(min(slope / (2 * population), 600.0))  # odds(q) / odds(p) - 1: quadratic in p
    a = population * growth
    b = n - growth * (population - n + n * r)
    root = sqrt(b * b + 4 * a * n * r)
    p = 2 * n * r / (b + root) if b > 0 else (root - b) / (2 * a)
    return min(max(p, r), highest_rate(r, n, population))


def rise_and_excess(
    kind: int, slope: float, strata: Strata, shift: float, bound: float
) -> tuple[float, float]:
    """How much the mean rises where derivatives are ``slope`` x weight, and what is left of it.

    Returns:
        The rise of the mean, and the sum of the statistics minus ``bound``.
    """
    rise, total = 0.0, -bound
    for rate, n, population, weight, factor in strata:
        r = min(rate + shift, 1.0) if n > 0 else rate
        if factor > 0:
            p = rate_at_slope(kind, slope * weight / factor, r, n, population)
            total += factor * statistic(kind, p, r, n, population)
            rise += weight * (p - r)
        else:
            rise += weight * (highest_rate(r, n, population) - r)
    return rise, total


def largest_rise(kind: int, strata: Strata, shift: float, bound: float) -> float:
    """How far the mean may rise until the sum of the statistics exceeds ``bound``.

    At the largest mean the derivatives of the statistics are in proportion to the weights
    (Lagrange), so that one number is left to find, by the Illinois method on its logarithm.

    Args:
        kind: ``SCORE`` or ``DEVIANCE``.
        strata: what was seen.
        shift: what the rates of those strata of which something was run are raised by.
        bound: the largest sum.
    """
    most, total = rise_and_excess(kind, inf, strata, shift, bound)
    if total <= 0:
        return most
    rise, low, high = 0.0, 0.0, 4.0
    below, above = rise_and_excess(kind, 1.0, strata, shift, bound)[1], 0.0
    while below > 0 and low > -700:
        high, above = low, below
        low -= 4.0
        below = rise_and_excess(kind, exp(low), strata, shift, bound)[1]
    while above <= 0:
        above = rise_and_excess(kind, exp(high), strata, shift, bound)[1]
        if above <= 0:
            low, below, high = high, above, high + 4.0
        if high > 700:  # only where a rate is next to its highest, so that rounding hides the rise
            return most
    for _ in range(200):
        middle = (low * above - high * below) / (above - below)
        rise, total = rise_and_excess(kind, exp(middle), strata, shift, bound)
        if abs(total) < 1e-10 * bound or high - low < 1e-13:
            break
        if total > 0:
            high, above = middle, total
            below /= 2
        else:
            low, below = middle, total
            above /= 2
    return rise


def continuity_correction(strata: Strata) -> float:
    """Half a fault, as a rate, where few critical or few other faults were seen; else less.

    Of several strata as many faults count as have the same variance in a single one, at one rate:
    ``1 / sum (w_h^2 / n_h)``.
    """
    weights, spread, rate = 0.0, 0.0, 0.0
    for r, n, _, weight, _ in strata:
        if n > 0:
            weights += weight
            spread += weight * weight / n
            rate += weight * r
    if weights == 0:
        return 0.0
    size, rate = weights * weights / spread, rate / weights
    return 0.5 / (1 + size * min(rate, 1 - rate) / _MANY) / size


def upper_half_width(strata: Strata, bound: float) -> float:
    """How far the mean may be above what was seen, by the statistic that allows more.

    The deviance begins beyond the rate that was seen, by the continuity correction.

    Args:
        strata: what was seen.
        bound: the largest sum of the statistics, ``z^2``.
    """
    shift = continuity_correction(strata)
    beyond, unrun = 0.0, 0.0
    for r, n, population, weight, _ in strata:
        unrun += weight * (1 - n / population) * (1 - r)  # may all be critical, and no more
        if n > 0:
            beyond += weight * (min(r + shift, 1.0) - r)
    beyond += largest_rise(DEVIANCE, strata, shift, bound)
    return max(largest_rise(SCORE, strata, 0.0, bound), min(beyond, unrun))
