"""Lightning's Trainer as the campaign uses it: one Trainer, many test runs."""

from __future__ import annotations

import logging
import re
import signal
import threading
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import pytorch_lightning as pl
import torch
from lightning_fabric.plugins.environments.lightning import LightningEnvironment
from lightning_fabric.utilities.exceptions import MisconfigurationException
from typing_extensions import Self

from fi.base.cuda_start import check_cublas
from fi.base.errors import UserError, first_line, report_errors
from fi.base.notes import note
from fi.base.user_code import UserCodeError, find_user_line, was_raised_by_user
from fi.campaign.settings import PRECISIONS, Hardware
from fi.network.batches import Batches

#: A warning of Lightning about its own use of PyTorch.
_LIGHTNINGS_OWN = ".*LeafSpec.*"
#: How PyTorch refuses an operation under deterministic algorithms.
_NOT_DETERMINISTIC = re.compile(r"(\S+) does not have a deterministic implementation")


class StaysOnDevice(pl.LightningModule):
    """A LightningModule that is left where its test runs are.

    Lightning takes a module to the CPU after every test run; a campaign has thousands of them.
    ``keep_network`` takes the network back in the end.
    """

    def cpu(self) -> Self:
        return self


def make_trainer(
    hardware: Hardware, callbacks: Sequence[pl.Callback], alone: bool = False
) -> pl.Trainer:
    """The one Trainer of a campaign.

    Args:
        hardware: what it runs on.
        callbacks: of its test runs.
        alone: whether it is no part of a job of several processes, whatever a launcher has put
            into the environment.

    ``auto`` is the CPU, whose kernels have been timed; a GPU is taken where it is asked for.

    Raises:
        UserError: a precision that is not allowed, or the machine has no such device.
    """
    if hardware.precision not in PRECISIONS:
        allowed = " and ".join(PRECISIONS)
        raise UserError(f"--precision {hardware.precision}: allowed are {allowed}")
    logging.getLogger("pytorch_lightning.utilities.rank_zero").setLevel(logging.WARNING)
    accelerator = hardware.accelerator
    if accelerator == "auto":
        accelerator = "cpu"
        if not alone and torch.cuda.is_available():
            note(
                "--accelerator auto takes the kernels of the CPU; --accelerator gpu takes the GPU, "
                "and fi.benchmark --device cuda says how fast it is here"
            )
    asked = f"--accelerator {hardware.accelerator} --devices {hardware.devices}: "
    with report_errors(
        MisconfigurationException, RuntimeError, ValueError, TypeError, prefix=asked
    ):
        trainer = pl.Trainer(
            accelerator=accelerator,
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
    check_device(trainer.strategy.root_device)
    return trainer


def check_device(device: torch.device) -> None:
    """Raise ``UserError`` for a device that cannot judge scores, which takes float64."""
    if device.type == "mps":
        raise UserError(
            "--accelerator: mps has no float64, in which scores are judged; allowed are cpu, gpu "
            "of CUDA"
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
    if gpu:
        check_cublas()
    try:
        yield
    finally:
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before[:2]
        torch.backends.cudnn.benchmark = before[2]
        torch.use_deterministic_algorithms(before[3], warn_only=before[4])


def run_test(trainer: pl.Trainer, module: pl.LightningModule, batches: Batches) -> None:
    """One ``trainer.test``; Ctrl-C arrives as ``KeyboardInterrupt``.

    Lightning answers Ctrl-C with ``exit(1)`` and leaves the signal switched off.

    Raises:
        UserError: the device has no memory left, or the network uses an operation that gives
            something else every time.
    """
    handler = signal.getsignal(signal.SIGINT)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=_LIGHTNINGS_OWN)
            trainer.test(module, dataloaders=batches, verbose=False)
    except (RuntimeError, UserCodeError) as error:
        if text := _describe_device_error(error, trainer.strategy.root_device):
            raise UserError(text) from error
        raise
    except SystemExit as stop:
        if trainer.interrupted and not was_raised_by_user(stop):
            raise KeyboardInterrupt from stop
        raise
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, handler)


def _describe_device_error(error: BaseException, device: torch.device) -> str:
    """What to do about an error of the device, in a line; empty where it is none.

    The code of a user's network may have raised it, which is told already where that ran alone.
    """
    cause = error.__cause__ if isinstance(error, UserCodeError) else error
    if isinstance(cause, torch.OutOfMemoryError):
        return (
            f"out of memory on {device}: {first_line(cause)}; --memory SIZE gives the engine less, "
            "and smaller batches need less"
        )
    found = _NOT_DETERMINISTIC.search(str(cause))
    if cause is None or found is None:
        return ""
    place = find_user_line(cause)
    return (
        f"{found[1]}{f' ({place})' if place else ''} gives other bits from run to run on {device}: "
        "replace it in the network, or take --accelerator cpu"
    )
