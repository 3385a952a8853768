"""Which element of hardware each word of a tensor is in: rows, lines of memory, arrays.

A tensor of shape ``[n0, n1, ..., nk]`` is taken as a matrix of ``n0`` rows and ``n1 * ... * nk``
columns: a row is what one neuron (or map) of a layer takes in, a column is what one input gives
out. Arrays hold that matrix transposed, inputs from the left, outputs downwards::

    fc1.weight [4 outputs, 6 inputs]     systolic:3x2, weight-stationary, loaded in passes of 3x2

              inputs                              out 0,2   out 1,3
            0 1 2 3 4 5                   in 0,3 [  (0,0)  |  (0,1)  ]   an element has each weight
    out 0   a b c d e f                   in 1,4 [  (1,0)  |  (1,1)  ]   that a pass puts there:
    out 1   g h i j k l                   in 2,5 [  (2,0)  |  (2,1)  ]   (0,0) has a d m p
    out 2   m n o p q r
    out 3   s t u v w x                  crossbar:3x2, tiles of 3x2 devices, a device for a weight

                                                  out 0,1   out 2,3
                                          in 0-2 [  (0,0)  |  (0,1)  ]   (0,0) has a b c g h i
                                          in 3-5 [  (1,0)  |  (1,1)  ]   crossbar-row: an input of a
                                                                         tile; -column: an output
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from fi.faults.fault_sites import Kind

#: The coordinates of words, or of their groups: for each axis an int64 ``[words]``.
Places = tuple[NDArray[Any], ...]


class WordMap:
    """Which group of a tensor each of its words is in; one of your own overrides ``locate``.

    What stands behind the name and a colon is handed to the constructor as text.

    Class attributes:
        name: on the command line and in fault lists, lower case and hyphens.
        parameter: what stands behind the name is called so; empty where there is nothing.
        kinds: the kinds of sites that have such groups.
        least_axes: the fewest axes of a tensor that has them.

    >>> class Checkerboard(WordMap):
    ...     def locate(self, word, shape, kind):
    ...         return (sum(word) % 2,)
    >>> words = np.array([0, 0, 1, 1]), np.array([0, 1, 0, 1])
    >>> Checkerboard().locate(words, (2, 2), Kind.SYNAPSE)
    (array([0, 1, 1, 0]),)
    """

    name: ClassVar[str] = ""
    parameter: ClassVar[str] = ""
    kinds: ClassVar[Collection[Kind]] = frozenset(Kind)
    least_axes: ClassVar[int] = 1

    def locate(self, word: Places, shape: tuple[int, ...], kind: Kind) -> Places:
        """The coordinates of the group of each word; every group up to the largest has a word.

        Args:
            word: the index of each word of the tensor, for each axis int64 ``[words]``.
            shape: of the tensor.
            kind: of its words.
        """
        raise NotImplementedError(f"{type(self).__name__} has no groups")


class Row(WordMap):
    """A row of the matrix: what one neuron, or one output map, takes in."""

    name = "row"

    def locate(self, word: Places, shape: tuple[int, ...], kind: Kind) -> Places:
        return (word[0],)


class Column(WordMap):
    """A column of the matrix: what one input, or one place in a kernel's window, is read by."""

    name = "column"

    def locate(self, word: Places, shape: tuple[int, ...], kind: Kind) -> Places:
        return (column_of(word, shape),)


class Channel(WordMap):
    """A feature map, or an output channel: all words of one place of the first axis."""

    name = "channel"

    def locate(self, word: Places, shape: tuple[int, ...], kind: Kind) -> Places:
        return (word[0],)


class Neuron(WordMap):
    """What one neuron has of a tensor: of weights its whole fan-in, of all else one word."""

    name = "neuron"

    def locate(self, word: Places, shape: tuple[int, ...], kind: Kind) -> Places:
        return word[:1] if kind is Kind.SYNAPSE else word


class Layer(WordMap):
    """All words of a tensor: all outputs of a layer, all its weights."""

    name = "layer"

    def locate(self, word: Places, shape: tuple[int, ...], kind: Kind) -> Places:
        return (np.zeros_like(word[0]),)


class WordLine(WordMap):
    """A line of memory: N words one after another, in the order in which a tensor is stored."""

    name = "word-line"
    parameter = "N"

    def __init__(self, text: str) -> None:
        self.width = _parse_numbers(text, "([0-9]+)", "a number of words, as word-line:16")[0]

    def locate(self, word: Places, shape: tuple[int, ...], kind: Kind) -> Places:
        return (np.ravel_multi_index(word, shape) // self.width,)


class _Array(WordMap):
    """An array of R rows, for inputs, and C columns, for outputs, that a layer's matrix is in."""

    parameter = "RxC"
    kinds = frozenset({Kind.SYNAPSE})
    least_axes = 2

    def __init__(self, text: str) -> None:
        wanted = f"rows and columns, as {self.name}:16x16"
        self.rows, self.columns = _parse_numbers(text, "([0-9]+)x([0-9]+)", wanted)


class Systolic(_Array):
    """An element of a weight-stationary systolic array that is loaded with tile after tile."""

    name = "systolic"

    def locate(self, word: Places, shape: tuple[int, ...], kind: Kind) -> Places:
        return column_of(word, shape) % self.rows, word[0] % self.columns


class Crossbar(_Array):
    """A crossbar of R word lines and C bit lines, one of as many as a layer takes."""

    name = "crossbar"

    def locate(self, word: Places, shape: tuple[int, ...], kind: Kind) -> Places:
        return column_of(word, shape) // self.rows, word[0] // self.columns


class CrossbarRow(_Array):
    """A word line of one crossbar: what one input drives there."""

    name = "crossbar-row"

    def locate(self, word: Places, shape: tuple[int, ...], kind: Kind) -> Places:
        return column_of(word, shape), word[0] // self.columns


class CrossbarColumn(_Array):
    """A bit line of one crossbar: what adds up to one output there."""

    name = "crossbar-column"

    def locate(self, word: Places, shape: tuple[int, ...], kind: Kind) -> Places:
        return column_of(word, shape) // self.rows, word[0]


def column_of(word: Places, shape: tuple[int, ...]) -> NDArray[Any]:
    """The column of the matrix that each word is in.

    >>> column_of((np.array([1, 1]), np.array([0, 2]), np.array([1, 0])), (2, 3, 2))
    array([1, 4])
    """
    if len(shape) == 1:
        return np.zeros_like(word[0])
    return np.asarray(np.ravel_multi_index(word[1:], shape[1:]))


def _parse_numbers(text: str, pattern: str, wanted: str) -> list[int]:
    found = re.fullmatch(pattern, text)
    numbers = [int(number) for number in found.groups()] if found else [0]
    if 0 in numbers:
        raise ValueError(f"allowed: {wanted}")
    return numbers


#: Name -> class of every map that is known; ``register_map`` adds to it.
WORD_MAPS: dict[str, type[WordMap]] = {
    kind.name: kind
    for kind in (
        Row, Column, Channel, Neuron, Layer, WordLine,
        Systolic, Crossbar, CrossbarRow, CrossbarColumn,
    )
}  # fmt: skip


def list_maps() -> str:
    """The names of all maps, as they are typed."""
    return ", ".join(f"{n}{':' * bool(m.parameter)}{m.parameter}" for n, m in WORD_MAPS.items())


def word_map(name: str) -> WordMap:
    """The map of a name as in fault lists; ``ValueError`` names the known ones.

    >>> word_map("systolic:16x8").columns
    8
    """
    base, colon, text = name.partition(":")
    kind = WORD_MAPS.get(base)
    plain = re.fullmatch("[A-Za-z0-9-]*", text)
    if kind is None or bool(colon) != bool(kind.parameter) or not plain:
        raise ValueError(f"unknown group {name!r}; known: {list_maps()}")
    make: Callable[..., WordMap] = kind
    try:
        return make(text) if colon else make()
    except ValueError as problem:
        raise ValueError(f"group {name!r}: {problem}") from None
