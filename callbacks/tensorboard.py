"""A campaign in TensorBoard: rates over the number of faults done, and figures in the end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from torch.utils.tensorboard import SummaryWriter
from torch.utils.tensorboard.summary import hparams

from fi.base.garbage import pause_collection
from fi.campaign.callback_api import CampaignCallback, CampaignRecord
from fi.campaign.running_rates import RunningRates
from fi.faults.fault import Trial, family_of, format_bits
from fi.metrics.counts import COUNT_COLUMNS, GroupCounts
from fi.statistics.result_table import OVERALL
from fi.statistics.survey_design import Design

_FIGURES = ("outcomes", "bits", "steps")


class CampaignBoard(CampaignCallback):
    """Rates with their intervals by site family and overall, and what came out in the end.

    One writer a campaign: a logger on the Trainer would open one file per test run. A campaign
    that is continued writes another file beside the first, from the faults done onwards;
    TensorBoard reads both as one run.
    """

    def __init__(self) -> None:
        self._writer: SummaryWriter | None = None
        self._record: CampaignRecord | None = None
        self._rates = RunningRates(Design.of_list(()))
        self._drops: dict[str, list[NDArray[np.float64]]] = {}

    def on_campaign_start(self, record: CampaignRecord) -> None:
        self._record = record
        source = record.source
        self._rates = RunningRates(
            source.design or Design.of_list(()), source.confidence, source.interval
        )
        self._drops = {}
        # whatever a killed run wrote behind the last fault that it stored does not count
        self._writer = SummaryWriter(str(record.folder / "tensorboard"), purge_step=record.done + 1)
        earlier = record.earlier
        sites = zip(earlier["Layer"], earlier["Bit"].astype(str), strict=True)
        self._add(list(sites), earlier[list(COUNT_COLUMNS)].to_numpy())
        self._writer.add_scalar("golden_accuracy", record.golden.accuracy, self._rates.done)

    def on_interim_analysis(self, faults: int) -> None:
        if self._record is not None:
            self._record = replace(self._record, faults=faults)

    def on_results(self, done: Sequence[Trial], counts: GroupCounts) -> None:
        if self._writer is None:
            return
        table = np.stack([counts[name] for name in COUNT_COLUMNS], axis=1)
        bits = {hit: format_bits(hit) for hit in {trial[0].bits for trial in done}}
        sites = [(family_of(trial), bits[trial[0].bits]) for trial in done]
        self._add(sites, table)
        for family in (OVERALL, *dict.fromkeys(family for family, _ in sites)):
            for name, value in self._rates.compute_scalars(family).items():
                self._writer.add_scalar(f"{family}/{name}", value, self._rates.done)

    def _add(self, sites: Sequence[tuple[str, str]], table: NDArray[np.int64]) -> None:
        """Take counts ``[trials, columns]`` of trials with this family and bit."""
        self._rates.add(sites, table)
        columns = [COUNT_COLUMNS.index(c) for c in ("golden_correct", "correct", "samples")]
        golden, correct, samples = table[:, columns].T
        drops = (golden - correct) / samples
        layers = np.array([family for family, _ in sites], dtype=object)
        for layer in dict.fromkeys(layers.tolist()):
            self._drops.setdefault(layer, []).append(drops[layers == layer])
        self._drops.setdefault(OVERALL, []).append(drops)

    def on_campaign_end(self) -> None:
        if self._writer is None or self._record is None:
            return
        if self._rates.done:
            self._write_histograms()
            self._write_hyperparameters()
            if self._record.figures and self._rates.done == self._record.faults:
                self._draw_figures()
        self._writer.close()
        self._writer = None

    def _write_histograms(self) -> None:
        assert self._writer is not None
        for family, drops in self._drops.items():
            name = f"{family}/accuracy_drop"
            self._writer.add_histogram(name, np.concatenate(drops), self._rates.done)

    def _write_hyperparameters(self) -> None:
        assert self._writer is not None
        assert self._record is not None
        settings = {
            key: value if isinstance(value, (bool, int, float, str)) else str(value)
            for key, value in self._record.settings.items()
        }
        rates = {f"result/{name}": v for name, v in self._rates.compute_scalars(OVERALL).items()}
        rates["result/golden_accuracy"] = self._record.golden.accuracy
        file = self._writer._get_file_writer()  # SummaryWriter.add_hparams opens another one
        for summary in hparams(settings, rates):
            file.add_summary(summary)
        for rate, value in rates.items():
            self._writer.add_scalar(rate, value, self._rates.done)

    @pause_collection()
    def _draw_figures(self) -> None:
        """The report's bars and heat maps as images."""
        from matplotlib.backends.backend_agg import FigureCanvasAgg

        from fi.report.figures import main_pictures
        from fi.report.findings import Findings
        from fi.store.campaign_reader import PastCampaign

        assert self._writer is not None
        assert self._record is not None
        findings = Findings.of(PastCampaign(self._record.folder))
        for picture in main_pictures(findings):
            if picture.name in _FIGURES:
                canvas = FigureCanvasAgg(picture.figure())
                canvas.draw()
                image = np.asarray(canvas.buffer_rgba())[..., :3]
                self._writer.add_image(picture.name, image, self._rates.done, dataformats="HWC")
