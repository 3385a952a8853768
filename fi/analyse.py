"""``python -m fi.analyse``: the result table of a campaign, on the terminal and as CSV."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from jsonargparse import Namespace
from rich.console import Console

from fi.base.errors import UserError
from fi.base.garbage import end_process
from fi.cli.execution import run_command
from fi.cli.option_values import read_method
from fi.cli.parser import CommandParser
from fi.report.error_rates.rate_findings import RateFindings
from fi.report.error_rates.rate_table import show_rate_table, write_rate_table
from fi.report.tables import show_table, write_table
from fi.report.terminal.fit_table import find_failure_rates, show_failure_rates
from fi.report.terminal.groups import parse_groupings, show_critical, show_rates
from fi.statistics.group_estimates import GROUPINGS
from fi.statistics.intervals import METHODS
from fi.store.campaign_reader import PastCampaign, newest_campaign


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; its exit status is 2 after an error, which is printed in one line."""
    return run_command("python -m fi.analyse", run, arguments)


def run(argv: list[str]) -> None:
    """The command with these arguments; ``UserError`` says what is wrong."""
    options = _parser().parse(argv)
    if options.top < 0:
        raise UserError(f"--top {options.top}: allowed is 0 or more")
    if options.confidence is not None and not 0 < options.confidence < 1:
        raise UserError(f"--confidence {options.confidence}: allowed is above 0 and below 1")
    method, by = read_method(options.interval), parse_groupings(options.by)
    if options.until is not None and not 0 < options.until <= 1:
        raise UserError(f"--until {options.until}: allowed is above 0, and 1 at most")
    campaign, console = _find_campaign(options), Console()
    if campaign.is_of_rates:
        _show_rates(campaign, options, method, console)
        return
    if options.until is not None:
        raise UserError(f"--until {options.until}: for campaigns of rates (--faults.rate)")
    summary = campaign.summary()
    rule = (options.confidence or summary.confidence, method or summary.interval)
    failures = find_failure_rates(campaign, Path(options.fit), *rule) if options.fit else []
    show_table(campaign.path, write_table(campaign.path, *rule), console, *rule)
    if by:
        show_rates(campaign, by, *rule, console)
    if options.top:
        show_critical(campaign, options.top, console)
    if options.fit:
        show_failure_rates(campaign, failures, *rule, console)


def _find_campaign(options: Namespace) -> PastCampaign:
    """The campaign in the folder that is given, or the newest one on a list."""
    named = options.model is not None and options.fault_list is not None
    if bool(options.run) == named or (options.run and (options.model or options.fault_list)):
        raise UserError("a campaign is given as its folder RUN, or by --model and --fault-list")
    if not options.run:
        return newest_campaign(Path(options.output), options.model, options.fault_list)
    path = Path(options.run)
    if not (path / "results.csv").is_file():
        raise UserError(f"{path} is no folder of a campaign: it has no results.csv")
    return PastCampaign(path.resolve())


def _show_rates(
    campaign: PastCampaign, options: Namespace, method: str | None, console: Console
) -> None:
    """The table of a campaign of rates."""
    for name in ("by", "top", "fit"):
        if options[name]:
            campaign.refuse_rates(f"--{name}")
    found = RateFindings.of(campaign, options.confidence, method, options.until)
    write_rate_table(found)
    show_rate_table(found, console)


def _parser() -> CommandParser:
    parser = CommandParser(
        "python -m fi.analyse",
        "Print the result table of the newest campaign on a fault list, and write it to "
        "OUTPUT/fault_list/MODEL/<list>_result.csv.",
        {},
        usage="%(prog)s RUN [options], or --model MODEL --fault-list LIST [options]",
    )
    parser.add_argument(
        "run", nargs="?", metavar="RUN", type=str, help="the campaign's folder, instead of these:"
    )
    parser.add_argument("--model", type=str, help="name of the network, as CSNN")
    parser.add_argument("--fault-list", type=str, help="the list, as 51196_fault_list.csv")
    parser.add_argument("--output", type=str, default="output", help="the folder of all results")
    parser.add_argument(
        "--by",
        type=str,
        default="",
        metavar="G,G",
        help=f"further, rates by {', '.join(GROUPINGS)}, or several of them as family,bit",
    )
    parser.add_argument(
        "--top", type=int, default=0, metavar="N", help="further, the N most critical faults"
    )
    parser.add_argument(
        "--fit",
        type=str,
        metavar="FILE",
        help="further, failures in time: raw rates of memories, YAML, FIT per Mbit by site family",
    )
    parser.add_argument(
        "--until",
        type=float,
        metavar="ACC",
        help="of a campaign of rates: at which rate accuracy falls below this",
    )
    parser.add_argument(
        "--confidence", type=float, help="of the intervals; default: the campaign's own"
    )
    parser.add_argument(
        "--interval",
        type=str,
        metavar="METHOD",
        help=f"how intervals are found: {', '.join(METHODS)}; default: the campaign's own",
    )
    return parser


if __name__ == "__main__":
    end_process(main())
