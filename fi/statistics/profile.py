"""How far a rate can be from what was seen: the search behind ``fi.intervals``, compiled.

``n`` of the ``N`` faults of a stratum were run, their mean rate is ``r``; a stratum whose faults
were all run is not given. Rates ``p`` contradict that by

- the score ``m (p - r)^2 / (p (1 - p)) = m (r^2 / p + (1 - r)^2 / (1 - p) - 1)`` with
  ``m = n (N - 1) / (N - n)``;
- the deviance ``2 n KL(r, p) + 2 (N - n) KL(q, p)``, where ``q`` is the rate of the faults that
  were not run; its derivative is ``2 N log(odds(q) / odds(p))``.

Both are convex in ``p``. All functions look upwards, ``p >= r``.
"""

# mypy: disable-error-code="no-untyped-def"
from __future__ import annotations

from math import exp, expm1, inf, log1p, sqrt
from typing import Any

from numba import njit

_compiled: Any = njit(nogil=True, cache=True, error_model="numpy")
SCORE, DEVIANCE = 0, 1
#: So many faults seen halve the continuity correction: of many, one more makes no difference.
_MANY = 100


@_compiled
def _highest(r, n, population):
    """What was seen is part of the population: only the rest can be faulty, all of it."""
    return 1.0 - n / population * (1.0 - r)


@_compiled
def _part(share, ratio):
    """``share log(1 + ratio)``, 0 without a share (which rounding may leave above 0)."""
    return share * log1p(max(ratio, 1e-15 - 1)) if share > 0 else 0.0


@_compiled
def contradiction(kind, p, r, n, population):
    """The score or the deviance of ``p``."""
    if p <= r:
        return 0.0
    if kind == SCORE:
        m = n * ((population - 1) / (population - n))
        return m * (p - r) ** 2 / (p * (1 - p))
    more = n * (p - r) / (population - n)  # q - p
    q = min(p + more, 1.0)
    own = _part(r, (r - p) / p) + _part(1 - r, (p - r) / (1 - p))
    rest = _part(q, more / p) + _part(1 - q, -more / (1 - p))
    return 2 * n * own + 2 * (population - n) * rest


@_compiled
def _at_score_slope(c, r, n, population):
    """Where ``((1 - r) / (1 - p))^2 - (r / p)^2 = c``, by Newton's steps within a bracket."""
    high, root = _highest(r, n, population), sqrt(c)
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


@_compiled
def _at_slope(kind, slope, r, n, population):
    """The rate from ``r`` to the highest at which the contradiction has this derivative."""
    if slope == inf:
        return _highest(r, n, population)
    if kind == SCORE:
        return _at_score_slope(
            slope / (n * ((population - 1) / (population - n))), r, n, population
        )
    growth = expm1(min(slope / (2 * population), 600.0))  # odds(q) / odds(p) - 1: quadratic in p
    a = population * growth
    b = n - growth * (population - n + n * r)
    root = sqrt(b * b + 4 * a * n * r)
    p = 2 * n * r / (b + root) if b > 0 else (root - b) / (2 * a)
    return min(max(p, r), _highest(r, n, population))


@_compiled
def _gain_and_excess(kind, slope, strata, bound):
    """How much the mean rises where derivatives are ``slope`` x weight, and what is left of it."""
    gain, total = 0.0, -bound
    for r, n, population, weight, trust in strata:
        if trust > 0:
            p = _at_slope(kind, slope * weight / trust, r, n, population)
            total += trust * contradiction(kind, p, r, n, population)
            gain += weight * (p - r)
        else:
            gain += weight * (_highest(r, n, population) - r)
    return gain, total


@_compiled
def largest_gain(kind, strata, bound):
    """How far the mean may rise until the strata contradict it by more than ``bound``.

    At the largest mean the derivatives of the contradictions are in proportion to the weights
    (Lagrange), so that one number is left to find, by the Illinois method on its logarithm.

    Args:
        kind: ``SCORE`` or ``DEVIANCE``.
        strata: ``[strata, 5]``: rate, faults run, population, weight, and the factor of the
            contradiction, 0 for a stratum that nothing is known of.
        bound: the largest contradiction.
    """
    most, total = _gain_and_excess(kind, inf, strata, bound)
    if total <= 0:
        return most
    gain, low, high = 0.0, 0.0, 4.0
    below, above = _gain_and_excess(kind, 1.0, strata, bound)[1], 0.0
    while below > 0 and low > -700:
        high, above = low, below
        low -= 4.0
        below = _gain_and_excess(kind, exp(low), strata, bound)[1]
    while above <= 0:
        above = _gain_and_excess(kind, exp(high), strata, bound)[1]
        if above <= 0:
            low, below, high = high, above, high + 4.0
        if high > 700:  # only where a rate is next to its highest, so that rounding hides the rise
            return most
    for _ in range(200):
        middle = (low * above - high * below) / (above - below)
        gain, total = _gain_and_excess(kind, exp(middle), strata, bound)
        if abs(total) < 1e-10 * bound or high - low < 1e-13:
            break
        if total > 0:
            high, above = middle, total
            below /= 2
        else:
            low, below = middle, total
            above /= 2
    return gain


@_compiled
def _correction(strata):
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


@_compiled
def _widest_gain(strata, bound):
    """The larger gain of both measures; the deviance begins beyond the rate that was seen."""
    beyond, more = strata.copy(), _correction(strata)
    gain, unrun = 0.0, 0.0
    for place, (r, n, population, weight, _) in enumerate(strata):
        unrun += weight * (1 - n / population) * (1 - r)  # may all be critical, and no more
        if n > 0:
            beyond[place, 0] = min(r + more, 1.0)
            gain += weight * (beyond[place, 0] - r)
    gain += largest_gain(DEVIANCE, beyond, bound)
    return max(largest_gain(SCORE, strata, bound), min(gain, unrun))


@_compiled
def gains(strata, bound):
    """How far the mean may be below and above what was seen, arguments as ``largest_gain``."""
    if not len(strata):
        return 0.0, 0.0
    mirrored = strata.copy()
    for row in mirrored:
        if row[1] > 0:
            row[0] = 1 - row[0]
    return _widest_gain(mirrored, bound), _widest_gain(strata, bound)
