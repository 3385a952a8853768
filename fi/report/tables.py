"""The result table of a campaign: made, written beside its fault list, printed."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
from rich.console import Console

from fi.base.text_files import FileError, write_text
from fi.report.terminal.table import print_table
from fi.report.terminal.wide_intervals import describe_wide
from fi.statistics.result_table import FAULTS, OVERALL, result_table, table_csv
from fi.store.campaign_reader import PastCampaign


def write_table(
    folder: str | Path, confidence: float | None = None, method: str | None = None
) -> pd.DataFrame:
    """Make the result table of the campaign in ``folder`` and write it beside its fault list.

    ``confidence`` and ``method`` of the intervals are the campaign's own where they are not given.

    Faults that are not finished are left out: the list is in random order, so that the finished
    ones are a sample of their own.

    Raises:
        FileError: no fault is finished, the results or the summary are malformed, or the table
            cannot be written.
    """
    campaign = PastCampaign(Path(folder))
    table = table_of(campaign, campaign.results.load(whole=False), confidence, method)
    try:
        write_text(campaign.table_path, table_csv(table))
    except OSError as problem:
        raise FileError(f"{campaign.table_path} cannot be written: {problem.strerror}") from problem
    return table


def table_of(
    campaign: PastCampaign,
    results: pd.DataFrame,
    confidence: float | None = None,
    method: str | None = None,
) -> pd.DataFrame:
    """The result table of a campaign's results; ``FileError`` where it cannot be made."""
    summary = campaign.summary()
    if results.empty:
        raise FileError(f"{campaign.results.path}: no fault is finished, there is nothing to show")
    try:
        rule = (confidence or summary.confidence, method or summary.interval)
        return result_table(results, summary.design, summary.batches, *rule)
    except ValueError as problem:
        raise FileError(f"{campaign.path}: {problem}") from None


def show_table(
    folder: str | Path,
    table: pd.DataFrame,
    console: Console | None = None,
    confidence: float | None = None,
    method: str | None = None,
) -> None:
    """Print the table of the campaign in ``folder`` and where it was written."""
    campaign = PastCampaign(Path(folder))
    summary = campaign.summary()
    faults = int(table[OVERALL][FAULTS])
    state = "" if summary.status == "finished" else f" ({summary.status})"
    title = f"{summary.model}, {campaign.list_name}: {faults} faults x {summary.samples} samples"
    console = console or Console()
    level, known = confidence or summary.confidence, summary.design.known
    rule = (level, method or summary.interval)
    note = describe_wide(table, campaign.results.load(whole=False), summary.design, *rule)
    print_table(table, title + state, level, console, known, rule[1], note)
    console.print(f"Written to {campaign.table_path}", highlight=False, soft_wrap=True)
