"""Families of which too few faults were run: a mark, and how many it would take."""

from __future__ import annotations

import pandas as pd

from fi.statistics.group_estimates import GroupHistograms
from fi.statistics.neyman import expected_size, pool
from fi.statistics.result_table import FAULTY_ACCURACY, OUTCOME_ROWS, OVERALL, group_by_trial
from fi.statistics.sample_size import quantile, sample_size
from fi.statistics.survey_design import Design

#: Intervals of a larger half-width are marked.
WIDE = 0.05
_PERCENT = f"{100 * WIDE:g} %"
MARK = "*"
#: Column of the results -> row of the table, of the rates whose intervals are shown.
SHOWN = {
    "fully_masked": OUTCOME_ROWS["fully_masked"],
    "sdc_1": OUTCOME_ROWS["sdc_1"],
    "correct": FAULTY_ACCURACY,
}


def is_wide(low: float, high: float) -> bool:
    """Whether an interval has a half-width above ``WIDE``."""
    return (high - low) / 2 > WIDE


def find_wide(table: pd.DataFrame) -> list[str]:
    """The families with a marked interval."""
    return [
        str(name)
        for name in table.columns
        if name != OVERALL
        and any(
            is_wide(*(table[name][f"{row} {end}"] for end in ("low", "high")))
            for row in SHOWN.values()
        )
    ]


def describe_wide(
    table: pd.DataFrame, results: pd.DataFrame, design: Design, confidence: float, method: str
) -> str:
    """What the mark means, in a line, and how many faults would do; empty where there is none.

    Args:
        table: as ``result_table`` makes it.
        results: one row a fault.
        design: how the faults were drawn.
        confidence, method: of the intervals.
    """
    wide = find_wide(table)
    if not wide:
        return ""
    said = f"{MARK} wider than {_PERCENT} either way: few faults were run, of {_count(wide)}."
    if not design.known or design.together > 1:
        return said
    layers = design.cells().groupby("layer")["population"].sum()
    drawn = sum(sample_size(size, WIDE, quantile(confidence)) for size in layers)
    each = _needed_faults(wide, results, design, confidence, method)
    sizes = design.cells().groupby("family")["population"].sum()
    whole = sum(min(each, size) for size in sizes)
    return (
        f"{said} A half-width of {_PERCENT} in each layer takes {drawn:,} faults (--scheme "
        f"layer-wise --margin {WIDE:g}), in each family about {whole:,} (--iterative --margin "
        f"{WIDE:g} --minimum-per-stratum {each})."
    )


def _count(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{len(names)} families"


def _needed_faults(
    wide: list[str], results: pd.DataFrame, design: Design, confidence: float, method: str
) -> int:
    """Faults of every family with which the intervals of the wide ones are narrow enough."""
    results, design = group_by_trial(results, design)
    seen = GroupHistograms.of(results, design, ["family"], list(SHOWN))
    sizes = design.cells().groupby("family")["population"].sum()
    return max(
        expected_size(pool(seen.strata((name,), rate)), sizes[name], WIDE, confidence, method)
        for name in wide
        for rate in range(len(SHOWN))
    )
