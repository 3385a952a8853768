"""A campaign's rates in TensorBoard, over the number of faults done."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray
from torch.utils.tensorboard import SummaryWriter
from torch.utils.tensorboard.summary import hparams

from fi.counts import COUNT_COLUMNS
from fi.faults import Trial, family_of
from fi.outcomes import OUTCOMES
from fi.record import CampaignCallback, CampaignRecord, GroupCounts

_RATES = (*OUTCOMES, "non_finite", "correct")


class CampaignBoard(CampaignCallback):
    """Running rates per site family and overall, hyperparameters and golden accuracy.

    One writer a campaign: a logger on the Trainer would open one file per test run.
    """

    def __init__(self) -> None:
        self._writer: SummaryWriter | None = None
        self._record: CampaignRecord | None = None
        self._done = 0
        self._totals: dict[str, np.ndarray] = {}

    def on_campaign_start(self, record: CampaignRecord) -> None:
        self._record = record
        self._done = record.done
        self._totals = defaultdict(lambda: np.zeros(len(COUNT_COLUMNS), dtype=np.int64))
        self._add(record.earlier["Layer"], record.earlier[list(COUNT_COLUMNS)].to_numpy())
        self._writer = SummaryWriter(str(record.folder / "tensorboard"))
        self._writer.add_scalar("golden_accuracy", record.golden.accuracy, self._done)

    def on_results(self, done: Sequence[Trial], counts: GroupCounts) -> None:
        if self._writer is None:
            return
        table = np.stack([counts[name] for name in COUNT_COLUMNS], axis=1)
        layers = [family_of(trial) for trial in done]
        self._done += len(done)
        self._add(layers, table)
        for name in ("all", *dict.fromkeys(layers)):
            self._write(name)

    def _add(self, layers: Iterable[str], table: NDArray[np.int64]) -> None:
        """Add counts ``[faults, columns]`` to the totals."""
        for layer, row in zip(layers, table, strict=True):
            self._totals[layer] += row
            self._totals["all"] += row

    def _write(self, name: str) -> None:
        assert self._writer is not None
        for rate, value in self._rates(name).items():
            self._writer.add_scalar(f"{name}/{rate}", value, self._done)

    def _rates(self, name: str) -> dict[str, float]:
        """Parts of the samples so far; ``correct`` becomes the faulty accuracy."""
        totals = dict(zip(COUNT_COLUMNS, self._totals[name].tolist(), strict=True))
        rates = {rate: totals[rate] / max(1, totals["samples"]) for rate in _RATES}
        rates["faulty_accuracy"] = rates.pop("correct")
        return rates

    def on_campaign_end(self) -> None:
        if self._writer is None or self._record is None:
            return
        settings = {
            key: value if isinstance(value, (bool, int, float, str)) else str(value)
            for key, value in self._record.settings.items()
        }
        rates = {f"result/{rate}": value for rate, value in self._rates("all").items()}
        rates["result/golden_accuracy"] = self._record.golden.accuracy
        file = self._writer._get_file_writer()  # SummaryWriter.add_hparams opens another one
        for summary in hparams(settings, rates):
            file.add_summary(summary)
        for rate, value in rates.items():
            self._writer.add_scalar(rate, value, self._done)
        self._writer.close()
        self._writer = None
