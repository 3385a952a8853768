"""How many faults each stratum gets next: a pilot, then Neyman's allocation within bounds."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]


def least_size(population: float, margin: float, z: float) -> float:
    """The fewest of ``population`` faults whose interval can have the half-width ``margin``.

    Wilson's interval is narrowest where all rates are 0 (or 1): from 0 to ``z^2 / (m + z^2)``, and
    half of that is the margin for ``m = z^2 (1 / (2 e) - 1)``. Whatever a sample shows, a smaller
    one is not enough. ``m`` is the effective size, see ``fi.statistics.effective_size``.
    """
    m = max(0.0, z**2 * (1 / (2 * margin) - 1))
    return m * population / (population - 1 + m) if m else 0.0


def pilot_sizes(populations: FloatArray, least: float, minimum: int) -> FloatArray:
    """``least`` faults spread in proportion to ``populations``; ``minimum`` of each, or all."""
    share = np.ceil(least * populations / populations.sum())
    sizes: FloatArray = np.minimum(np.maximum(share, minimum), populations)
    return sizes


def planning_deviations(rates: FloatArray, sizes: FloatArray, z: float) -> FloatArray:
    """The standard deviation of a fault's rate that each stratum is planned with, never 0.

    ``sqrt(p (1 - p))``, the largest that rates in [0, 1] with mean ``p`` can have, and the one that
    the intervals count with; ``p`` is the centre of Wilson's interval, ``(n r + z^2 / 2) / (n +
    z^2)``. That is the floor: 10 faults without a single SDC are planned for as ``p = 0.2``, 1,000
    as 0.003 (at 99 %).
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
