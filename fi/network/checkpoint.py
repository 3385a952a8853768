"""Weights from a file into a network, every tensor accounted for."""

from __future__ import annotations

import inspect
import os
import pickle
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import torch
from torch import Tensor, nn

from fi.base.errors import UserError, first_line
from fi.network.neurons import spiking_neurons

#: Where a Lightning module keeps the network, in the names of its checkpoint.
_PREFIXES = ("network.", "model.", "net.")
#: Constants that snnTorch saves with a neuron; a file may have or lack them.
_CONSTANTS = ("graded_spikes_factor", "reset_mechanism_val")
_SHOWN = 5


def checkpoint_of(network: nn.Module, given: str | None) -> Path | None:
    """The file of the weights: the given one, or the network's own beside its module.

    Args:
        network: whose class may name a ``default_checkpoint``.
        given: ``--checkpoint``: a path, ``none`` for random weights, or ``None`` for the default.

    Raises:
        UserError: the network's own file is not there.
    """
    if given is not None:
        return None if given == "none" else Path(given)
    default: str | None = getattr(network, "default_checkpoint", None)
    if default is None:
        return None
    path = Path(inspect.getfile(type(network))).resolve().parent / "pretrained" / default
    if not path.is_file():
        raise UserError(
            f"{type(network).__name__} comes without weights: give --checkpoint FILE "
            "(python -m fi.train writes one), or --checkpoint none for random ones"
        )
    return path


def load_checkpoint(network: nn.Module, path: str | Path) -> None:
    """Load a state dict, or the one in a Lightning checkpoint, into ``network``.

    Nothing in the file is executed. Where anything does not fit, the network is left as it was.

    Raises:
        UserError: no such file, not a state dict, or tensors that are missing, extra, of another
            shape or not numbers; the message names them.

    Example:
        >>> import tempfile
        >>> import torch
        >>> from torch import nn
        >>> trained, fresh = nn.Linear(3, 2), nn.Linear(3, 2)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     torch.save(trained.state_dict(), f"{folder}/weights.pt")
        ...     load_checkpoint(fresh, f"{folder}/weights.pt")
        >>> torch.equal(fresh.weight, trained.weight)
        True
    """
    path = Path(path)
    wanted = network.state_dict()
    state = _remove_prefix(read_state(path), wanted)
    _check_names(state, wanted, path, _optional_names(network))
    network.load_state_dict(_check_values(state, wanted, path), strict=False)


def read_state(path: Path) -> dict[str, Tensor]:
    """The tensors in a checkpoint file, on the CPU.

    Raises:
        UserError: there is no such file, or it has anything but tensors by name.
    """
    if not os.path.isfile(path):  # that of pathlib raises for a name that is too long
        raise UserError(f"--checkpoint {path}: no such file")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the pickle protocol: what follows says enough
            content = torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, ValueError, EOFError, OSError, KeyError) as error:
        raise UserError(f"--checkpoint {path} cannot be read: {first_line(error)}") from error
    except (pickle.UnpicklingError, BadZipFile) as error:
        raise UserError(
            f"--checkpoint {path} is not a file of weights alone (torch.save of a state dict)"
        ) from error
    if isinstance(content, Mapping) and isinstance(content.get("state_dict"), Mapping):
        content = content["state_dict"]
    return _check_tensors(content, path)


def _check_tensors(content: Any, path: Path) -> dict[str, Tensor]:
    """The content of a file as a state dict; ``UserError`` where it is none."""
    if not isinstance(content, Mapping) or not content:
        kind = type(content).__name__
        raise UserError(f"--checkpoint {path} holds a {kind}; wanted is a state dict")
    for name, value in content.items():
        if not isinstance(value, Tensor):
            raise UserError(
                f"--checkpoint {path}: {name!r} is a {type(value).__name__}; "
                "wanted is a state dict, tensors by name"
            )
    return dict(content)


def _remove_prefix(state: dict[str, Tensor], wanted: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors under the names of the network, where all carry a Lightning module's prefix."""
    for prefix in _PREFIXES:
        of_network = {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
        if of_network and not any(name in wanted for name in state):
            return of_network
    return state


def _optional_names(network: nn.Module) -> set[str]:
    """Tensors that a file may have or lack."""
    return {f"{neuron}.{name}" for neuron in spiking_neurons(network) for name in _CONSTANTS}


def _check_names(
    state: Mapping[str, Tensor], wanted: Mapping[str, Tensor], path: Path, optional: set[str]
) -> None:
    """Raise ``UserError`` where tensors are missing or unknown."""
    missing = [name for name in wanted if name not in state and name not in optional]
    extra = [name for name in state if name not in wanted and name not in optional]
    if missing or extra:
        reasons = [f"missing {_list_some(missing)}"] if missing else []
        reasons += [f"unexpected {_list_some(extra)}"] if extra else []
        raise UserError(f"--checkpoint {path} does not fit the network: {'; '.join(reasons)}")


def _check_values(
    state: Mapping[str, Tensor], wanted: Mapping[str, Tensor], path: Path
) -> dict[str, Tensor]:
    """The tensors that the network has; ``UserError`` where shapes differ or values are no numbers.

    What is left out are constants of snnTorch that this version does not store.
    """
    fitting = {name: value for name, value in state.items() if name in wanted}
    for name, value in fitting.items():
        if value.shape != wanted[name].shape:
            raise UserError(
                f"--checkpoint {path} does not fit the network: {name} is "
                f"{list(value.shape)} in the file and {list(wanted[name].shape)} in the network"
            )
        if value.is_floating_point() and not value.isfinite().all():
            raise UserError(f"--checkpoint {path}: {name} has values that are not finite")
    return fitting


def _list_some(names: list[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more
