"""The nodes of a NIR graph that keep nothing, as modules of PyTorch."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from fi.base.errors import UserError
from fi.exchange.nir_nodes import Array, NirNode
from fi.exchange.nir_shapes import Shape, find_flattened, find_reach, read_padding, read_pair


class Scale(nn.Module):
    """Each input times a word of its own: ``Scale`` of NIR."""

    def __init__(self, scale: Tensor) -> None:
        super().__init__()
        self.scale = nn.Parameter(scale)

    def forward(self, signal: Tensor) -> Tensor:
        """``[batch, ...]`` of ``[batch, ...]``."""
        return signal * self.scale


class Branches(nn.Module):
    """The sum of what several synapses make of sources, which come in one after another.

    Args:
        branches: the modules of each source, in order.
        shapes: of each source, the batch left out.
    """

    def __init__(self, branches: Sequence[nn.Module], shapes: Sequence[Shape]) -> None:
        super().__init__()
        self.branches = nn.ModuleList(branches)
        self.shapes = tuple(shapes)

    def forward(self, signal: Tensor) -> Tensor:
        """Currents ``[batch, ...]`` of all sources ``[batch, ...]``."""
        flat = signal.flatten(1).split([math.prod(shape) for shape in self.shapes], dim=1)
        parts = [part.unflatten(1, shape) for part, shape in zip(flat, self.shapes, strict=True)]
        total: Tensor = self.branches[0](parts[0])
        for branch, part in zip(self.branches[1:], parts[1:], strict=True):
            total = total + branch(part)
        return total


def to_words(values: Array) -> Tensor:
    """Values of a file as the float32 words that the network stores."""
    return torch.from_numpy(values).to(torch.float32)


def make_synapse(node: NirNode, shape: Shape) -> nn.Module:
    """The module of a node into which ``shape`` comes; its shapes have been checked.

    Raises:
        UserError: it is no synapse.
    """
    with torch.device("meta"):  # its own words are never made
        module = _make(node, shape)
    for word in ("weight", "bias"):
        if word in node.words:
            setattr(module, word, nn.Parameter(to_words(node.words[word])))
    return module.requires_grad_(False)


def _make(node: NirNode, shape: Shape) -> nn.Module:
    if node.type in ("Affine", "Linear"):
        rows, columns = node.words["weight"].shape
        return nn.Linear(columns, rows, bias=node.type == "Affine")
    if node.type in ("Conv1d", "Conv2d"):
        return _make_convolution(node)
    if node.type in ("SumPool2d", "AvgPool2d"):
        kernel, stride = read_pair(node, "kernel_size", None), read_pair(node, "stride", None)
        padding = read_pair(node, "padding", 0)
        divisor = 1 if node.type == "SumPool2d" else None
        return nn.AvgPool2d(kernel, stride, padding, divisor_override=divisor)
    if node.type == "Flatten":
        start, end = find_flattened(node, shape)
        return nn.Flatten(start + 1, end + 1)
    if node.type == "Scale":
        return Scale(to_words(node.words["scale"]).cpu())
    raise UserError(f"{node} is no synapse")


def _make_convolution(node: NirNode) -> nn.Module:
    weight, count = node.words["weight"], 1 if node.type == "Conv1d" else 2
    groups = read_pair(node, "groups", 1, 1)[0]
    kind = nn.Conv1d if count == 1 else nn.Conv2d
    return kind(
        weight.shape[1] * groups,
        len(weight),
        weight.shape[2:],
        stride=read_pair(node, "stride", 1, count),
        padding=read_padding(node, count, find_reach(node, count)),
        dilation=read_pair(node, "dilation", 1, count),
        groups=groups,
    )
