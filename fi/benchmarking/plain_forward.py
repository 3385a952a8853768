"""The time of the network's plain forward, run in the way that suits it best."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from fi.engine import timing
from fi.network.stages import SpikingNetwork

#: Batch sizes among which the full engine has its best.
BATCH_SIZES = (1, 8, 16, 32, 64, 128, 256, 512)
#: Ways to run the plain forward that are timed on all samples, of either order.
FINALISTS = 3
#: A way is first tried on so many samples, or on one batch where that is more.
TRIED_SAMPLES = 64


@dataclass(frozen=True, order=True)
class PlainForward:
    """One way to run the plain forward.

    Attributes:
        seconds: a sample.
        threads: of torch.
        layer_by_layer: whether each stage is run over all steps before the next one.
        size: of the batches.
    """

    seconds: float
    threads: int
    layer_by_layer: bool
    size: int

    @property
    def order(self) -> str:
        """In words."""
        return "layer by layer" if self.layer_by_layer else "step by step"


def find_best_forward(network: SpikingNetwork, events: Tensor) -> tuple[PlainForward, PlainForward]:
    """The fastest plain forward of all, and the fastest in the other order.

    Every way is tried on some samples; the best few of either order are timed on all of them, as
    a campaign on the full engine runs through all: what stays in the cache in a part may not.

    Args:
        network: the network.
        events: all of them, ``[time, samples, ...]``.
    """
    threads = sorted({1, torch.get_num_threads()})
    sizes = [size for size in BATCH_SIZES if size <= max(1, events.shape[1])]
    ways = [PlainForward(0.0, *way) for way in itertools.product(threads, (True, False), sizes)]
    tried = [
        replace(way, seconds=time_forward(network, events[:, : max(way.size, TRIED_SAMPLES)], way))
        for way in ways
    ]
    best, other = sorted(_best_in_order(network, events, tried, order) for order in (True, False))
    return best, other


def _best_in_order(
    network: SpikingNetwork, events: Tensor, tried: Sequence[PlainForward], layer_by_layer: bool
) -> PlainForward:
    """The fastest way in one order on all samples, of those that were fastest on some."""
    fastest = sorted(way for way in tried if way.layer_by_layer == layer_by_layer)[:FINALISTS]
    return min(replace(way, seconds=time_forward(network, events, way)) for way in fastest)


def time_forward(network: SpikingNetwork, events: Tensor, way: PlainForward) -> float:
    """Seconds a sample of a plain forward; the best of a few rounds."""
    batches = [batch.contiguous() for batch in torch.split(events, way.size, dim=1)]
    threads, network.layer_by_layer = torch.get_num_threads(), way.layer_by_layer
    torch.set_num_threads(way.threads)

    def run_all() -> None:
        for batch in batches:
            network(batch)

    try:
        best = min(timing.time_work(run_all, events) for _ in range(timing.ROUNDS))
    finally:
        torch.set_num_threads(threads)
    return best / events.shape[1]
