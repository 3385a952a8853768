"""Synaptic faults that stay in one channel (or row) of a stage: only their channels are computed.

The faulty channels of a chunk are computed as the channels of one tensor ``[.., faults, ..]``: all
that follows a convolution up to the neurons (norm, pool) works channel by channel.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from fi.engine.generic.eligible import is_plain_module
from fi.engine.generic.fault_batch import FaultBatch
from fi.engine.generic.golden_stage import GoldenStage
from fi.engine.generic.stage_changes import Change

NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)
POINTWISE = (nn.Identity, nn.ReLU, nn.Dropout, nn.Dropout2d)
POOLS = (nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d)


class ChannelChange(Change):
    """Faults of one module of the synapse; in the modules after it, channels do not mix.

    Args:
        golden: the stage without faults.
        faults: of one family of the module.
        depth: how many modules of the synapse precede it.
        attribute: the tensor of the module that the faults corrupt.

    Attributes:
        channel: of each fault, int64 ``[faults]``.
        before, faulty: the corrupted words without and with the fault, ``[faults]``.
    """

    def __init__(self, golden: GoldenStage, faults: FaultBatch, depth: int, attribute: str) -> None:
        super().__init__(golden, faults)
        self.module = golden.stage.modules[depth]
        self.after = golden.stage.modules[depth + 1 :]
        self.depth, self.attribute = depth, attribute
        self.channel = faults.index[:, 0]
        self.before, self.faulty = faults.corrupt_words(getattr(self.module, attribute))

    @property
    def inputs(self) -> Tensor:
        """What the module sees, ``[time * batch, ...]``."""
        return self.golden.signal_at(self.depth, self.start)

    @property
    def outputs(self) -> Tensor:
        """What it makes of that in the channels of the faults, ``[time * batch, faults, ...]``."""
        if self.after:
            return self.golden.signal_at(self.depth + 1, self.start)[:, self.channel]
        channels = self.golden.currents[self.start :].flatten(0, 1)
        by_channel = torch.unflatten(channels, 1, (self.golden.shape[0], -1))[:, self.channel]
        return by_channel.reshape(*by_channel.shape[:2], *self.golden.shape[1:])

    def compute_outputs(self) -> Tensor:
        """``outputs`` under the faults."""
        raise NotImplementedError

    def affected_neurons(self) -> Tensor:
        """The neurons of the channel."""
        size = self.golden.neurons // len(getattr(self.module, self.attribute))
        neurons = torch.arange(size, device=self.golden.device)
        return self.channel.unsqueeze(1) * size + neurons

    def compute_currents(self) -> Tensor:
        by_step = (-1, self.golden.batch)
        signal = self.compute_outputs()
        if self.faults.steps is not None:
            faulty = torch.unflatten(signal, 0, by_step)
            golden = torch.unflatten(self.outputs, 0, by_step)
            signal = self.choose_active(faulty, golden).flatten(0, 1)
        for module in self.after:
            signal = _apply_by_channel(module, signal, self.channel)
        affected = self.affected_neurons().shape[1]
        return signal.reshape(-1, self.golden.batch, len(self.faults), affected)

    @property
    def width(self) -> int:
        made = self.golden.signal_at(self.depth + 1) if self.after else self.golden.currents
        return super().width + 4 * made[0, 0].numel()


class LinearChange(ChannelChange):
    """Faults of an ``nn.Linear``: ``golden + change * input``."""

    def compute_outputs(self) -> Tensor:
        change = self.faulty - self.before
        if self.attribute == "weight":
            change = change * self.inputs[:, self.faults.index[:, 1]]
        return self.outputs + change


class RowChange(ChannelChange):
    """Faults of an ``nn.Linear`` whose exact result matters: PyTorch's own product.

    Each product has the shape of the golden one and holds one faulty row per output: its results
    are, bit for bit, those of a network with that one fault.
    """

    def compute_outputs(self) -> Tensor:
        outputs = self.outputs.clone()
        for rows in self._divide_into_products():
            words = {name: word.detach().clone() for name, word in self._words().items()}
            words[self.attribute][tuple(self.faults.index[rows].T)] = self.faulty[rows]
            product = functional.linear(self.inputs, words["weight"], words.get("bias"))
            outputs[:, rows] = product[:, self.channel[rows]]
        return outputs

    def _words(self) -> dict[str, Tensor]:
        return {name: word for name, word in self.module._parameters.items() if word is not None}

    def _divide_into_products(self) -> list[Tensor]:
        """The faults of each product, which are in different rows of the weights."""
        products: list[list[int]] = []
        placed: Counter[int] = Counter()
        for number, fault in enumerate(self.faults.listed):
            row = fault.index[0]
            if placed[row] == len(products):
                products.append([])
            products[placed[row]].append(number)
            placed[row] += 1
        return [torch.tensor(rows, device=self.channel.device) for rows in products]


class ConvChange(ChannelChange):
    """Faults of an ``nn.Conv2d``: ``golden + change * input`` shifted by the tap."""

    def compute_outputs(self) -> Tensor:
        outputs = self.outputs
        change = (self.faulty - self.before).reshape(-1, 1, 1)
        if self.attribute == "weight":
            change = change * self._weighted_inputs(*outputs.shape[2:])
        return outputs + change

    def _weighted_inputs(self, height: int, width: int) -> Tensor:
        """What each faulty weight multiplies, ``[time * batch, faults, height, width]``."""
        conv = self.module
        assert isinstance(conv, nn.Conv2d)
        padded = functional.pad(self.inputs, conv._reversed_padding_repeated_twice)
        out_channel, in_channel, row, column = self.faults.index.T
        group = out_channel // (conv.out_channels // conv.groups)
        channel = group * (conv.in_channels // conv.groups) + in_channel
        rows = _tap_positions(row, height, conv.stride[0], conv.dilation[0])
        columns = _tap_positions(column, width, conv.stride[1], conv.dilation[1])
        return padded[:, channel[:, None, None], rows[:, :, None], columns[:, None, :]]


def _tap_positions(tap: Tensor, size: int, stride: int, dilation: int) -> Tensor:
    """Where the taps ``[faults]`` of one axis lie in the input, ``[faults, size]``."""
    return tap.unsqueeze(1) * dilation + stride * torch.arange(size, device=tap.device)


class NormChange(ChannelChange):
    """Faults of a batch norm: its parameters and its running statistics."""

    def compute_outputs(self) -> Tensor:
        words = {self.attribute: self.faulty}
        return normalise_channels(self.module, self.inputs[:, self.channel], self.channel, words)


def choose_channel_change(golden: GoldenStage, depth: int) -> type[ChannelChange] | None:
    """How faults of the module at ``depth`` of the synapse are cut to their channel, if at all."""
    modules = golden.stage.modules
    module, after = modules[depth], modules[depth + 1 :]
    if sum(other is module for other in modules) > 1 or not _keep_channels(after):
        return None
    if not all(map(is_plain_module, modules[depth:])):
        return None
    dims = golden.signal_at(depth).ndim
    if type(module) is nn.Linear and dims == 2:
        return RowChange if golden.is_last else LinearChange
    if type(module) is nn.Conv2d and dims == 4 and module.padding_mode == "zeros":
        return ConvChange
    return NormChange if _is_plain_norm(module) else None


def _keep_channels(modules: Sequence[nn.Module]) -> bool:
    """Whether the modules work channel by channel, or only flatten in the end."""
    is_flat = False
    for module in modules:
        flattens = isinstance(module, nn.Flatten) and (module.start_dim, module.end_dim) == (1, -1)
        is_spatial = type(module) in POOLS or _is_plain_norm(module)
        if not (type(module) in POINTWISE or flattens or (is_spatial and not is_flat)):
            return False
        is_flat = is_flat or flattens
    return True


def _is_plain_norm(module: nn.Module) -> bool:
    return type(module) in NORMS and module._buffers["running_mean"] is not None


def _apply_by_channel(module: nn.Module, signal: Tensor, channel: Tensor) -> Tensor:
    """``module`` on ``signal`` ``[.., faults, ...]``, the channels ``channel`` ``[faults]``."""
    if isinstance(module, nn.Flatten):
        return signal
    if isinstance(module, NORMS):
        return normalise_channels(module, signal, channel, {})
    result: Tensor = module(signal)
    return result


def normalise_channels(
    norm: nn.Module, signal: Tensor, channel: Tensor, words: dict[str, Tensor]
) -> Tensor:
    """A batch norm of some channels, which may come more than once.

    Args:
        norm: the module.
        signal: ``[.., faults, ...]``, one channel a fault.
        channel: of each fault, int64 ``[faults]``.
        words: by name, ``[faults]`` each, in place of the module's own.
    """
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
