"""Sections of the report: the faults that do most harm, and what fi.protect chose against them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from fi.base.text_files import FileError
from fi.hardening.protection_report import describe, read_summary_of
from fi.hardening.residual_risk import MEASURES
from fi.report.critical_faults import critical, site_text, value_texts
from fi.report.figures.residual_curve import draw_residual
from fi.report.findings import Findings
from fi.report.headline import accuracy_percent, percent
from fi.report.picture import Picture

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


@dataclass(frozen=True)
class ProtectionSection:
    """The section.

    Attributes:
        sentences: the finding.
        measure: what is to become small, ``SDC-1``.
        picture: residual over cost.
        rows: the first units, as text.
        units: how many there are.
    """

    sentences: list[str]
    measure: str
    picture: Picture
    rows: list[dict[str, str]]
    units: int


def find_protection(folder: Path) -> ProtectionSection | None:
    """The section; ``None`` where nothing was chosen for the campaign in that folder."""
    found = read_summary_of(folder)
    if found is None:
        return None
    try:
        measure = MEASURES[found["of"]][1]
        picture = draw_residual(pd.DataFrame(found["curve"]), measure, found["stands_on"])
        rows = [_as_text(row) for row in found["ranking"]]
        return ProtectionSection(describe(found), measure, picture, rows, found["units"])
    except KeyError as problem:
        raise FileError(f"{folder}: protection.json lacks the key {problem}") from None


def _as_text(row: dict[str, Any]) -> dict[str, str]:
    costs = {"cost": row["cost"], "total": row["total_cost"], "left": row["residual"]}
    texts = {name: str(row[name]) for name in ("family", "bits", "words")}
    return {**texts, **{name: percent(value) for name, value in costs.items()}}
