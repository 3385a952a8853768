"""A spiking VGG for event frames: 16c3-p2-16c3-p2-32c3-32c3-p2-32c3-64-10 by default."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar

from torch import nn

from fi.network.stages import Stage

from .parts import FrameNetwork, Sharing, convolution, leaky, mean_pooled, shared


class SpikingVGG(FrameNetwork):
    """conv1, bn1, mean pool, lif1; conv2, ...; fc1, bn6, lif6; fc2, lif7: seven stages.

    The form of VGG (Simonyan and Zisserman 2015, arXiv 1409.1556) with spiking neurons, as Sengupta
    et al. (2019, arXiv 1802.02627) use it: 3x3 convolutions that keep the size, mean pools, linear
    layers at the end. Behind each convolution and the first linear layer stands a batch norm, whose
    statistics are taken over samples and steps (Zheng et al. 2021, arXiv 2011.05280). Events are
    ``[time, batch, channels, height, width]`` counts; the scores are a softmax of spike counts.

    Args:
        input_shape: channels, height and width of the events.
        num_classes: number of output neurons.
        channels: feature maps of each convolution.
        pools: height and width of the mean pool behind each batch norm, 1 for none.
        hidden: number of neurons of the hidden linear layer.
        resize: height and width that the events are resized to, or null to leave them as they are.
        sharing: which neurons of a feature map have a beta and a threshold in common: a ``column``,
            a ``channel``, none (each ``neuron`` has its own), or the whole ``layer``.
        beta: membrane decay per step that training starts from, 0 to 1.
        threshold: that training starts from, above 0.
        softmax: scores are a softmax of the spike counts, else the counts.

    Example:
        >>> import torch
        >>> network = SpikingVGG(channels=(4, 8), pools=(2, 1), hidden=12)
        >>> [type(module).__name__ for module in network.stages()[0].modules]
        ['Conv2d', 'BatchNorm2d', 'AvgPool2d']
        >>> network(torch.ones(5, 3, 2, 34, 34)).shape
        torch.Size([3, 10])
    """

    default_checkpoint: ClassVar[str | None] = "SpikingVGG.pt"
    default_training: ClassVar[dict[str, Any]] = {"epochs": 12, "lr": 3e-3, "shift": 2}

    def __init__(
        self,
        input_shape: Sequence[int] = (2, 34, 34),
        num_classes: int = 10,
        channels: Sequence[int] = (16, 16, 32, 32, 32),
        pools: Sequence[int] = (2, 2, 1, 2, 1),
        hidden: int = 64,
        resize: int | None = 32,
        sharing: Sharing = "channel",
        beta: float = 0.9,
        threshold: float = 1.0,
        softmax: bool = True,
    ) -> None:
        super().__init__(input_shape, resize, softmax)
        if len(channels) != len(pools) or not channels:
            raise ValueError(f"pools must be one for each of channels {channels}, got {pools}")
        self.pools = tuple(pools)
        maps, size = self.seen[0], self.seen[1:]
        for number, (more, pool) in enumerate(zip(channels, pools, strict=True), start=1):
            size = mean_pooled(size, pool)
            self.add_module(f"conv{number}", convolution(maps, more))
            self.add_module(f"bn{number}", nn.BatchNorm2d(more))
            if pool > 1:
                self.add_module(f"pool{number}", nn.AvgPool2d(pool))
            neurons = leaky(shared((more, *size), sharing), beta, threshold)
            self.add_module(f"lif{number}", neurons)
            maps = more
        self.fc1 = nn.Linear(maps * math.prod(size), hidden, bias=False)
        self.add_module(f"bn{len(pools) + 1}", nn.BatchNorm1d(hidden))
        neurons = leaky(shared((hidden,), sharing), beta, threshold)
        self.add_module(f"lif{len(pools) + 1}", neurons)
        self.fc2 = nn.Linear(hidden, num_classes)
        neurons = leaky(shared((num_classes,), sharing), beta, threshold)
        self.add_module(f"lif{len(pools) + 2}", neurons)

    def stages(self) -> list[Stage]:
        norm, hidden = (getattr(self, f"{name}{len(self.pools) + 1}") for name in ("bn", "lif"))
        return [
            *(self._convolution(number) for number in range(1, len(self.pools) + 1)),
            Stage([nn.Flatten(), self.fc1, norm], hidden),
            Stage(self.fc2, getattr(self, f"lif{len(self.pools) + 2}")),
        ]

    def _convolution(self, number: int) -> Stage:
        """The stage of convolution ``number``, from 1."""
        names = ("conv", "bn", "pool") if self.pools[number - 1] > 1 else ("conv", "bn")
        synapse = [getattr(self, f"{name}{number}") for name in names]
        return Stage(synapse, getattr(self, f"lif{number}"))
