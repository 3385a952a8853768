"""The reference engine: one fault, one plain forward."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import ClassVar

import torch
from torch import Tensor

from fi.engine.base import Engine, Pairs
from fi.faults import Fault
from fi.injection import injected


class FullEngine(Engine):
    """Runs the network's own forward with one fault in place; every pair is computed."""

    name: ClassVar[str] = "full"

    def group_size(self, faults: int) -> int:
        return 1

    @contextmanager
    def injected(self, faults: Sequence[Fault]) -> Iterator[None]:
        (fault,) = faults
        with injected(self.network, fault):
            yield

    def pairs(self, events: Tensor, batch: int) -> Iterator[Pairs]:
        scores = self.infer(events)
        samples = torch.arange(len(scores), device=scores.device)
        yield Pairs(torch.zeros_like(samples), samples, scores)
