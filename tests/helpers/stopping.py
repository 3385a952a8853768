"""A callback that breaks a campaign off."""

from __future__ import annotations

from typing import Any

import pytorch_lightning as pl


class StopAfter(pl.Callback):
    """Raises in the middle of the n-th test run of faults."""

    def __init__(self, error: BaseException, runs: int) -> None:
        self.error = error
        self.left = runs + 2  # the golden runs

    def on_test_batch_end(self, *args: Any, **kwargs: Any) -> None:
        if self.left == 0:
            raise self.error

    def on_test_start(self, *args: Any) -> None:
        self.left -= 1
