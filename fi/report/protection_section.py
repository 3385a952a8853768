"""What ``fi.protect`` chose for a campaign, as a section of its report."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from fi.base.text_files import FileError
from fi.hardening.protection_report import describe, read_summary_of
from fi.hardening.residual_risk import MEASURES
from fi.report.figures.residual_curve import draw_residual
from fi.report.headline import percent
from fi.report.picture import Picture


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
