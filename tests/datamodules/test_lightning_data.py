"""Datamodules whose classes need no Lightning: what their instances are."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest
import pytorch_lightning as pl
import torch

from fi.datamodules import NMNIST, SHD, DVSGesture, RandomEvents, SaccadeMNIST


class Quiet(RandomEvents):
    """A user's, of a shipped one."""

    def __init__(self, quiet: int = 3, **options: Any) -> None:
        super().__init__(rate=0.0, **options)
        self.quiet = quiet


class Old(Quiet, pl.LightningDataModule):
    """One that says itself that it is Lightning's."""


class Shapes(pl.LightningModule):
    """Notes the shapes of its batches."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[torch.Size] = []

    def test_step(self, batch: Any) -> None:
        self.seen.append(batch[0].shape)


@pytest.mark.parametrize(
    "kind", [NMNIST, SHD, DVSGesture, RandomEvents, SaccadeMNIST, Quiet, Old], ids=str
)
def test_an_instance_is_a_lightning_datamodule(kind: type[RandomEvents]) -> None:
    data = kind()
    assert isinstance(data, pl.LightningDataModule)
    assert isinstance(data, kind)
    assert type(data) is type(kind())
    assert (type(data).__name__, type(data).__module__) == (kind.__name__, kind.__module__)
    assert data.trainer is None


@pytest.mark.parametrize("kind", [RandomEvents, Quiet, Old])
@pytest.mark.parametrize(
    "again", [copy.copy, copy.deepcopy, lambda d: pickle.loads(pickle.dumps(d))]
)
def test_a_copy_is_the_same(kind: type[RandomEvents], again: Any) -> None:
    data = kind(samples=5)
    assert type(again(data)) is type(data)
    assert vars(again(data)) == vars(data)


@pytest.mark.filterwarnings("ignore:.*LeafSpec")  # Lightning's own use of PyTorch
@pytest.mark.parametrize("kind", [RandomEvents, Quiet])
def test_a_trainer_takes_it(kind: type[RandomEvents]) -> None:
    module, data = Shapes(), kind(samples=3, shape=(4,), num_steps=2, batch_size=2)
    trainer = pl.Trainer(
        accelerator="cpu", logger=False, enable_progress_bar=False, enable_model_summary=False
    )
    trainer.test(module, datamodule=data, verbose=False)
    assert module.seen == [(2, 2, 4), (2, 1, 4)]
    assert data.trainer is trainer
