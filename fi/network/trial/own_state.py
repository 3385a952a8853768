"""What a network keeps from one inference to the next, beside the states of its neurons."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from copy import copy
from typing import Any

import torch
from snntorch import SpikingNeuron
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from fi.network.neurons import reset_neurons

#: Where one value of a network is: its module, the dict of that module, and the key in it.
_Place = tuple[Any, str, str]
_MISSING = object()
#: The kind of a place that is no parameter and no buffer.
_ATTRIBUTE = "attribute"
#: What PyTorch itself keeps in every module.
_LIBRARY = frozenset(vars(nn.Module()))
#: Attributes of which every inference of a neuron sets anew what it reads.
_SET_ANEW = frozenset({"reset", "spk", "training"})
_PLAIN = (Tensor, int, float, complex, str, bool, type(None))


class OwnState:
    """The values of a network as they are now, and which of them an inference changes.

    Parameters, buffers, and plain attributes of its modules count: tensors, numbers, and lists,
    tuples, dicts or deques of such. The states of snnTorch's neurons do not: every inference
    resets them.

    Args:
        network: before its first inference.

    Attributes:
        changed: names of what is reset before every inference, in the order of the modules.
    """

    def __init__(self, network: nn.Module) -> None:
        self.network = network
        self._changing: list[_Place] = []
        self.take_anew()

    def find_changes(self) -> list[str]:
        """Note what is not as it was; it is reset from now on. The names of all that is."""
        now = dict(_values(self.network))
        for place in {**self._before, **now}:
            same = _equal(self._before.get(place, _MISSING), now.get(place, _MISSING))
            same = same and self._memory.get(place) == _memory_of(place, now.get(place))
            if not same and place not in self._changing:
                self._changing.append(place)
        return self.changed

    @property
    def changed(self) -> list[str]:
        names = {id(module): name for name, module in self.network.named_modules()}
        places = (
            (names.get(id(holder), type(holder).__name__), key) for holder, _, key in self._changing
        )
        return [f"{layer}.{key}" if layer else key for layer, key in places]

    def take_anew(self) -> None:
        """Take the values as they are now for those before the first inference."""
        values = dict(_values(self.network))
        self._before = {place: _copy(value) for place, value in values.items()}
        self._memory = {place: _memory_of(place, value) for place, value in values.items()}
        self._seen = {place: _token(value) for place, value in values.items()}
        self._alive = {place: tree_leaves(value) for place, value in values.items()}  # ids stay

    @contextmanager
    def renewed(self) -> Iterator[None]:
        """Take the values as they are now, in another precision, while the context lasts."""
        before = self._before
        self.take_anew()
        try:
            yield
            self.reset()
        finally:
            self._before = before

    def reset(self) -> None:
        """Put back all that an inference changes, and forget the neurons' states.

        That is what the trial run has shown, and every attribute that is not the one it was: a
        fault may change what nothing else does. Words are not looked at: they have the faults.
        """
        for place in self._changing:
            self._put_back(place)
        now = dict(_values(self.network))
        for place in {**self._seen, **now}:
            if place[1] == _ATTRIBUTE and self._seen.get(place) != _token(now.get(place)):
                self._put_back(place)
        reset_neurons(self.network)

    def _put_back(self, place: _Place) -> None:
        holder, kind, key = place
        held: Any = vars(holder) if kind == _ATTRIBUTE else vars(holder)[kind]
        value = self._before.get(place, _MISSING)
        now = held.get(key)
        if value is _MISSING:
            held.pop(key, None)
            return
        if isinstance(now, Tensor) and isinstance(value, Tensor) and now.shape == value.shape:
            held[key] = _put_back(now, value)
        else:
            held[key] = _copy(value)
        self._seen[place], self._alive[place] = _token(held[key]), tree_leaves(held[key])


def _put_back(now: Tensor, value: Tensor) -> Tensor:
    """``value`` where ``now`` is; a parameter stays the object that optimisers and ties know."""
    value = value.to(now.device)
    if isinstance(now, nn.Parameter):
        now.data.copy_(value)
        return now
    return value.clone()


def _values(network: nn.Module) -> Iterator[tuple[_Place, Any]]:
    """Every value that counts, with its place."""
    words = {_storage_of(word) for word in (*network.parameters(), *network.buffers())} - {0}
    for module in network.modules():
        states = module._non_persistent_buffers_set if isinstance(module, SpikingNeuron) else set()
        for kind in ("_parameters", "_buffers"):
            for key, value in vars(module)[kind].items():
                if key not in states:
                    yield (module, kind, key), value
        for place, value in _attributes(module, _LIBRARY, depth=2):
            if not words & set(map(_storage_of, tree_leaves(value))):  # else it is words
                yield place, value


def _storage_of(value: Any) -> int:
    """Which memory a tensor is in; 0 for what is none, or has none."""
    strided = isinstance(value, Tensor) and value.layout == torch.strided
    return value.untyped_storage().data_ptr() if strided else 0


def _attributes(holder: Any, own: frozenset[str], depth: int) -> Iterator[tuple[_Place, Any]]:
    """Plain attributes of a module or of another object, and those of objects in them."""
    for key, value in list(vars(holder).items()):
        if key in own or key in _SET_ANEW:
            continue
        if _is_plain(value):
            yield (holder, _ATTRIBUTE, key), value
        elif depth and _is_users(value):
            yield from _attributes(value, frozenset(), depth - 1)


def _is_users(value: Any) -> bool:
    """Whether a value is an object of a class of the user's, with attributes."""
    library = ("builtins", "torch", "snntorch", "numpy", "fi")
    is_library = type(value).__module__.partition(".")[0] in library
    return (
        not is_library and not isinstance(value, (nn.Module, type)) and hasattr(value, "__dict__")
    )


def _memory_of(place: _Place, value: Any) -> int:
    """Where the words of a parameter or buffer are; 0 for what has none."""
    strided = isinstance(value, Tensor) and value.layout == torch.strided
    return value.data_ptr() if strided and place[1] != _ATTRIBUTE else 0


def _token(value: Any) -> Any:
    """Something that is another one as soon as a value may be."""
    if isinstance(value, Tensor):
        return id(value), 0 if value.is_inference() else value._version
    if isinstance(value, dict):
        return tuple((key, _token(part)) for key, part in value.items())
    if isinstance(value, (list, tuple, deque)):
        return type(value), tuple(map(_token, value))
    return type(value), value if value == value else "nan"


def _is_plain(value: Any) -> bool:
    """Whether a value is of the kinds that count."""
    if isinstance(value, (list, tuple, deque)):
        return all(_is_plain(part) for part in value)
    if isinstance(value, dict):
        return all(_is_plain(part) for part in value.values())
    return isinstance(value, _PLAIN)


def _copy(value: Any) -> Any:
    """The value as it is now, whatever becomes of the original."""
    if isinstance(value, Tensor):
        return value.detach().clone()
    if isinstance(value, dict):
        by_key = copy(value)
        by_key.update((key, _copy(part)) for key, part in value.items())
        return by_key
    if isinstance(value, (list, deque)):
        other = copy(value)
        other.clear()
        other.extend(map(_copy, value))
        return other
    return tuple(map(_copy, value)) if type(value) is tuple else value


def _equal(one: Any, other: Any) -> bool:
    """Whether both values are the same, bit for bit."""
    if isinstance(one, Tensor) and isinstance(other, Tensor):
        same = one.shape == other.shape and one.dtype == other.dtype
        return same and torch.equal(_bits(one), _bits(other))
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_equal(one[key], other[key]) for key in one)
    if isinstance(one, (list, tuple, deque)) and type(one) is type(other):
        return len(one) == len(other) and all(map(_equal, one, other))
    if isinstance(one, Tensor) or isinstance(other, Tensor):
        return False
    return type(one) is type(other) and (one is other or bool(one == other))


def _bits(tensor: Tensor) -> Tensor:
    """Something in which NaN equals itself."""
    tensor = tensor.detach()
    return tensor.nan_to_num(nan=-1.2345e30) if tensor.is_floating_point() else tensor
