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
    """The file of the weights: the given one, or the network's own beside its module."""
    if given is not None:
        return None if given == "none" else Path(given)
    default = getattr(network, "default_checkpoint", None)
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
    """
    path = Path(path)
    found = read_state(path)
    wanted = network.state_dict()
    found = _unprefixed(found, wanted)
    _check_names(found, wanted, path, _optional(network))
    _check_shapes(found, wanted, path)
    network.load_state_dict(found, strict=False)


def read_state(path: Path) -> dict[str, Tensor]:
    """The tensors in a checkpoint file, on the CPU."""
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
    return _tensors(content, path)


def _tensors(content: Any, path: Path) -> dict[str, Tensor]:
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


def _unprefixed(found: dict[str, Tensor], wanted: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors under the names of the network, where all carry a Lightning module's prefix."""
    for prefix in _PREFIXES:
        mine = {k.removeprefix(prefix): v for k, v in found.items() if k.startswith(prefix)}
        if mine and not any(name in wanted for name in found):
            return mine
    return found


def _optional(network: nn.Module) -> set[str]:
    return {f"{neuron}.{name}" for neuron in spiking_neurons(network) for name in _CONSTANTS}


def _check_names(
    found: Mapping[str, Tensor], wanted: Mapping[str, Tensor], path: Path, optional: set[str]
) -> None:
    missing = [name for name in wanted if name not in found and name not in optional]
    extra = [name for name in found if name not in wanted and name not in optional]
    if missing or extra:
        parts = [f"missing {_some(missing)}"] if missing else []
        parts += [f"unexpected {_some(extra)}"] if extra else []
        raise UserError(f"--checkpoint {path} does not fit the network: {'; '.join(parts)}")


def _check_shapes(found: dict[str, Tensor], wanted: Mapping[str, Tensor], path: Path) -> None:
    """Raise where shapes differ; constants that the network has not are dropped."""
    for name, value in list(found.items()):
        if name not in wanted:
            del found[name]
            continue
        if value.shape != wanted[name].shape:
            raise UserError(
                f"--checkpoint {path} does not fit the network: {name} is "
                f"{list(value.shape)} in the file and {list(wanted[name].shape)} in the network"
            )
        if value.is_floating_point() and not value.isfinite().all():
            raise UserError(f"--checkpoint {path}: {name} has values that are not finite")


def _some(names: list[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more
