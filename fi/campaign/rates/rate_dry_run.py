"""``--dry-run`` of a campaign of rates: its bits, its trials, and how long they would take."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from fi.campaign.dry_run import time_first_batch
from fi.campaign.rates.rate_campaign import RateCampaign


def show_rates(campaign: RateCampaign) -> None:
    """Print the bits and the trials; nothing is run but one batch, nothing written."""
    console = Console(highlight=False)
    subject, schedule = campaign.subject, campaign.schedule
    console.print(f"{subject.name} on {subject.data_name}, {subject.steps} time steps")
    console.print(_make_bits_table(campaign))
    console.print(_make_trials_table(campaign))
    if left_out := schedule.space.space.left_out:
        console.print(f"no such fault in: {', '.join(left_out)}", soft_wrap=True)
    seconds = _time_forward(campaign)
    console.print(
        f"{len(schedule.trials)} trials: {seconds * len(schedule.trials):.0f} s at most, as plain "
        f"forwards; {campaign.why}; nothing was run",
        soft_wrap=True,
    )


def _make_bits_table(campaign: RateCampaign) -> Table:
    space = campaign.schedule.space
    table = Table(title="Bits that may be hit")
    for name in ("site family", "shape", "words", "bits"):
        table.add_column(name, justify="right" if name in ("words", "bits") else "left")
    for family in space.space.families:
        row = (str(family.shape), str(family.words), str(space.places_of(family)))
        table.add_row(family.name, *row)
    table.add_section()
    words = sum(family.words for family in space.space.families)
    table.add_row("all", "", str(words), str(space.size))
    return table


def _make_trials_table(campaign: RateCampaign) -> Table:
    schedule = campaign.schedule
    table = Table(title="Trials")
    for name in ("layer", "rate", "trials", "faults expected"):
        table.add_column(name, justify="left" if name == "layer" else "right")
    for rate, scope in schedule.cells:
        number = sum(t.rate == rate and t.scope == scope for t in schedule.rate_trials)
        table.add_row(scope, f"{rate:g}", str(number), f"{rate * schedule.space.size_of(scope):g}")
    return table


def _time_forward(campaign: RateCampaign) -> float:
    """Seconds of a plain forward over the test set, from its first batch."""
    batches = campaign.subject.batches
    return time_first_batch(campaign, campaign.subject.infer) * sum(1 for _ in batches)
