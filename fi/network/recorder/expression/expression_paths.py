"""Ways through expressions: what is applied one after another, and what comes together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeGuard

from fi.network.recorder.expression.expressions import (
    Applied,
    Node,
    Part,
    children,
    rebuild,
    signals_of,
    walk,
)
from fi.network.recorder.expression.plain_modules import SHAPING

#: Names of a sum of two.
ADD = frozenset({"add", "__add__", "__radd__"})


def find_path(root: Node) -> list[Node]:
    """The functions that are applied one after another; the first node is that of all inputs."""
    path = [root]
    while len(below := _dependent(path[-1])) == 1:
        path.append(below[0])
    return path[::-1]


def _dependent(node: Node) -> list[Node]:
    """The nodes made of signals that a node is made of; those of which it is a part are skipped."""
    if isinstance(node, Part):
        return _dependent(node.whole)
    return [child for child in children(node) if signals_of(child)]


def terms_of(node: Node) -> list[Any]:
    """The terms of a sum in the order in which they are added up, but for a 0 to start from.

    ``a + (b + c)`` has the terms of ``(b + c) + a``, which has the same bits.
    """
    if not _is_sum(node):
        return [node]
    left, right = node.arguments[::-1] if node.name == "__radd__" else node.arguments
    first, second = (
        [] if isinstance(side, (int, float)) and side == 0 else terms_of(side)
        for side in (left, right)
    )
    if len(second) > 1:
        return [*second, *first] if len(first) < 2 else [*first, right]
    return [*first, *second]


def _is_sum(node: Any) -> TypeGuard[Applied]:
    return isinstance(node, Applied) and node.name in ADD and not node.options


def reads(node: Node, signals: Sequence[Node]) -> bool:
    return any(one is other for one in signals_of(node) for other in signals)


def changes_shapes_only(node: Node) -> bool:
    """Whether nothing but shapes change between a signal and a node."""
    functions = [inner for inner in walk(node) if isinstance(inner, Applied)]
    return all(inner.name in SHAPING for inner in functions)


def replace(root: Node, node: Node, by: Node) -> Node:
    """The expression with another node in one place."""
    return replace_all(root, {id(node): by})


def replace_all(root: Node, by: Mapping[int, Node]) -> Node:
    """The expression with other nodes in the places of some, which are told by their ids."""
    made = dict(by)

    def change(value: Any) -> Any:
        return made.get(id(value), value) if isinstance(value, Node) else value

    for inner in walk(root):
        if id(inner) in made:
            continue
        if isinstance(inner, Part):
            made[id(inner)] = Part(change(inner.whole), inner.place)
        elif isinstance(inner, Applied):
            arguments = rebuild(inner.arguments, change)
            options = rebuild(dict(inner.options), change)
            made[id(inner)] = Applied(inner.function, arguments, options)
        else:
            made[id(inner)] = inner
    return made[id(root)]
