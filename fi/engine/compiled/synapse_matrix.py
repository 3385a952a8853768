"""The synapse of a stage in one form: rows of weights that inputs reach through taps.

A linear layer, a convolution, a norm behind it and a pool behind that all do the same: input ``i``
adds its spike times one row of weights (a value a channel) to a position, and a cell of neurons
sees the largest (or the mean) of a window of positions. What fits runs on the fast kernels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from fi.engine.compiled.kernels.arrays import EntryWindows
from fi.network.stages import Stage

Ints = NDArray[np.int32]
#: Modules that give their input another shape, no other values.
RESHAPING = (nn.Flatten, nn.Unflatten, nn.Identity, nn.Dropout)
_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)
_POOLS = (nn.MaxPool2d, nn.AvgPool2d)
_ADAPTIVE = (nn.AdaptiveMaxPool2d, nn.AdaptiveAvgPool2d)
_KNOWN = (*RESHAPING, *_NORMS, nn.Linear, nn.Conv2d, *_POOLS, *_ADAPTIVE)


@dataclass(frozen=True)
class Synapse:
    """What input reaches which neuron through which weight; neuron = channel * cells + cell.

    Attributes:
        stage: that has it.
        weights: the linear or convolutional module.
        before_pool: modules up to the pool, which give ``[batch, channels, positions]``.
        windows: ``[cells, width]`` positions that a cell sees, -1 outside.
        taps: ``[rows, cells, width]`` input that meets row ``r`` in that window, -1 for none.
        scale: ``[channels]`` what a norm multiplies the weights with.
        mean: whether a cell sees the mean of its window, else the largest.
    """

    stage: Stage
    weights: nn.Linear | nn.Conv2d
    before_pool: tuple[nn.Module, ...]
    windows: Ints
    taps: Ints
    scale: Tensor
    mean: bool

    @property
    def channels(self) -> int:
        """Weights in a row."""
        return len(self.scale)

    @property
    def cells(self) -> int:
        """Neurons of a channel."""
        return len(self.windows)

    @property
    def rows(self) -> Tensor:
        """The weights ``[rows, channels]``, norm included."""
        return (self.weights.weight.detach().flatten(1) * self.scale[:, None]).T.contiguous()

    @property
    def offsets(self) -> Tensor:
        """What is added to or taken from a channel's sums, magnitudes added up, ``[channels]``."""
        bias = self.weights.bias
        found = torch.zeros_like(self.scale) if bias is None else bias.detach().abs()
        for module in self.before_pool:
            if isinstance(module, _NORMS):
                assert isinstance(module.running_mean, Tensor)
                found = found + module.running_mean.abs()
                found = found * self.scale.abs()
                if module.bias is not None:
                    found = found + module.bias.detach().abs()
        return found

    def before(self, inputs: Tensor) -> Tensor:
        """Currents before the pool, ``[batch, channels, ...]``, of ``[batch, ...]``."""
        inputs = self.stage.lay_out(inputs)
        for module in self.before_pool:
            inputs = module(inputs)
        return inputs


def normal_form(stage: Stage, input_shape: Sequence[int]) -> Synapse | None:
    """The stage's synapse in this form, or ``None`` where it has another structure."""
    modules = stage.modules
    if any(type(module) not in _KNOWN for module in modules):
        return None  # a subclass may have a forward of its own
    numbers = torch.arange(1, 1 + int(np.prod(input_shape)), dtype=torch.float64)
    image = numbers.reshape(1, *input_shape)
    position = 0
    while position < len(modules) and isinstance(modules[position], RESHAPING):
        image = _reshaped(modules[position], image)
        position += 1
    if position == len(modules):
        return None
    weights = modules[position]
    if not isinstance(weights, nn.Linear | nn.Conv2d):
        return None
    found = _inputs_of_positions(weights, image)
    if found is None:
        return None
    inputs, shape = found
    position += 1
    scale = torch.ones(shape[0], dtype=weights.weight.dtype, device=weights.weight.device)
    if position < len(modules) and isinstance(modules[position], _NORMS):
        norm = _norm_scale(modules[position])
        if norm is None:
            return None
        scale, position = norm, position + 1
    before = tuple(modules[:position])
    pool = modules[position] if position < len(modules) else None
    windows, pooled = _windows(pool, shape)
    if windows is None:
        return None
    position += pool is not None and not isinstance(pool, RESHAPING)
    if not _keeps_order(modules[position:], (shape[0], *pooled)):
        return None
    padded = np.concatenate([inputs, np.full((len(inputs), 1), -1, np.int32)], axis=1)
    taps = np.ascontiguousarray(padded[:, windows])
    mean = isinstance(pool, nn.AvgPool2d | nn.AdaptiveAvgPool2d)
    return Synapse(stage, weights, before, windows, taps, scale, mean)


def _reshaped(module: nn.Module, image: Tensor) -> Tensor:
    return image if isinstance(module, nn.Dropout) else module(image)


def _inputs_of_positions(
    weights: nn.Linear | nn.Conv2d, image: Tensor
) -> tuple[Ints, tuple[int, ...]] | None:
    """``[rows, positions]`` inputs (-1: padding) and the shape of the output."""
    if isinstance(weights, nn.Linear):
        if image.ndim != 2 or image.shape[1] != weights.in_features:
            return None
        return _zero_based(image.T), (weights.out_features, 1)
    if weights.groups != 1 or weights.padding_mode != "zeros" or isinstance(weights.padding, str):
        return None
    if image.ndim != 4 or image.shape[1] != weights.in_channels:
        return None
    columns = functional.unfold(
        image, _pair(weights.kernel_size), weights.dilation, weights.padding, weights.stride
    )
    with torch.no_grad():
        one = torch.zeros(1, *image.shape[1:], dtype=weights.weight.dtype)
        shape = weights(one.to(weights.weight.device)).shape[1:]
    return _zero_based(columns[0]), tuple(shape)


def _zero_based(numbers: Tensor) -> Ints:
    return numbers.numpy().astype(np.int32) - 1


def _pair(value: int | Sequence[int]) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else (value[0], value[1])


def _norm_scale(norm: nn.Module) -> Tensor | None:
    """What an evaluated norm multiplies each channel with."""
    variance = getattr(norm, "running_var", None)
    if norm.training or not isinstance(norm, _NORMS) or not isinstance(variance, Tensor):
        return None
    scale = (variance + norm.eps).rsqrt()
    return (scale if norm.weight is None else scale * norm.weight).detach()


@dataclass(frozen=True)
class Entry:
    """What a synapse does with its input in front of the layer with the weights.

    Attributes:
        modules: that do it; they have no words.
        windows: of the input lines, as the kernels take them, where it is a pool; ``None`` where it
            may be anything, as only the events' golden values pass it.
    """

    modules: tuple[nn.Module, ...]
    windows: EntryWindows | None = None

    def see(self, inputs: Tensor) -> Tensor:
        """What the layer sees of ``inputs`` ``[time, batch, ...]``."""
        signal = inputs.flatten(0, 1)
        for module in self.modules:
            signal = module(signal)
        return torch.unflatten(signal, 0, inputs.shape[:2])


def find_entry(stage: Stage, input_shape: Sequence[int], of_events: bool) -> Entry | None:
    """What stands in front of the weights: a pool, or before the first stage any wordless modules.

    Args:
        stage: to look at.
        input_shape: of what comes in, the batch left out.
        of_events: whether nothing but the events does.
    """
    pool = _find_entry_pool(stage, input_shape)
    if pool is not None or not of_events or normal_form(stage, input_shape) is not None:
        return pool
    for count, module in enumerate(stage.modules):
        if any(True for _ in (*module.parameters(), *module.buffers())):
            return Entry(tuple(stage.modules[:count])) if count else None
    return None


def _find_entry_pool(stage: Stage, input_shape: Sequence[int]) -> Entry | None:
    """The pool at the begin of a synapse; ``None`` where there is none, or it is not known."""
    modules = stage.modules
    at = next((n for n, m in enumerate(modules) if not isinstance(m, nn.Identity | nn.Dropout)), 0)
    if not modules or type(modules[at]) not in (*_POOLS, *_ADAPTIVE) or len(input_shape) != 3:
        return None
    cells, _ = _windows(modules[at], tuple(input_shape))
    if cells is None or len(cells) == 0:
        return None
    channels, size = input_shape[0], int(np.prod(input_shape[1:]))
    moved = cells[None] + size * np.arange(channels, dtype=np.int32)[:, None, None]
    windows = np.where(cells[None] < 0, np.int32(-1), moved).reshape(-1, cells.shape[1])
    windows = np.take_along_axis(windows, np.argsort(windows < 0, axis=1, kind="stable"), axis=1)
    window, place = np.nonzero(windows >= 0)
    lines = windows[window, place]
    order = np.argsort(lines, kind="stable")
    counts = np.bincount(lines, minlength=channels * size)
    first = np.concatenate([[0], np.cumsum(counts)]).astype(np.int32)
    mean = isinstance(modules[at], nn.AvgPool2d | nn.AdaptiveAvgPool2d)
    found = EntryWindows(first, window[order].astype(np.int32), np.ascontiguousarray(windows), mean)
    return Entry(tuple(modules[: at + 1]), found)


def _plain_pool(pool: nn.Module | None, shape: tuple[int, ...]) -> nn.Module | None:
    """An adaptive pool whose windows are all of one size as the pool with these windows."""
    if not isinstance(pool, _ADAPTIVE) or len(shape) != 3:
        return pool
    wanted = [n if w is None else w for n, w in zip(shape[1:], _sizes(pool), strict=True)]
    if any(n % w for n, w in zip(shape[1:], wanted, strict=True)):
        return pool
    size = shape[1] // wanted[0], shape[2] // wanted[1]
    return nn.MaxPool2d(size) if isinstance(pool, nn.AdaptiveMaxPool2d) else nn.AvgPool2d(size)


def _sizes(pool: nn.Module) -> Sequence[int | None]:
    size = pool.output_size
    return (size, size) if isinstance(size, int) else size  # type: ignore[return-value]


def _windows(pool: nn.Module | None, shape: tuple[int, ...]) -> tuple[Ints | None, tuple[int, ...]]:
    """``[cells, width]`` positions of each cell, and the cells' shape; ``None``: unknown pool."""
    positions = torch.arange(1, 1 + int(np.prod(shape[1:])), dtype=torch.float64)
    if pool is None or isinstance(pool, RESHAPING):
        return _zero_based(positions[:, None]), shape[1:]
    pool = _plain_pool(pool, shape)
    if not isinstance(pool, nn.MaxPool2d | nn.AvgPool2d) or pool.ceil_mode or len(shape) != 3:
        return None, ()
    size = _pair(pool.kernel_size)
    stride = size if pool.stride is None else _pair(pool.stride)
    padding, dilation = _pair(pool.padding), (1, 1)
    if isinstance(pool, nn.MaxPool2d):
        dilation = _pair(pool.dilation)
    elif padding != (0, 0) or pool.divisor_override is not None:
        return None, ()
    image = positions.reshape(1, 1, *shape[1:])
    columns = functional.unfold(image, size, dilation, padding, stride)[0]
    reach = [d * (k - 1) + 1 for d, k in zip(dilation, size, strict=True)]
    pooled = tuple(
        (n + 2 * p - r) // s + 1
        for n, p, r, s in zip(shape[1:], padding, reach, stride, strict=True)
    )
    return np.ascontiguousarray(_zero_based(columns.T)), pooled


def _keeps_order(modules: Sequence[nn.Module], shape: tuple[int, ...]) -> bool:
    """Whether the modules only give another shape, and none remain that do more."""
    if not all(isinstance(module, RESHAPING) for module in modules):
        return False
    image = torch.arange(int(np.prod(shape)), dtype=torch.float64).reshape(1, *shape)
    numbers = image
    for module in modules:
        numbers = _reshaped(module, numbers)
    return torch.equal(numbers.flatten(), image.flatten())
