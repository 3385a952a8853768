"""A convolutional network for event frames: 12c5-p2-32c5-p2-10 by default."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from torch import nn

from fi.network.stages import Stage

from .parts import FrameNetwork, Sharing, leaky, shared


class CSNN(FrameNetwork):
    """conv1, max-pool, lif1; conv2, max-pool, lif2; fc1, lif3.

    The structure of SpikingJET's network (arXiv 2404.00383), whose state dict it loads with
    ``num_classes=11``. Events are ``[time, batch, channels, height, width]`` counts; the scores are
    a softmax of spike counts.

    Args:
        input_shape: channels, height and width of the events.
        num_classes: number of output neurons.
        channels: feature maps of conv1 and conv2.
        kernel: height and width of both convolutions' kernels.
        pool: height and width of both max-pools.
        resize: height and width that the events are resized to, or null to leave them as they are.
        sharing: which neurons of a feature map have a beta and a threshold in common: a ``column``
            (as published: shapes [14] and [5] at 32x32), a ``channel``, none (each ``neuron`` has
            its own), or the whole ``layer``.
        beta: membrane decay per step that training starts from, 0 to 1.
        threshold: that training starts from, above 0.
        softmax: scores are a softmax of the spike counts, else the counts.
    """

    default_checkpoint: ClassVar[str | None] = "CSNN.pt"
    default_training: ClassVar[dict[str, Any]] = {"epochs": 12, "lr": 3e-3, "shift": 2}

    def __init__(
        self,
        input_shape: Sequence[int] = (2, 34, 34),
        num_classes: int = 10,
        channels: tuple[int, int] = (12, 32),
        kernel: int = 5,
        pool: int = 2,
        resize: int | None = 32,
        sharing: Sharing = "column",
        beta: float = 0.9,
        threshold: float = 1.0,
        softmax: bool = True,
    ) -> None:
        super().__init__(input_shape, resize, softmax)
        first = pooled((channels[0], *self.seen[1:]), kernel, pool)
        second = pooled((channels[1], *first[1:]), kernel, pool)
        self.conv1 = nn.Conv2d(self.seen[0], channels[0], kernel)
        self.pool1 = nn.MaxPool2d(pool)
        self.lif1 = leaky(shared(first, sharing), beta, threshold)
        self.conv2 = nn.Conv2d(channels[0], channels[1], kernel)
        self.pool2 = nn.MaxPool2d(pool)
        self.lif2 = leaky(shared(second, sharing), beta, threshold)
        self.fc1 = nn.Linear(second[0] * second[1] * second[2], num_classes)
        self.lif3 = leaky(shared((num_classes,), sharing), beta, threshold)

    def stages(self) -> list[Stage]:
        return [
            Stage([self.conv1, self.pool1], self.lif1),
            Stage([self.conv2, self.pool2], self.lif2),
            Stage([nn.Flatten(), self.fc1], self.lif3),
        ]


def pooled(shape: tuple[int, int, int], kernel: int, pool: int) -> tuple[int, int, int]:
    """``(maps, height, width)`` after a convolution to ``maps`` and a max-pool.

    Raises:
        ValueError: nothing is left.
    """
    maps, height, width = shape
    after = (maps, (height - kernel + 1) // pool, (width - kernel + 1) // pool)
    if min(after) < 1:
        raise ValueError(
            f"frames of {height}x{width} are too small for two convolutions "
            f"(kernel {kernel}) with max-pools ({pool})"
        )
    return after
