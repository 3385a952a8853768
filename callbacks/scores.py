"""Score tensors on disk, in the folders that SpikingJET publishes."""

from __future__ import annotations

import io
import os
import platform
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import pytorch_lightning as pl
import torch
from torch import Tensor

from fi.campaign.callback_api import CampaignCallback, CampaignRecord
from fi.campaign.fault_test import FaultTest
from fi.metrics.pairs import Pairs


class ScoreFiles(CampaignCallback):
    """Writes golden scores and labels of every batch, and on request those of every fault.

    Files: ``pt/clean`` and ``pt/label`` ``/batch_size_<B>/batch_<i>.pt``, scores
    ``[batch, classes]`` and labels ``[batch]``; ``pt/faulty/batch_size_<B>/fault_<f>_batch_<i>.pt``
    with ``f`` the injection number. The next run overwrites them.
    """

    everywhere: ClassVar[bool] = True

    def __init__(self, faulty: bool = False) -> None:
        self.faulty = faulty
        self._folder = Path()
        self._batch_size = 0

    def on_campaign_start(self, record: CampaignRecord) -> None:
        self._folder = record.output / record.model / "pt"
        self._batch_size = record.golden.batch_size
        if record.process == 0:
            self._write_batches("clean", "batch_{}.pt", record.golden.scores)
            self._write_batches("label", "batch_{}.pt", record.golden.labels)
        if self.faulty:
            self._find_folder("faulty").mkdir(parents=True, exist_ok=True)

    def on_test_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        if not self.faulty or not isinstance(pl_module, FaultTest) or outputs is None:
            return
        golden = pl_module.golden.scores[batch_idx]
        for fault, scores in enumerate(expand_scores(golden, outputs["pairs"], pl_module)):
            name = f"fault_{pl_module.faults[fault][0].injection}_batch_{batch_idx}.pt"
            write_tensor(scores, self._find_folder("faulty") / name)

    def _find_folder(self, kind: str) -> Path:
        return self._folder / kind / f"batch_size_{self._batch_size}"

    def _write_batches(self, kind: str, name: str, tensors: Sequence[Tensor]) -> None:
        self._find_folder(kind).mkdir(parents=True, exist_ok=True)
        for number, tensor in enumerate(tensors):
            write_tensor(tensor, self._find_folder(kind) / name.format(number))


def write_tensor(tensor: Tensor, path: Path) -> None:
    """Write ``tensor`` whole or not at all: shards of a list may write the same file at once."""
    draft = path.with_name(f".{path.name}.{platform.node()}.{os.getpid()}.tmp")
    data = io.BytesIO()
    torch.save(tensor, data)  # to a file itself, torch reports a full disk as a RuntimeError
    try:
        draft.write_bytes(data.getvalue())
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def expand_scores(golden: Tensor, portions: Sequence[Pairs], module: FaultTest) -> list[Tensor]:
    """Make scores ``[batch, classes]`` of each fault; a pair that is not listed has golden ones."""
    scores = [golden.clone() for _ in module.faults]
    for pairs in portions:
        rows = zip(pairs.fault.tolist(), pairs.sample.tolist(), pairs.scores.cpu(), strict=True)
        for fault, sample, values in rows:
            scores[fault][sample] = values
    return scores
