"""How many faults of each stratum an iterative campaign has after its next interim analysis."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from fi.sampling.targets import Target
from fi.statistics.histogram import FloatArray, Histogram
from fi.statistics.neyman import (
    least_size,
    neyman_sizes,
    observed_deviations,
    pilot_sizes,
    variance_terms,
    yes_no_deviations,
)
from fi.statistics.sample_size import normal_quantile

#: Faults of every stratum in the pilot, at least.
PILOT = 10
#: What an interim analysis makes of a target: at least and at most so many times the faults that
#: it had.
GROWTH = (1.1, 2.0)


class Rule(NamedTuple):
    """Which intervals are to be narrow: their nominal coverage and their method."""

    confidence: float
    method: str


def plan_pilot(
    targets: Sequence[Target], populations: FloatArray, margin: float, minimum: int, rule: Rule
) -> list[int]:
    """Sizes of the strata in the pilot, before anything was run.

    Args:
        targets: all of them.
        populations: faults of each stratum ``[strata]``.
        margin: the half-width that is wanted.
        minimum: faults of each stratum, at least; ``PILOT`` where that is more.
        rule: of the intervals.
    """
    sizes = [0] * len(populations)
    for target in targets:
        own = populations[target.strata]
        least = least_size(float(own.sum()), margin, *rule)
        pilot = pilot_sizes(own, least, max(PILOT, minimum))
        for number, size in zip(target.strata, pilot.tolist(), strict=True):
            sizes[number] = int(size)
    return sizes


def plan_growth(
    targets: Sequence[Target],
    seen: Mapping[str, Sequence[Histogram]],
    populations: FloatArray,
    margin: float,
    rule: Rule,
) -> list[int]:
    """Sizes of the strata after the next faults, for the targets that are not done.

    Each target is planned for the rate whose interval is the widest.

    Args:
        targets: all of them, with the half-widths of this interim analysis.
        seen: rate -> what each stratum has shown ``[strata]``.
        populations: faults of each stratum ``[strata]``.
        margin: the half-width that is wanted.
        rule: of the intervals.
    """
    taken = np.array([stratum.n for stratum in next(iter(seen.values()))])
    targets = [target for target in targets if not target.done]
    widest = [max(seen, key=target.half_widths.__getitem__) for target in targets]
    strata = [number for target in targets for number in target.strata]
    groups = np.repeat(np.arange(len(targets)), [len(target.strata) for target in targets])
    shown = [seen[widest[g]][n] for g, n in zip(groups, strata, strict=True)]
    n, sizes = taken[strata], populations[strata]
    weights = sizes / np.bincount(groups, sizes, len(targets))[groups]
    spread = weights * planning_deviations(shown, rule)
    excess = np.array(
        [t.half_widths[rate] / margin for t, rate in zip(targets, widest, strict=True)]
    )
    wanted = np.bincount(groups, variance_terms(spread, n, sizes), len(targets)) / excess**2
    grown = neyman_sizes(spread, n, sizes, groups, wanted, GROWTH)
    planned = [int(size) for size in taken]
    for number, size in zip(strata, grown.tolist(), strict=True):
        planned[number] = int(size)
    return planned


def planning_deviations(seen: Sequence[Histogram], rule: Rule) -> FloatArray:
    """The standard deviation of a fault's rate that each stratum is planned with."""
    if rule.method != "wilson":
        return observed_deviations(seen)
    rates, sizes = (np.array(each) for each in zip(*((s.rate, s.n) for s in seen), strict=True))
    return yes_no_deviations(rates, sizes, normal_quantile(rule.confidence))
