"""``python -m fi.test``: one fault-injection campaign, from options to the result table."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from fi.base.errors import ContractBroken, UserError
from fi.base.garbage import end_process, exempt_from_collection, pause_collection
from fi.cli.argv import asks_for_help
from fi.cli.execution import run_command
from fi.cli.option_names import TEST

if TYPE_CHECKING:
    from jsonargparse import Namespace

    from fi.campaign.fault_source import FaultSource
    from fi.campaign.rates.rate_campaign import RateCampaign
    from fi.campaign.runner import Campaign
    from fi.campaign.subject import Subject
    from fi.engine.monitors.monitor_set import MonitorSet
    from fi.sampling.rate_plan import RatePlan

# Nothing is imported before it is needed: PyTorch for the options, then, for what runs a campaign,
# Lightning, which takes three times as long. Imports are a part of what ``prepare`` makes.


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; exit status 2 after an error, 1 where ``--verify`` finds the contract broken."""
    try:
        return run_command(TEST, run, arguments)
    except ContractBroken as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


def run(argv: list[str]) -> None:
    """Parse, plan, run, and print the table."""
    with ExitStack() as stack:
        with pause_collection():
            campaign, source, options = prepare(argv)
            stack.enter_context(exempt_from_collection())  # else all of it is walked over once
        if source is None:
            run_rates(campaign, options)
        elif options.dry_run:
            from fi.campaign.dry_run import show_plan

            show_plan(campaign, source)
        else:
            run_campaign(campaign, source, options)


def prepare(argv: list[str]) -> tuple[Campaign, FaultSource | None, Namespace]:
    """Parse and plan: the campaign, where its faults come from (not of rates), the options."""
    from fi.cli.chosen_classes import find_chosen_classes, find_chosen_data
    from fi.cli.ignored_options import check_needed
    from fi.cli.rate_options import make_rate_plan
    from fi.cli.test_options import NOT_REPLAYED, make_parser, parse_early_options
    from fi.cli.test_plan import make_iterative_plan, make_pilot_plan, make_plan, make_settings

    classes = find_chosen_classes(argv, ("model", "data") if asks_for_help(argv) else ("model",))
    early = parse_early_options(argv, classes)
    plan, settings = make_plan(early), make_settings(early)
    rates = make_rate_plan(early, plan)
    pilot = make_pilot_plan(early, plan) if rates is None else None
    iterative = make_iterative_plan(early, plan) if rates is None else None
    given = pilot or iterative or early.fault_list or plan
    parser = make_parser({**classes, "data": find_chosen_data(argv, classes["model"])})
    options = parser.parse(argv)

    import torch

    from fi.callbacks import standard_callbacks
    from fi.campaign.fault_source import make_fault_source
    from fi.campaign.runner import Campaign, say_nothing
    from fi.cli.subject_options import SubjectFromOptions, load_subject, read_clamps

    subject = load_subject(parser, options, read_clamps(options))
    if options.threads:
        torch.set_num_threads(options.threads)
    common: dict[str, Any] = {
        "settings": settings,
        "config": parser.dump_replayable(options, NOT_REPLAYED),
        "options": list_set_options(options),
        "callbacks": standard_callbacks(settings, rates is not None),
        "say": say_nothing if options.quiet else print,
        "remake": SubjectFromOptions(tuple(argv), os.getcwd()),
    }
    if rates is not None:
        if options.monitor is not None:
            raise UserError("--monitor: not with --faults.rate, whose trials are many faults")
        return make_rate_campaign(rates, subject, options, common), None, options
    source = make_fault_source(given, subject, settings.output)
    if options.fault_list:
        check_needed(source.faults, options, plan)
    rule = {"confidence": options.confidence, "interval": options.interval}
    record = replace(source.record, **rule)
    monitors = find_monitors(options)
    campaign = Campaign(subject, source.runnable, source=record, monitors=monitors, **common)
    return campaign, source, options


def find_monitors(options: Namespace) -> MonitorSet | None:
    """Those of ``--monitor``."""
    from fi.cli.option_values import split_words
    from fi.engine.monitors.monitor_set import MonitorSet

    return None if options.monitor is None else MonitorSet(split_words(options.monitor))


def make_rate_campaign(
    plan: RatePlan, subject: Subject, options: Namespace, common: Mapping[str, Any]
) -> RateCampaign:
    """The campaign on the trials of ``--faults.rate``."""
    from fi.campaign.rates.rate_campaign import RateCampaign
    from fi.campaign.rates.rate_source import make_rate_record, make_rate_trials

    rule = (options.confidence, options.interval)
    trials = make_rate_trials(plan, subject, common["settings"].shard, *rule, options.until)
    return RateCampaign(subject, trials, source=make_rate_record(trials, *rule), **common)


def run_campaign(campaign: Campaign, source: FaultSource, options: Namespace) -> None:
    """Write the list, run the campaign, and show what it found."""
    from fi.campaign.running.user_errors import keep_traceback
    from fi.campaign.verify import verify_and_record
    from fi.report.terminal.campaign_end import show_end

    if source.space.left_out and not options.quiet:
        print(f"no such fault in: {', '.join(source.space.left_out)}")
    if campaign.processes.first:
        source.write()
    with keep_traceback(lambda: campaign.folder):
        results = campaign.run()
    if campaign.processes.first:
        show_end(campaign.files, campaign.settings.figures, options.quiet)
    if options.verify:
        verify_and_record(campaign, results, options.verify, options.seed)


def run_rates(campaign: Campaign, options: Namespace) -> None:
    """The same for a campaign of rates; or show its plan, or write the faults of a trial."""
    from fi.campaign.rates.rate_campaign import RateCampaign
    from fi.campaign.rates.rate_dry_run import show_rates
    from fi.campaign.rates.rate_source import write_trial
    from fi.campaign.running.user_errors import keep_traceback
    from fi.report.terminal.campaign_end import show_end

    assert isinstance(campaign, RateCampaign)
    if options.dry_run:
        show_rates(campaign)
        return
    if options.write_faults is not None:
        lists = campaign.settings.output / "fault_list" / campaign.subject.name
        path = write_trial(campaign.schedule, options.write_faults, lists)
        print(f"{campaign.schedule.listed[options.write_faults]}, written to {path}")
        return
    with keep_traceback(lambda: campaign.folder):
        results = campaign.run()
    if campaign.processes.first:
        show_end(campaign.files, campaign.settings.figures, options.quiet)
    if options.verify:
        print(campaign.verify(results, options.verify, options.seed))


def list_set_options(options: Namespace) -> dict[str, Any]:
    """The options that are set, flat."""
    flat = vars(options.as_flat())
    return {key: value for key, value in flat.items() if value is not None and key != "config"}


if __name__ == "__main__":
    end_process(main())
