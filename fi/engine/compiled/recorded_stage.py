"""One stage's golden activity of one batch, as numpy arrays and in the shapes that traces need."""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from fi.engine.compiled.kernels.arrays import Array
from fi.engine.compiled.stage_constants import StageModel
from fi.engine.compiled.time_innermost import time_innermost
from fi.network.stages import StageActivity


class RecordedStage:
    """One stage's golden activity of one batch; what both layouts need is computed once."""

    def __init__(self, model: StageModel, activity: StageActivity) -> None:
        self.model = model
        self.steps, self.batch = activity.inputs.shape[:2]
        self.activity = _add_feedback(model, activity)

    @cached_property
    def before(self) -> Tensor:
        """Currents before a maximum pool, a view ``[T, B, channels, cells..., K...]``."""
        return _find_before(self.model, self.activity)

    @cached_property
    def mem(self) -> Tensor:
        """``[T, B, N]``."""
        return torch.stack([state["mem"] for state in self.activity.states]).flatten(2)

    @cached_property
    def syn(self) -> Tensor:
        """``[T, B, N]``."""
        return torch.stack([state["syn"] for state in self.activity.states]).flatten(2)

    @cached_property
    def spikes(self) -> Tensor:
        """``uint8 [T, B, N]``."""
        return (self.activity.spikes.flatten(2) != 0).to(torch.uint8)

    @cached_property
    def membranes(self) -> Array:
        """``f [N, B, T]``."""
        return time_innermost(self.mem)

    @cached_property
    def synaptic(self) -> Array:
        """``f [N, B, T]``, the synaptic currents; the membranes of a first-order neuron."""
        return time_innermost(self.syn) if self.model.constants.synaptic else self.membranes

    @cached_property
    def fed(self) -> Array:
        """What the recurrence sees, ``f [N, B, T]``; empty without one."""
        if self.model.feedback is None:
            return np.zeros((0, self.batch, self.steps), self.model.dtype)
        return time_innermost(delay(self.activity.spikes))


def _add_feedback(model: StageModel, activity: StageActivity) -> StageActivity:
    """The activity with the recurrent currents added, step by step as the network adds them."""
    recurrent = model.stage.recurrent
    if recurrent is None:
        return activity
    pairs = zip(activity.currents, delay(activity.spikes), strict=True)
    return replace(activity, currents=torch.stack([c + recurrent(fed.clone()) for c, fed in pairs]))


def delay(spikes: Tensor) -> Tensor:
    """The spikes of the step before, ``[T, B, N]``."""
    return torch.cat([torch.zeros_like(spikes[:1]), spikes[:-1]])


def _find_before(model: StageModel, activity: StageActivity) -> Tensor:
    """Currents before a maximum pool, a view ``[T, B, channels, cells..., K...]``; -inf outside."""
    steps, batch = activity.inputs.shape[:2]
    synapse = model.synapse
    if not model.max_pooled:
        return activity.currents.reshape(steps, batch, synapse.channels, synapse.cells, 1)
    image = activity.unpooled
    if image is None:
        image = synapse.before(activity.inputs.flatten(0, 1))
    image = image.unflatten(0, (steps, batch))
    tiles = _tile(image, model)
    if tiles is not None:
        return tiles
    flat = image.flatten(3)
    outside = flat.new_full((*flat.shape[:3], 1), float("-inf"))
    windows = torch.from_numpy(synapse.windows.astype(np.int64))
    return torch.cat([flat, outside], dim=3)[..., windows]


def _tile(image: Tensor, model: StageModel) -> Tensor | None:
    """A view ``[T, B, channels, high, wide, 2, 2]`` where 2x2 windows tile the image."""
    if not model.fan_out.paired:
        return None
    high, wide = model.shape[1:]
    if image.shape[-2] < 2 * high or image.shape[-1] < 2 * wide:
        return None  # the windows overlap

    def cut_tiles(pixels: Tensor) -> Tensor:
        cut = pixels[..., : 2 * high, : 2 * wide]
        tiles: Tensor = cut.unflatten(-1, (wide, 2)).unflatten(-3, (high, 2)).transpose(-3, -2)
        return tiles

    numbers = torch.arange(image[0, 0, 0].numel()).reshape(image.shape[3:])
    if not np.array_equal(cut_tiles(numbers).reshape(-1, 4).numpy(), model.fan_out.windows):
        return None
    return cut_tiles(image)


def to_array(tensor: Tensor) -> Array:
    """A contiguous array on the CPU."""
    return np.ascontiguousarray(tensor.detach().cpu().numpy())
