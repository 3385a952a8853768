"""``python -m fi.compare A B``: two campaigns side by side, with intervals of the differences."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from rich import box
from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from fi.base.errors import UserError
from fi.base.text_files import csv_text, write_text
from fi.cli.execution import run_command
from fi.cli.option_values import read_method
from fi.cli.parser import CommandParser
from fi.report.comparison import RATES, Comparison, Side, compare, footer
from fi.statistics.intervals import METHODS
from fi.statistics.result_table import OVERALL

COMMAND = "python -m fi.compare"


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; its exit status is 2 after an error, which is printed in one line."""
    return run_command(COMMAND, run, arguments)


def run(argv: list[str]) -> None:
    """The command with these arguments; ``UserError`` says what is wrong."""
    options = _parser().parse(argv)
    if options.confidence is not None and not 0 < options.confidence < 1:
        raise UserError(f"--confidence {options.confidence}: allowed is above 0 and below 1")
    if len(options.campaigns) != 2:
        given = ", ".join(options.campaigns) or "none"
        raise UserError(f"two campaigns are compared, A and B; given: {given}")
    method = read_method(options.interval)
    first, second = (Side.read(Path(path)) for path in options.campaigns)
    found = compare(first, second, options.confidence, method)
    Console().print(view(found))
    if options.csv:
        _write(Path(options.csv), comparison_csv(found))
    if options.html:
        from fi.report.comparison_page import comparison_page  # matplotlib takes a second

        _write(Path(options.html), comparison_page(found))


def _write(path: Path, text: str) -> None:
    try:
        write_text(path, text)
    except OSError as problem:
        raise UserError(f"{path} cannot be written: {problem.strerror}") from problem
    print(f"Written to {path}")


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


def _parser() -> CommandParser:
    parser = CommandParser(
        COMMAND,
        "Compare two campaigns: two networks, two formats, before and after hardening. A and B are "
        "folders of campaigns (output/CSNN/51196_fault_list-0123abcd) or their results.csv.",
        {},
        usage="%(prog)s A B [options]",
    )
    parser.add_argument(
        "campaigns", nargs="*", metavar="A B", type=str, help="differences are B - A"
    )
    parser.add_argument("--confidence", metavar="C", type=float, help="default: that of A, 0.99")
    parser.add_argument(
        "--interval",
        metavar="METHOD",
        type=str,
        help=f"how intervals are found: {', '.join(METHODS)}; default: as for A",
    )
    parser.add_argument("--csv", metavar="FILE", type=str, help="write the table as CSV")
    parser.add_argument("--html", metavar="FILE", type=str, help="write a page with a figure")
    return parser


if __name__ == "__main__":
    sys.exit(main())
