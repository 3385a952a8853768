"""A training run: Lightning's fit, and the best weights put into the network and into a file."""

from __future__ import annotations

import logging
import signal
import threading
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from lightning_fabric.utilities.exceptions import MisconfigurationException
from lightning_fabric.utilities.warnings import PossibleUserWarning
from pytorch_lightning.callbacks import ModelCheckpoint, RichProgressBar
from pytorch_lightning.loggers import TensorBoardLogger
from torch import Tensor, nn

from fi.base.errors import UserError, report_errors
from fi.campaign.trainer import exact_arithmetic
from fi.campaign.training_data import make_loaders
from fi.network.checkpoint import load_checkpoint
from fi.network.neurons import make_parameters_float, reset_neurons
from fi.training.data import check_fit
from fi.training.module import Training

#: Warnings of Lightning about its own use of PyTorch, and about folders and workers.
_LIGHTNINGS_OWN = ".*LeafSpec.*|.*Checkpoint directory .* exists and is not empty.*"


class _Bar(RichProgressBar):
    """Lightning's bar without the number of the run."""

    def get_metrics(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule
    ) -> dict[str, int | str | float | dict[str, float]]:
        metrics = super().get_metrics(trainer, pl_module)
        metrics.pop("v_num", None)
        return metrics


def fit(
    module: Training,
    data: Any,
    folder: Path,
    progress: bool = True,
    callbacks: Sequence[pl.Callback] = (),
    resume: bool = False,
    keep_last: bool = False,
    **options: Any,
) -> dict[str, float]:
    """Train ``module.network`` on ``data``; it ends with its best weights.

    The best epoch is the one of the highest validation accuracy (the first of equals), the last
    one where ``data`` has no ``val_dataloader``, or with ``keep_last``. It is kept as
    ``best.ckpt`` in ``folder``; the newest one with all that goes on from it, as ``last.ckpt``.

    Args:
        module: the network and its recipe.
        data: a datamodule with ``setup`` and ``train_dataloader``, perhaps ``val_dataloader``.
        folder: where the best checkpoint and TensorBoard's files go.
        progress: draw a bar.
        callbacks: Lightning callbacks that follow it.
        resume: go on from ``last.ckpt``; what comes is what had come without the interruption.
        keep_last: end with the last epoch, whatever its validation.
        options: further options of Lightning's Trainer, as ``accelerator``.

    Returns:
        The losses and accuracies of the last epoch, and ``best_val_accuracy``.

    Raises:
        UserError: network and data do not fit, the training diverges, or there is nothing to
            resume.
    """
    train, validation = make_loaders(data)
    make_parameters_float(module.network)
    check_fit(module, train, type(data).__name__)
    accelerator = options.get("accelerator", "auto")
    on_gpu = accelerator not in ("cpu", "mps") and torch.cuda.is_available()
    last = folder / "last.ckpt"
    if resume and not last.is_file():
        raise UserError(f"--resume: {last} is not there; a training writes it after each epoch")
    if not resume:
        for name in ("best.ckpt", "last.ckpt"):
            (folder / name).unlink(missing_ok=True)
    with quiet_lightning(), exact_arithmetic(on_gpu), _keep_signals():
        seed_all(module.recipe.seed)
        best = _make_checkpointer(folder, validation is not None and not keep_last)
        kept = [*callbacks, RandomState(), best, _make_resumable(folder)]
        trainer = _make_trainer(module, folder, kept, progress, options)
        try:
            trainer.fit(module, train, validation, ckpt_path=last if resume else None)
        except SystemExit as stop:  # Lightning's answer to Ctrl-C
            if trainer.interrupted:
                raise KeyboardInterrupt from stop
            raise
    load_checkpoint(module.network, Path(best.best_model_path))
    reset_neurons(module.network)
    metrics = {name: float(value) for name, value in trainer.callback_metrics.items()}
    if best.best_model_score is not None:
        metrics["best_val_accuracy"] = float(best.best_model_score)
    return metrics


def _make_checkpointer(folder: Path, validated: bool) -> ModelCheckpoint:
    """Keeps the epoch of the highest validation accuracy, without validation the last one."""
    return ModelCheckpoint(
        folder,
        "best",
        monitor="val_accuracy" if validated else None,
        mode="max",
        save_weights_only=True,
        enable_version_counter=False,
    )


def _make_resumable(folder: Path) -> ModelCheckpoint:
    """Keeps the newest epoch whole."""
    return ModelCheckpoint(
        folder,
        "last",
        monitor=None,
        save_top_k=1,
        save_on_train_epoch_end=True,
        enable_version_counter=False,
    )


class RandomState(pl.Callback):
    """Keeps the state of torch's random numbers behind each epoch, from which a run resumes."""

    def __init__(self) -> None:
        self._state: Tensor | None = None

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint has of it."""
        return {"torch": torch.get_rng_state()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take it from a checkpoint."""
        self._state = state_dict["torch"]

    def on_train_start(self, *args: Any) -> None:
        """Go on with the numbers that had come next.

        The loader of the first epoch is opened already, which takes a number for its workers; that
        of a later one takes it afterwards. So it is taken here.
        """
        if self._state is not None:
            torch.set_rng_state(self._state.cpu())
            torch.empty((), dtype=torch.int64).random_()


def _make_trainer(
    module: Training,
    folder: Path,
    callbacks: list[pl.Callback],
    progress: bool,
    options: dict[str, Any],
) -> pl.Trainer:
    with report_errors(MisconfigurationException, RuntimeError, ValueError, prefix="Lightning: "):
        return pl.Trainer(
            max_epochs=module.recipe.epochs,
            deterministic=True,
            callbacks=[*callbacks, *([_Bar(leave=True)] if progress else [])],
            enable_progress_bar=progress,
            enable_model_summary=False,
            num_sanity_val_steps=0,
            log_every_n_steps=1,
            logger=TensorBoardLogger(folder, name="", version="tensorboard"),
            **options,
        )


def seed_all(seed: int) -> None:
    """Seed every generator of random numbers, those of loaders' workers included."""
    pl.seed_everything(seed, workers=True, verbose=False)


def save_weights(network: nn.Module, path: Path) -> None:
    """Write the state dict, float32 and on the CPU, whole or not at all.

    Raises:
        UserError: the file cannot be written.
    """
    state = {
        name: (value.float() if value.is_floating_point() else value).cpu().contiguous()
        for name, value in network.state_dict().items()
    }
    draft = path.with_name(f".{path.name}.tmp")
    try:
        with report_errors(OSError, RuntimeError, prefix=f"{path} cannot be written: "):
            path.parent.mkdir(parents=True, exist_ok=True)
            torch.save(state, draft)
            draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


@contextmanager
def quiet_lightning() -> Iterator[None]:
    """No notes about devices, and no warnings about Lightning's own ways."""
    logging.getLogger("pytorch_lightning.utilities.rank_zero").setLevel(logging.WARNING)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=_LIGHTNINGS_OWN)
        warnings.filterwarnings("ignore", category=PossibleUserWarning)
        yield


@contextmanager
def _keep_signals() -> Iterator[None]:
    """Ctrl-C works afterwards as before: Lightning leaves it switched off."""
    handler = signal.getsignal(signal.SIGINT)
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, handler)
