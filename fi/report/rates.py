"""The tables of all rates, with their intervals: by site family, by bit, by time step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fi.metrics.outcomes import DETECTED
from fi.report.findings import Findings
from fi.report.terminal.wide_intervals import MARK, is_wide
from fi.statistics.result_table import FAULTY_ACCURACY, NON_FINITE, OUTCOME_ROWS, OVERALL

_RATES = {
    "fully_masked": "masked", "sdc_0_5": "0-5 %", "sdc_5_10": "5-10 %", "sdc_10_20": "10-20 %",
    "sdc_20": "≥ 20 %", "sdc_1": "SDC-1",
}  # fmt: skip


@dataclass(frozen=True)
class Cell:
    """A rate in per cent and the ends of its interval, as text; both empty for no fault."""

    rate: str
    ends: str


@dataclass(frozen=True)
class Row:
    """One line of a table: what it is of, on how many faults it stands, its rates."""

    name: str
    faults: str
    cells: Sequence[Cell]


@dataclass(frozen=True)
class Rates:
    """A table: the headings of its rates, and its lines."""

    headings: Sequence[str]
    rows: Sequence[Row]


def by_family(found: Findings) -> Rates:
    """Every rate of every site family, the last row is the whole network."""
    names = _rate_rows(found)
    rows = [
        Row(f, f"{found.count(f):,}", [_cell(found.rate(row, f)) for row in names.values()])
        for f in [*found.families, OVERALL]
    ]
    return Rates(list(names), rows)


def _rate_rows(found: Findings) -> dict[str, str]:
    """Heading -> row of the result table; what is not finite, or detected, where there is any."""
    rows = {heading: OUTCOME_ROWS[name] for name, heading in _RATES.items()}
    strange = {"not finite": NON_FINITE} if found.rate(NON_FINITE)[0] else {}
    reported = {DETECTED: DETECTED} if found.has_code else {}
    return {**rows, **reported, "accuracy": FAULTY_ACCURACY, **strange}


def sdc_by(found: Findings, key: str) -> Rates | None:
    """SDC-1 by ``bit`` or ``step`` (rows) and site family; ``None`` where no fault has any."""
    cells, whole = found.sdc_by("family", key), found.sdc_by(key)
    whole = whole[whole[key] != ""]
    if whole.empty:
        return None
    families = [name for name in found.shapes if name in set(cells["family"])]
    places: dict[tuple[str, str], Cell] = {}
    for row in cells.to_dict("records"):
        places[str(row["family"]), str(row[key])] = _cell_of(row)
    rows = [
        Row(
            str(row[key]),
            f"{row['faults']:,}",
            [_cell_of(row), *(places.get((f, str(row[key])), Cell("", "")) for f in families)],
        )
        for row in whole.to_dict("records")
    ]
    return Rates([OVERALL, *families], rows[::-1] if key == "bit" else rows)


def _cell_of(row: Mapping[Any, Any]) -> Cell:
    return _cell((row["sdc_1"], row["sdc_1 low"], row["sdc_1 high"]))


def _cell(values: tuple[float, float, float]) -> Cell:
    rate, low, high = (f"{100 * value:.3f}" for value in values)
    mark = f" {MARK}" if is_wide(*values[1:]) else ""
    return Cell(rate, f"{low} to {high}{mark}")
