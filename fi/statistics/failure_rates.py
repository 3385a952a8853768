"""From raw rates of memories to failures in time: FIT, and hours between failures.

A memory of ``b`` bits whose raw rate is ``r`` FIT per Mbit (upsets in 10^9 hours, of 10^6 bits) has

    upsets = r * b / 10^6                       FIT
    failures = upsets * p                       FIT, with p the measured rate of SDC-1
    mean time between failures = 10^9 / failures    hours

``p`` is the mean, over the bits of the memory, of the part of the test samples that get another
class while the bit is flipped: the probability that an inference under one random upset is silently
wrong. The network's failures are the sum over its families (JEDEC JESD89; Mukherjee, Architecture
Design for Soft Errors, 2008, there as architectural vulnerability times raw rate).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from math import inf, isfinite, nan
from typing import Any

import pandas as pd

from fi.statistics.estimators import Estimate, estimate
from fi.statistics.group_estimates import GroupHistograms
from fi.statistics.histogram import Histogram
from fi.statistics.intervals import DEFAULT_METHOD
from fi.statistics.result_table import OVERALL
from fi.statistics.survey_design import Design

#: Bits of a Mbit, and hours of a FIT.
MBIT, HOURS = 10**6, 10**9
_UPSET = "bit-flip"


@dataclass(frozen=True)
class FailureRate:
    """Failures in time of a site family, or of the network.

    Attributes:
        name: of the family; ``all`` is the network.
        bits: of its words.
        raw: FIT per Mbit; the mean over bits for the network.
        faults: that were run.
        sdc: the rate of SDC-1 and its interval; of the network weighed by upsets.
    """

    name: str
    bits: int
    raw: float
    faults: int
    sdc: Estimate

    @property
    def upsets(self) -> float:
        """Upsets in 10^9 hours."""
        return self.raw * self.bits / MBIT

    @property
    def failures(self) -> Estimate:
        """Silent data corruptions in 10^9 hours (FIT), and the ends of the interval."""
        return Estimate(*(self.upsets * rate for rate in self.sdc))

    @property
    def hours(self) -> Estimate:
        """Mean time between failures in hours; infinite where there is none."""
        rate, low, high = (HOURS / fit if fit else inf for fit in self.failures)
        return Estimate(nan if rate != rate else rate, high, low)


def compute_failure_rates(
    results: pd.DataFrame,
    design: Design,
    raw: Mapping[str, float],
    confidence: float = 0.99,
    method: str = DEFAULT_METHOD,
) -> list[FailureRate]:
    """The failure rate of every site family, then of the network (``all``).

    The network's interval is one of its own: of the stratified mean of the families' rates, each
    weighed by its upsets.

    Args:
        results: of a campaign of single bit flips, as ``ResultsFile.load`` gives them.
        design: how its faults were drawn, and from which.
        raw: pattern of site families -> FIT per Mbit; the first that fits a family counts.
        confidence, method: of the intervals, over faults, for this test set.

    Raises:
        ValueError: a raw rate is no number or fits no family, a family has none, or the campaign is
            not one of single bit flips from a known fault space.
    """
    _check_design(design)
    rates = match_rates(raw, [family.name for family in design.families])
    seen = GroupHistograms.of(results, design, ["family"], ["sdc_1"])
    sizes = {family.name: family.words * len(family.bits[_UPSET]) for family in design.families}
    strata = {group[0]: seen.strata(group, 0) for group in seen.groups}
    found = [
        FailureRate(name, sizes[name], rates[name], _count(own), estimate(own, confidence, method))
        for name, own in strata.items()
    ]
    upsets = sum(each.upsets for each in found)
    parts = [
        part.within(part.population, part.weight * each.upsets / upsets)
        for each in found
        for part in strata[each.name]
        if each.upsets
    ]
    whole = estimate(parts, confidence, method) if parts else Estimate(0.0, 0.0, 0.0)
    bits = sum(sizes.values())
    faults = sum(each.faults for each in found)
    return [*found, FailureRate(OVERALL, bits, upsets * MBIT / bits, faults, whole)]


def _count(strata: Sequence[Histogram]) -> int:
    return round(sum(stratum.n for stratum in strata))


def _check_design(design: Design) -> None:
    """Raise ``ValueError`` where the faults are not the upsets of a memory."""
    if not design.known:
        raise ValueError("it is not known from which bits the list was drawn")
    if design.together > 1:
        raise ValueError(f"trials have {design.together} faults; allowed: single faults")
    models = sorted({model for family in design.families for model in family.bits})
    if models != [_UPSET]:
        raise ValueError(f"an upset is a bit-flip; the campaign has {', '.join(models)}")
    bits = {bit for family in design.families for bit in family.bits[_UPSET]}
    if several := sorted(bit for bit in bits if not bit.isdigit()):
        raise ValueError(f"an upset is of one bit; the campaign has bits {several[0]}")


def match_rates(raw: Mapping[str, Any], families: Sequence[str]) -> dict[str, float]:
    """The raw rate of each family; ``ValueError`` as ``compute_failure_rates``.

    >>> match_rates({"*.weight": 700, "*": 300}, ["fc1.weight", "lif1.beta"])
    {'fc1.weight': 700.0, 'lif1.beta': 300.0}
    """
    for pattern, rate in raw.items():
        number = isinstance(rate, (int, float)) and not isinstance(rate, bool)
        if not number or not isfinite(rate) or rate < 0:
            raise ValueError(f"{pattern}: {rate!r}; allowed: FIT per Mbit, a number, 0 or more")
        if not any(fnmatchcase(name, str(pattern)) for name in families):
            raise ValueError(f"{pattern}: fits no site family; known: {', '.join(families)}")
    rates: dict[str, float] = {}
    for name in families:
        fitting = [float(rate) for pattern, rate in raw.items() if fnmatchcase(name, str(pattern))]
        if not fitting:
            raise ValueError(f"{name} has no raw rate; add it, or '*' for all others")
        rates[name] = fitting[0]
    return rates
