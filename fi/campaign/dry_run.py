"""``--dry-run``: what a campaign would do, and how long it would take."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

from fi.campaign.fault_source import FaultSource
from fi.campaign.runner import Campaign
from fi.campaign.trainer import StaysOnDevice, run_test
from fi.engine.timing import time_work
from fi.faults.fault_space import FaultSpace
from fi.network.batches import Batch, Batches
from fi.sampling.pilot import PilotPlan
from fi.sampling.plan import SamplingPlan
from fi.sampling.sequential import IterativeDraw
from fi.statistics.histogram import Histogram
from fi.statistics.neyman import expected_size, least_size

#: What a test run costs beside its inference.
_RUN_SECONDS = 0.003
_PROBE = 256
#: For which the dry run says how many faults they take.
_HALF_WIDTHS = (0.05, 0.01, 0.005, 0.001)


def show_plan(campaign: Campaign, source: FaultSource) -> None:
    """Print fault space, sample size and time; nothing is run but one batch, nothing written."""
    console = Console(highlight=False)
    subject, space, plan = campaign.subject, source.space, source.plan
    console.print(f"{subject.name} on {subject.data_name}, {subject.steps} time steps")
    console.print(_make_space_table(campaign, space))
    if source.draw is not None:
        _show_pilot(console, campaign, source.draw)
    elif plan is not None:
        expected = f"t {plan.t:g}, p {plan.p:g}" if source.pilot is None else "sizes by the pilot"
        console.print(
            f"{plan.scheme}: {_describe_draw(campaign, space, plan)} "
            f"(margin {plan.margin:g}, {expected}, seed {plan.seed})",
            soft_wrap=True,
        )
        if plan.together == 1 and len(sizes := plan.sizes(space)) > 1:
            console.print(_make_strata_table([(s.name, s.population, size) for s, size in sizes]))
    if space.left_out:
        console.print(f"no such fault in: {', '.join(space.left_out)}", soft_wrap=True)
    if source.draw is None:
        console.print(f"{campaign.source.name}: {len(campaign.trials)} faults; {campaign.why}")
        seconds = estimate_seconds(campaign)
        if plan is not None and plan.together == 1:
            _show_half_widths(console, campaign, source, plan, seconds)
        console.print(f"estimated time: {_format_time(seconds)}; nothing was run")


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


def _show_half_widths(
    console: Console, campaign: Campaign, source: FaultSource, plan: SamplingPlan, seconds: float
) -> None:
    """Say how many faults, and how long, a half-width of each rate would take."""
    each = seconds / len(campaign.trials)
    if source.pilot is not None:
        console.print(_make_sizes_table(source.pilot, source.space, each))
        return
    sizes = [part.population for part, _ in plan.sizes(source.space)]
    rule = (plan.margin, campaign.source.confidence, campaign.source.interval)
    least = round(sum(least_size(float(size), *rule) for size in sizes))
    most = sum(expected_size(Histogram.of([]), size, *rule) for size in sizes)
    console.print(
        f"a half-width of {plan.margin:g} takes {least} faults ({_format_time(least * each)}) of a "
        f"rate of 0 or 1, {most} ({_format_time(most * each)}) in the worst case; --pilot RUN, an "
        "earlier campaign, says how many of each rate",
        soft_wrap=True,
    )


def _make_sizes_table(pilot: PilotPlan, space: FaultSpace, each: float) -> Table:
    """Faults for some half-widths of each rate, and the time of the most; ``each`` in seconds."""
    table = Table(title="Faults for a half-width, as the pilot was")
    for name in ("half-width", *pilot.rates, "time"):
        table.add_column(name, justify="right")
    for margin in sorted({pilot.plan.margin, *_HALF_WIDTHS}, reverse=True):
        sizes = pilot.expect_sizes(space, margin).values()
        faults = [sum(of_rate[rate] for of_rate in sizes) for rate in pilot.rates]
        most = sum(max(of_rate.values()) for of_rate in sizes)
        table.add_row(f"{margin:g}", *map(str, faults), _format_time(most * each))
    return table


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
    """Seconds, from a few faults on the first batch, on the device and in the precision of a run.

    The second of two runs counts: the first one warms up.
    """
    faults = campaign.trials[: campaign.engine.group_size(min(len(campaign.trials), _PROBE))]

    def run(events: Tensor) -> None:
        with campaign.engine.injected(faults):
            for _pairs in campaign.engine.pairs(events, 0):
                pass

    seconds = time_first_batch(campaign, run)
    runs = len(campaign.trials) / campaign.engine.group_size(len(campaign.trials))
    batches = _count_batches(campaign.subject.batches)
    return seconds / len(faults) * batches * len(campaign.trials) + runs * _RUN_SECONDS


def time_first_batch(campaign: Campaign, run: Callable[[Tensor], object]) -> float:
    """Seconds of the second of two calls of ``run`` on the events of the first batch.

    They are where the campaign is to run, in its precision.
    """
    first = campaign.subject.batches.first()
    with campaign.prepare():
        test = _Timed(campaign.subject.network, run)
        run_test(campaign.trainer, test, Batches([first], "the first batch", dtype=first[0].dtype))
    return test.seconds


class _Timed(StaysOnDevice):
    """A test run of one batch that measures what is done with it."""

    def __init__(self, network: nn.Module, run: Callable[[Tensor], object]) -> None:
        super().__init__()
        self.network, self.run = network, run
        self.seconds = 0.0

    def test_step(self, batch: Batch, number: int) -> None:
        for _ in range(2):
            self.seconds = time_work(lambda: self.run(batch[0]), on=batch[0])


def _count_batches(batches: Batches) -> int:
    return sum(1 for _ in batches)


def _format_time(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"
