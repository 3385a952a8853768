"""Estimates by any grouping of the faults, each with its interval."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import nan
from typing import Any, Literal, get_args

import pandas as pd

from fi.metrics.outcomes import RATES
from fi.statistics.estimators import estimate
from fi.statistics.group_histograms import (
    Group,
    Histograms,
    Sizes,
    check_groups,
    compute_histograms,
    count_faults,
    order_groups,
)
from fi.statistics.histogram import Histogram
from fi.statistics.intervals import DEFAULT_METHOD
from fi.statistics.survey_design import Design

Grouping = Literal["family", "layer", "bit", "model", "step"]
GROUPINGS: tuple[str, ...] = get_args(Grouping)


def estimate_groups(
    results: pd.DataFrame,
    design: Design,
    by: Sequence[str] = (),
    confidence: float = 0.99,
    rates: Sequence[str] = RATES,
    method: str = DEFAULT_METHOD,
) -> pd.DataFrame:
    """The rates of every group of faults, with the ends of their intervals.

    A fault's rate is its count over its samples; the rate of a group is that of all its faults in
    the fault space, estimated from those that were run: within each stratum of the draw by their
    mean, over the strata by their populations. The intervals hold over faults, for this test set.

    Args:
        results: as ``ResultsFile.load`` gives them. A trial of several faults counts once in every
            group that it has a fault in.
        design: how the faults were drawn.
        by: ``family``, ``layer``, ``bit``, ``model``, ``step``, or several of them; nothing is the
            whole network.
        confidence: nominal coverage of the intervals.
        rates: which rates, columns of the results.
        method: of the intervals, see ``fi.statistics.intervals``.

    Returns:
        One row a group: the columns ``by``, then ``faults`` (that were run) and ``population``
        (``<NA>`` where it is not known), then for every rate ``sdc_1``, ``sdc_1 low``,
        ``sdc_1 high``; NaN, 0, 1 where no fault was run. In the order of the network, of bits and
        of steps.

    Raises:
        ValueError: an unknown grouping or method, or a result that the design has not.

    >>> from fi.statistics.survey_design import FamilyFaults
    >>> design = Design("network-wise", (FamilyFaults("fc1.bias", 50, {"bit-flip": ("30", "31")}),))
    >>> faults = {"Injection": [0, 1], "Layer": "fc1.bias", "Bit": ["30", "31"]}
    >>> counts = {"Model": "bit-flip", "Step": "", "samples": 10, "sdc_1": [8, 0]}
    >>> results = pd.DataFrame({**faults, **counts})
    >>> estimate_groups(results, design, by=["bit"], rates=["sdc_1"]).round(2)
      bit  faults population  sdc_1  sdc_1 low  sdc_1 high
    0  30       1         50    0.8       0.02        1.00
    1  31       1         50    0.0       0.00        0.98
    """
    return GroupHistograms.of(results, design, by, rates).estimate(confidence, method)


@dataclass(frozen=True)
class GroupHistograms:
    """What was seen of every group, from which intervals of any confidence follow.

    Attributes:
        keys, rates: as ``by`` and ``rates`` of ``estimate_groups``.
        seen: histograms of the rates by group and stratum.
        sizes: faults of the space, likewise; ``None`` where they are not known.
        groups: in the order of the network, of bits and of steps.
    """

    keys: tuple[str, ...]
    rates: tuple[str, ...]
    seen: Histograms
    sizes: Sizes | None
    groups: list[Group]

    @classmethod
    def of(
        cls,
        results: pd.DataFrame,
        design: Design,
        by: Sequence[str] = (),
        rates: Sequence[str] = RATES,
    ) -> GroupHistograms:
        """The groups of ``results``; arguments and errors as ``estimate_groups``."""
        wrong = [key for key in by if key not in GROUPINGS]
        if wrong:
            raise ValueError(f"faults are grouped by {wrong[0]!r}; allowed: {', '.join(GROUPINGS)}")
        seen = compute_histograms(results, design, by, rates)
        sizes = count_faults(design, by) if design.known else None
        if sizes is not None:
            check_groups(seen, sizes, by)
        groups = sorted(seen if sizes is None else sizes, key=order_groups(by, design))
        return cls(tuple(by), tuple(rates), seen, sizes, groups)

    def estimate(self, confidence: float = 0.99, method: str = DEFAULT_METHOD) -> pd.DataFrame:
        """The table of ``estimate_groups``."""
        rows = [[*group, *self._row(group, confidence, method)] for group in self.groups]
        ends = [name for rate in self.rates for name in (rate, f"{rate} low", f"{rate} high")]
        table = pd.DataFrame(rows, columns=[*self.keys, "faults", "population", *ends])
        return table.astype({"faults": "int64", "population": object})

    def _row(self, group: Group, confidence: float, method: str) -> list[Any]:
        """``faults, population`` and the estimates of a group."""
        strata = [self.strata(group, rate) for rate in range(len(self.rates))]
        faults = round(sum(stratum.n for stratum in strata[0]))
        size = None if self.sizes is None else sum(self.sizes[group].values())
        if not faults:
            return [faults, size, *(nan, 0.0, 1.0) * len(self.rates)]
        ends = (estimate(each, confidence, method) for each in strata)
        return [faults, size, *(value for each in ends for value in each)]

    def strata(self, group: Group, rate: int) -> list[Histogram]:
        """What was seen of every stratum of a group, of the rate of that number."""
        seen = self.seen.get(group, {})
        if self.sizes is None:
            total = sum(each[rate].n for each in seen.values())
            return [each[rate].within(None, each[rate].n / total) for each in seen.values()]
        sizes = self.sizes[group]
        total = sum(sizes.values())
        unseen = (Histogram.of([]),) * (rate + 1)
        return [
            seen.get(name, unseen)[rate].within(size, size / total)
            for name, size in sizes.items()
            if size
        ]
