"""One expression for all steps and any number of samples, of those of single calls."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from fi.network.recorder.expression.expressions import (
    AllFired,
    Applied,
    Constant,
    Events,
    Fired,
    Moment,
    Node,
    Part,
    Varying,
    Word,
    name_of,
    signals_of,
)
from fi.network.recorder.expression.functions import all_fired


class Differs(Exception):
    """Expressions are not the same function; the message says in what."""


@dataclass(frozen=True)
class Variant:
    """One recorded expression, and when it was.

    Attributes:
        node: the expression.
        moment: its step, and the steps and samples of its inference.
        values: of zeros at the first step: whether a node that is made of no signal is all zero.
    """

    node: Node
    moment: Moment


@contextmanager
def deep_recursion(depth: int) -> Iterator[None]:
    """Within, functions may call themselves so deep: a running sum is as deep as its steps."""
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(max(before, depth))
    try:
        yield
    finally:
        sys.setrecursionlimit(before)


class Generaliser:
    """Finds what all variants have in common; equal parts become one node.

    Args:
        moments: of the variants, in their order.
        calls: of each neuron in the inference of each variant, where they are the steps.
        by_step: whether calls of neurons are told relative to the step.
        names: of modules, by id, for what is said.
    """

    def __init__(
        self,
        moments: Sequence[Moment],
        calls: Sequence[Mapping[str, int]],
        by_step: bool,
        names: Mapping[int, str] | None = None,
    ) -> None:
        self.moments, self.calls, self.by_step = moments, calls, by_step
        self.names = names or {}
        self._memo: dict[tuple[int, ...], Node] = {}
        self._made: dict[Any, Node] = {}

    def node(self, nodes: Sequence[Node]) -> Node:
        """The node that stands for one of each variant.

        Raises:
            Differs: there is none.
        """
        key = tuple(map(id, nodes))
        if key not in self._memo:
            self._memo[key] = self._intern(self._generalise(nodes))
        return self._memo[key]

    def _intern(self, node: Node) -> Node:
        """One object for equal nodes."""
        return self._made.setdefault(_key(node), node)

    def _generalise(self, nodes: Sequence[Node]) -> Node:
        first = nodes[-1]
        if self.by_step:
            sequence = self._all_fired(nodes)
            if sequence is not None:
                return sequence
            if isinstance(first, Fired):
                return self._fired(nodes)
        kinds = {type(node) for node in nodes}
        if len(kinds) > 1:
            raise Differs("it is another function at each step")
        if isinstance(first, Fired):
            return _same_fired(nodes)
        if isinstance(first, (Events, AllFired)):
            return first
        if isinstance(first, Word):
            if any((n.owner, n.name) != (first.owner, first.name) for n in nodes):  # type: ignore[attr-defined]
                raise Differs("it reads other words at each step")
            return first
        if isinstance(first, Constant):
            return _same_constant(nodes)
        if isinstance(first, Part):
            parts = [(n.whole, n.place) for n in nodes]  # type: ignore[attr-defined]
            whole = self.node([part[0] for part in parts])
            return Part(whole, self.value([part[1] for part in parts]))
        return self._applied(nodes)

    def _applied(self, nodes: Sequence[Node]) -> Node:
        listed = [node for node in nodes if isinstance(node, Applied)]
        first = listed[-1]
        for node in listed:
            if not _same_function(node.function, first.function):
                raise Differs(self._describe(node.function, first.function))
        arguments = self.value([node.arguments for node in listed])
        options = self.value([dict(node.options) for node in listed])
        return Applied(first.function, arguments, options)

    def _describe(self, *functions: Callable[..., Any]) -> str:
        """What is said of functions of which each is in the other's place at another step."""
        kinds = [name_of(function) for function in functions]
        said = f"another {kinds[0]}" if kinds[0] == kinds[1] else "another function"
        names = [self.names.get(id(f)) or kind for f, kind in zip(functions, kinds, strict=True)]
        return f"it is {said} at each step ({' and '.join(names)})"

    def _all_fired(self, nodes: Sequence[Node]) -> Node | None:
        found = []
        for node, calls in zip(nodes, self.calls, strict=True):
            steps = max(calls.values(), default=0)
            found.append(all_fired(node, steps))
        first = found[-1]
        if first is None or any(
            one is None or (one.neuron, one.output) != (first.neuron, first.output) for one in found
        ):
            return None
        return first

    def _fired(self, nodes: Sequence[Node]) -> Node:
        """Of the same neuron, so many steps before each; before the first step zeros."""
        last = nodes[-1]
        assert isinstance(last, Fired)
        shift = last.call - self.moments[-1].step
        for node, moment in zip(nodes, self.moments, strict=True):
            if moment.step + shift < 0:
                if signals_of(node) or not _is_zero(node, moment):
                    raise Differs(f"before the first step {last.neuron} has fed back something")
            elif not isinstance(node, Fired) or (node.neuron, node.output, node.call) != (
                last.neuron,
                last.output,
                moment.step + shift,
            ):
                raise Differs(f"it is not driven by {last.neuron} alike at each step")
        return Fired(last.neuron, last.output, shift)

    def value(self, values: Sequence[Any]) -> Any:
        """What stands for one argument of each variant."""
        first = values[-1]
        if any(isinstance(value, Node) for value in values):
            if not all(isinstance(value, Node) for value in values):
                return self._mixed(values)
            return self.node(values)
        if isinstance(first, (tuple, list)):
            if any(not isinstance(v, (tuple, list)) or len(v) != len(first) for v in values):
                raise Differs("it has other arguments at each step")
            parts = [self.value(column) for column in zip(*values, strict=True)]
            return parts if isinstance(first, list) else tuple(parts)
        if isinstance(first, dict):
            if any(not isinstance(v, dict) or v.keys() != first.keys() for v in values):
                raise Differs("it has other arguments at each step")
            return {key: self.value([value[key] for value in values]) for key in first}
        if isinstance(first, slice):
            if not all(isinstance(value, slice) for value in values):
                raise Differs("it has other arguments at each step")
            bounds = [(value.start, value.stop, value.step) for value in values]
            return slice(*self.value(bounds))
        return self._plain(values)

    def _mixed(self, values: Sequence[Any]) -> Any:
        """Nodes, and a plain 0 at the first step, which is what a feedback starts from."""
        zeros = [isinstance(value, (int, float)) and value == 0 for value in values]
        if not self.by_step or not any(zeros):
            raise Differs("it has other arguments at each step")
        zero = Constant(torch.zeros(()))
        return self.node([zero if z else v for z, v in zip(zeros, values, strict=True)])

    def _plain(self, values: Sequence[Any]) -> Any:
        first = values[-1]
        if all(type(value) is type(first) and value == first for value in values):
            return first
        if all(type(value) is int for value in values):
            fitted = self._fit(values)
            if fitted is not None:
                return fitted
        raise Differs(f"a number in it is another one at each step ({values[0]}, {values[-1]})")

    def _fit(self, values: Sequence[int]) -> Varying | None:
        """How integers follow the step, the samples or the steps."""
        for kind in ("step", "batch", "both", "steps"):
            bases = [Varying(kind, 1, 0).at(m.step, m.steps, m.batch) for m in self.moments]
            pairs = sorted(zip(bases, values, strict=True))
            (low, low_value), (high, high_value) = pairs[0], pairs[-1]
            if high == low or (high_value - low_value) % (high - low):
                continue
            factor = (high_value - low_value) // (high - low)
            offset = low_value - factor * low
            if kind == "step" and factor != 1:
                continue
            if all(factor * base + offset == value for base, value in pairs):
                return Varying(kind, factor, offset)
        return None


def _same_fired(nodes: Sequence[Node]) -> Node:
    last = nodes[-1]
    assert isinstance(last, Fired)
    wanted = (last.neuron, last.output, last.call)
    if any((n.neuron, n.output, n.call) != wanted for n in nodes):  # type: ignore[attr-defined]
        raise Differs("it reads other neurons")
    return last


def _same_constant(nodes: Sequence[Node]) -> Node:
    last = nodes[-1]
    assert isinstance(last, Constant)
    for node in nodes:
        assert isinstance(node, Constant)
        same = node.value.shape == last.value.shape and torch.equal(node.value, last.value)
        if not same:
            raise Differs("a tensor in it that is no word is another one at each step")
    return last


def _same_function(one: Any, other: Any) -> bool:
    """Whether two functions are one; of modules without words, whether they are alike."""
    if one is other:
        return True
    if isinstance(one, nn.Module) and isinstance(other, nn.Module):
        plain = type(one) is type(other) and type(one).__module__.startswith("torch.nn.")
        return plain and not {*one.state_dict(), *other.state_dict()} and repr(one) == repr(other)
    return not isinstance(one, nn.Module) and bool(one == other)


def _is_zero(node: Node, moment: Moment) -> bool:
    """Whether a node that is made of no signal is all zero."""
    from fi.network.recorder.expression.expressions import evaluate

    value = evaluate(node, moment, torch.zeros(()), lambda _: None)
    return isinstance(value, Tensor) and not bool(value.any())


def _key(node: Node) -> Any:
    """Equal for nodes that are the same."""
    if isinstance(node, Fired):
        return "fired", node.neuron, node.output, node.call
    if isinstance(node, AllFired):
        return "all", node.neuron, node.output
    if isinstance(node, Events):
        return "events"
    if isinstance(node, Word):
        return "word", id(node.owner), node.name
    if isinstance(node, Constant):
        return "constant", id(node.value)
    if isinstance(node, Part):
        return "part", id(node.whole), repr(node.place)
    assert isinstance(node, Applied)
    function = id(node.function) if isinstance(node.function, nn.Module) else node.function
    return "applied", function, _freeze(node.arguments), _freeze(dict(node.options))


def _freeze(value: Any) -> Any:
    if isinstance(value, (tuple, list)):
        return type(value).__name__, tuple(map(_freeze, value))
    if isinstance(value, dict):
        return tuple((key, _freeze(part)) for key, part in value.items())
    if isinstance(value, slice):
        return "slice", _freeze((value.start, value.stop, value.step))
    if isinstance(value, Node):
        return "node", id(value)
    return type(value).__name__, repr(value) if isinstance(value, float) else value
