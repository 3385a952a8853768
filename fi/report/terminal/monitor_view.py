"""The table of monitors on a terminal of 80 columns."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd
from rich import box
from rich.console import Console
from rich.table import Table

_COLUMNS = {
    "share": "SDC-1 seen",
    "undetected": "SDC-1 missed",
    "needless": "needless",
    "false_alarms": "golden",
}
_MEANING = """seen: in % of the pairs with SDC-1. missed: pairs with SDC-1 that it does not report,
needless: pairs without that it does, in % of all pairs. golden: in % of the samples
without a fault. Intervals: over faults, for this test set; of golden over samples.
time: how long an inference takes in software with this monitor alone."""


def show_monitors(table: pd.DataFrame, confidence: float, console: Console | None = None) -> None:
    """Print the table of ``measure_monitors``."""
    view = Table(
        title=f"Monitors, % [{100 * confidence:g} % interval]",
        box=box.SIMPLE,
        pad_edge=False,
        padding=(0, 1, 0, 0),
    )
    view.add_column("monitor", no_wrap=True)
    for heading in (*_COLUMNS.values(), "time"):
        view.add_column(heading, justify="right", no_wrap=True)
    for row in table.to_dict("records"):
        time = "" if row["time"] != row["time"] else f"{row['time']:.2f}x"
        view.add_row(row["monitor"], *(_describe(row, name) for name in _COLUMNS), time)
    console = console or Console()
    console.print(view)
    console.print(_MEANING, highlight=False, soft_wrap=True)


def _describe(row: Mapping[Any, Any], name: str) -> str:
    middle, low, high = (row[f"{name}{end}"] for end in ("", " low", " high"))
    if middle != middle:
        return "no SDC-1"
    digits = 1 if name in ("share", "false_alarms") else 2
    ends = f"[{100 * low:.{digits}f}, {100 * high:.{digits}f}]"
    return f"{100 * middle:.{digits}f}\n{ends}"
