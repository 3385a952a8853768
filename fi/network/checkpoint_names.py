"""Names of tensors in a checkpoint, and those of the network that they are for."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from torch import Tensor, nn

from fi.network.neurons import spiking_neurons

State = dict[str, Tensor]
#: Constants that snnTorch saves with a neuron; a file may have or lack them.
_CONSTANTS = ("graded_spikes_factor", "reset_mechanism_val")
#: States of neurons that older versions of snnTorch saved.
_STATES = frozenset({"mem", "syn", "spk", "syn_exc", "syn_inh", "a", "b"})
#: What wrappers put in front of the names of what they wrap, wherever in the network it is.
_WRAPPERS = ("_orig_mod", "module")


@dataclass(frozen=True)
class NamedState:
    """Tensors under the names of the network.

    Attributes:
        tensors: by name, those that the network lacks included.
        notes: what was done to the names, a sentence each.
    """

    tensors: State
    notes: tuple[str, ...] = ()


class AmbiguousNames(ValueError):
    """The names of a network are in a file several times, behind different prefixes."""


def rename_state(state: State, network: nn.Module) -> NamedState:
    """The tensors of a file under the names of ``network``.

    What stands in front of all its names is taken off (``module.`` of DataParallel, ``_orig_mod.``
    of torch.compile, ``net.`` of a Lightning module, several at once), or put there where the
    network is wrapped and the file is not. States of neurons, which are no weights, are left out.

    Raises:
        AmbiguousNames: there are several sets of tensors that fit.

    Example:
        >>> import torch
        >>> named = rename_state({"module.weight": torch.zeros(2, 3)}, nn.Linear(3, 2, bias=False))
        >>> list(named.tensors), named.notes
        (['weight'], ("its names stand behind 'module.'",))
    """
    wanted = list(network.state_dict())
    optional = optional_names(network)
    required = [name for name in wanted if name not in optional]
    renamed = _place_names(state, required or wanted, wanted)
    states = [name for name in renamed.tensors if name not in wanted and _is_state(name, network)]
    if not states:
        return renamed
    kept = {name: value for name, value in renamed.tensors.items() if name not in states}
    return NamedState(
        kept, (*renamed.notes, f"states of neurons are left out: {_list_some(states)}")
    )


def optional_names(network: nn.Module) -> set[str]:
    """Tensors that a file may have or lack: constants of snnTorch, counters of batch norms."""
    constants = {f"{neuron}.{name}" for neuron in spiking_neurons(network) for name in _CONSTANTS}
    counters = {name for name in network.state_dict() if name.endswith("num_batches_tracked")}
    return constants | counters


def _place_names(state: State, required: list[str], wanted: list[str]) -> NamedState:
    """``state`` under the names ``wanted``, as far as a prefix or wrappers are the difference."""
    if any(name in state for name in required):
        return NamedState(state)
    prefix = _find_prefix(state, required)
    if prefix:
        return _strip_prefix(state, prefix)
    bare = {_unwrap(name): name for name in wanted}
    unwrapped = {bare.get(_unwrap(name), _unwrap(name)): value for name, value in state.items()}
    if len(unwrapped) == len(state) and any(name in unwrapped for name in required):
        return NamedState(unwrapped, ("its names are taken without what wrappers put into them",))
    outer = _find_prefix(dict.fromkeys(wanted), list(state))
    if outer:
        longer = {f"{outer}{name}": value for name, value in state.items()}
        return NamedState(longer, (f"its names are taken behind {outer!r}",))
    return NamedState(state)


def _find_prefix(names: Mapping[str, object], wanted: Collection[str]) -> str | None:
    """What stands in front of all ``wanted`` in ``names``; ``None`` where there is no such thing.

    Raises:
        AmbiguousNames: there are several.
    """
    first = next(iter(wanted))
    prefixes = {name[: -len(first)] for name in names if name.endswith(f".{first}")}
    fitting = sorted(p for p in prefixes if all(f"{p}{name}" in names for name in wanted))
    if len(fitting) > 1:
        raise AmbiguousNames(f"tensors of the network stand behind {' and '.join(fitting)}")
    if fitting or len(prefixes) != 1:
        return fitting[0] if fitting else None
    return prefixes.pop()  # what is missing behind it is told by name


def _strip_prefix(state: State, prefix: str) -> NamedState:
    inner = {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
    others = [name for name in state if not name.startswith(prefix)]
    text = f"its names stand behind {prefix!r}"
    if others:
        text += f"; left out is {_list_some(others)}"
    return NamedState(inner, (text,))


def _unwrap(name: str) -> str:
    """A name without the parts that wrappers put into it."""
    return ".".join(part for part in name.split(".") if part not in _WRAPPERS)


def _is_state(name: str, network: nn.Module) -> bool:
    """Whether it is the state of a neuron of the network."""
    layer, _, attribute = name.rpartition(".")
    return attribute in _STATES and layer in spiking_neurons(network)


def _list_some(names: list[str]) -> str:
    return ", ".join(names[:3]) + ", ..." * (len(names) > 3)
