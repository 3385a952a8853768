"""What a checkpoint file holds: tensors by name, wherever in the file they are."""

from __future__ import annotations

import json
import os
import pickle
import pickletools
import re
import shlex
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from zipfile import BadZipFile, ZipFile

import torch
from torch import Tensor

from fi.base.errors import UserError, first_line

State = dict[str, Tensor]
#: How deep in a file state dicts are looked for.
_DEEPEST = 3
#: Under which keys of a training's checkpoint the weights are, the commonest first.
_USUAL_KEYS = ("state_dict", "model_state_dict", "model", "net", "network")


def read_states(path: Path) -> dict[str, State]:
    """The state dicts in a checkpoint file, on the CPU; nothing in it is executed.

    Args:
        path: a state dict, or a dict around one as trainings write it.

    Returns:
        Where in the file (``model_state_dict``, ``ema.net``; empty for the file itself) -> tensors
        by name. At least one.

    Raises:
        UserError: there is no such file, it holds anything but plain values, or no tensors by name.
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
        raise UserError(f"--checkpoint {path} {_explain_refusal(path, error)}") from error
    if not isinstance(content, Mapping) or not content:
        kind = type(content).__name__
        raise UserError(f"--checkpoint {path} holds a {kind}; wanted is a state dict")
    states = dict(_find_states(content, "", _DEEPEST))
    if not states:
        _raise_no_tensor(content, path)
    return states


def _find_states(content: Mapping[Any, Any], place: str, depth: int) -> Iterator[tuple[str, State]]:
    """The mappings of names to tensors in ``content``, the outermost ones, with their place."""
    if content and all(_is_named_tensor(name, value) for name, value in content.items()):
        yield place, dict(content)
    elif depth:
        for name, value in content.items():
            if isinstance(value, Mapping):
                yield from _find_states(value, f"{place}.{name}" if place else str(name), depth - 1)


def _is_named_tensor(name: Any, value: Any) -> bool:
    return isinstance(name, str) and isinstance(value, Tensor)


def _raise_no_tensor(content: Mapping[Any, Any], path: Path) -> None:
    for name, value in content.items():
        if not isinstance(value, Tensor):
            raise UserError(
                f"--checkpoint {path}: {name!r} is a {type(value).__name__}; "
                "wanted is a state dict, tensors by name"
            )
    raise UserError(f"--checkpoint {path}: its tensors have no names; wanted is a state dict")


def _explain_refusal(path: Path, error: Exception) -> str:
    """What a file holds beside plain values, and the line that makes one of weights out of it."""
    refused = "is not a file of weights alone (torch.save of a state dict)"
    foreign = re.search(r"GLOBAL ([\w.]+)", str(error))
    if not foreign:
        return refused
    key = _find_usual_key(path)
    weights = f"[{json.dumps(key)}]" if key else ".state_dict()"
    target = path.with_name(f"{path.stem}-weights.pt")
    code = (
        f'import torch; torch.save(torch.load({json.dumps(str(path))}, map_location="cpu", '
        f"weights_only=False){weights}, {json.dumps(str(target))})"
    )
    return (
        f"{refused}: loading it would run code of {foreign[1]}. If you trust the file, this line "
        f"converts it: python -c {shlex.quote(code)}"
    )


def _find_usual_key(path: Path) -> str | None:
    """The key that the file's pickle names its weights by, read without executing anything."""
    try:
        with ZipFile(path) as archive:
            names = [name for name in archive.namelist() if name.endswith("data.pkl")]
            pickled = archive.read(names[0]) if names else b""
        texts = {value for _, value, _ in pickletools.genops(pickled) if isinstance(value, str)}
    except (BadZipFile, ValueError, OSError):  # of an older format
        return None
    return next((key for key in _USUAL_KEYS if key in texts), None)
