"""How many faults of each stratum an iterative campaign has after its next interim analysis."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from fi.sampling.targets import Target
from fi.statistics.neyman import (
    FloatArray,
    least_size,
    neyman_sizes,
    pilot_sizes,
    planning_deviations,
    variance_terms,
)

#: Faults of every stratum in the pilot, at least.
PILOT = 10
#: What an interim analysis makes of a target: at least and at most so many times the faults that
#: it had.
GROWTH = (1.1, 2.0)


def plan_pilot(
    targets: Sequence[Target], populations: FloatArray, margin: float, minimum: int, z: float
) -> list[int]:
    """Sizes of the strata in the pilot, before anything was run.

    Args:
        targets: all of them.
        populations: faults of each stratum ``[strata]``.
        margin: the half-width that is wanted.
        minimum: faults of each stratum, at least; ``PILOT`` where that is more.
        z: quantile of the normal distribution for the confidence.
    """
    sizes = [0] * len(populations)
    for target in targets:
        own = populations[target.strata]
        pilot = pilot_sizes(own, least_size(own.sum(), margin, z), max(PILOT, minimum))
        for number, size in zip(target.strata, pilot.tolist(), strict=True):
            sizes[number] = int(size)
    return sizes


def plan_growth(
    targets: Sequence[Target],
    rates: Mapping[str, FloatArray],
    taken: FloatArray,
    populations: FloatArray,
    margin: float,
    z: float,
) -> list[int]:
    """Sizes of the strata after the next faults, for the targets that are not done.

    Each target is planned for the rate whose interval is the widest.

    Args:
        targets: all of them, with the half-widths of this interim analysis.
        rates: rate -> mean of the faults that were run ``[strata]``.
        taken: how many were run ``[strata]``.
        populations: faults of each stratum ``[strata]``.
        margin: the half-width that is wanted.
        z: quantile of the normal distribution for the confidence.
    """
    targets = [target for target in targets if not target.done]
    widest = [max(rates, key=target.half_widths.__getitem__) for target in targets]
    strata = [number for target in targets for number in target.strata]
    groups = np.repeat(np.arange(len(targets)), [len(target.strata) for target in targets])
    seen = np.array([rates[widest[g]][n] for g, n in zip(groups, strata, strict=True)])
    n, sizes = taken[strata], populations[strata]
    weights = sizes / np.bincount(groups, sizes, len(targets))[groups]
    spread = weights * planning_deviations(seen, n, z)
    excess = np.array(
        [t.half_widths[rate] / margin for t, rate in zip(targets, widest, strict=True)]
    )
    wanted = np.bincount(groups, variance_terms(spread, n, sizes), len(targets)) / excess**2
    grown = neyman_sizes(spread, n, sizes, groups, wanted, GROWTH)
    planned = [int(size) for size in taken]
    for number, size in zip(strata, grown.tolist(), strict=True):
        planned[number] = int(size)
    return planned
