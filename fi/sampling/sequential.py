"""Sequential draws: look after look until the intervals are as narrow as the margin.

The sample size formula is for the worst case, a rate of one half. Most rates are far from it, and
then far fewer faults do (IEEE Trans. Computers 2025, doi 10.1109/tc.2025.3566863). So a small part
is drawn first, the pilot, and each further look is planned from what the earlier ones have shown.

**What stops.** Targets. Of a network-wise plan there is one, the whole network, stratified by site
family; of a layer-wise, data-unaware or data-aware one each of its strata is one. A target is done
when the interval of each tracked rate, the one that tables show, has a half-width of at most the
margin, or when all its faults are drawn. What is done is never drawn from again.

**The pilot** is the fewest faults with which a target could be done, whatever they show
(``least_size``), at least ``PILOT`` of every stratum (all, of one that has fewer). So no look is
wasted, and none can end a campaign by the luck of a handful of faults.

**Further looks** aim at the half-width: the variance must shrink by the square of how much it is
too wide. Within the network Neyman's allocation says where, for the rate that is farthest from its
margin; a stratum without an SDC counts as one that may have some (``spreads``).

**Few looks.** Who looks often and stops at the first narrow interval stops where the sample
flatters the network. So a look adds at least a tenth to what its target has, and at most doubles
it: that no target jumps to what ten faults suggested. From the pilot to the size of the formula
there are about six looks.

The prior of a data-aware plan has no part in it: what was seen takes its place.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fi.faults.fault import Fault
from fi.faults.fault_space import FaultSpace
from fi.sampling.draw import LONGEST_LIST, SamplingPlan, Shuffle, shuffle_of
from fi.sampling.sequential_plan import TRACKED, check_iterative, iterative_scheme
from fi.sampling.strata import Stratum, design_of, strata
from fi.statistics.estimators import Sample, estimate
from fi.statistics.neyman import Numbers, least_size, neyman_sizes, pilot_sizes, spreads, variances
from fi.statistics.sample_size import normal_quantile
from fi.statistics.survey_design import FAMILY_WISE, NETWORK, Design

#: Faults of every stratum in the first look, at least.
PILOT = 10
#: What a look makes of a target: at least and at most so many times the faults that it had.
GROWTH = (1.1, 2.0)
#: The part of the error (1 - confidence) that the interval has by which a target stops. Below 1 it
#: is a wider one than tables show, should stopping at one of several looks cost coverage.
STOPPING_ERROR = 1.0


@dataclass(frozen=True)
class Look:
    """What was known when the next faults were planned.

    Attributes:
        faults: how many were run.
        half_widths: rate -> half the width of the widest interval of a target.
        open: the targets that are not done.
    """

    faults: int
    half_widths: Mapping[str, float]
    open: tuple[str, ...]


@dataclass
class _Part:
    """A stratum: its random order, and the target that it belongs to."""

    stratum: Stratum
    order: Shuffle
    target: int


@dataclass
class _Target:
    """What has an interval of its own, and the numbers of its strata."""

    name: str
    parts: list[int]
    widths: dict[str, float] = field(default_factory=dict)
    done: bool = False


class IterativeDraw:
    """The faults of an iterative campaign, look after look.

    Deterministic: the same plan, space and results give the same faults, with the same numbers. A
    stratum's faults come in a random order of its own, which depends on the seed and its name.

    Args:
        space: what is drawn from.
        plan: scheme, margin, seed, and the least faults of a stratum; ``t``, ``p``, ``rounding``
            and ``prior`` have no part in it.
        confidence: of the intervals.
        rates: columns of the results whose intervals are to be as narrow as the margin.

    Raises:
        ValueError: an exhaustive plan, one with trials of several faults, or an unknown rate.

    Attributes:
        design: how the faults are drawn, for ``estimates``.
        targets: names of what has an interval of its own.
        looks: what was known at each look that was planned, and at the end.
    """

    def __init__(
        self,
        space: FaultSpace,
        plan: SamplingPlan,
        confidence: float,
        rates: Sequence[str] = TRACKED,
    ) -> None:
        check_iterative(plan, confidence, rates)
        self.space, self.plan, self.rates = space, plan, tuple(rates)
        self.confidence = confidence
        scheme = iterative_scheme(plan)
        self.design: Design = design_of(space, scheme)
        self.looks: list[Look] = []
        self._parts: list[_Part] = []
        for number, part in enumerate(strata(space, scheme)):
            order = shuffle_of(plan.seed, part.name, part.population)
            self._parts.append(_Part(part, order, 0 if scheme == FAMILY_WISE else number))
        self._targets = self._all_targets()
        self._populations = np.array([float(p.stratum.population) for p in self._parts])
        self._owner = np.array([part.target for part in self._parts])
        self._strata_of = np.zeros(0, dtype=np.int64)  # of every fault that was drawn
        self._stopping = 1 - STOPPING_ERROR * (1 - confidence)
        self._z = normal_quantile(self._stopping)

    def _all_targets(self) -> list[_Target]:
        if iterative_scheme(self.plan) == FAMILY_WISE:
            return [_Target(NETWORK, list(range(len(self._parts))))]
        return [_Target(part.stratum.name, [n]) for n, part in enumerate(self._parts)]

    @property
    def targets(self) -> list[str]:
        """The names of what has an interval of its own: ``network``, or the strata."""
        return [target.name for target in self._targets]

    @property
    def size(self) -> int:
        """How many faults were drawn so far."""
        return len(self._strata_of)

    @property
    def sizes(self) -> dict[str, tuple[int, int]]:
        """Stratum -> how many faults of it were drawn so far, and how many it has."""
        return {
            part.stratum.name: (part.order.taken, part.stratum.population) for part in self._parts
        }

    def next_look(self, results: pd.DataFrame) -> list[Fault]:
        """The faults to run next; none when every target is done.

        Args:
            results: of all faults that were drawn so far, in any order, as ``ResultsFile.load``
                gives them; further rows have no part in it. A column for each tracked rate,
                ``Injection`` and ``samples`` do.

        Raises:
            ValueError: a fault that was drawn is not there, or the list would be too long.
        """
        if not self.size:
            return self._drawn(self._pilot())
        taken, counts = self._taken(), self._counts(results)
        rates = {rate: counts[rate] / counts["samples"] for rate in self.rates}
        self._judge(rates, taken)
        todo = [number for number, target in enumerate(self._targets) if not target.done]
        widths = {rate: max(t.widths[rate] for t in self._targets) for rate in self.rates}
        names = tuple(self._targets[number].name for number in todo)
        earlier = [look for look in self.looks if look.faults < self.size]
        self.looks = [*earlier, Look(self.size, widths, names)]
        return self._drawn(self._planned(todo, rates, taken)) if todo else []

    def _taken(self) -> Numbers:
        return np.array([float(part.order.taken) for part in self._parts])

    def _counts(self, results: pd.DataFrame) -> dict[str, Numbers]:
        """Counts summed over the faults of each stratum: integers, in any order the same."""
        numbers = results["Injection"].to_numpy(np.int64)
        here = numbers < self.size
        if (np.bincount(numbers[here], minlength=self.size) != 1).any():
            raise ValueError(
                f"the results have {here.sum()} of the {self.size} faults of the earlier looks; "
                "allowed: each of them once"
            )
        owner = self._strata_of[numbers[here]]
        columns = {
            name: results[name].to_numpy(np.float64)[here] for name in (*self.rates, "samples")
        }
        size = len(self._parts)
        return {
            name: np.bincount(owner, values, size).astype(np.float64)
            for name, values in columns.items()
        }

    def _judge(self, rates: Mapping[str, Numbers], taken: Numbers) -> None:
        """Find the half-widths of the targets that are not done, and which of them are now."""
        for target in self._targets:
            if not target.done:
                target.widths = {
                    rate: self._half_width(target, rates[rate], taken) for rate in self.rates
                }
                target.done = max(target.widths.values()) <= self.plan.margin

    def _half_width(self, target: _Target, rates: Numbers, taken: Numbers) -> float:
        parts = [(n, self._parts[n].stratum.population) for n in target.parts]
        total = sum(population for _, population in parts)
        samples = [
            Sample(min(float(rates[n]), 1.0), int(taken[n]), population, population / total)
            for n, population in parts
        ]
        found = estimate(samples, self._stopping)
        return (found.high - found.low) / 2

    def _pilot(self) -> list[int]:
        sizes: list[int] = [0] * len(self._parts)
        for target in self._targets:
            populations = self._populations[target.parts]
            least = least_size(populations.sum(), self.plan.margin, self._z)
            pilot = pilot_sizes(populations, least, max(PILOT, self.plan.minimum))
            for number, size in zip(target.parts, pilot.tolist(), strict=True):
                sizes[number] = int(size)
        return sizes

    def _planned(
        self, todo: Sequence[int], rates: Mapping[str, Numbers], taken: Numbers
    ) -> list[int]:
        """The size of every stratum after the next look."""
        widest = {n: max(self.rates, key=self._targets[n].widths.__getitem__) for n in todo}
        parts = [number for n in todo for number in self._targets[n].parts]
        groups = np.searchsorted(np.array(todo), self._owner[parts])
        seen = np.array([rates[widest[self._owner[number]]][number] for number in parts])
        n, populations = taken[parts], self._populations[parts]
        weights = populations / np.bincount(groups, populations, len(todo))[groups]
        spread = weights * spreads(seen, n, self._z)
        excess = np.array([self._targets[t].widths[widest[t]] / self.plan.margin for t in todo])
        wanted = np.bincount(groups, variances(spread, n, populations), len(todo)) / excess**2
        found = neyman_sizes(spread, n, populations, groups, wanted, GROWTH)
        sizes = [part.order.taken for part in self._parts]
        for number, size in zip(parts, found.tolist(), strict=True):
            sizes[number] = int(size)
        return sizes

    def _drawn(self, sizes: Sequence[int]) -> list[Fault]:
        """The faults by which the strata grow to ``sizes``, in random order."""
        if sum(sizes) > LONGEST_LIST:
            raise ValueError(
                f"the next look asks for {sum(sizes)} faults in all; allowed: {LONGEST_LIST}"
            )
        drawn: list[tuple[int, int]] = []
        for number, (part, size) in enumerate(zip(self._parts, sizes, strict=True)):
            places = part.order.take(size - part.order.taken)
            drawn += [(number, part.stratum.number(place)) for place in places]
        order = shuffle_of(self.plan.seed, f"look at {self.size}", len(drawn)).take(len(drawn))
        first, mixed = self.size, [drawn[place] for place in order]
        owners: NDArray[np.int64] = np.array([owner for owner, _ in mixed], dtype=np.int64)
        self._strata_of = np.concatenate([self._strata_of, owners])
        return [self.space.fault(fault, first + n) for n, (_, fault) in enumerate(mixed)]
