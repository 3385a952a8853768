"""``python -m fi.protect RUN``: what to protect under a budget, and the risk that is left."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jsonargparse import Namespace
from rich.console import Console
from rich.table import Table

from fi.base.errors import UserError, report_errors
from fi.base.garbage import end_process
from fi.cli.execution import run_command
from fi.cli.option_values import read_method
from fi.cli.parser import CommandParser
from fi.faults.protection.schemes import SCHEMES, Scheme, find_scheme
from fi.hardening.protection_choice import UNITS, Goal, choose_protection
from fi.hardening.protection_report import (
    FOLDER,
    Protection,
    describe,
    measure_protection,
    summarise,
    write_protection,
)
from fi.hardening.residual_risk import MEASURES, RiskSample
from fi.sampling.plan import DEFAULT_SEED
from fi.statistics.intervals import METHODS
from fi.store.campaign_reader import PastCampaign

COMMAND = "python -m fi.protect"
#: Rows of the table on the terminal.
_SHOWN = 12


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; its exit status is 2 after an error, which is printed in one line."""
    return run_command(COMMAND, run, arguments)


def run(argv: list[str]) -> None:
    """The command with these arguments; ``UserError`` says what is wrong."""
    options = _parser().parse(argv)
    goal, scheme = _read_goal(options), _read_scheme(options)
    campaign = _find_campaign(options.campaign)
    summary = campaign.summary()
    sample = RiskSample.read(campaign, options.of)
    rule = (options.confidence or summary.confidence, _read_rule(options) or summary.interval)
    first, second = sample.split(options.seed)
    choice = choose_protection(first, scheme, options.by, goal, options.cost)
    found = measure_protection(choice, second, *rule)
    facts = {
        "campaign": campaign.path.name,
        "of": options.of,
        "by": options.by,
        "goal": _describe_goal(options),
        "chosen_on": f"{first.name} ({len(first.results):,} faults)",
        "measured_on": f"{second.name} ({len(second.results):,} faults)",
        "confidence": rule[0],
        "interval": rule[1],
        "seed": options.seed,
    }
    told = summarise(found, facts)
    _show(found, told)
    _write(campaign, found, told, options, f"{len(second.results):,} faults")


def _find_campaign(given: str | None) -> PastCampaign:
    if given is None:
        raise UserError("the folder of a campaign is missing: output/MODEL/LIST-HASH")
    path = Path(given)
    if not (path / "results.csv").is_file():
        raise UserError(f"{path} is no folder of a campaign: it has no results.csv")
    return PastCampaign(path.resolve())


def _read_goal(options: Namespace) -> Goal:
    if options.budget is not None and options.residual is not None:
        raise UserError(f"--residual {options.residual}: not with --budget {options.budget}")
    if options.residual is not None:
        return Goal(residual=_read_part("residual", options.residual))
    return Goal(cost=_read_part("budget", options.budget or "5%"))


def _describe_goal(options: Namespace) -> str:
    if options.residual is not None:
        return f"--residual {options.residual}"
    return f"--budget {options.budget or '5%'}"


def _read_part(name: str, text: str) -> float:
    """The part of 1 in ``5%`` or ``0.05``."""
    found = re.fullmatch(r"([0-9]*\.?[0-9]+(?:e-?[0-9]+)?) *(%?)", text.strip())
    value = float(found[1]) / (100 if found[2] else 1) if found else 0.0
    if not 0 < value <= 1:
        raise UserError(f"--{name} {text}: allowed is above 0 and 100% at most, as 5% or 0.05")
    return value


def _read_scheme(options: Namespace) -> Scheme:
    with report_errors(ValueError, prefix="--scheme: "):
        scheme = find_scheme(options.scheme)
    if options.of not in MEASURES:
        raise UserError(f"--of {options.of}: allowed are {', '.join(MEASURES)}")
    if options.by not in UNITS:
        raise UserError(f"--by {options.by}: allowed are {', '.join(UNITS)}")
    if options.of == "facc" and scheme.name == "parity":
        raise UserError("--of facc: not with --scheme parity, under which a fault gives no answer")
    if options.cost is not None and scheme.make_code is not None:
        raise UserError(f"--cost {options.cost:g}: not with {scheme.name}, whose check bits count")
    if options.cost is not None and options.cost <= 0:
        raise UserError(f"--cost {options.cost:g}: allowed is above 0")
    return scheme


def _read_rule(options: Namespace) -> str | None:
    if options.confidence is not None and not 0 < options.confidence < 1:
        raise UserError(f"--confidence {options.confidence}: allowed is above 0 and below 1")
    return read_method(options.interval)


def _show(found: Protection, summary: dict[str, Any]) -> None:
    measure = MEASURES[summary["of"]][1]
    table = Table(title=f"What to protect, the most {measure} per added bit first")
    for name in ("", "family", "bits", "words", "cost", "all so far", f"{measure} left"):
        table.add_column(name, justify="right" if name not in ("family", "bits") else "left")
    for place, row in enumerate(found.ranking.head(_SHOWN).to_dict("records"), 1):
        texts = (str(row[name]) for name in ("family", "bits", "words"))
        costs = (f"{100 * row[name]:.3g} %" for name in ("cost", "total_cost", "residual"))
        table.add_row(str(place), *texts, *costs)
    console = Console()
    console.print(table)
    if len(found.ranking) > _SHOWN:
        print(f"... and {len(found.ranking) - _SHOWN:,} more")
    for line in describe(summary):
        console.print(line, highlight=False)


def _write(
    campaign: PastCampaign,
    found: Protection,
    summary: dict[str, Any],
    options: Namespace,
    faults: str,
) -> None:
    from fi.report.figures.residual_curve import draw_residual  # matplotlib takes a second
    from fi.report.page import NAME, write_report

    folder = campaign.path / FOLDER if options.output is None else Path(options.output)
    stands_on = f"{faults} x {campaign.summary().samples:,} samples"
    note = f"Of {COMMAND} {campaign.path.name}\n" + "\n".join(describe(summary))
    try:
        plan = write_protection(found, {**summary, "stands_on": stands_on}, folder, note)
        measure = MEASURES[summary["of"]][1]
        draw_residual(found.curve, measure, stands_on).save(folder / "residual.svg")
    except OSError as problem:
        raise UserError(f"{folder} cannot be written: {problem.strerror}") from problem
    print(f"Ranking, curve and figure in {folder}")
    print(f"Plan in {plan} (python -m fi.test ... --protect {plan})")
    if options.output is None and (campaign.path / NAME).exists():
        print(f"Report in {write_report(campaign.path)}")


def _parser() -> CommandParser:
    costs = "; ".join(f"{name}: {scheme.source}" for name, scheme in SCHEMES.items())
    parser = CommandParser(
        COMMAND,
        "What to protect under a budget, from a finished campaign of single bit faults: chosen on "
        "one half of its faults, the risk that is left measured on the other. A cost is a part of "
        f"that of full triplication of all words in the fault space. Schemes: {costs}.",
        {},
        usage="%(prog)s RUN [options]",
    )
    add = parser.add_argument
    add("campaign", nargs="?", metavar="RUN", type=str, help="its folder, output/MODEL/LIST-HASH")
    add("--budget", metavar="COST", type=str, help="at most so much, as 5%% (default)")
    add("--residual", metavar="RATE", type=str, help="the cheapest that leaves so much, as 0.01%%")
    add("--of", default="sdc1", type=str, help="what is to become small: sdc1, or facc (its loss)")
    add("--scheme", default="tmr", type=str, help=", ".join(SCHEMES))
    add("--by", default="bits", type=str, help=f"what is protected at once: {', '.join(UNITS)}")
    add("--cost", metavar="BITS", type=float, help="added to a bit; tmr 2, hardened-cell 1")
    add("--seed", default=DEFAULT_SEED, metavar="N", type=int, help="of the two halves")
    add("--confidence", metavar="C", type=float, help="of intervals; default: the campaign's own")
    add(
        "--interval",
        metavar="METHOD",
        type=str,
        help=f"how intervals are found: {', '.join(METHODS)}; default: the campaign's own",
    )
    add("--output", metavar="DIR", type=str, help="default: protection/ in the campaign's folder")
    return parser


if __name__ == "__main__":
    end_process(main())
