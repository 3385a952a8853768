"""What shape each node of a NIR graph makes of what comes in, before any memory is taken."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from fi.base.errors import UserError
from fi.exchange.nir_nodes import NEURONS, THROUGH, NirNode

Shape = tuple[int, ...]

#: Values of one sample and step that a layer may have.
LARGEST = 1 << 28


def find_output_shape(node: NirNode, shape: Shape) -> Shape:
    """The shape that leaves a node, the batch left out.

    Args:
        node: of any type that is known.
        shape: of what comes in.

    Raises:
        UserError: its words or settings do not fit that.
    """
    if node.type in NEURONS:
        found = _neuron(node, shape)
    elif node.type in ("Affine", "Linear"):
        found = _linear(node, shape)
    elif node.type in ("Conv1d", "Conv2d"):
        found = _convolution(node, shape)
    elif node.type in ("SumPool2d", "AvgPool2d"):
        found = _pool(node, shape)
    elif node.type == "Flatten":
        found = _flatten(node, shape)
    elif node.type == "Scale":
        _check_words(node, ("scale",), shape)
        found = shape
    else:
        assert node.type in ("Output", THROUGH)
        found = shape
    if math.prod(found) > LARGEST or min(found, default=1) < 1:
        raise UserError(f"{node}: {list(shape)} would become {list(found)}")
    return found


def read_pair(node: NirNode, key: str, usual: int | None, count: int = 2) -> Any:
    """A setting of one number for each of ``count`` axes, a tuple."""
    value = node.settings.get(key)
    if value is None:
        if usual is None:
            raise UserError(f"{node}: {key} is missing")
        return (usual,) * count
    if isinstance(value, str) or len(value) not in (1, count):
        raise UserError(f"{node}: {key} {value!s:.40} is not one number for each of {count} axes")
    return tuple(value * count if len(value) == 1 else value)


def read_padding(node: NirNode, count: int, reach: Sequence[int]) -> Any:
    """The padding of a convolution, ``"same"`` where that is not the same on both sides."""
    value = node.settings.get("padding")
    if value == "valid":
        return (0,) * count
    if value != "same":
        return read_pair(node, "padding", 0, count)
    if any(stride != 1 for stride in read_pair(node, "stride", 1, count)):
        raise UserError(f"{node}: padding 'same' wants stride 1")
    return "same" if any(r % 2 == 0 for r in reach) else tuple(r // 2 for r in reach)


def find_reach(node: NirNode, count: int) -> tuple[int, ...]:
    """How far the kernel of a convolution reaches on each axis."""
    dilation = read_pair(node, "dilation", 1, count)
    kernel = node.words["weight"].shape[2:]
    return tuple(d * (k - 1) + 1 for d, k in zip(dilation, kernel, strict=True))


def _neuron(node: NirNode, shape: Shape) -> Shape:
    shapes = {word: list(values.shape) for word, values in node.words.items() if values.size > 1}
    for word, own in shapes.items():
        other, first = next(iter(shapes.items()))
        if own != first:
            raise UserError(f"{node}: {word} has shape {own}, {other} has {first}")
    _check_words(node, tuple(node.words), shape)
    return shape


def _check_words(node: NirNode, words: Sequence[str], shape: Shape) -> None:
    """Whether words are of this shape, or spread to it."""
    for word in words:
        own = node.words[word].shape
        aligned = shape[len(shape) - len(own) :] if len(own) <= len(shape) else None
        if aligned is None or any(a not in (1, b) for a, b in zip(own, aligned, strict=True)):
            raise UserError(f"{node}: {word} has shape {list(own)}, but {list(shape)} comes in")


def _linear(node: NirNode, shape: Shape) -> Shape:
    weight = node.words["weight"]
    if weight.ndim != 2 or shape != weight.shape[1:]:
        raise UserError(
            f"{node}: its weight has shape {list(weight.shape)}, but {list(shape)} comes in"
        )
    _check_bias(node, len(weight))
    return (len(weight),)


def _check_bias(node: NirNode, channels: int) -> None:
    bias = node.words.get("bias")
    if bias is not None and bias.shape != (channels,):
        raise UserError(f"{node}: its bias has shape {list(bias.shape)}, not [{channels}]")


def _convolution(node: NirNode, shape: Shape) -> Shape:
    weight, count = node.words["weight"], 1 if node.type == "Conv1d" else 2
    groups = read_pair(node, "groups", 1, 1)[0]
    fits = weight.ndim == count + 2 and len(shape) == count + 1
    if not fits or groups < 1 or shape[0] != weight.shape[1] * groups or len(weight) % groups:
        raise UserError(
            f"{node}: its weight has shape {list(weight.shape)} in {groups} groups, but "
            f"{list(shape)} comes in"
        )
    _check_bias(node, len(weight))
    stride, reach = read_pair(node, "stride", 1, count), find_reach(node, count)
    padding = read_padding(node, count, reach)
    if min(stride) < 1 or min(reach) < 1 or (not isinstance(padding, str) and min(padding) < 0):
        raise UserError(f"{node}: stride, dilation and padding must not be negative")
    if padding == "same":
        return (len(weight), *shape[1:])
    assert not isinstance(padding, str)
    return (len(weight), *_slide(shape[1:], reach, stride, padding))


def _slide(size: Shape, reach: Shape, stride: Shape, padding: Shape) -> Shape:
    axes = zip(size, reach, stride, padding, strict=True)
    return tuple((n + 2 * p - r) // s + 1 for n, r, s, p in axes)


def _pool(node: NirNode, shape: Shape) -> Shape:
    kernel = read_pair(node, "kernel_size", None)
    stride, padding = read_pair(node, "stride", None), read_pair(node, "padding", 0)
    if len(shape) != 3 or min(kernel) < 1 or min(stride) < 1 or min(padding) < 0:
        raise UserError(f"{node}: a pool {kernel}, stride {stride}, of {list(shape)}")
    if any(2 * p > k for p, k in zip(padding, kernel, strict=True)):
        raise UserError(f"{node}: padding {padding} is more than half of {kernel}")
    return (shape[0], *_slide(shape[1:], kernel, stride, padding))


def find_flattened(node: NirNode, shape: Shape) -> tuple[int, int]:
    """The first and the last axis that a ``Flatten`` joins, the batch left out."""
    first = read_pair(node, "start_dim", 1, 1)[0]
    last = read_pair(node, "end_dim", -1, 1)[0]
    start, end = (axis + len(shape) if axis < 0 else axis for axis in (first, last))
    if not 0 <= start <= end < len(shape):
        raise UserError(f"{node}: axes {first} to {last} of {list(shape)}")
    return start, end


def _flatten(node: NirNode, shape: Shape) -> Shape:
    start, end = find_flattened(node, shape)
    return (*shape[:start], math.prod(shape[start : end + 1]), *shape[end + 1 :])
