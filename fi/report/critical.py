"""The faults that do most harm."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from fi.report.findings import Findings
from fi.report.headline import accuracy_percent, percent

MOST = 20


@dataclass(frozen=True)
class CriticalFault:
    """One row of the table, as text.

    Attributes:
        site: ``fc1.weight[3, 101]``, one for each fault of a trial.
        what: fault model and bit.
        step: when; empty for a permanent fault.
        golden, faulty: the values of the word, empty where they differ by sample.
        sdc: part of the samples whose class changed.
        accuracy: under the fault.
        non_finite: part of the samples with a score that is not finite; empty for none.
    """

    injection: int
    site: str
    what: str
    step: str
    golden: str
    faulty: str
    sdc: str
    accuracy: str
    non_finite: str


def critical_faults(found: Findings, most: int = MOST) -> list[CriticalFault]:
    """The faults that change most predictions; those that change none are left out."""
    worst = found.faults[found.faults["sdc_1"] > 0].sort_values(
        ["sdc_1_rate", "accuracy", "Injection"], ascending=[False, True, True]
    )
    rows = found.results.groupby("Injection")
    return [_described(trial, rows.get_group(trial["Injection"])) for _, trial in _top(worst, most)]


def _top(worst: pd.DataFrame, most: int) -> list[tuple[object, pd.Series]]:
    return list(worst.head(most).iterrows())


def _described(trial: pd.Series, rows: pd.DataFrame) -> CriticalFault:
    def joined(texts: pd.Series) -> str:
        return "; ".join(dict.fromkeys(str(text) for text in texts if str(text)))

    return CriticalFault(
        int(trial["Injection"]),
        "; ".join(_site(row) for _, row in rows.iterrows()),
        joined(rows["Model"] + rows["Bit"].map(lambda bit: f", bit {bit}" if bit else "")),
        joined(rows["Step"]),
        joined(rows["GoldenValue"].map(_value)),
        joined(_faulty(rows)),
        percent(trial["sdc_1_rate"]),
        accuracy_percent(trial["accuracy"]),
        percent(trial["non_finite_rate"]) if trial["non_finite"] else "",
    )


def _site(row: pd.Series) -> str:
    index = str(row["TensorIndex"]).strip("()").rstrip(",")
    return f"{row['Layer']}[{index}]" if index else str(row["Layer"])


def _value(value: float) -> str:
    """A number in six digits; empty where none was recorded."""
    return "" if value != value else f"{value:.6g}"


def _faulty(rows: pd.DataFrame) -> pd.Series:
    """Faulty values; a word that became NaN has a golden value, one of a state has not."""
    pairs = zip(rows["GoldenValue"], rows["FaultyValue"], strict=True)
    return pd.Series(["NaN" if g == g and f != f else _value(f) for g, f in pairs], dtype=str)
