"""A residual network of spikes for event frames: three blocks of 24 maps by default."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from snntorch import SpikingNeuron
from torch import nn

from fi.network.stages import Stage

from .parts import FrameNetwork, Sharing, convolution, leaky, mean_pooled, shared


class SEWResNet(FrameNetwork):
    """Two pooled convolutions, residual blocks that add up spikes, a mean pool, fc1 and its norm.

    The spike-element-wise residual network of Fang et al. (2021, arXiv 2102.04159) with the
    function ADD: a block's output is the spikes of conv, norm, neurons, conv, norm, neurons plus
    the block's input. So what a block sees is the sum of the spikes of lif2 and of each block
    before. All blocks have one number of maps and one size: every shortcut is the identity.
    fc1 has a norm as well: without it training by the recipe below stayed at chance.
    Events are ``[time, batch, channels, height, width]`` counts; the scores are a softmax of spike
    counts.

    Args:
        input_shape: channels, height and width of the events.
        num_classes: number of output neurons.
        channels: feature maps of conv1, and of conv2 and all blocks.
        blocks: number of residual blocks, of two convolutions each.
        pool: height and width of the mean pools behind the first two norms.
        last_pool: height and width of the mean pool before fc1.
        resize: height and width that the events are resized to, or null to leave them as they are.
        sharing: which neurons of a feature map have a beta and a threshold in common: a ``column``,
            a ``channel``, none (each ``neuron`` has its own), or the whole ``layer``.
        beta: membrane decay per step that training starts from, 0 to 1.
        threshold: that training starts from, above 0.
        softmax: scores are a softmax of the spike counts, else the counts.

    Example:
        >>> import torch
        >>> network = SEWResNet(channels=(4, 6), blocks=2)
        >>> [len(stage.sources) for stage in network.stages()]
        [0, 0, 1, 0, 2, 0, 3]
        >>> network(torch.ones(5, 3, 2, 34, 34)).shape
        torch.Size([3, 10])
    """

    default_checkpoint: ClassVar[str | None] = "SEWResNet.pt"
    default_training: ClassVar[dict[str, Any]] = {"epochs": 12, "lr": 2e-3, "shift": 2}

    def __init__(
        self,
        input_shape: Sequence[int] = (2, 34, 34),
        num_classes: int = 10,
        channels: tuple[int, int] = (16, 24),
        blocks: int = 3,
        pool: int = 2,
        last_pool: int = 2,
        resize: int | None = 32,
        sharing: Sharing = "channel",
        beta: float = 0.9,
        threshold: float = 1.0,
        softmax: bool = True,
    ) -> None:
        super().__init__(input_shape, resize, softmax)
        if blocks < 1:
            raise ValueError(f"blocks must be at least 1, got {blocks}")
        self.blocks = blocks
        self.pool1, self.pool2 = nn.AvgPool2d(pool), nn.AvgPool2d(pool)
        self.pool3 = nn.AvgPool2d(last_pool)
        first = mean_pooled(self.seen[1:], pool)
        size = mean_pooled(first, pool)
        height, width = mean_pooled(size, last_pool)
        before = self.seen[0]
        for number in range(1, 2 * blocks + 3):
            after = channels[number > 1]
            shape = (after, *(first if number == 1 else size))
            self.add_module(f"conv{number}", convolution(before, after))
            self.add_module(f"bn{number}", nn.BatchNorm2d(after))
            self.add_module(f"lif{number}", leaky(shared(shape, sharing), beta, threshold))
            before = after
        self.fc1 = nn.Linear(before * height * width, num_classes, bias=False)
        self.add_module(f"bn{2 * blocks + 3}", nn.BatchNorm1d(num_classes))
        neurons = leaky(shared((num_classes,), sharing), beta, threshold)
        self.add_module(f"lif{2 * blocks + 3}", neurons)

    def stages(self) -> list[Stage]:
        stages = [self._convolution(1, [self.pool1]), self._convolution(2, [self.pool2])]
        added = [stages[-1].neuron]
        for first in range(3, 2 * self.blocks + 3, 2):
            stages += [self._convolution(first, sources=added), self._convolution(first + 1)]
            added.append(stages[-1].neuron)
        norm, last = (getattr(self, f"{name}{2 * self.blocks + 3}") for name in ("bn", "lif"))
        synapse = [self.pool3, nn.Flatten(), self.fc1, norm]
        return [*stages, Stage(synapse, last, sources=tuple(added))]

    def _convolution(
        self, number: int, pool: Sequence[nn.Module] = (), sources: Sequence[SpikingNeuron] = ()
    ) -> Stage:
        """The stage of convolution ``number``, from 1."""
        conv, norm, neuron = (getattr(self, f"{name}{number}") for name in ("conv", "bn", "lif"))
        return Stage([conv, norm, *pool], neuron, sources=tuple(sources))
