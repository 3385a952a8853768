"""What a command prints when its campaign is done."""

from __future__ import annotations

from fi.report.tables import show_table, write_table
from fi.report.terminal.table import plain_console
from fi.store.campaign_folder import CampaignFiles
from fi.store.merging import COMMAND as MERGE


def show_end(files: CampaignFiles, figures: bool, quiet: bool) -> None:
    """Print the table and write the report; of a shard, say how these are made of all shards.

    Args:
        files: of the campaign.
        figures: whether the report is wanted.
        quiet: print the table only, without colours.
    """
    if files.shard:
        print(f"When all {files.shard.count} shards are done: {MERGE} {files.campaign}")
    else:
        show_table(files.path, write_table(files.path), plain_console() if quiet else None)
        if figures:
            from fi.report.page import write_report  # matplotlib takes a second

            print(f"Report in {write_report(files.path)}")
    print(f"Results in {files.path}")
