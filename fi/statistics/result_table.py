"""The published result table: what the faults of each site family did."""

from __future__ import annotations

from collections.abc import Sequence
from math import nan

import pandas as pd

from fi.base.text_files import csv_text
from fi.faults.family_names import common_family, is_several
from fi.metrics.outcomes import DETECTED, OUTCOMES, RATES
from fi.statistics.group_estimates import estimate_groups
from fi.statistics.intervals import DEFAULT_METHOD
from fi.statistics.survey_design import Design

FAULTS, INJECTIONS = "# of faults", "# of injections"
FAULTY_ACCURACY, ACCURACY, NON_FINITE, OVERALL = "facc", "acc", "non_finite", "all"
#: Column of the results -> row of the table, in the order of SpikingJET's tables.
OUTCOME_ROWS = dict(
    zip(
        OUTCOMES,
        ("fully_masked", "SDC_1", "SDC_0_5%", "SDC_5_10%", "SDC_10_20%", "SDC_20"),
        strict=True,
    )
)
PUBLISHED_ROWS = (FAULTS, INJECTIONS, *OUTCOME_ROWS.values(), FAULTY_ACCURACY, ACCURACY)
_RATE_ROWS = {**OUTCOME_ROWS, "correct": FAULTY_ACCURACY, "non_finite": NON_FINITE}
_NO_FAULTS = pd.Series(
    {"faults": 0}
    | {
        f"{rate}{end}": value
        for rate in (*RATES, DETECTED)
        for end, value in (("", nan), (" low", 0), (" high", 1))
    }
)


def result_table(
    results: pd.DataFrame,
    design: Design,
    batches: int,
    confidence: float = 0.99,
    method: str = DEFAULT_METHOD,
) -> pd.DataFrame:
    """The table of a campaign: metrics are rows, site families columns, ``all`` the last.

    A fault's rates are its counts over its samples; a cell is the mean over faults. After the
    published rows come the ends of the interval of each rate (``SDC_1 low``, ``SDC_1 high``), then
    the rate of non-finite outputs and its interval. ``acc`` is the golden accuracy, ``facc`` the
    mean accuracy under a fault. Results of a memory with a code have a rate of detected pairs, too,
    with its interval, in the last rows.

    A network-wise draw takes every fault with the same probability: ``all`` is the plain mean.
    Other schemes do so only within a stratum: means are weighed by populations, see
    ``estimate_groups``.

    Args:
        results: as ``ResultsFile.load`` gives them.
        design: how the faults were drawn, and from which; the columns are its families.
        batches: batches of the test set; an injection is one fault in one batch.
        confidence: nominal coverage of the intervals, over faults, for this test set.
        method: of the intervals, see ``fi.statistics.intervals``.

    Raises:
        ValueError: a result is of a family that ``design`` has not.
    """
    results, design = group_by_trial(results, design)
    rates = (*RATES, DETECTED) if DETECTED in results else RATES
    by_family = estimate_groups(results, design, ["family"], confidence, rates, method)
    groups = {str(row["family"]): row for _, row in by_family.iterrows()}
    overall = estimate_groups(results, design, [], confidence, rates, method).iloc[0]
    columns = {
        family.name: _column(groups.get(family.name, _NO_FAULTS), batches, rates)
        for family in design.families
    }
    return pd.DataFrame({**columns, OVERALL: _column(overall, batches, rates)})


def merge_trials(results: pd.DataFrame) -> pd.DataFrame:
    """The results with a trial of several faults counted once.

    Its ``Layer`` is that of its faults, ``fc1.several`` or ``several``: see ``common_family``.
    """
    if not results["Injection"].duplicated().any():
        return results
    layers = results.groupby("Injection")["Layer"].agg(common_family)
    labelled = results.assign(Layer=results["Injection"].map(layers))
    return labelled.drop_duplicates("Injection")


def group_by_trial(results: pd.DataFrame, design: Design) -> tuple[pd.DataFrame, Design]:
    """Results and design in which a trial of several faults is one."""
    results = merge_trials(results)
    if design.known:
        return results, design.by_trial()
    several = [name for name in results["Layer"].unique() if is_several(name)]
    return results, Design.of_list([*(family.name for family in design.families), *several])


def _column(group: pd.Series, batches: int, known: Sequence[str]) -> dict[str, float]:
    """The cells of a row of ``estimate_groups`` of the rates ``known``."""
    faults = float(group["faults"])
    rates = {
        row: (group[c], group[f"{c} low"], group[f"{c} high"]) for c, row in _RATE_ROWS.items()
    }
    non_finite = rates.pop(NON_FINITE)
    column = {FAULTS: faults, INJECTIONS: faults * batches}
    column |= {row: rate for row, (rate, _, _) in rates.items()}
    column[ACCURACY] = group["golden_correct"]
    for row, (_, low, high) in rates.items():
        column |= _ends(row, low, high)
    column |= {NON_FINITE: non_finite[0]} | _ends(NON_FINITE, *non_finite[1:])
    if DETECTED in known:
        column[DETECTED] = group[DETECTED]
        column |= _ends(DETECTED, group[f"{DETECTED} low"], group[f"{DETECTED} high"])
    return column


def _ends(row: str, low: float, high: float) -> dict[str, float]:
    return {f"{row} low": low, f"{row} high": high}


def table_csv(table: pd.DataFrame) -> str:
    """The table as CSV in its published shape; cells without a fault are empty."""
    header = ["", *table.columns]
    rows = ([row, *(_cell(row, value) for value in table.loc[row])] for row in table.index)
    return csv_text([header, *rows])


def _cell(row: str, value: float) -> str:
    if value != value:
        return ""
    return f"{value:.0f}" if row in (FAULTS, INJECTIONS) else f"{value:.10g}"
