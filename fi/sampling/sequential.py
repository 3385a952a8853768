"""Sequential draws: interim analyses until the intervals are as narrow as the margin.

The sample size formula is for the worst case, a rate of one half. Most rates are far from it, and
then far fewer faults do (IEEE Trans. Computers 2025, doi 10.1109/tc.2025.3566863). So a small part
is drawn first, the pilot. When it was run its results are looked at, which is an interim analysis,
and each further part is planned from what the earlier ones have shown.

**What stops.** Targets. Of a network-wise plan there is one, the whole network, stratified by site
family; of a layer-wise, data-unaware or data-aware one each of its strata is one. A target is done
when the interval of each tracked rate, the one that tables show, has a half-width of at most the
margin, or when all its faults are drawn. What is done is never drawn from again.

**The pilot** is the fewest faults with which a target could be done, whatever they show
(``least_size``), at least ``PILOT`` of every stratum (all, of one that has fewer). So no interim
analysis is wasted, and none can end a campaign by the luck of a handful of faults.

**Further parts** aim at the half-width: the variance must shrink by the square of how much it is
too wide. Within the network Neyman's allocation says where, for the rate that is farthest from its
margin; a stratum without an SDC counts as one that may have some (``observed_deviations``).

**Few interim analyses.** Who analyses often and stops at the first narrow interval stops where the
sample flatters the network. So each part adds at least a tenth to what its target has, and at most
doubles it: no target jumps to what ten faults suggested. From the pilot to the size of the formula
there are about six.

The prior of a data-aware plan is not used: what was seen takes its place.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from fi.faults.fault import Fault
from fi.faults.fault_space import FaultSpace
from fi.sampling.fault_draw import LONGEST_LIST
from fi.sampling.plan import SamplingPlan
from fi.sampling.sequential_plan import TRACKED, check_iterative, iterative_scheme
from fi.sampling.shuffle import Shuffle
from fi.sampling.strata import describe_design, stratify
from fi.sampling.stratum_sizes import Rule, plan_growth, plan_pilot
from fi.sampling.targets import shuffle_strata
from fi.statistics.group_histograms import count_values
from fi.statistics.histogram import Histogram
from fi.statistics.intervals import DEFAULT_METHOD, check_method
from fi.statistics.survey_design import Design

#: The part of the error (1 - confidence) that the interval has by which a target stops. Below 1 it
#: is a wider one than tables show, should stopping at one of several interim analyses cost
#: coverage.
STOPPING_ERROR = 1.0


@dataclass(frozen=True)
class InterimAnalysis:
    """What was known when the next faults were planned.

    Attributes:
        faults: how many were run.
        half_widths: rate -> half the width of the widest interval of a target.
        open: the targets that are not done.
    """

    faults: int
    half_widths: Mapping[str, float]
    open: tuple[str, ...]


class IterativeDraw:
    """The faults of an iterative campaign, drawn part by part.

    Deterministic: the same plan, space and results give the same faults, with the same numbers. A
    stratum's faults come in a random order of its own, which depends on the seed and its name.

    Args:
        space: what is drawn from.
        plan: scheme, margin, seed, and the least faults of a stratum; ``t``, ``p``, ``rounding``
            and ``prior`` are not used.
        confidence: of the intervals.
        rates: columns of the results whose intervals are to be as narrow as the margin.
        interval: the method of these intervals, see ``fi.statistics.intervals``.

    Raises:
        ValueError: an exhaustive plan, one with trials of several faults, an unknown rate or
            method.

    Attributes:
        design: how the faults are drawn, for ``estimate_groups``.
        analyses: the interim analyses so far; the last one is the end, if nothing is open there.
    """

    def __init__(
        self,
        space: FaultSpace,
        plan: SamplingPlan,
        confidence: float,
        rates: Sequence[str] = TRACKED,
        interval: str = DEFAULT_METHOD,
    ) -> None:
        check_iterative(plan, confidence, rates)
        check_method(interval)
        self.space, self.plan, self.rates = space, plan, tuple(rates)
        self.confidence, self.interval = confidence, interval
        scheme = iterative_scheme(plan)
        self.design: Design = describe_design(space, scheme)
        self.analyses: list[InterimAnalysis] = []
        self._strata, self._targets = shuffle_strata(stratify(space, scheme), scheme, plan.seed)
        self._populations = np.array([float(s.stratum.population) for s in self._strata])
        self._stratum_of = np.zeros(0, dtype=np.int64)  # of every fault that was drawn
        self._rule = Rule(1 - STOPPING_ERROR * (1 - confidence), interval)

    @property
    def targets(self) -> list[str]:
        """The names of what has an interval of its own: ``network``, or the strata."""
        return [target.name for target in self._targets]

    @property
    def size(self) -> int:
        """How many faults were drawn so far."""
        return len(self._stratum_of)

    @property
    def sizes(self) -> dict[str, tuple[int, int]]:
        """Stratum -> how many faults of it were drawn so far, and how many it has."""
        return {s.stratum.name: (s.order.taken, s.stratum.population) for s in self._strata}

    def next_faults(self, results: pd.DataFrame) -> list[Fault]:
        """The faults to run next; none when every target is done.

        Args:
            results: of all faults that were drawn so far, in any order, as ``ResultsFile.load``
                gives them; rows of later faults are ignored. The columns ``Injection``,
                ``samples`` and one for each tracked rate are enough.

        Raises:
            ValueError: a fault that was drawn is not there, or the list would be too long.
        """
        plan, sizes = self.plan, self._populations
        if not self.size:
            pilot = plan_pilot(self._targets, sizes, plan.margin, plan.minimum, self._rule)
            return self._take(pilot)
        seen = self._collect_histograms(results)
        self._analyse(seen)
        if not self.analyses[-1].open:
            return []
        return self._take(plan_growth(self._targets, seen, sizes, plan.margin, self._rule))

    def _collect_histograms(self, results: pd.DataFrame) -> dict[str, list[Histogram]]:
        """What the faults of each stratum have shown: rows in any order give the same."""
        numbers = results["Injection"].to_numpy(np.int64)
        here = numbers < self.size
        if (np.bincount(numbers[here], minlength=self.size) != 1).any():
            raise ValueError(
                f"the results have {here.sum()} of the {self.size} faults that were drawn; "
                "allowed: each of them once"
            )
        rows = np.flatnonzero(here)
        rows = rows[np.lexsort((numbers[rows], self._stratum_of[numbers[rows]]))]
        part, size = self._stratum_of[numbers[rows]], len(self._strata)
        samples = results["samples"].to_numpy(np.int64)[rows]
        return {
            rate: [
                histogram.within(s.stratum.population, 1.0)
                for histogram, s in zip(
                    count_values(results[rate].to_numpy(np.int64)[rows], samples, part, size),
                    self._strata,
                    strict=True,
                )
            ]
            for rate in self.rates
        }

    def _analyse(self, seen: Mapping[str, Sequence[Histogram]]) -> None:
        """Find the half-widths of the targets that are not done, and which of them are now."""
        for target in self._targets:
            if not target.done:
                target.half_widths = {
                    rate: target.half_width(seen[rate], *self._rule) for rate in self.rates
                }
                target.done = max(target.half_widths.values()) <= self.plan.margin
        widest = {rate: max(t.half_widths[rate] for t in self._targets) for rate in self.rates}
        names = tuple(target.name for target in self._targets if not target.done)
        earlier = [analysis for analysis in self.analyses if analysis.faults < self.size]
        self.analyses = [*earlier, InterimAnalysis(self.size, widest, names)]

    def _take(self, sizes: Sequence[int]) -> list[Fault]:
        """The faults by which the strata grow to ``sizes``, in random order."""
        if sum(sizes) > LONGEST_LIST:
            raise ValueError(
                f"the next part asks for {sum(sizes)} faults in all; allowed: {LONGEST_LIST}"
            )
        drawn: list[tuple[int, int]] = []
        for number, (part, size) in enumerate(zip(self._strata, sizes, strict=True)):
            positions = part.order.take(size - part.order.taken)
            drawn += [(number, part.stratum.number(position)) for position in positions]
        # the name seeds the order: another one would change the lists of stored campaigns
        order = Shuffle.seeded(self.plan.seed, f"look at {self.size}", len(drawn)).take(len(drawn))
        first, mixed = self.size, [drawn[position] for position in order]
        strata = np.array([number for number, _ in mixed], dtype=np.int64)
        self._stratum_of = np.concatenate([self._stratum_of, strata])
        return [self.space.fault(fault, first + n) for n, (_, fault) in enumerate(mixed)]
