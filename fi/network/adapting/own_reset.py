"""Methods of a network that bring it to rest, ``reset()`` and the like."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import torch
from snntorch import SpikingNeuron
from torch import nn

#: What people call them.
_NAMES = (
    *("reset", "reset_states", "reset_state", "reset_hidden", "reset_mem"),
    *("init_states", "init_state", "init_hidden"),
)
#: Packages whose modules have methods of these names that are none of the network's own.
_LIBRARIES = ("torch", "snntorch")


class OwnReset:
    """Calls those of them that a network has, before each batch.

    One that changes a word of the network, as methods that draw new weights do, is never called
    again: ``left_out`` names it, and the word is as it was.

    Args:
        network: any module.

    Example:
        >>> class Net(nn.Module):
        ...     def init_states(self) -> None:
        ...         self.membrane = 0.0
        >>> network = Net()
        >>> OwnReset(network)(batch=4)
        >>> network.membrane
        0.0
    """

    def __init__(self, network: nn.Module) -> None:
        self.left_out: list[str] = []
        self._calls: dict[str, Callable[[int], Any]] = {}
        for path, module in network.named_modules():
            for name in _NAMES:
                call = _find_call(module, name)
                if call is not None:
                    self._add(network, f"{path}.{name}" if path else name, call)

    @property
    def names(self) -> list[str]:
        """The methods that are called."""
        return list(self._calls)

    def __call__(self, batch: int) -> None:
        """Bring the network to rest for a batch of so many samples."""
        for call in self._calls.values():
            call(batch)

    def _add(self, network: nn.Module, name: str, call: Callable[[int], Any]) -> None:
        before = {key: value.clone() for key, value in network.state_dict().items()}
        call(1)
        after = network.state_dict()
        if before.keys() == after.keys() and all(
            torch.equal(value, after[key]) for key, value in before.items()
        ):
            self._calls[name] = call
            return
        network.load_state_dict(before, strict=False)
        self.left_out.append(name)


def _find_call(module: nn.Module, name: str) -> Callable[[int], Any] | None:
    """A call of the module's own method of that name, for a batch; ``None`` where there is none.

    It may take the size of the batch, its one argument without a default.
    """
    library = type(module).__module__.partition(".")[0] in _LIBRARIES
    method = getattr(module, name, None)
    if library or isinstance(module, SpikingNeuron) or not inspect.ismethod(method):
        return None
    wanted = [
        parameter.name
        for parameter in inspect.signature(method).parameters.values()
        if parameter.default is parameter.empty
        and parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
    ]
    if not wanted:
        return lambda batch: method()
    takes_batch = len(wanted) == 1 and ("batch" in wanted[0] or wanted[0] in ("n", "bs", "size"))
    return (lambda batch: method(batch)) if takes_batch else None
