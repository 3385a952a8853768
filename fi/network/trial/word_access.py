"""Which stored words an inference reads and writes, seen where PyTorch computes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
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
        shape: of the tensor.
        reads: how often it was read, by the number of calls of neurons before.
        shapes: of what was computed from it, by the same number; no other words such as a masked
            weight, which have the shape of the tensor.
        viewed: whether a view of it was made, whatever for.
        written: whether it was changed in place.
    """

    shape: tuple[int, ...] = ()
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

    Args:
        words: the tensors by name.
        order: grows by one with every call of a neuron.

    Attributes:
        access: by the same names.
    """

    def __init__(self, words: Mapping[str, Tensor], order: list[str]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.access = {name: WordAccess(tuple(word.shape)) for name, word in words.items()}
        self._extents = {name: extent_of(word) for name, word in words.items()}
        self._storages = {extent[0] for extent in self._extents.values()}
        self._order = order

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        output = func(*args, **kwargs)
        tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        written = set(map(id, _written(func, args, kwargs)))
        for tensor in tensors:
            for access in self._find(tensor):
                self._note(access, func, output, id(tensor) in written)
        return output

    def _find(self, tensor: Tensor) -> Iterator[WordAccess]:
        """The words that a tensor is, or is a view of."""
        if tensor.layout != torch.strided or tensor.is_quantized:
            return
        extent = extent_of(tensor)
        if extent[0] in self._storages:
            for name, own in self._extents.items():
                if overlaps(own, extent):
                    yield self.access[name]

    def _note(self, access: WordAccess, func: Any, output: Any, written: bool) -> None:
        access.written |= written
        if func.is_view:
            access.viewed = True
            return
        now = len(self._order)
        access.reads[now] += 1
        found = {tuple(leaf.shape) for leaf in tree_leaves(output) if isinstance(leaf, Tensor)}
        access.shapes.setdefault(now, set()).update(found - {access.shape})


def _written(func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Iterable[Tensor]:
    """The tensors that an operation changes in place."""
    for place, argument in enumerate(func._schema.arguments):
        if argument.alias_info is not None and argument.alias_info.is_write:
            value = args[place] if place < len(args) else kwargs.get(argument.name)
            yield from (leaf for leaf in tree_leaves(value) if isinstance(leaf, Tensor))
