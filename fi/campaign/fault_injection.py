"""The Lightning callback that puts the faults of a test run in place, and takes them out."""

from __future__ import annotations

from contextlib import ExitStack

import pytorch_lightning as pl

from fi.campaign.fault_test import FaultTest


class FaultInjection(pl.Callback):
    """Applies the group before inference and restores the network afterwards.

    Every campaign has one: without it a ``FaultTest`` refuses to run. After an exception, Ctrl-C
    included, Lightning calls only ``on_exception``.
    """

    def __init__(self) -> None:
        self._in_place = ExitStack()

    def on_test_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if isinstance(pl_module, FaultTest):
            self._in_place.enter_context(pl_module.inject())

    def on_test_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._in_place.close()

    def on_exception(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException
    ) -> None:
        """Restore; hand the error to the engine so that it skips the checks of a whole run."""
        self._in_place.__exit__(type(exception), exception, exception.__traceback__)
