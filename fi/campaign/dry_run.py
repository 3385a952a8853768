"""``--dry-run``: what a campaign would do, and how long it would take."""

from __future__ import annotations

import time
from collections.abc import Sequence

import torch
from rich.console import Console
from rich.table import Table

from fi.campaign.fault_source import FaultSource
from fi.campaign.runner import Campaign
from fi.faults.fault_space import FaultSpace
from fi.network.batches import Batches
from fi.sampling.plan import SamplingPlan
from fi.sampling.sequential import IterativeDraw

#: What a test run costs beside its inference.
_RUN_SECONDS = 0.003
_PROBE = 256


def show_plan(campaign: Campaign, source: FaultSource) -> None:
    """Print fault space, sample size and time; nothing is run but one batch, nothing written."""
    console = Console(highlight=False)
    subject, space, plan = campaign.subject, source.space, source.plan
    console.print(f"{subject.name} on {subject.data_name}, {subject.steps} time steps")
    console.print(_make_space_table(campaign, space))
    if source.draw is not None:
        _show_pilot(console, campaign, source.draw)
    elif plan is not None:
        console.print(
            f"{plan.scheme}: {_describe_draw(campaign, space, plan)} "
            f"(margin {plan.margin:g}, t {plan.t:g}, p {plan.p:g}, seed {plan.seed})",
            soft_wrap=True,
        )
        if plan.together == 1 and len(sizes := plan.sizes(space)) > 1:
            console.print(_make_strata_table([(s.name, s.population, size) for s, size in sizes]))
    if space.left_out:
        console.print(f"no such fault in: {', '.join(space.left_out)}", soft_wrap=True)
    if source.draw is None:
        console.print(f"{campaign.source.name}: {len(campaign.trials)} faults; {campaign.why}")
        console.print(
            f"estimated time: {_format_time(estimate_seconds(campaign))}; nothing was run"
        )


def _show_pilot(console: Console, campaign: Campaign, draw: IterativeDraw) -> None:
    """Show the pilot, and the sample of the formula, which interim analyses are to undercut."""
    plan, pilot = draw.plan, len(campaign.trials)
    formula = sum(size for _, size in plan.sizes(draw.space))
    console.print(
        f"{plan.scheme}, interim analyses until {', '.join(draw.rates)} are known to "
        f"{plan.margin:g} at {draw.confidence:g} (seed {plan.seed})",
        soft_wrap=True,
    )
    sizes = [(name, size, drawn) for name, (drawn, size) in draw.sizes.items()]
    console.print(_make_strata_table(sizes, "pilot"))
    console.print(
        f"the pilot has {pilot} of {draw.space.size} faults; the formula, which is for rates "
        f"of {plan.p:g}, asks for {formula}: hardly more are drawn; {campaign.why}",
        soft_wrap=True,
    )
    first = estimate_seconds(campaign)
    console.print(
        f"estimated time: {_format_time(first)} for the pilot, "
        f"{_format_time(first * max(1.0, formula / pilot))} for {formula} faults; nothing was run"
    )


def _make_strata_table(sizes: Sequence[tuple[str, int, int]], drawn: str = "drawn") -> Table:
    """Name, faults and faults drawn of each stratum."""
    table = Table(title="Strata")
    for name in ("stratum", "faults", drawn):
        table.add_column(name, justify="left" if name == "stratum" else "right")
    for stratum, population, size in sizes:
        table.add_row(stratum, str(population), str(size))
    return table


def _describe_draw(campaign: Campaign, space: FaultSpace, plan: SamplingPlan) -> str:
    if plan.together == 1:
        return f"{len(campaign.trials)} of {space.size} faults"
    return f"{len(campaign.trials)} trials of {plan.together} of {space.size} faults each"


def _make_space_table(campaign: Campaign, space: FaultSpace) -> Table:
    table = Table(title="Fault space")
    for name in ("site family", "shape", "words", "faults", "in the list"):
        table.add_column(name, justify="left" if name in ("site family", "shape") else "right")
    listed: dict[str, int] = {}
    for fault in campaign.faults:
        listed[fault.layer] = listed.get(fault.layer, 0) + 1
    for family in space.families:
        numbers = (family.words, space.size_of(family), listed.get(family.name, 0))
        table.add_row(family.name, str(family.shape), *map(str, numbers))
    words = sum(family.words for family in space.families)
    table.add_section()
    table.add_row("all", "", str(words), str(space.size), str(len(campaign.faults)))
    return table


def estimate_seconds(campaign: Campaign) -> float:
    """Seconds, from a few faults on the first batch (after one run to warm up)."""
    faults = campaign.trials[: campaign.engine.group_size(min(len(campaign.trials), _PROBE))]
    events, _ = campaign.subject.batches.first()
    with torch.no_grad(), campaign.engine.injected(faults):
        for _ in range(2):
            start = time.monotonic()
            for _pairs in campaign.engine.pairs(events, 0):
                pass
            seconds = time.monotonic() - start
    runs = len(campaign.trials) / campaign.engine.group_size(len(campaign.trials))
    batches = _count_batches(campaign.subject.batches)
    return seconds / len(faults) * batches * len(campaign.trials) + runs * _RUN_SECONDS


def _count_batches(batches: Batches) -> int:
    return sum(1 for _ in batches)


def _format_time(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"
