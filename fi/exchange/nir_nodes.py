"""The nodes of a NIR file as plain records: types, arrays, edges, all checked."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fi.base.errors import UserError
from fi.exchange.hdf5_tree import Tree
from fi.exchange.reading import read_tree

Array = NDArray[Any]

#: What our own files say beside NIR: of the graph its rule, its step, whether images were convolved
#: with the channels last; of a node its reset, and the shapes of words that its neurons share.
RULE, DT, CHANNELS_LAST, RESET, WORD_SHAPE = (
    "nir_rule",
    "dt",
    "channels_last",
    "nir_reset",
    "word_shape",
)

#: Type of a node -> its arrays. A ``v_reset`` that is missing is 0, ``w_in`` 1.
WORDS = {
    "Affine": ("weight", "bias"),
    "Linear": ("weight",),
    "Conv1d": ("weight", "bias"),
    "Conv2d": ("weight", "bias"),
    "Scale": ("scale",),
    "Threshold": ("threshold",),
    "IF": ("r", "v_threshold", "v_reset"),
    "LIF": ("tau", "r", "v_leak", "v_threshold", "v_reset"),
    "LI": ("tau", "r", "v_leak"),
    "CubaLIF": ("tau_syn", "tau_mem", "r", "v_leak", "v_threshold", "v_reset", "w_in"),
    "CubaLI": ("tau_syn", "tau_mem", "r", "v_leak", "w_in"),
}
#: Type -> settings, small whole numbers or texts; these may be missing.
_SETTINGS = {
    "Conv1d": ("stride", "padding", "dilation", "groups", "input_shape"),
    "Conv2d": ("stride", "padding", "dilation", "groups", "input_shape"),
    "SumPool2d": ("kernel_size", "stride", "padding"),
    "AvgPool2d": ("kernel_size", "stride", "padding"),
    "Flatten": ("start_dim", "end_dim", "input_type"),
    "Input": ("shape",),
    "Output": ("shape",),
}
#: What stands for the ports of a graph within the graph.
THROUGH = "through"
NEURONS = frozenset({"IF", "LIF", "LI", "CubaLIF", "CubaLI", "Threshold"})
KNOWN = sorted({*WORDS, *_SETTINGS})
_DEFAULTS = {"v_reset": 0.0, "w_in": 1.0}
_UNSAFE = frozenset(",;*?[]\"'\\")


@dataclass(frozen=True)
class NirNode:
    """One node.

    Attributes:
        name: with the names of the graphs that it is in, ``lif1.w_rec``.
        type: of NIR, ``LIF``.
        words: its arrays, float64.
        settings: all else.
        metadata: what its writer has added.
    """

    name: str
    type: str
    words: dict[str, Array] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    metadata: Tree = field(default_factory=dict)

    def __str__(self) -> str:
        return f"node {self.name!r} ({self.type})"


@dataclass(frozen=True)
class NirGraph:
    """A graph, the graphs within it opened.

    Attributes:
        nodes: by name; of ``Input`` and ``Output`` one each.
        edges: from a node to a node.
        metadata: of the whole graph.
    """

    nodes: dict[str, NirNode]
    edges: list[tuple[str, str]]
    metadata: Tree

    def sources_of(self, name: str) -> list[str]:
        """The nodes whose outputs add up to what comes into one."""
        return [source for source, target in self.edges if target == name]

    def targets_of(self, name: str) -> list[str]:
        """The nodes that its output goes to."""
        return [target for source, target in self.edges if source == name]

    def only(self, kind: str) -> NirNode:
        """The one node of this type."""
        found = [node for node in self.nodes.values() if node.type == kind]
        if len(found) != 1:
            raise UserError(f"{len(found)} nodes of type {kind}; wanted is one")
        return found[0]


def read_graph(path: Path, most_bytes: int) -> NirGraph:
    """The graph of a NIR file.

    Args:
        path: of the file.
        most_bytes: that its arrays may take in memory.

    Raises:
        UserError: the file is damaged, or has what is not known; nodes are named with their type.
    """
    tree = read_tree(path, most_bytes)
    try:
        top = tree.get("node")
        if not isinstance(top, dict):
            raise UserError("no group 'node', as NIR files have")
        if _text(top, "type", "the graph") != "NIRGraph":
            raise UserError(f"it has one {top['type']}, no graph (NIRGraph)")
        nodes, edges = _open_graph("", top)
        graph = NirGraph(nodes, edges, _metadata(top))
        _check_names_apart(nodes)
        graph.only("Input")
        graph.only("Output")
        return graph
    except UserError as error:
        raise UserError(f"{path}: {error}") from error


def _open_graph(prefix: str, tree: Tree) -> tuple[dict[str, NirNode], list[tuple[str, str]]]:
    """The nodes and edges of a graph, and of those in it."""
    where = f"graph {prefix!r}" if prefix else "the graph"
    listed = tree.get("nodes")
    if not isinstance(listed, dict):
        raise UserError(f"{where} has no nodes")
    nodes: dict[str, NirNode] = {}
    edges: list[tuple[str, str]] = []
    ports: dict[str, tuple[str, str]] = {}
    for name, part in listed.items():
        full = f"{prefix}.{name}" if prefix else name
        _check_name(full)
        if not isinstance(part, dict):
            raise UserError(f"node {full!r} is no group")
        if _text(part, "type", f"node {full!r}") == "NIRGraph":
            inner, joined = _open_graph(full, part)
            ports[name] = _find_ports(full, inner)
            nodes |= {port: _close(node) for port, node in inner.items()}
            edges += joined
        else:
            nodes[full] = _read_node(full, part)
            ports[name] = (full, full)
    for source, target in _read_edges(tree.get("edges"), ports, where):
        edges.append((ports[source][1], ports[target][0]))
    if len(set(edges)) < len(edges):
        raise UserError(f"{where}: the same edge twice")
    return nodes, edges


def _check_name(name: str) -> None:
    parts = name.split(".")
    if not all(parts) or not name.isprintable() or set(name) & _UNSAFE or len(name) > 200:
        raise UserError(f"node {name!r:.60}: such a name cannot stand in a fault list")


def _check_names_apart(nodes: Iterable[str]) -> None:
    """Whether no node has the name of a group of others."""
    names = set(nodes)
    for name in names:
        parts = name.split(".")
        for end in range(1, len(parts)):
            if ".".join(parts[:end]) in names:
                raise UserError(f"node {name!r}: there is a node {'.'.join(parts[:end])!r}, too")


def _find_ports(name: str, nodes: dict[str, NirNode]) -> tuple[str, str]:
    """Where edges into a graph within the graph end, and those out of it begin."""
    found = []
    for kind in ("Input", "Output"):
        own = [n.name for n in nodes.values() if n.type == kind]
        if len(own) != 1:
            raise UserError(f"graph {name!r} has {len(own)} nodes of type {kind}; wanted is one")
        found += own
    return found[0], found[1]


def _close(node: NirNode) -> NirNode:
    """The ``Input`` and ``Output`` of a graph within a graph hand on what comes in."""
    return replace(node, type=THROUGH) if node.type in ("Input", "Output") else node


def _read_edges(
    edges: Any, ports: dict[str, tuple[str, str]], where: str
) -> Iterator[tuple[str, str]]:
    if not isinstance(edges, np.ndarray) or edges.ndim != 2 or edges.shape[1:] != (2,):
        raise UserError(f"{where}: its edges are no pairs of names")
    for source, target in edges:
        for name in (source, target):
            if not isinstance(name, str) or name not in ports:
                raise UserError(f"{where}: an edge names {name!r:.60}, which is no node")
        yield source, target


def _read_node(name: str, tree: Tree) -> NirNode:
    kind = _text(tree, "type", f"node {name!r}")
    if kind not in KNOWN:
        raise UserError(f"node {name!r} ({kind:.40}) is not known; known: {', '.join(KNOWN)}")
    where = f"node {name!r} ({kind})"
    words: dict[str, Array] = {}
    for word in WORDS.get(kind, ()):
        if word in _DEFAULTS and word not in tree:
            words[word] = np.full_like(words["r"], _DEFAULTS[word])
        else:
            words[word] = _read_words(tree.get(word), word, where)
    known = [key for key in _SETTINGS.get(kind, ()) if key in tree]
    settings = {key: _setting(tree[key], key, where) for key in known}
    return NirNode(name, kind, words, settings, _metadata(tree))


def _read_words(value: Any, word: str, where: str) -> Array:
    if not isinstance(value, np.ndarray) or value.dtype.kind not in "fiu":
        raise UserError(f"{where}: {word} is missing, or no array of numbers")
    words = value.astype(np.float64)
    largest = float(np.finfo(np.float32).max)
    if words.size == 0 or np.isnan(words).any():
        raise UserError(f"{where}: {word} is empty, or not a number (NaN)")
    if (np.isfinite(words) & (np.abs(words) > largest)).any():
        raise UserError(f"{where}: {word} is beyond float32")
    return words


def _setting(value: Any, key: str, where: str) -> Any:
    """A text, or a few whole numbers as a tuple."""
    if isinstance(value, str):
        return value
    if not isinstance(value, np.ndarray) or value.dtype.kind not in "iufb" or value.size > 8:
        raise UserError(f"{where}: {key} is no text and no few whole numbers")
    whole = [int(number) if np.isfinite(number) else -1 for number in value.ravel()]
    if any(number != own for number, own in zip(whole, value.ravel(), strict=True)):
        raise UserError(f"{where}: {key} {value.tolist()!s:.60} is not whole")
    if any(abs(number) > 1 << 31 for number in whole):
        raise UserError(f"{where}: {key} {value.tolist()!s:.60} is too large")
    return tuple(whole)


def _text(tree: Tree, key: str, where: str) -> str:
    value = tree.get(key)
    if not isinstance(value, str):
        raise UserError(f"{where} has no {key}")
    return value


def _metadata(tree: Tree) -> Tree:
    found = tree.get("metadata", {})
    return found if isinstance(found, dict) else {}
