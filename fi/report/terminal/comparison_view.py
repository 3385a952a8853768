"""A comparison of two campaigns on the terminal, and as CSV."""

from __future__ import annotations

import pandas as pd
from rich import box
from rich.console import Group
from rich.table import Table
from rich.text import Text

from fi.base.text_files import csv_text
from fi.report.comparison import RATES, Comparison, footer
from fi.statistics.result_table import OVERALL


def comparison_csv(found: Comparison) -> str:
    """The table of a comparison as CSV, rates as fractions."""
    rows = ([_cell(value) for value in row] for row in found.table.itertuples(index=False))
    return csv_text([list(found.table.columns), *rows])


def _cell(value: object) -> object:
    if isinstance(value, float):
        return "" if value != value else f"{value:.10g}"
    return str(value).lower() if isinstance(value, bool) else value


def view(found: Comparison) -> Group:
    """The comparison on a terminal of 80 columns."""
    one, other = found.first, found.second
    heads = [Text(f"A  {one.name}: golden accuracy {100 * one.golden:.2f} %")]
    heads.append(Text(f"B  {other.name}: golden accuracy {100 * other.golden:.2f} %"))
    tables = [
        part for rate in RATES.values() for part in (Text(f"\n{rate}, %"), _rows(found, rate))
    ]
    return Group(*heads, *tables, Text(f"\n{footer(found)}", style="dim"))


def _rows(found: Comparison, rate: str) -> Table:
    grid = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), show_edge=False, pad_edge=False)
    grid.add_column("site family", overflow="fold")
    faults = ("faults",) if found.paired else ("faults A", "faults B")
    for heading in (*faults, "A", "B", "B - A", "interval"):
        grid.add_column(heading, justify="right", no_wrap=True)
    for row in found.table[found.table["rate"] == rate].to_dict("records"):
        if row["family"] == OVERALL:
            grid.add_section()
        style = "bold" if row["certain"] else ""
        grid.add_row(*_texts(pd.Series(row), found.paired), style=style)
    return grid


def _texts(row: pd.Series, is_paired: bool) -> list[str]:
    def percent(value: float, form: str = ".3f") -> str:
        return "-" if value != value else f"{100 * value:{form}}"

    ends = f"{percent(row['low'], '+.2f')} to {percent(row['high'], '+.2f')}"
    faults = [f"{row['faults_a']}"] if is_paired else [f"{row['faults_a']}", f"{row['faults_b']}"]
    numbers = [*faults, percent(row["a"]), percent(row["b"])]
    mark = " *" if row["certain"] else "  "
    return [row["family"], *numbers, percent(row["difference"], "+.3f"), ends + mark]
