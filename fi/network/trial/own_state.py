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

from fi.network.neurons import reset_neurons

#: Where one value of a network is: its module, the dict of that module, and the key in it.
_Place = tuple[nn.Module, str, str]
_MISSING = object()
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
        self._before = {place: _copy(value) for place, value in _values(network)}
        self._changing: list[_Place] = []

    def find_changes(self) -> list[str]:
        """Note what is not as it was; it is reset from now on. The names of all that is."""
        now = dict(_values(self.network))
        for place in {**self._before, **now}:
            same = _equal(self._before.get(place, _MISSING), now.get(place, _MISSING))
            if not same and place not in self._changing:
                self._changing.append(place)
        return self.changed

    @property
    def changed(self) -> list[str]:
        names = {module: name for name, module in self.network.named_modules()}
        places = ((names[module], key) for module, _, key in self._changing)
        return [f"{layer}.{key}" if layer else key for layer, key in places]

    def take_anew(self) -> None:
        """Take the values as they are now for those before the first inference."""
        self._before = {place: _copy(value) for place, value in _values(self.network)}

    @contextmanager
    def renewed(self) -> Iterator[None]:
        """Take the values as they are now, in another precision, while the context lasts."""
        before = self._before
        self._before = {place: _copy(value) for place, value in _values(self.network)}
        try:
            yield
            self.reset()
        finally:
            self._before = before

    def reset(self) -> None:
        """Put back all that an inference was seen to change, and forget the neurons' states."""
        for module, kind, key in self._changing:
            held = vars(module) if kind == "attribute" else vars(module)[kind]
            value = self._before.get((module, kind, key), _MISSING)
            now = held.get(key)
            if value is _MISSING:
                held.pop(key, None)
            elif isinstance(now, Tensor) and isinstance(value, Tensor) and now.shape == value.shape:
                held[key] = _put_back(now, value)
            else:
                held[key] = _copy(value)
        reset_neurons(self.network)


def _put_back(now: Tensor, value: Tensor) -> Tensor:
    """``value`` where ``now`` is; a parameter stays the object that optimisers and ties know."""
    value = value.to(now.device)
    if isinstance(now, nn.Parameter):
        now.data.copy_(value)
        return now
    return value.clone()


def _values(network: nn.Module) -> Iterator[tuple[_Place, Any]]:
    """Every value that counts, with its place."""
    for module in network.modules():
        states = module._non_persistent_buffers_set if isinstance(module, SpikingNeuron) else set()
        for kind in ("_parameters", "_buffers"):
            for key, value in vars(module)[kind].items():
                if key not in states:
                    yield (module, kind, key), value
        for key, value in vars(module).items():
            if not key.startswith("_") and key not in _SET_ANEW and _is_plain(value):
                yield (module, "attribute", key), value


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
