"""``python -m fi.test``: one fault-injection campaign, from options to the result table."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from jsonargparse import Namespace
from torch import nn

from fi.base.errors import UserError
from fi.campaign.dry_run import show_plan
from fi.campaign.fault_source import fault_source
from fi.campaign.runner import Campaign
from fi.campaign.subject import Subject
from fi.campaign.verify import ContractBroken, verify
from fi.cli.overridden import warn_of_overridden
from fi.cli.parser import CommandParser, chosen_classes, run_command
from fi.cli.test_options import (
    COMMAND,
    NOT_REPLAYED,
    command_parser,
    iterative_of,
    plan_of,
    settings_of,
)
from fi.network.checkpoint import checkpoint_of, load_checkpoint
from fi.report.tables import show_table, write_table
from fi.report.terminal.table import plain_console
from fi.store.campaign_folder import CampaignFiles
from fi.store.merging import COMMAND as MERGE


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; exit status 2 after an error, 1 where ``--verify`` finds the contract broken."""
    try:
        return run_command(COMMAND, run, arguments)
    except ContractBroken as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


def run(argv: list[str]) -> None:
    """Parse, plan, run, and print the table."""
    parser = command_parser(chosen_classes(argv, ("model", "data")))
    options = parser.parse(argv)
    plan, settings = plan_of(options), settings_of(options)
    given = iterative_of(options, plan) or options.fault_list or plan
    subject = subject_of(parser, options)
    source = fault_source(given, subject, settings.output)
    if options.threads:
        torch.set_num_threads(options.threads)
    campaign = Campaign(
        subject,
        source.runnable,
        settings,
        replace(source.record, confidence=options.confidence),
        config=parser.replayable(options, NOT_REPLAYED),
        options=_plain(options),
        say=_silent if options.quiet else print,
    )
    if options.dry_run:
        return show_plan(campaign, source)
    if source.space.left_out and not options.quiet:
        print(f"no such fault in: {', '.join(source.space.left_out)}")
    if campaign.trainer.is_global_zero:
        source.write()
    results = campaign.run()
    if campaign.processes.first and campaign.files is not None:
        _show_results(campaign.files, settings.figures, options.quiet)
    if options.verify:
        _verify(campaign, results, options)
    return None


def report_of(folder: Path) -> Path:
    """Write the report of the campaign in ``folder``; its path."""
    from fi.report.page import write_report  # matplotlib takes a second: not before it is needed

    return write_report(folder)


def _show_results(files: CampaignFiles, figures: bool, quiet: bool) -> None:
    """The table and the report; of a shard, how these are made when all shards are done."""
    if files.shard:
        print(f"When all {files.shard.count} shards are done: {MERGE} {files.campaign}")
    else:
        console = plain_console() if quiet else None
        show_table(files.path, write_table(files.path), console)
        if figures:
            print(f"Report in {report_of(files.path)}")
    print(f"Results in {files.path}")


def _verify(campaign: Campaign, results: pd.DataFrame, options: Namespace) -> None:
    """``--verify``: say and note what the full engine finds."""
    found = verify(campaign, results, options.verify, options.seed)
    if campaign.trainer.is_global_zero and campaign.files is not None:
        print(found)
        campaign.files.add_to_summary(verified=found.summary())
    found.check()


def subject_of(parser: CommandParser, options: Namespace) -> Subject:
    """The network with its weights, and the data, as the options name them."""
    torch.manual_seed(options.seed)
    network = parser.built(options, "model")
    if not isinstance(network, nn.Module):
        raise UserError(f"--model {options.model} is no torch.nn.Module")
    path = checkpoint_of(network, options.checkpoint)
    if path is not None:
        load_checkpoint(network, path)
        warn_of_overridden(parser, options, path)
    return Subject(
        network,
        parser.built(options, "data"),
        readout=options.readout,
        time_axis=options.time_axis,
        limit=options.limit_samples,
        word_format=options.format,
    )


def _plain(options: Namespace) -> dict[str, Any]:
    """The options that are set, flat."""
    flat = vars(options.as_flat())
    return {key: value for key, value in flat.items() if value is not None and key != "config"}


def _silent(line: str) -> None:
    """Say nothing."""


if __name__ == "__main__":
    sys.exit(main())
