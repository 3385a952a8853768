"""The reference engine: one trial, one plain forward."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import ClassVar

import torch
from torch import Tensor

from fi.engine.base import Engine, as_trials
from fi.faults.fault import Fault, Trial
from fi.faults.injection import injected
from fi.metrics.pairs import Pairs


class FullEngine(Engine):
    """Runs the network's own forward with one trial in place; every pair is computed."""

    name: ClassVar[str] = "full"

    def group_size(self, faults: int) -> int:
        return 1

    @contextmanager
    def injected(self, faults: Sequence[Fault | Trial]) -> Iterator[None]:
        (trial,) = as_trials(faults)
        with injected(self.network, *trial, time_axis=getattr(self.infer, "time_axis", 0)):
            yield

    def pairs(self, events: Tensor, batch: int) -> Iterator[Pairs]:
        scores = self.infer(events)
        samples = torch.arange(len(scores), device=scores.device)
        yield Pairs(torch.zeros_like(samples), samples, scores)
