"""What a command prints when its campaign is done."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console

from fi.detection.monitor_table import write_monitors
from fi.faults.protection.protected_words import describe_fates
from fi.report.error_rates.rate_findings import RateFindings
from fi.report.error_rates.rate_table import show_rate_table, write_rate_table
from fi.report.tables import show_table, write_table
from fi.report.terminal.monitor_view import show_monitors
from fi.report.terminal.table import plain_console
from fi.store.campaign_folder import CampaignFiles
from fi.store.campaign_reader import PastCampaign
from fi.store.merging import COMMAND as MERGE


def describe_check(entries: Mapping[str, Any]) -> str:
    """What the full engine said before the campaign; empty where it was not asked."""
    found = entries.get("checked")
    if not found:
        return ""
    agree = found["pairs"] - found["differing"]
    if isinstance(entries.get("rates"), dict):
        return (
            f"Before the campaign {found['trials']} trials of few faults were run on the full "
            f"engine too: {agree} of {found['pairs']} pairs agreed"
        )
    return (
        f"Before the campaign {found['trials']} faults of {found['families']} site families were "
        f"run on the full engine too: {agree} of {found['pairs']} pairs agreed"
    )


def describe_code(entries: Mapping[str, Any]) -> str:
    """What the code of the memory, or the plan, did to the faults; empty where there is none."""
    found = dict(entries.get("ecc") or entries.get("protect") or {})
    of = "trials" if "rates" in entries else "faults"
    return describe_fates(found.pop("code"), found, of) if found else ""


def show_campaign(folder: Path, console: Console | None = None) -> None:
    """Write the table of a campaign, of faults or of rates, and print it."""
    campaign = PastCampaign(folder)
    if campaign.is_of_rates:
        found = RateFindings.of(campaign)
        write_rate_table(found)
        show_rate_table(found, console)
    else:
        show_table(folder, write_table(folder), console)


def show_end(files: CampaignFiles, figures: bool, quiet: bool) -> None:
    """Print the table and write the report; of a shard, say how these are made of all shards.

    Args:
        files: of the campaign.
        figures: whether the report is wanted.
        quiet: print the table only, without colours.
    """
    if files.shard:
        print(f"When all {files.shard.count} shards are done: {MERGE} {files.campaign}")
        print(f"Results in {files.path}")
    else:
        show_whole(files.path, figures, plain_console() if quiet else None)


def show_whole(folder: Path, figures: bool, console: Console | None = None) -> None:
    """Print what a campaign found, all of it finished or merged, and write the report."""
    show_campaign(folder, console)
    campaign = PastCampaign(folder)
    entries = campaign.entries()
    for line in (describe_check(entries), describe_code(entries)):
        if line:
            print(line)
    if (monitors := write_monitors(folder)) is not None:
        show_monitors(monitors, campaign.summary().confidence, console)
    if figures:
        from fi.report.page import write_report  # matplotlib takes a second

        print(f"Report in {write_report(folder)}")
    print(f"Results in {folder}")
