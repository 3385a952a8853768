"""What the networks here are made of."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import ClassVar, Literal

import snntorch as snn
import torch
from snntorch import surrogate
from torch import Tensor, nn
from torch.nn import functional

from fi.network.readouts import SpikeCount
from fi.network.stages import SpikingNetwork

#: What shares one beta and one threshold.
Sharing = Literal["column", "channel", "neuron", "layer"]


class FrameNetwork(SpikingNetwork):
    """A network that sees event frames, and whose scores are spike counts or their softmax.

    Args:
        input_shape: channels, height and width of the events.
        resize: height and width that the events are resized to, or null to leave them as they are.
        softmax: scores are a softmax of the spike counts, else the counts.

    Attributes:
        seen: channels, height and width of the resized frames.
    """

    default_data: ClassVar[str | None] = "SaccadeMNIST"
    readout: SpikeCount

    def __init__(self, input_shape: Sequence[int], resize: int | None, softmax: bool) -> None:
        super().__init__(SpikeCount(softmax))
        self.resize = resize
        self.seen = seen_shape(input_shape, resize)

    def encode(self, events: Tensor) -> Tensor:
        """Resized events ``[time, batch, channels, height, width]``.

        Raises:
            ValueError: they are no frames, or have another shape than the network was built for.
        """
        frames = resized(events, self.resize)
        check_frames(frames, self.seen)
        return frames

    def extra_repr(self) -> str:
        return f"resize={self.resize}, softmax={self.readout.softmax}"


class FlatFrameNetwork(FrameNetwork):
    """A network whose first layer takes the pixels of a frame as a row."""

    def encode(self, events: Tensor) -> Tensor:
        """Resized events, flattened: ``[time, batch, channels * height * width]``."""
        return super().encode(events).flatten(2)


def leaky(shape: Sequence[int], beta: float, threshold: float) -> snn.Leaky:
    """Leaky neurons that learn a beta and a threshold of this shape, broadcast over the neurons.

    Raises:
        ValueError: beta is not in 0..1, or the threshold is not above 0.
    """
    if not 0 <= beta <= 1:
        raise ValueError(f"beta must lie in 0..1, got {beta}")
    if not threshold > 0:
        raise ValueError(f"threshold must be above 0, got {threshold}")
    return snn.Leaky(
        beta=torch.full(tuple(shape), float(beta)),
        threshold=torch.full(tuple(shape), float(threshold)),
        learn_beta=True,
        learn_threshold=True,
        spike_grad=surrogate.atan(alpha=2.0),
    )


def shared(shape: tuple[int, ...], sharing: Sharing) -> tuple[int, ...]:
    """Shape of the betas of neurons ``[maps, height, width]`` or ``[neurons]``.

    Raises:
        ValueError: there is no such sharing.
    """
    fully_connected = len(shape) == 1
    shapes = {
        "column": shape[-1:],
        "channel": shape if fully_connected else (shape[0], 1, 1),
        "neuron": shape,
        "layer": (),
    }
    if sharing not in shapes:
        raise ValueError(f"sharing must be one of {', '.join(shapes)}, got {sharing!r}")
    return shapes[sharing]


def convolution(before: int, after: int) -> nn.Conv2d:
    """A 3x3 convolution that keeps the size; a batch norm behind it has the bias."""
    return nn.Conv2d(before, after, 3, padding=1, bias=False)


def mean_pooled(size: tuple[int, int], pool: int) -> tuple[int, int]:
    """``(height, width)`` of feature maps after a mean pool of ``pool`` x ``pool``.

    Raises:
        ValueError: the pool is no positive number, or nothing is left.
    """
    if pool < 1:
        raise ValueError(f"a mean pool must be at least 1, got {pool}")
    height, width = size[0] // pool, size[1] // pool
    if min(height, width) < 1:
        raise ValueError(f"maps of {size[0]}x{size[1]} are too small for a mean pool of {pool}")
    return height, width


def resized(frames: Tensor, size: int | None) -> Tensor:
    """Frames ``[time, batch, channels, height, width]`` of ``size`` x ``size`` pixels.

    Takes the nearest pixel: event counts stay counts. ``None`` leaves the frames as they are.

    Raises:
        ValueError: they are no frames.
    """
    if frames.ndim != 5:
        raise ValueError(
            "events must be frames [time, batch, channels, height, width], "
            f"not {list(frames.shape)}"
        )
    if size is None or frames.shape[-2:] == (size, size):
        return frames
    rows, columns = (nearest(frames.shape[axis], size) for axis in (-2, -1))
    return frames[..., rows, :][..., columns].contiguous()


@cache
def nearest(pixels: int, size: int) -> slice | Tensor:
    """Which of ``pixels`` in a row ``interpolate`` takes as the nearest ones of ``size``.

    A slice where they are evenly spaced: taking them so is many times faster than interpolating.
    """
    with torch.inference_mode(False):  # it is kept: training may use it, too
        row = torch.arange(pixels, dtype=torch.float64).reshape(1, 1, 1, -1)
        taken = functional.interpolate(row, size=(1, size), mode="nearest").flatten().long()
    spacing = taken.diff().unique()
    if len(spacing) > 1 or (spacing < 1).any():
        return taken
    step = int(spacing[0]) if len(spacing) else 1
    return slice(int(taken[0]), int(taken[-1]) + 1, step)


def seen_shape(input_shape: Sequence[int], resize: int | None) -> tuple[int, int, int]:
    """``(channels, height, width)`` of frames of ``input_shape`` after ``resized``.

    Raises:
        ValueError: they are no three positive numbers.
    """
    if len(input_shape) != 3 or min(input_shape) < 1:
        raise ValueError(f"input_shape must be (channels, height, width), got {input_shape}")
    if resize is not None and resize < 1:
        raise ValueError(f"resize must be a number of pixels, at least 1, got {resize}")
    channels, height, width = input_shape
    return (channels, height, width) if resize is None else (channels, resize, resize)


def check_frames(frames: Tensor, shape: tuple[int, int, int]) -> None:
    """Raise ``ValueError`` where ``frames`` ``[time, batch, ...]`` have another shape."""
    if frames.shape[2:] != shape:
        raise ValueError(
            f"built for frames [channels, height, width] of {list(shape)}, "
            f"but the events give {list(frames.shape[2:])}; see input_shape and resize"
        )
