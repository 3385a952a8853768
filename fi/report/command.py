"""``python -m fi.report``: write the report of a campaign that was run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from fi.cli.execution import run_command
from fi.cli.parser import CommandParser
from fi.report.page import write_figures, write_report
from fi.store.campaign_reader import newest_campaign

COMMAND = "python -m fi.report"


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; its exit status is 2 after an error, which is printed in one line."""
    return run_command(COMMAND, run, arguments)


def run(argv: list[str]) -> None:
    """The command with these arguments; ``UserError`` says what is wrong."""
    options = _parser().parse(argv)
    campaign = newest_campaign(Path(options.output), options.model, options.fault_list)
    print(f"Written to {write_report(campaign.path)}")
    if options.figures is not None:
        paths = write_figures(campaign.path, options.figures)
        print(f"{len(paths)} figures written to {options.figures}")


def _parser() -> CommandParser:
    parser = CommandParser(
        COMMAND,
        "Write report.html into the folder of the newest campaign on a fault list: one page with "
        "the headline, the figures, the most critical faults and all rates.",
        {},
        usage="%(prog)s --model MODEL --fault-list LIST [options]",
    )
    parser.add_argument("--model", type=str, required=True, help="name of the network, as CSNN")
    parser.add_argument(
        "--fault-list", type=str, required=True, help="the list, as 51196_fault_list.csv"
    )
    parser.add_argument("--output", type=str, default="output", help="the folder of all results")
    parser.add_argument(
        "--figures", metavar="DIR", type=str, help="write every figure as SVG into this folder"
    )
    return parser
