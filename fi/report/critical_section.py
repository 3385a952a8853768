"""The faults that do most harm."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import pandas as pd

from fi.report.critical_faults import critical, site_text, value_texts
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
    trials = critical(found.results, most).groupby("Injection", sort=False)
    return [_described(rows) for _, rows in trials]


def _described(rows: pd.DataFrame) -> CriticalFault:
    def joined(texts: Iterable[str]) -> str:
        return "; ".join(dict.fromkeys(str(text) for text in texts if str(text)))

    trial, (golden, faulty) = rows.iloc[0], value_texts(rows)
    return CriticalFault(
        int(trial["Injection"]),
        "; ".join(site_text(row) for _, row in rows.iterrows()),
        joined(rows["Model"] + rows["Bit"].map(lambda bit: f", bit {bit}" if bit else "")),
        joined(rows["Step"]),
        joined(golden),
        joined(faulty),
        percent(trial["sdc_1_rate"]),
        accuracy_percent(trial["accuracy"]),
        percent(trial["non_finite"] / trial["samples"]) if trial["non_finite"] else "",
    )
