"""Puts the faults of a test run in place, and takes them out whatever happens."""

from __future__ import annotations

from contextlib import ExitStack

import pytorch_lightning as pl

from fi.campaign.fault_test import FaultTest


class FaultInjection(pl.Callback):
    """Applies the group before inference and restores the network afterwards.

    After an exception, Ctrl-C included, Lightning calls only ``on_exception``.
    """

    def __init__(self) -> None:
        self._placed = ExitStack()

    def on_test_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if isinstance(pl_module, FaultTest):
            self._placed.enter_context(pl_module.injected())

    def on_test_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._placed.close()

    def on_exception(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException
    ) -> None:
        """Restore; hand the error to the engine so that it skips the checks of a whole run."""
        self._placed.__exit__(type(exception), exception, exception.__traceback__)
