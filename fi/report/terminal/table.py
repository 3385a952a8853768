"""The result table on a terminal of 80 columns: families are rows."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
from rich import box
from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from fi.metrics.outcomes import DETECTED
from fi.report.terminal.wide_intervals import MARK, SHOWN, is_wide
from fi.statistics.intervals import DEFAULT_METHOD, METHODS, Method
from fi.statistics.result_table import ACCURACY, FAULTS, FAULTY_ACCURACY, OUTCOME_ROWS, OVERALL

_HEADINGS = dict(
    zip(
        (*OUTCOME_ROWS.values(), FAULTY_ACCURACY),
        ("masked", "SDC-1", "0-5%", "5-10%", "10-20%", ">=20%", "facc"),
        strict=True,
    )
)
_MASKED = OUTCOME_ROWS["fully_masked"]
_MILD = "yellow"
#: From yellow to magenta with the severity of the outcome; names that every terminal has.
_COLOURS = {
    OUTCOME_ROWS["sdc_0_5"]: _MILD,
    OUTCOME_ROWS["sdc_5_10"]: _MILD,
    OUTCOME_ROWS["sdc_10_20"]: "red",
    OUTCOME_ROWS["sdc_20"]: "red",
    OUTCOME_ROWS["sdc_1"]: "magenta",
}
_LITTLE, _MUCH = 0.001, 0.01
_ROOMY = 8
_CORRECTION = {
    True: "finite-population corrected",
    False: "not corrected for a finite population (how the list was drawn is not known)",
}

_Columns = dict[str, dict[str, float]]  # site family -> metric -> value


def print_table(
    table: pd.DataFrame,
    title: str,
    confidence: float = 0.99,
    console: Console | None = None,
    corrected: bool = True,
    method: str = DEFAULT_METHOD,
    note: str = "",
) -> None:
    """Print the table of ``result_table``; no colour and no escape codes outside a terminal."""
    (console or Console()).print(view(table, title, confidence, corrected, method, note))


def plain_console() -> Console:
    """A console without colour and escape codes, on a terminal as well."""
    return Console(color_system=None, highlight=False)


def view(
    table: pd.DataFrame,
    title: str,
    confidence: float = 0.99,
    corrected: bool = True,
    method: str = DEFAULT_METHOD,
    note: str = "",
) -> Group:
    """Rates by family, their intervals, and what the numbers mean.

    ``corrected`` says whether it is known from how many faults the list was drawn; ``note`` is a
    line below the intervals, of those that are marked as wide.
    """
    columns: _Columns = {str(name): dict(table[name]) for name in table.columns}
    return Group(
        Text(title, style="bold"),
        _rates(columns),
        Text(f"\n{confidence * 100:g} % intervals", style="bold"),
        _intervals(columns),
        *([Text(f"\n{note}")] if note else []),
        Text(f"\n{_footer(columns, confidence, METHODS[method], corrected)}", style="dim"),
    )


def _rates(columns: _Columns) -> Table:
    headings = dict(_HEADINGS)
    if _has_code(columns):
        accuracy = headings.pop(FAULTY_ACCURACY)
        headings |= {DETECTED: DETECTED, FAULTY_ACCURACY: accuracy}
    cells = {
        name: [Text(f"{column[FAULTS]:.0f}"), *(_coloured(column, row) for row in headings)]
        for name, column in columns.items()
    }
    return _by_family(("faults", *headings.values()), cells)


def _has_code(columns: _Columns) -> bool:
    """Whether the table is of a memory with a code."""
    return DETECTED in columns[OVERALL]


def _intervals(columns: _Columns) -> Table:
    headings = [_HEADINGS[metric] for metric in SHOWN.values()]
    ends = {
        name: [(column[f"{metric} low"], column[f"{metric} high"]) for metric in SHOWN.values()]
        for name, column in columns.items()
    }
    marked = [any(is_wide(*row[place]) for row in ends.values()) for place in range(len(headings))]
    cells = {
        name: [Text(_ends(*each, mark)) for each, mark in zip(row, marked, strict=True)]
        for name, row in ends.items()
    }
    return _by_family(headings, cells)


def _ends(low: float, high: float, marked: bool) -> str:
    """The ends of an interval, in a column in which wide ones have a mark or not."""
    mark = f" {MARK if is_wide(low, high) else ' '}" if marked else ""
    return f"{_percent(low)} to {_percent(high)}{mark}"


def _by_family(headings: Sequence[str], cells: dict[str, list[Text]]) -> Table:
    between = 1 if len(headings) <= _ROOMY else 0  # 80 columns have to do
    grid = Table(box=box.SIMPLE_HEAD, padding=(0, between, 0, 0), show_edge=False, pad_edge=False)
    grid.add_column("site family", overflow="fold")
    for heading in headings:
        grid.add_column(heading, justify="right", no_wrap=True)
    for name, row in cells.items():
        if name == OVERALL:
            grid.add_section()
        grid.add_row(Text(name), *row)
    return grid


def _coloured(column: dict[str, float], row: str) -> Text:
    """A rate in the colour of its severity: the more of a severe outcome, the louder."""
    rate = column[row]
    if row == FAULTY_ACCURACY:
        style = _style(column[ACCURACY] - rate, "red")
    elif row == _MASKED:
        style = "green" if rate > 1 - _LITTLE else ""
    else:
        style = _style(rate, _COLOURS.get(row, _MILD))
    return Text(_percent(rate), style=style)


def _style(rate: float, colour: str) -> str:
    """Dim for nothing, the colour from ``_LITTLE`` on, bold from ``_MUCH`` on if severe."""
    if not rate > 0:
        return "dim"
    loud = rate >= _MUCH and colour != _MILD
    return f"bold {colour}" if loud else colour if rate >= _LITTLE else ""


def _percent(rate: float) -> str:
    """A rate in per cent; ``0`` and ``100`` are exact, ``-`` is unknown."""
    if rate != rate:
        return "-"
    return f"{rate * 100:.0f}" if rate in (0.0, 1.0) else f"{rate * 100:.3f}"


def _footer(columns: _Columns, confidence: float, method: Method, corrected: bool) -> str:
    golden = _percent(columns[OVERALL][ACCURACY])
    detected = (
        "detected: the memory's code reports an error that it cannot correct, and no "
        "answer is given, which facc counts as not right. "
    )
    return (
        "In % of the samples, mean over faults. masked: top class and score unchanged. SDC-1: "
        "another class. 0-5% and so on: the same class, its score changed by so much. facc: "
        f"accuracy under a fault ({golden} without); the other columns count what changed, not "
        f"what is wrong. {detected * _has_code(columns)}"
        f"Intervals: {confidence * 100:g} %, {method.title}, {_CORRECTION[corrected]}; "
        f"{method.basis}. They hold over faults, for this test set."
    )
