"""A progress bar over the faults of a campaign."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytorch_lightning as pl
from rich.console import Console, RenderableType
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.text import Text

from fi.campaign.callback_api import CampaignCallback, CampaignRecord
from fi.campaign.fault_test import FaultTest
from fi.metrics.counts import GroupCounts

#: What ``--progress`` takes -> what is counted, and its name in the bar.
WATCHED = {
    "predictions": ("sdc_1", "predictions changed"),
    "scores": ("fully_masked", "scores changed"),
}
#: What the running rate is not, by whether the draw takes every fault with the same probability.
_CAVEATS = {True: "(not the accuracy loss)", False: "(of the faults run, not weighed)"}
_EVEN_SCHEMES = ("network-wise", "exhaustive", "list")
_REFRESH, _LINE = 0.2, 10.0  # seconds


class CampaignProgress(CampaignCallback):
    """Faults done, pairs per second, time left, and the rate of changed answers so far.

    Within a test run of many faults the bar moves with the batches. Where the output is no
    terminal it is a plain line every ten seconds.

    Args:
        watched: ``predictions`` or ``scores``: changes of the top class, or of the top score.
        console: where to draw; standard error by default.
    """

    def __init__(self, watched: str = "predictions", console: Console | None = None) -> None:
        self.column, self._changes = WATCHED[watched]
        self.caption = self._changes
        self.console = console or Console(stderr=True)
        self._bar: _Bar | None = None
        self._record: CampaignRecord | None = None
        self._faults, self._pairs, self._changed = 0.0, 0, 0
        self._start = self._shown = 0.0
        self._unit, self._workers = "faults", ""

    def on_campaign_start(self, record: CampaignRecord) -> None:
        self._record = record
        self._unit = "trials" if record.source.scheme == "rates" else "faults"
        self.caption = f"{self._changes} {_CAVEATS[record.source.scheme in _EVEN_SCHEMES]}"
        if self._unit == "trials":
            self.caption = f"{self._changes} (over all rates)"
        self._faults, self._pairs, self._changed = float(record.done), 0, 0
        self._start = self._shown = time.monotonic()
        if self.console.is_terminal:
            self._bar = _make_bar(self.console)
            self._bar.add_task(self._unit, total=record.faults, completed=record.done)
            self._bar.start()

    def on_interim_analysis(self, faults: int) -> None:
        if self._record is None:
            return
        self._record = replace(self._record, faults=faults)
        if self._bar is not None:
            self._bar.update(self._bar.task_ids[0], total=faults)

    def on_test_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        if not isinstance(pl_module, FaultTest) or self._record is None or not self._is_due():
            return
        within = len(pl_module.group) * (batch_idx + 1) / self._record.batches
        if self._faults + within < self._record.faults:  # the last line is the campaign's end
            self._draw(within, *self._count_pairs(pl_module))

    def on_test_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if not isinstance(pl_module, FaultTest) or self._record is None:
            return
        pairs, changed = self._count_pairs(pl_module)
        self._faults += len(pl_module.group)
        self._pairs += pairs
        self._changed += changed
        if self._faults < self._record.faults and self._is_due():
            self._draw()

    def on_workers(self, count: int) -> None:
        self._workers = f"  {count} worker{'s' * (count != 1)}"
        if self._record is not None and self._bar is not None:
            self._draw()

    def on_remote_group(self, counts: GroupCounts) -> None:
        if self._record is None:
            return
        pairs, hits = int(counts["samples"].sum()), int(counts[self.column].sum())
        self._faults += len(counts["samples"])
        self._pairs += pairs
        self._changed += pairs - hits if self.column == "fully_masked" else hits
        if self._faults < self._record.faults and self._is_due():
            self._draw()

    def _count_pairs(self, module: FaultTest) -> tuple[int, int]:
        """Pairs of the running test, and how many of them changed."""
        pairs = module.metric.total("samples")
        hits = module.metric.total(self.column)
        return pairs, pairs - hits if self.column == "fully_masked" else hits

    def on_campaign_end(self) -> None:
        if self._record is None:
            return
        self._draw()
        if self._bar is not None:
            self._bar.stop()
            self._bar = None
        self._record = None

    def _is_due(self) -> bool:
        return time.monotonic() - self._shown > (_REFRESH if self._bar else _LINE)

    def _draw(self, faults: float = 0, pairs: int = 0, changed: int = 0) -> None:
        """Draw what is done, ``faults``, ``pairs`` and ``changed`` of the running test included."""
        assert self._record is not None
        self._shown = time.monotonic()
        done, pairs, changed = self._faults + faults, self._pairs + pairs, self._changed + changed
        speed = pairs / max(1e-9, self._shown - self._start)
        rate = f"{format_rate(speed)} pairs/s{self._workers}"
        text = f"{rate}  {100 * changed / max(1, pairs):.2f} % {self.caption}"
        if self._bar is not None:
            self._bar.note = text
            self._bar.update(self._bar.task_ids[0], completed=int(done))
        else:
            left = self._describe_time_left(done)
            self.console.print(
                f"{int(done)}/{self._record.faults} {self._unit}  {text}{left}",
                highlight=False,
                soft_wrap=True,
            )

    def _describe_time_left(self, done: float) -> str:
        assert self._record is not None
        new = done - self._record.done
        if new <= 0 or done >= self._record.faults:
            return ""
        seconds = (self._shown - self._start) / new * (self._record.faults - done)
        return f"  {_format_duration(seconds)} left"


class _Bar(Progress):
    """The bar, and a line below it: together they fit in 80 columns."""

    note = ""

    def get_renderables(self) -> Iterator[RenderableType]:
        yield self.make_tasks_table(self.tasks)
        yield Text(self.note)


def _make_bar(console: Console) -> _Bar:
    return _Bar(
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.description}"),
        TimeRemainingColumn(),
        TextColumn("left"),
        console=console,
    )


def format_rate(number: float) -> str:
    """Write a number with three digits and a unit: ``1.23k``."""
    for unit in ("", "k", "M"):
        if number < 999.5:  # what rounds to 1000 has the next unit
            return f"{number:.3g}{unit}"
        number /= 1000
    return f"{number:.3g}G"


def _format_duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}"
