"""The reference engine for trials of a rate: one plain forward under all faults at once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from torch import nn

from fi.engine.base import Infer
from fi.engine.full import FullEngine
from fi.faults.hits.hit_injection import hits_injected
from fi.faults.hits.hit_space import HitSpace
from fi.faults.hits.rate_trial import RateTrial


class BulkEngine(FullEngine):
    """Runs the network's own forward with one trial of a rate in place, whatever it has of faults.

    Args:
        network: any network with snnTorch neurons.
        infer: its scores.
        space: the bits that are hit.

    Example:
        >>> import torch
        >>> from fi.faults.fault_sites import Kind, SiteFamily
        >>> from fi.faults.fault_space import FaultSpace
        >>> from fi.models import NMNIST
        >>> network = NMNIST(input_shape=(2, 4, 4), hidden=8, resize=None).eval()
        >>> weights = SiteFamily("fc1.weight", (8, 32), Kind.SYNAPSE)
        >>> engine = BulkEngine(network, network, HitSpace(FaultSpace((weights,))))
        >>> trial = RateTrial.make(engine.space, 0, 1e-2, "network", seed=3)
        >>> with torch.inference_mode(), engine.injected([trial]):
        ...     (pairs,) = engine.pairs(torch.ones(5, 4, 2, 4, 4), 0)
        >>> trial.hits, pairs.scores.shape
        (70, torch.Size([4, 10]))
    """

    def __init__(self, network: nn.Module, infer: Infer, space: HitSpace) -> None:
        super().__init__(network, infer)
        self.space = space

    @contextmanager
    def injected(self, faults: Sequence[Any]) -> Iterator[None]:
        (trial,) = faults
        infer = self.infer
        root = infer if isinstance(infer, nn.Module) else self.network
        axis, clock = getattr(infer, "time_axis", 0), getattr(infer, "clock", None)
        hits = trial.draw(self.space)
        with hits_injected(self.network, hits, trial.steps, axis, root, clock):
            yield
