"""A campaign of rates in TensorBoard: what the trials of each rate show, and the figure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from torch.utils.tensorboard import SummaryWriter

from fi.campaign.callback_api import CampaignCallback, CampaignRecord
from fi.metrics.counts import COUNT_COLUMNS, GroupCounts
from fi.statistics.rate_estimates import CellEstimates, estimate_rates

_SHOWN = {"masked": "fully_masked", "sdc_1": "sdc_1", "facc": "correct"}


class RateBoard(CampaignCallback):
    """Rates of each cell over its trials, with their intervals; in the end accuracy over the rate.

    Scalars are called ``network/1e-05/facc``, and so on; the last ones, ``network/over_rate/facc``,
    have as their step the place of the rate among all. A campaign that is continued writes another
    file beside the first.
    """

    def __init__(self) -> None:
        self._writer: SummaryWriter | None = None
        self._record: CampaignRecord | None = None
        self._rows: list[pd.DataFrame] = []

    def on_campaign_start(self, record: CampaignRecord) -> None:
        self._record = record
        self._writer = SummaryWriter(str(record.folder / "tensorboard"))
        self._rows = [record.earlier] if len(record.earlier) else []
        self._writer.add_scalar("golden_accuracy", record.golden.accuracy, 0)

    def on_results(self, done: Sequence[Any], counts: GroupCounts) -> None:
        if self._writer is None:
            return
        columns = {
            "Injection": [trial.injection for trial in done],
            "Rate": [trial.rate for trial in done],
            "Scope": [trial.scope for trial in done],
            "Faults": [trial.hits for trial in done],
        }
        rows = pd.DataFrame({**columns, **{name: counts[name] for name in COUNT_COLUMNS}})
        self._rows.append(rows)
        new = set(zip(rows["Rate"], rows["Scope"], strict=True))
        for cell in self._estimate():
            if (cell.rate, cell.scope) in new:
                self._write(cell, f"{cell.scope}/{cell.rate:g}", cell.trials)

    def _estimate(self) -> list[CellEstimates]:
        assert self._record is not None
        source = self._record.source
        return estimate_rates(pd.concat(self._rows), source.confidence, source.interval)

    def _write(self, cell: CellEstimates, name: str, step: int) -> None:
        assert self._writer is not None
        for short, column in _SHOWN.items():
            found = cell.found[column]
            for end, value in (("", found.rate), ("_low", found.low), ("_high", found.high)):
                self._writer.add_scalar(f"{name}/{short}{end}", value, step)

    def on_campaign_end(self) -> None:
        if self._writer is None or self._record is None:
            return
        if self._rows:
            cells = self._estimate()
            for scope in dict.fromkeys(cell.scope for cell in cells):
                own = [cell for cell in cells if cell.scope == scope]
                for place, cell in enumerate(own):
                    self._write(cell, f"{scope}/over_rate", place)
            done = sum(cell.trials for cell in cells)
            if self._record.figures and done == self._record.faults:
                self._draw_figure(done)
        self._writer.close()
        self._writer = None

    def _draw_figure(self, done: int) -> None:
        """The report's figure as an image."""
        from matplotlib.backends.backend_agg import FigureCanvasAgg

        from fi.report.error_rates.rate_figure import draw_rates
        from fi.report.error_rates.rate_findings import RateFindings
        from fi.store.campaign_reader import PastCampaign

        assert self._writer is not None
        assert self._record is not None
        picture = draw_rates(RateFindings.of(PastCampaign(self._record.folder)))
        canvas = FigureCanvasAgg(picture.figure())
        canvas.draw()
        image = np.asarray(canvas.buffer_rgba())[..., :3]
        self._writer.add_image(picture.name, image, done, dataformats="HWC")
