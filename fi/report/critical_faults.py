"""The faults that do most harm: what to protect first."""

from __future__ import annotations

import pandas as pd

from fi.faults.csv_row import FAULT_COLUMNS

#: Rates that the list of critical faults ends with, parts of the samples.
CRITICAL_RATES = ("sdc_1_rate", "accuracy", "accuracy_drop")
_COLUMNS = (
    *FAULT_COLUMNS,
    "GoldenValue",
    "FaultyValue",
    "samples",
    "non_finite",
    *CRITICAL_RATES,
)


def critical(results: pd.DataFrame, most: int) -> pd.DataFrame:
    """The faults that change most predictions, worst first; those that change none are left out.

    Of equal ones the one with the lower accuracy comes first, then the one that is listed first.

    Args:
        results: as ``ResultsFile.load`` gives them.
        most: how many trials at most. A trial of several faults keeps one row a fault.

    Returns:
        The columns of the fault, its golden and faulty value, ``samples``, ``non_finite``, then
        ``sdc_1_rate``, ``accuracy`` and ``accuracy_drop`` (against the golden run), in [0, 1] or
        below 0.

    Raises:
        ValueError: ``most`` is below 1.
    """
    if most < 1:
        raise ValueError(f"{most} critical faults; allowed: 1 or more")
    rated = results.assign(
        sdc_1_rate=results["sdc_1"] / results["samples"],
        accuracy=results["correct"] / results["samples"],
        accuracy_drop=(results["golden_correct"] - results["correct"]) / results["samples"],
    )
    harmful = rated[rated["sdc_1"] > 0].sort_values(
        ["sdc_1_rate", "accuracy", "Injection"], ascending=[False, True, True], kind="stable"
    )
    worst = harmful["Injection"].drop_duplicates().head(most)
    table: pd.DataFrame = harmful.loc[harmful["Injection"].isin(worst), list(_COLUMNS)]
    return table.reset_index(drop=True)


def site_text(row: pd.Series) -> str:
    """The word of a fault, as ``fc1.weight[3, 101]``."""
    index = str(row["TensorIndex"]).strip("()").rstrip(",")
    return f"{row['Layer']}[{index}]" if index else str(row["Layer"])


def value_texts(rows: pd.DataFrame) -> tuple[list[str], list[str]]:
    """Golden and faulty values in six digits; empty where none was recorded, as of states.

    A word that became NaN has a golden value, one of a state has not.
    """
    pairs = list(zip(rows["GoldenValue"], rows["FaultyValue"], strict=True))
    golden = [_digits(before) for before, _ in pairs]
    faulty = ["NaN" if b == b and a != a else _digits(a) for b, a in pairs]
    return golden, faulty


def _digits(value: float) -> str:
    return "" if value != value else f"{value:.6g}"
