"""Lightning's Trainer as the campaign uses it: one Trainer, many test runs."""

from __future__ import annotations

import logging
import os
import signal
import threading
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import pytorch_lightning as pl
import torch
from lightning_fabric.plugins.environments.lightning import LightningEnvironment
from lightning_fabric.utilities.exceptions import MisconfigurationException

from fi.base.errors import UserError, report_errors
from fi.base.user_code import was_raised_by_user
from fi.campaign.settings import PRECISIONS, Hardware
from fi.network.batches import Batches

#: A warning of Lightning about its own use of PyTorch.
_LIGHTNINGS_OWN = ".*LeafSpec.*"


def make_trainer(
    hardware: Hardware, callbacks: Sequence[pl.Callback], alone: bool = False
) -> pl.Trainer:
    """The one Trainer of a campaign.

    Args:
        hardware: what it runs on.
        callbacks: of its test runs.
        alone: whether it is no part of a job of several processes, whatever a launcher has put
            into the environment.

    Raises:
        UserError: a precision that is not allowed, or the machine has no such device.
    """
    if hardware.precision not in PRECISIONS:
        allowed = " and ".join(PRECISIONS)
        raise UserError(f"--precision {hardware.precision}: allowed are {allowed}")
    logging.getLogger("pytorch_lightning.utilities.rank_zero").setLevel(logging.WARNING)
    asked = f"--accelerator {hardware.accelerator} --devices {hardware.devices}: "
    with report_errors(
        MisconfigurationException, RuntimeError, ValueError, TypeError, prefix=asked
    ):
        return pl.Trainer(
            accelerator=hardware.accelerator,
            devices=hardware.devices,
            num_nodes=hardware.num_nodes,
            strategy=hardware.strategy,
            precision=hardware.precision,  # type: ignore[arg-type]  # checked above
            callbacks=list(callbacks),
            plugins=[LightningEnvironment()] if alone else None,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            use_distributed_sampler=False,
            benchmark=False,
        )


def on_gpu(trainer: pl.Trainer) -> bool:
    """Whether the Trainer runs on a CUDA device."""
    return trainer.strategy.root_device.type == "cuda"


@contextmanager
def exact_arithmetic(gpu: bool) -> Iterator[None]:
    """No TF32, no autotuning, and deterministic algorithms on a GPU; put back afterwards."""
    before = (
        torch.backends.cuda.matmul.allow_tf32,
        torch.backends.cudnn.allow_tf32,
        torch.backends.cudnn.benchmark,
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
    )
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    torch.backends.cudnn.benchmark = False
    torch.use_deterministic_algorithms(gpu)
    if gpu:  # without it PyTorch refuses matrix products; cuBLAS reads it when it starts
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    try:
        yield
    finally:
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before[:2]
        torch.backends.cudnn.benchmark = before[2]
        torch.use_deterministic_algorithms(before[3], warn_only=before[4])


def run_test(trainer: pl.Trainer, module: pl.LightningModule, batches: Batches) -> None:
    """One ``trainer.test``; Ctrl-C arrives as ``KeyboardInterrupt``.

    Lightning answers Ctrl-C with ``exit(1)`` and leaves the signal switched off.
    """
    handler = signal.getsignal(signal.SIGINT)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=_LIGHTNINGS_OWN)
            trainer.test(module, dataloaders=batches, verbose=False)
    except SystemExit as stop:
        if trainer.interrupted and not was_raised_by_user(stop):
            raise KeyboardInterrupt from stop
        raise
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, handler)
