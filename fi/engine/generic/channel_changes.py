"""Synaptic faults that stay in one channel (or row) of a stage: the channels of the faults alone.

The faulty channels of a chunk are computed as the channels of one tensor ``[.., faults, ..]``: all
that follows a convolution up to the neurons (norm, pool) works channel by channel.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from fi.engine.generic.fault_batch import Struck
from fi.engine.generic.golden_stage import Golden
from fi.engine.generic.stage_changes import Change

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
        size = self.golden.neurons // len(getattr(self.module, self.attribute))
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
        return signal.reshape(-1, self.golden.batch, len(self.struck), self.cone().shape[1])

    @property
    def width(self) -> int:
        made = self.golden.signal(self.depth + 1) if self.after else self.golden.currents
        return super().width + 4 * made[0, 0].numel()


class LinearChange(ChannelChange):
    """Faults of an ``nn.Linear``: ``golden + change * input``."""

    def faulty_outputs(self) -> Tensor:
        change = self.faulty - self.before
        if self.attribute == "weight":
            change = change * self.inputs[:, self.struck.index[:, 1]]
        return self.outputs + change


class RowChange(ChannelChange):
    """Faults of an ``nn.Linear`` whose exact result matters: PyTorch's own product.

    Each product has the shape of the golden one and holds one faulty row per output: its results
    are, bit for bit, those of a network with that one fault.
    """

    def faulty_outputs(self) -> Tensor:
        outputs = self.outputs.clone()
        for rows in self._products():
            words = {name: word.detach().clone() for name, word in self._words().items()}
            words[self.attribute][tuple(self.struck.index[rows].T)] = self.faulty[rows]
            product = functional.linear(self.inputs, words["weight"], words.get("bias"))
            outputs[:, rows] = product[:, self.channel[rows]]
        return outputs

    def _words(self) -> dict[str, Tensor]:
        return {name: word for name, word in self.module._parameters.items() if word is not None}

    def _products(self) -> list[Tensor]:
        """The faults of each product, which strike different rows."""
        products: list[list[int]] = []
        met: Counter[int] = Counter()
        for row, fault in enumerate(self.struck.faults):
            turn = met[fault.index[0]]
            met[fault.index[0]] += 1
            if turn == len(products):
                products.append([])
            products[turn].append(row)
        return [torch.tensor(rows, device=self.channel.device) for rows in products]


class ConvChange(ChannelChange):
    """Faults of an ``nn.Conv2d``: ``golden + change * input`` shifted by the tap."""

    def faulty_outputs(self) -> Tensor:
        outputs = self.outputs
        change = (self.faulty - self.before).reshape(-1, 1, 1)
        if self.attribute == "weight":
            change = change * self._tap(*outputs.shape[2:])
        return outputs + change

    def _tap(self, height: int, width: int) -> Tensor:
        """What each struck weight multiplies, ``[time * batch, faults, height, width]``."""
        conv = self.module
        assert isinstance(conv, nn.Conv2d)
        padded = functional.pad(self.inputs, conv._reversed_padding_repeated_twice)
        out_channel, in_channel, row, column = self.struck.index.T
        group = out_channel // (conv.out_channels // conv.groups)
        channel = group * (conv.in_channels // conv.groups) + in_channel
        rows = _positions(row, height, conv.stride[0], conv.dilation[0])
        columns = _positions(column, width, conv.stride[1], conv.dilation[1])
        return padded[:, channel[:, None, None], rows[:, :, None], columns[:, None, :]]


def _positions(tap: Tensor, size: int, stride: int, dilation: int) -> Tensor:
    """Where the taps ``[faults]`` of one axis lie in the input, ``[faults, size]``."""
    return tap.unsqueeze(1) * dilation + stride * torch.arange(size, device=tap.device)


class NormChange(ChannelChange):
    """Faults of a batch norm: its parameters and its running statistics."""

    def faulty_outputs(self) -> Tensor:
        words = {self.attribute: self.faulty}
        return norm_channels(self.module, self.inputs[:, self.channel], self.channel, words)


def channel_change(golden: Golden, depth: int) -> type[ChannelChange] | None:
    """How faults of the module at ``depth`` of the synapse are cut to their channel, if at all."""
    modules = golden.stage.modules
    module, after = modules[depth], modules[depth + 1 :]
    if sum(other is module for other in modules) > 1 or not _keep_channels(after):
        return None
    dims = golden.signal(depth).ndim
    if type(module) is nn.Linear and dims == 2:
        return RowChange if golden.is_last else LinearChange
    if type(module) is nn.Conv2d and dims == 4 and module.padding_mode == "zeros":
        return ConvChange
    return NormChange if _is_plain_norm(module) else None


def _keep_channels(modules: Sequence[nn.Module]) -> bool:
    """Whether the modules work channel by channel, or only flatten in the end."""
    flat = False
    for module in modules:
        whole = isinstance(module, nn.Flatten) and (module.start_dim, module.end_dim) == (1, -1)
        spatial = type(module) in POOLS or _is_plain_norm(module)
        if not (type(module) in POINTWISE or whole or (spatial and not flat)):
            return False
        flat = flat or whole
    return True


def _is_plain_norm(module: nn.Module) -> bool:
    return type(module) in NORMS and module._buffers["running_mean"] is not None


def _by_channel(module: nn.Module, signal: Tensor, channel: Tensor) -> Tensor:
    """``module`` on ``signal`` ``[.., faults, ...]``, the channels ``channel`` ``[faults]``."""
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
