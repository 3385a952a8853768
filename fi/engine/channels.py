"""Synaptic faults that stay in one channel (or row) of a stage: the channels of the faults alone.

The faulty channels of a chunk are computed as the channels of one tensor ``[.., faults, ..]``: all
that follows a convolution up to the neurons (norm, pool) works channel by channel.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from fi.engine.changes import Change
from fi.engine.golden import Golden
from fi.engine.struck import Struck

NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)
POINTWISE = (nn.Identity, nn.ReLU, nn.Dropout, nn.Dropout2d)
POOLS = (nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d)


class ChannelChange(Change):
    """Faults of the module at ``depth`` of the synapse; ``after`` it, channels do not mix."""

    def __init__(self, golden: Golden, struck: Struck, depth: int, attribute: str) -> None:
        super().__init__(golden, struck)
        self.module = golden.stage.modules[depth]
        self.after = golden.stage.modules[depth + 1 :]
        self.depth, self.attribute = depth, attribute
        self.channel = struck.index[:, 0]
        self.before, self.faulty = struck.words(getattr(self.module, attribute))

    @property
    def inputs(self) -> Tensor:
        """What the module sees, ``[time * batch, ...]``."""
        return self.golden.signal(self.depth, self.start)

    @property
    def outputs(self) -> Tensor:
        """What it makes of that in the channels of the faults, ``[time * batch, faults, ...]``."""
        if not self.after:
            channels = self.golden.currents[self.start :].flatten(0, 1)
            per_channel = channels.unflatten(1, (self.golden.shape[0], -1))[:, self.channel]
            return per_channel.reshape(*per_channel.shape[:2], *self.golden.shape[1:])
        return self.golden.signal(self.depth + 1, self.start)[:, self.channel]

    def faulty_outputs(self) -> Tensor:
        """The same under the faults."""
        raise NotImplementedError

    def cone(self) -> Tensor:
        """The neurons of the channel."""
        channels = getattr(self.module, "out_channels", getattr(self.module, "out_features", None))
        channels = channels or self.module.num_features
        size = self.golden.neurons // int(channels)
        neurons = torch.arange(size, device=self.golden.device)
        return self.channel.unsqueeze(1) * size + neurons

    def currents(self) -> Tensor:
        by_step = (-1, self.golden.batch)
        signal = self.faulty_outputs()
        if self.struck.steps is not None:
            golden = self.outputs.unflatten(0, by_step)
            signal = self.while_active(signal.unflatten(0, by_step), golden).flatten(0, 1)
        for module in self.after:
            signal = _by_channel(module, signal, self.channel)
        return signal.flatten(2 if signal.ndim > 2 else 1).unflatten(0, by_step).flatten(3) if (
            signal.ndim > 2
        ) else signal.unflatten(0, by_step).unsqueeze(3)


def _by_channel(module: nn.Module, signal: Tensor, channel: Tensor) -> Tensor:
    """``module`` on ``signal`` ``[.., faults, ...]``, whose channels are ``channel`` ``[faults]``."""
    if isinstance(module, nn.Flatten):
        return signal
    if isinstance(module, NORMS):
        return norm_channels(module, signal, channel, {})
    result: Tensor = module(signal)
    return result


def norm_channels(
    norm: nn.Module, signal: Tensor, channel: Tensor, words: dict[str, Tensor]
) -> Tensor:
    """A batch norm of ``channel`` ``[faults]``; ``words`` ``[faults]`` replace its own."""
    chosen = {
        name: words.get(name, None if value is None else value[channel])
        for name, value in {**norm._parameters, **norm._buffers}.items()
        if name != "num_batches_tracked"
    }
    return functional.batch_norm(
        signal,
        chosen["running_mean"],
        chosen["running_var"],
        chosen["weight"],
        chosen["bias"],
        training=False,
        eps=float(norm.eps),  # type: ignore[arg-type]
    )
