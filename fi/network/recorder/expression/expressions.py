"""What a recorded value is made of: functions of events, spikes and words."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn


class NotRecordable(Exception):
    """No stage graph follows from the forward; the message says which neuron or function, why."""


@dataclass(frozen=True, eq=False)
class Node:
    """A value of an inference; what follows are its kinds."""


@dataclass(frozen=True, eq=False)
class Events(Node):
    """The events of all steps, ``[time, batch, ...]``."""


@dataclass(frozen=True, eq=False)
class Incoming(Node):
    """What reaches a part of an expression that was cut out of it, ``[batch, ...]``."""


@dataclass(frozen=True, eq=False)
class Word(Node):
    """A parameter or buffer, read anew each time: ``name`` in module ``owner``."""

    owner: nn.Module
    name: str


@dataclass(frozen=True, eq=False)
class Constant(Node):
    """A tensor that the inference did not make."""

    value: Tensor


@dataclass(frozen=True, eq=False)
class Fired(Node):
    """What call number ``call`` of a neuron gave: ``spk``, ``mem`` or another state.

    In an expression that stands for every step, ``call`` is relative to it: 0, or -1 for feedback.
    """

    neuron: str
    output: str
    call: int


@dataclass(frozen=True, eq=False)
class AllFired(Node):
    """The outputs of all calls of a neuron, ``[time, batch, ...]``."""

    neuron: str
    output: str


@dataclass(frozen=True, eq=False)
class Applied(Node):
    """What a function of PyTorch, or a module, gave; arguments may be nodes."""

    function: Callable[..., Any]
    arguments: tuple[Any, ...]
    options: Mapping[str, Any]

    @property
    def name(self) -> str:
        """Of the function, as users know it."""
        return name_of(self.function)


@dataclass(frozen=True, eq=False)
class Part(Node):
    """One of several tensors that a function gave."""

    whole: Node
    place: Any


@dataclass(frozen=True)
class Varying:
    """A number that follows the step, the samples, or the steps: see ``at``."""

    kind: str
    factor: int
    offset: int

    def at(self, step: int, steps: int, batch: int) -> int:
        """The number in this step of an inference of so many steps and samples."""
        base = {"step": step, "steps": steps, "batch": batch, "both": steps * batch}[self.kind]
        return self.factor * base + self.offset


class OnCopy:
    """A function that changes its first argument, on a copy of it."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function
        self.__name__ = name_of(function).strip("_").removeprefix("i")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, OnCopy) and self.function == other.function

    def __hash__(self) -> int:
        return hash(self.function)

    def __call__(self, value: Tensor, *arguments: Any, **options: Any) -> Tensor:
        value = value.clone()
        self.function(value, *arguments, **options)
        return value


def name_of(function: Callable[..., Any]) -> str:
    """The name of a function, or of a module's class."""
    if isinstance(function, nn.Module):
        return type(function).__name__
    owner = getattr(function, "__self__", None)
    name = str(getattr(function, "__name__", type(function).__name__))
    return str(getattr(owner, "__name__", name)) if name == "__get__" else name


def children(node: Node) -> list[Node]:
    """The nodes that a node is directly made of, each once."""
    if isinstance(node, Part):
        return [node.whole]
    if not isinstance(node, Applied):
        return []
    found = leaves_of((node.arguments, dict(node.options)))
    return list({id(child): child for child in found}.values())


def leaves_of(value: Any) -> Iterator[Node]:
    """The nodes in arguments."""
    if isinstance(value, Node):
        yield value
    elif isinstance(value, (tuple, list)):
        for part in value:
            yield from leaves_of(part)
    elif isinstance(value, dict):
        yield from leaves_of(list(value.values()))
    elif isinstance(value, slice):
        yield from leaves_of((value.start, value.stop, value.step))


def rebuild(value: Any, change: Callable[[Any], Any]) -> Any:
    """Arguments with every plain value and node replaced by what ``change`` makes of it."""
    if isinstance(value, (tuple, list)):
        parts = [rebuild(part, change) for part in value]
        return parts if isinstance(value, list) else tuple(parts)
    if isinstance(value, dict):
        return {key: rebuild(part, change) for key, part in value.items()}
    if isinstance(value, slice):
        return slice(*(rebuild(part, change) for part in (value.start, value.stop, value.step)))
    return change(value)


def walk(root: Node) -> list[Node]:
    """All nodes of an expression, each once, those that a node is made of before it."""
    done: dict[int, Node] = {}
    stack = [(root, False)]
    while stack:
        node, ready = stack.pop()
        if ready:
            done.setdefault(id(node), node)
        elif id(node) not in done:
            stack.append((node, True))
            stack.extend((child, False) for child in reversed(children(node)))
    return list(done.values())


def signals_of(root: Node) -> list[Node]:
    """The events, spikes and states in an expression."""
    kinds = (Events, Fired, AllFired, Incoming)
    return [node for node in walk(root) if isinstance(node, kinds)]


@dataclass(frozen=True)
class Moment:
    """For which step of an inference of how many steps and samples an expression is evaluated."""

    step: int
    steps: int
    batch: int


def evaluate(
    root: Node, moment: Moment, like: Tensor, known: Callable[[Node], Tensor | None]
) -> Any:
    """The value of an expression.

    Args:
        root: the expression.
        moment: what its varying numbers are.
        like: a tensor whose device and floating-point type constants take.
        known: gives the values of nodes that are not to be computed, ``None`` for others.
    """
    values: dict[int, Any] = {}

    def argument(value: Any) -> Any:
        if isinstance(value, Node):
            return values[id(value)]
        if isinstance(value, Varying):
            return value.at(moment.step, moment.steps, moment.batch)
        return like.device if isinstance(value, torch.device) else value

    for node in walk_unknown(root, known, values):
        values[id(node)] = _compute(node, argument, like)
    return values[id(root)]


def walk_unknown(
    root: Node, known: Callable[[Node], Tensor | None], values: dict[int, Any]
) -> Iterator[Node]:
    """The nodes to compute, in order; known values are put into ``values``."""
    stack = [(root, False)]
    while stack:
        node, ready = stack.pop()
        if id(node) in values:
            continue
        if ready:
            yield node
            continue
        value = known(node)
        if value is not None:
            values[id(node)] = value
            continue
        stack.append((node, True))
        stack.extend((child, False) for child in reversed(children(node)))


def _compute(node: Node, argument: Callable[[Any], Any], like: Tensor) -> Any:
    if isinstance(node, Applied):
        return node.function(
            *rebuild(node.arguments, argument), **rebuild(dict(node.options), argument)
        )
    if isinstance(node, Part):
        whole = argument(node.whole)
        place = argument(node.place)
        return whole[place]
    if isinstance(node, Word):
        return getattr(node.owner, node.name)
    if isinstance(node, Constant):
        value = node.value.to(like.device)
        return value.to(like.dtype) if value.is_floating_point() else value
    raise NotRecordable(f"{type(node).__name__} has no value here")  # a mistake of the recorder
