"""Sample sizes that expect what an earlier campaign has shown."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import pandas as pd

from fi.faults.fault_space import FaultSpace
from fi.sampling.plan import SamplingPlan
from fi.sampling.sequential_plan import TRACKED
from fi.sampling.strata import stratify
from fi.statistics.group_estimates import GroupHistograms
from fi.statistics.histogram import Histogram
from fi.statistics.intervals import DEFAULT_METHOD, check_method
from fi.statistics.neyman import expected_size, pool
from fi.statistics.survey_design import BIT_WISE, NETWORK, Design, stratum_name

#: What the strata of a scheme are grouped by.
_GROUPINGS = {
    "network-wise": (),
    "layer-wise": ("layer",),
    **dict.fromkeys(BIT_WISE, ("family", "bit")),
}


@dataclass(frozen=True)
class PilotPlan:
    """A plan whose strata get as many faults as the spread of earlier ones asks for.

    Attributes:
        plan: scheme, margin, seed and what to draw from.
        results: of an earlier campaign, one row a fault, as ``ResultsFile.load`` gives them.
        design: how its faults were drawn.
        confidence, interval: of the intervals that are to be as narrow as the margin.
        rates: whose intervals these are.

    Raises:
        ValueError: a scheme whose sizes do not follow from a spread, trials of several faults, or
            an unknown method.
    """

    plan: SamplingPlan
    results: pd.DataFrame
    design: Design
    confidence: float = 0.99
    interval: str = DEFAULT_METHOD
    rates: tuple[str, ...] = TRACKED

    def __post_init__(self) -> None:
        check_method(self.interval)
        allowed = ("network-wise", "layer-wise", "data-unaware")
        if self.plan.scheme not in allowed:
            raise ValueError(
                f"a pilot gives no sizes to a draw that is {self.plan.scheme}; "
                f"allowed: {', '.join(allowed)}"
            )
        if self.plan.together > 1 or self.design.together > 1:
            raise ValueError("a pilot is of single faults, and for single faults")

    def size(self, space: FaultSpace) -> SamplingPlan:
        """The plan with the number of faults of every stratum of ``space``."""
        sizes = self.expect_sizes(space, self.plan.margin)
        largest = {name: max(of_rate.values()) for name, of_rate in sizes.items()}
        planned = tuple((name, max(n, self.plan.minimum)) for name, n in largest.items())
        return replace(self.plan, planned=planned)

    def expect_sizes(self, space: FaultSpace, margin: float) -> dict[str, dict[str, int]]:
        """Stratum -> rate -> how many faults have an interval of the half-width ``margin``.

        Of a stratum of which the pilot had no fault the worst case is expected.
        """
        return {
            part.name: {
                rate: expected_size(
                    seen.get(part.name, Histogram.of([])),
                    part.population,
                    margin,
                    self.confidence,
                    self.interval,
                )
                for rate, seen in self._seen.items()
            }
            for part in stratify(space, self.plan.scheme)
        }

    @cached_property
    def _seen(self) -> Mapping[str, Mapping[str, Histogram]]:
        """Rate -> stratum -> what the pilot has shown of it."""
        keys = _GROUPINGS[self.plan.scheme]
        groups = GroupHistograms.of(self.results, self.design, keys, self.rates)
        return {
            rate: {
                self._name_stratum(group): pool(groups.strata(group, place))
                for group in groups.seen
            }
            for place, rate in enumerate(self.rates)
        }

    def _name_stratum(self, group: tuple[str, ...]) -> str:
        if not group:
            return NETWORK
        return group[0] if len(group) == 1 else stratum_name(self.plan.scheme, *group)
