"""Which stored words an inference reads and writes, seen where PyTorch computes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

#: Number of the storage, first byte and the one behind the last.
Extent = tuple[int, int, int]


def extent_of(tensor: Tensor) -> Extent:
    """Where the elements of a strided tensor lie in memory.

    >>> weight = torch.zeros(3, 4)
    >>> extent_of(weight) == extent_of(weight.t()), extent_of(weight[1:])[1] - extent_of(weight)[1]
    (True, 16)
    """
    start = int(tensor.storage_offset()) * tensor.element_size()
    reach = sum((int(n) - 1) * int(s) for n, s in zip(tensor.shape, tensor.stride(), strict=True))
    end = start + (reach + 1) * tensor.element_size() if tensor.numel() else start
    return tensor.untyped_storage().data_ptr(), start, end


def overlaps(one: Extent, other: Extent) -> bool:
    """Whether two stretches of memory have a byte in common."""
    return one[0] == other[0] and one[1] < other[2] and other[1] < one[2]


@dataclass
class WordAccess:
    """What an inference did with one tensor of words.

    Attributes:
        reads: how often it was read, by the number of calls of neurons before.
        shapes: of what was computed from it and from signals, by the same number.
        viewed: whether a view of it was made, whatever for.
        written: whether it was changed in place.
    """

    reads: Counter[int] = field(default_factory=Counter)
    shapes: dict[int, set[tuple[int, ...]]] = field(default_factory=dict)
    viewed: bool = False
    written: bool = False

    @property
    def used(self) -> bool:
        """Whether the inference had anything to do with it."""
        return bool(self.reads) or self.viewed or self.written


class AccessRecorder(TorchDispatchMode):
    """Notes every access to some tensors while it is active.

    What is computed from words alone, such as a masked weight, is taken for these words.

    Args:
        words: the tensors by name.
        order: grows by one with every call of a neuron.

    Attributes:
        access: by the same names.
    """

    def __init__(self, words: Mapping[str, Tensor], order: list[str]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.access = {name: WordAccess() for name in words}
        self._order = order
        self._words = [extent_of(word) for word in words.values()]
        self._tracked: dict[int, list[tuple[Extent, WordAccess]]] = {}
        self._alive: list[Tensor] = []  # whose memory must not become another tensor's
        for name, word in words.items():
            self._track(word, [self.access[name]])

    def _track(self, tensor: Tensor, words: Iterable[WordAccess]) -> None:
        """Take accesses to a tensor for accesses to these words."""
        extent = extent_of(tensor)
        self._tracked.setdefault(extent[0], []).extend((extent, access) for access in words)

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        found = [self._find(tensor) for tensor in tensors]
        output = func(*args, **kwargs)
        made = [leaf for leaf in tree_leaves(output) if isinstance(leaf, Tensor)]
        written = set(map(id, _written(func, args, kwargs)))
        derived = bool(found) and all(found)
        for tensor, words in zip(tensors, found, strict=True):
            for access in words:
                shapes = () if derived else (tuple(leaf.shape) for leaf in made)
                self._note(access, func, shapes)
                access.written |= id(tensor) in written and self._is_word(tensor)
        if derived and not func.is_view and not written:
            self._alive += made
            for leaf in filter(_is_strided, made):
                self._track(leaf, {id(a): a for words in found for a in words}.values())
        return output

    def _find(self, tensor: Tensor) -> list[WordAccess]:
        """The words that a tensor is, or is a view of."""
        if not _is_strided(tensor):
            return []
        extent = extent_of(tensor)
        known = self._tracked.get(extent[0], ())
        return [access for own, access in known if overlaps(own, extent)]

    def _is_word(self, tensor: Tensor) -> bool:
        """Whether a tensor is one of the words, not made of them."""
        return any(overlaps(own, extent_of(tensor)) for own in self._words)

    def _note(self, access: WordAccess, func: Any, shapes: Iterable[tuple[int, ...]]) -> None:
        if func.is_view:
            access.viewed = True
            return
        now = len(self._order)
        access.reads[now] += 1
        access.shapes.setdefault(now, set()).update(shapes)


def _is_strided(tensor: Tensor) -> bool:
    return tensor.layout == torch.strided and not tensor.is_quantized


def _written(func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Iterable[Tensor]:
    """The tensors that an operation changes in place."""
    for place, argument in enumerate(func._schema.arguments):
        if argument.alias_info is not None and argument.alias_info.is_write:
            value = args[place] if place < len(args) else kwargs.get(argument.name)
            yield from (leaf for leaf in tree_leaves(value) if isinstance(leaf, Tensor))
