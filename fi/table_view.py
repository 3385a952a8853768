"""The result table on a terminal of 80 columns: families are rows."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
from rich import box
from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from fi.outcomes import OUTCOMES
from fi.table import ACCURACY, FAULTS, FAULTY_ACCURACY, OUTCOME_ROWS, OVERALL

_HEADINGS = dict(
    zip(
        (*OUTCOME_ROWS.values(), FAULTY_ACCURACY),
        ("masked", "SDC-1", "0-5%", "5-10%", "10-20%", ">=20%", "facc"),
        strict=True,
    )
)
#: Rates whose intervals are shown; the CSV has all of them.
_INTERVALS = (OUTCOME_ROWS[OUTCOMES[0]], OUTCOME_ROWS[OUTCOMES[1]], FAULTY_ACCURACY)

_Columns = dict[str, dict[str, float]]  # site family -> metric -> value


def print_table(
    table: pd.DataFrame, title: str, confidence: float = 0.99, console: Console | None = None
) -> None:
    """Print the table of ``result_table``; no colour and no escape codes outside a terminal."""
    (console or Console()).print(view(table, title, confidence))


def view(table: pd.DataFrame, title: str, confidence: float = 0.99) -> Group:
    """Rates by family, their intervals, and what the numbers mean."""
    columns: _Columns = {str(name): dict(table[name]) for name in table.columns}
    return Group(
        Text(title, style="bold"),
        _rates(columns),
        Text(f"\n{confidence * 100:g} % intervals", style="bold"),
        _intervals(columns),
        Text(f"\n{_footer(columns, confidence)}", style="dim"),
    )


def _rates(columns: _Columns) -> Table:
    cells = {
        name: [f"{column[FAULTS]:.0f}", *(_percent(column[metric]) for metric in _HEADINGS)]
        for name, column in columns.items()
    }
    return _by_family(("faults", *_HEADINGS.values()), cells)


def _intervals(columns: _Columns) -> Table:
    cells = {
        name: [f"{_percent(c[f'{m} low'])} to {_percent(c[f'{m} high'])}" for m in _INTERVALS]
        for name, c in columns.items()
    }
    return _by_family([_HEADINGS[metric] for metric in _INTERVALS], cells)


def _by_family(headings: Sequence[str], cells: dict[str, list[str]]) -> Table:
    grid = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), show_edge=False, pad_edge=False)
    grid.add_column("site family", overflow="fold")
    for heading in headings:
        grid.add_column(heading, justify="right", no_wrap=True)
    for name, row in cells.items():
        if name == OVERALL:
            grid.add_section()
        grid.add_row(Text(name), *row)
    return grid


def _percent(rate: float) -> str:
    """A rate in per cent; ``0`` and ``100`` are exact, ``-`` is unknown."""
    if rate != rate:
        return "-"
    return f"{rate * 100:.0f}" if rate in (0.0, 1.0) else f"{rate * 100:.3f}"


def _footer(columns: _Columns, confidence: float) -> str:
    golden = _percent(columns[OVERALL][ACCURACY])
    return (
        "In % of the samples, mean over faults. masked: top class and score unchanged. SDC-1: "
        "another class. 0-5% and so on: the same class, its score changed by so much. facc: "
        f"accuracy under a fault ({golden} without); the other columns count what changed, not "
        "what is wrong. "
        f"Intervals: {confidence * 100:g} % Wilson by fault, finite-population corrected; they "
        "hold over faults, for this test set."
    )
