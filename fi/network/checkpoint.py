"""Weights from a file into a network, every tensor accounted for."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from torch import Tensor, nn

from fi.base.errors import UserError, report_errors
from fi.base.notes import note
from fi.network.checkpoint_file import State, read_states
from fi.network.checkpoint_names import AmbiguousNames, NamedState, optional_names, rename_state

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
    """Load a state dict, or the one in a checkpoint of a training, into ``network``.

    Nothing in the file is executed. What stands in front of all names is taken off, and a note on
    stderr says so. Where anything does not fit, the network is left as it was.

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
    named = _choose_state(read_states(path), network, path)
    _check_names(named.tensors, wanted, path, optional_names(network))
    values = _check_values(named.tensors, wanted, path)
    for text in named.notes:
        note(f"--checkpoint {path}: {text}")
    network.load_state_dict(values, strict=False)


def _choose_state(states: Mapping[str, State], network: nn.Module, path: Path) -> NamedState:
    """The state dict of the file that is the network's, under the network's names.

    Raises:
        UserError: there are several.
    """
    with report_errors(AmbiguousNames, prefix=f"--checkpoint {path}: "):
        named = {place: rename_state(state, network) for place, state in states.items()}
    fitting = [place for place, state in named.items() if _shares_names(state, network)]
    if len(fitting) > 1:
        raise UserError(
            f"--checkpoint {path} has several state dicts that may be meant, "
            f"{_list_some(fitting)}: save the one that is"
        )
    place = fitting[0] if fitting else next(iter(named))
    chosen = named[place]
    if not place or place == "state_dict":  # a state dict, or Lightning's checkpoint around one
        return chosen
    return replace(chosen, notes=(f"the weights are its {place!r}", *chosen.notes))


def _shares_names(state: NamedState, network: nn.Module) -> bool:
    return not state.tensors.keys().isdisjoint(network.state_dict())


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
