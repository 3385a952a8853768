"""From a plan of rates to the trials of a campaign on a network."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from fi.base.errors import UserError, report_errors
from fi.campaign.fault_source import take_formats
from fi.campaign.rates.rate_schedule import IterativeRates, RateTrials
from fi.campaign.subject import Subject
from fi.faults.family_names import attribute_of
from fi.faults.fault_list import write_fault_list
from fi.faults.formats.neuron_clamps import CURRENT
from fi.sampling.rate_plan import RatePlan
from fi.sampling.shards import Shard
from fi.store.run_summary import ListRecord


def make_rate_trials(
    plan: RatePlan,
    subject: Subject,
    shard: Shard | None,
    confidence: float,
    interval: str,
    until: float | None,
) -> RateTrials:
    """The trials of a campaign of rates on this network.

    Raises:
        UserError: the plan does not fit the network, or a shard is to be of an iterative campaign.
    """
    if subject.clamps is not None:
        names = subject.clamps.names_beside_words(subject.network)
        if states := [name for name in names if attribute_of(name) != CURRENT]:
            raise UserError(
                f"--clamp of {', '.join(states)}: not with --faults.rate; allowed: of words and "
                "currents"
            )
    if plan.plan.transient or plan.plan.during is not None:
        subject.measure_steps()
    plan = replace(plan, plan=take_formats(plan.plan, subject))
    with report_errors(ValueError):
        space = plan.space(subject.sites, subject.steps)
        if not plan.iterative:
            return RateTrials(plan, space, shard, until)
    if shard is not None:
        raise UserError(
            f"--shard {shard}: the interim analyses of --iterative need all earlier results; run "
            "it in one job, of several processes (--devices) where that helps"
        )
    return IterativeRates(plan, space, confidence, interval, until)


def make_rate_record(trials: RateTrials, confidence: float, interval: str) -> ListRecord:
    """What the summary says of where the trials come from."""
    space = trials.space
    places = {family.name: space.places_of(family) for family in space.space.families}
    seed = trials.plan.plan.seed
    return ListRecord("rates.csv", "rates", places, seed, None, confidence, interval)


def write_trial(trials: RateTrials, number: int, lists: Path) -> Path:
    """Write the faults of trial ``number`` as an ordinary list of one trial; its path.

    Raises:
        UserError: there is no such trial, or it has no fault.
    """
    if not 0 <= number < len(trials.listed):
        raise UserError(f"--write-faults {number}: allowed is 0 to {len(trials.listed) - 1}")
    trial = trials.listed[number]
    if not trial.hits:
        raise UserError(f"--write-faults {number}: {trial}; a list has one fault at least")
    name = f"{trials.plan.plan.seed}-{trials.digest[:8]}_trial_{number}_fault_list.csv"
    write_fault_list(lists / name, trial.list_faults(trials.space))
    return lists / name
