"""The golden run as the kernels need it: with what the maximum pools have seen."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from fi.engine.compiled.stage_constants import StageModel
from fi.network.stages import SpikingNetwork, StageActivity


def recorded_activities(
    network: SpikingNetwork, models: Sequence[StageModel | None], events: Tensor
) -> list[StageActivity]:
    """Every stage's golden activity, ``unpooled`` where its synapse ends in a maximum pool.

    Args:
        network: of the stages.
        models: of its stages.
        events: ``[T, B, ...]``.
    """
    found = []
    running = network.activities(events)
    for model in models:
        with _outputs(model) as seen:
            activity = next(running)
        images = sum(map(len, seen))
        if images == events.shape[0] * events.shape[1]:  # the network may conduct in its own way
            activity = replace(activity, unpooled=torch.cat(seen))
        found.append(activity)
    return found


@contextmanager
def _outputs(model: StageModel | None) -> Iterator[list[Tensor]]:
    """What the module before the stage's maximum pool gives, call by call."""
    seen: list[Tensor] = []
    if model is None or not model.max_pooled:
        yield seen
        return

    def keep(module: nn.Module, inputs: Any, output: Tensor) -> None:
        seen.append(output)

    handle = model.synapse.before_pool[-1].register_forward_hook(keep)
    try:
        yield seen
    finally:
        handle.remove()
