"""``python -m fi.compare A B``: two campaigns side by side, with intervals of the differences."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from fi.base.errors import UserError
from fi.base.garbage import end_process
from fi.base.text_files import write_text
from fi.cli.execution import run_command
from fi.cli.option_values import read_method
from fi.cli.parser import CommandParser
from fi.report.comparison import Side, compare
from fi.report.terminal.comparison_view import comparison_csv, view
from fi.statistics.intervals import METHODS

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
    end_process(main())
