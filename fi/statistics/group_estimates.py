"""Estimates by any grouping of the faults, each with its interval."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import nan
from typing import Any, Literal, get_args

import pandas as pd

from fi.metrics.outcomes import RATES
from fi.statistics.estimators import Sample, estimate
from fi.statistics.group_means import (
    Group,
    Mean,
    Means,
    Sizes,
    check_groups,
    compute_means,
    count_faults,
    order_groups,
)
from fi.statistics.survey_design import Design

Grouping = Literal["family", "layer", "bit", "model", "step"]
GROUPINGS: tuple[str, ...] = get_args(Grouping)


def estimate_groups(
    results: pd.DataFrame,
    design: Design,
    by: Sequence[str] = (),
    confidence: float = 0.99,
    rates: Sequence[str] = RATES,
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

    Returns:
        One row a group: the columns ``by``, then ``faults`` (that were run) and ``population``
        (``<NA>`` where it is not known), then for every rate ``sdc_1``, ``sdc_1 low``,
        ``sdc_1 high``; NaN, 0, 1 where no fault was run. In the order of the network, of bits and
        of steps.

    Raises:
        ValueError: an unknown grouping, or a result that the design has not.

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
    return GroupMeans.of(results, design, by, rates).estimate(confidence)


@dataclass(frozen=True)
class GroupMeans:
    """What was seen of every group, from which intervals of any confidence follow.

    Attributes:
        keys, rates: as ``by`` and ``rates`` of ``estimate_groups``.
        seen: mean rates by group and stratum.
        sizes: faults of the space, likewise; ``None`` where they are not known.
        groups: in the order of the network, of bits and of steps.
    """

    keys: tuple[str, ...]
    rates: tuple[str, ...]
    seen: Means
    sizes: Sizes | None
    groups: list[Group]

    @classmethod
    def of(
        cls,
        results: pd.DataFrame,
        design: Design,
        by: Sequence[str] = (),
        rates: Sequence[str] = RATES,
    ) -> GroupMeans:
        """The groups of ``results``; arguments and errors as ``estimate_groups``."""
        wrong = [key for key in by if key not in GROUPINGS]
        if wrong:
            raise ValueError(f"faults are grouped by {wrong[0]!r}; allowed: {', '.join(GROUPINGS)}")
        seen = compute_means(results, design, by, rates)
        sizes = count_faults(design, by) if design.known else None
        if sizes is not None:
            check_groups(seen, sizes, by)
        groups = sorted(seen if sizes is None else sizes, key=order_groups(by, design))
        return cls(tuple(by), tuple(rates), seen, sizes, groups)

    def estimate(self, confidence: float = 0.99) -> pd.DataFrame:
        """The table of ``estimate_groups``."""
        rows = [[*group, *self._row(group, confidence)] for group in self.groups]
        ends = [name for rate in self.rates for name in (rate, f"{rate} low", f"{rate} high")]
        table = pd.DataFrame(rows, columns=[*self.keys, "faults", "population", *ends])
        return table.astype({"faults": "int64", "population": object})

    def _row(self, group: Group, confidence: float) -> list[Any]:
        """``faults, population`` and the estimates of a group."""
        seen = self.seen.get(group, {})
        sizes = None if self.sizes is None else self.sizes[group]
        faults = sum(mean.faults for mean in seen.values())
        row: list[Any] = [faults, None if sizes is None else sum(sizes.values())]
        if not faults:
            return [*row, *(nan, 0.0, 1.0) * len(self.rates)]
        for rate in range(len(self.rates)):
            row += estimate(_samples(seen, rate, sizes), confidence)
        return row


def _samples(seen: Mapping[str, Mean], rate: int, sizes: Mapping[str, int] | None) -> list[Sample]:
    """What was seen of every stratum of a group."""
    if sizes is None:
        total = sum(mean.faults for mean in seen.values())
        return [Sample(m.rates[rate], m.faults, None, m.faults / total) for m in seen.values()]
    total = sum(sizes.values())
    unseen = Mean(0, (nan,) * (rate + 1))
    return [
        Sample(mean.rates[rate], mean.faults, size, size / total)
        for name, size in sizes.items()
        if size
        for mean in (seen.get(name, unseen),)
    ]
