"""Modules that compute recorded expressions, and a layer that has no neuron."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from snntorch import SpikingNeuron
from torch import Tensor, nn

from fi.network.recorder.expression.expressions import (
    AllFired,
    Applied,
    Events,
    Fired,
    Incoming,
    Moment,
    Node,
    Word,
    evaluate,
    name_of,
    walk,
)


@dataclass(frozen=True)
class Line:
    """Where a part of what comes in goes in an expression.

    Attributes:
        source: name of the neuron that it is of; ``None`` for the events, or for all that comes in.
        shape: of one sample.
    """

    source: str | None
    shape: tuple[int, ...]


class Replay(nn.Module):
    """Computes a recorded expression of what comes in at one step.

    Args:
        root: the expression.
        lines: the sources, put one after another in what comes in; one alone is all of it.
        names: of the modules, for ``extra_repr``.

    Attributes:
        parts: the modules whose words are read; they are the network's own.
    """

    def __init__(self, root: Node, lines: Sequence[Line]) -> None:
        super().__init__()
        self.root, self.lines = root, tuple(lines)
        self.parts = nn.ModuleList(find_parts(root))

    def forward(self, signal: Tensor) -> Tensor:
        """Currents ``[batch, ...]`` of ``signal`` ``[batch, ...]``."""
        pieces = dict(zip((line.source for line in self.lines), self._split(signal), strict=True))

        def known(node: Node) -> Tensor | None:
            if isinstance(node, Incoming):
                return pieces[self.lines[0].source]
            if isinstance(node, Fired):
                return pieces[node.neuron]
            if isinstance(node, AllFired):
                return pieces[node.neuron][None]
            return pieces[None][None] if isinstance(node, Events) else None

        value: Tensor = evaluate(self.root, Moment(0, 1, len(signal)), signal, known)
        return value

    def _split(self, signal: Tensor) -> list[Tensor]:
        """What came of each source, ``[batch, ...]``."""
        shapes = [line.shape for line in self.lines]
        if len(shapes) == 1:
            return [signal]
        if len({shape[1:] for shape in shapes}) == 1:
            return list(signal.split([shape[0] for shape in shapes], dim=1))
        flat = signal.split([math.prod(shape) for shape in shapes], dim=1)
        return [part.unflatten(1, shape) for part, shape in zip(flat, shapes, strict=True)]

    def extra_repr(self) -> str:
        names = [name_of(node.function) for node in walk(self.root) if isinstance(node, Applied)]
        return ", ".join(names)


def find_parts(root: Node) -> list[nn.Module]:
    """The modules that an expression calls, or whose words it reads, each once."""
    found: dict[int, nn.Module] = {}
    for node in walk(root):
        if isinstance(node, Applied) and isinstance(node.function, nn.Module):
            found[id(node.function)] = node.function
        if isinstance(node, Word) and not node.owner._modules:
            found[id(node.owner)] = node.owner
    return list(found.values())


class Passive(SpikingNeuron):  # type: ignore[misc]
    """What a layer without neurons gives: its currents, at each step.

    The membrane is the current as well, so that readouts of either kind can take it.
    """

    elementwise = True

    def __init__(self) -> None:
        super().__init__(init_hidden=True)
        SpikingNeuron.instances.remove(self)  # resets of the user's are none of its business
        self.register_buffer("mem", torch.zeros(0), False)

    def forward(self, input_: Tensor) -> Tensor:
        """The currents ``[batch, ...]`` as they are."""
        self.mem = input_
        return input_
