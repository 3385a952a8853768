"""The golden run as the kernels need it: with what the weights and the maximum pools have seen."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from fi.engine.compiled.stage_constants import StageModel
from fi.network.stages import SpikingNetwork, StageActivity


def recorded_activities(
    network: SpikingNetwork, models: Sequence[StageModel | None], events: Tensor
) -> list[StageActivity]:
    """Every stage's golden activity, with what is computed within its synapse.

    That is ``entered`` where something stands in front of its weights, ``unpooled`` where its
    synapse ends in a maximum pool.

    Args:
        network: of the stages.
        models: of its stages.
        events: ``[T, B, ...]``.
    """
    found = []
    images = events.shape[0] * events.shape[1]
    running = network.activities(events)
    for model in models:
        with ExitStack() as watched:
            seen = {
                name: watched.enter_context(_record_outputs(module))
                for name, module in _find_recorded(model).items()
            }
            activity = next(running)
        # the network may conduct in its own way, once more or not at all
        for name, made in seen.items():
            if sum(map(len, made)) == images:
                changes: dict[str, Any] = {name: torch.cat(made)}
                activity = replace(activity, **changes)
        found.append(activity)
    return found


def _find_recorded(model: StageModel | None) -> dict[str, nn.Module]:
    """Attribute of ``StageActivity`` -> the module that gives it."""
    found: dict[str, nn.Module] = {}
    if model is not None and model.entry is not None:
        found["entered"] = model.entry.modules[-1]
    if model is not None and model.max_pooled:
        found["unpooled"] = model.synapse.before_pool[-1]
    return found


@contextmanager
def _record_outputs(module: nn.Module) -> Iterator[list[Tensor]]:
    """What the module gives, call by call."""
    seen: list[Tensor] = []

    def keep(module: nn.Module, inputs: Any, output: Tensor) -> None:
        seen.append(output)

    handle = module.register_forward_hook(keep)
    try:
        yield seen
    finally:
        handle.remove()
