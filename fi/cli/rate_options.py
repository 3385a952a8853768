"""The options of ``python -m fi.test`` on rates: ``--faults.rate`` and what goes with it."""

from __future__ import annotations

from typing import Any

from jsonargparse import Namespace

from fi.base.errors import UserError, report_errors
from fi.cli.option_names import format_option
from fi.cli.option_values import read_words, split_words
from fi.sampling.plan import SamplingPlan
from fi.sampling.rate_plan import TRIALS, RatePlan
from fi.sampling.sequential_plan import TRACKED


def add_rate_options(add: Any) -> None:
    """Add them to a group of a parser, whose ``add_argument`` is ``add``."""
    add(
        "--faults.rate",
        metavar="R,R",
        type=read_words,
        help="hit every bit with this probability in each trial: accuracy over bit-error rates",
    )
    add("--trials", metavar="N", type=int, help=f"of each rate; default: {TRIALS}")
    add(
        "--until",
        metavar="ACC",
        type=float,
        help="say at which rate accuracy falls below this, as 0.9",
    )
    add(
        "--write-faults",
        metavar="N",
        type=int,
        help="write the faults of trial N of the rates as an ordinary list; run nothing",
    )


def make_rate_plan(options: Namespace, plan: SamplingPlan) -> RatePlan | None:
    """The plan with the rates of ``--faults.rate``; ``None`` where that is not given.

    Raises:
        UserError: a value outside its range, or options that do not go together.
    """
    if options.faults.rate is None:
        for name in ("trials", "until", "write_faults"):
            if options[name] is not None:
                raise UserError(f"{format_option(name)} {options[name]}: --faults.rate is missing")
        return None
    _refuse_others(options)
    if options.until is not None and not 0 < options.until <= 1:
        raise UserError(f"--until {options.until}: allowed is above 0, and 1 at most")
    if options.iterative and options.write_faults is not None:
        raise UserError(
            f"--write-faults {options.write_faults}: not with --iterative, whose trials follow "
            "from results; without it the same seed and rate have the same trials"
        )
    trials = TRIALS if options.trials is None else options.trials
    rates = tuple(map(parse_rate_option, split_words(options.faults.rate)))
    with report_errors(ValueError, prefix="--faults.rate: "):
        tracked = split_words(options.iterative_rates) if options.iterative else TRACKED
        return RatePlan(rates, trials, plan, options.iterative, tracked)


def parse_rate_option(text: str) -> float:
    """A rate as it is typed; ``UserError`` for what is no number above 0, 1 at most."""
    try:
        rate = float(text)
    except ValueError:
        rate = 0.0
    if not 0 < rate <= 1:
        raise UserError(f"--faults.rate {text}: allowed are numbers above 0, 1 at most, as 1e-5")
    return rate


def _refuse_others(options: Namespace) -> None:
    """``UserError`` for an option that says otherwise how many faults are run, or which."""
    usual = SamplingPlan()
    others: dict[str, Any] = {
        **{"fault_list": None, "pilot": None, "prior": None, "t": None, "p": usual.p},
        **{"rounding": usual.rounding, "minimum_per_stratum": usual.minimum},
    }
    if not options.iterative:
        others |= {"margin": usual.margin, "iterative_rates": ",".join(TRACKED)}
    found = {name: options[name] for name in others if options[name] != others[name]}
    grouping = {"faults.together": 1, "faults.within": "network"}
    found |= {name: options[name] for name in grouping if options[name] != grouping[name]}
    if options.save_scores:
        found["save_scores"] = True
    for name, value in found.items():
        reason = "a rate says how many faults a trial has, and --trials how many trials"
        if name in ("margin", "iterative_rates"):
            reason = "--trials says how many; with --iterative each rate stops by its intervals"
        raise UserError(f"{format_option(name)} {value}: not with --faults.rate: {reason}")
