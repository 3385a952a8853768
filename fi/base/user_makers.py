"""What makes a network or a datamodule: a class, a function, or something that is made already."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable
from types import FunctionType
from typing import Any, cast

from fi.base.errors import UserError
from fi.base.user_classes import find_object
from fi.base.user_code import report_user_code

#: Called with the arguments that options give, it makes a network or a datamodule.
Maker = type | FunctionType
#: What tells a network, a datamodule, a loader or a list of batches from other objects.
_USED = ("forward", "test_dataloader", "__iter__")


def find_maker(name: str, kind: str) -> Maker:
    """What makes the network or the datamodule that ``--model`` or ``--data`` names.

    Args:
        name: of a class, a function that returns one of them (``./nets.py:make_vgg``), or of one
            that the module has made. Each campaign takes a copy of such a one: its weights stay.
        kind: ``models`` or ``datamodules``.

    Raises:
        UserError: there is no such thing, or it is none of these.
    """
    found = find_object(name, kind)
    if isinstance(found, (type, FunctionType)):
        return found
    own_name = name.replace(":", ".").rpartition(".")[2]
    if any(hasattr(found, used) for used in _USED) and not isinstance(found, str):
        return _make_copier(found, name, own_name)
    if callable(found):
        return _make_caller(found, own_name)
    raise UserError(
        f"--{'model' if kind == 'models' else 'data'} {name} is a {type(found).__name__}; wanted "
        "is a class, a function that returns one of it, or one that is made already"
    )


def _make_copier(found: Any, name: str, own_name: str) -> Maker:
    """A function that copies ``found``; what it says of itself, the function says, too."""

    def make_copy():  # type: ignore[no-untyped-def]  # its signature becomes options
        with report_user_code(f"{name} cannot be copied"):
            return copy.deepcopy(found)

    make_copy.__name__ = own_name
    for said in ("default_data", "default_training"):
        if hasattr(found, said):
            setattr(make_copy, said, getattr(found, said))
    return cast(FunctionType, make_copy)


def _make_caller(found: Callable[..., Any], own_name: str) -> Maker:
    """A function that calls ``found``, such as a ``functools.partial``, without arguments."""

    def call():  # type: ignore[no-untyped-def]  # its signature becomes options
        return found()

    call.__name__ = own_name
    return cast(FunctionType, call)


def list_required(maker: Maker) -> list[str]:
    """The arguments that it cannot be called without, but those that may be ``None``.

    Example:
        >>> def make(hidden, beta: float | None, steps=5): ...
        >>> list_required(make)
        ['hidden']
    """
    try:
        parameters = inspect.signature(maker).parameters.values()
    except (TypeError, ValueError):  # written in C
        return []
    return [
        parameter.name
        for parameter in parameters
        if parameter.default is parameter.empty
        and parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
        and "None" not in str(parameter.annotation)
        and "Optional" not in str(parameter.annotation)
    ]
