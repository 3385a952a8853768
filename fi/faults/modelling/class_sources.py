"""The source of a user's classes, on which results depend."""

from __future__ import annotations

import inspect
import os
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def is_ours(kind: type) -> bool:
    """Whether a fault model, or a map of words, comes with the tool."""
    return kind.__module__.startswith("fi.faults.")


def read_source(kind: type, base: type) -> str:
    """All files that a class and its bases of the user's stand in, wherever these are.

    A whole file, since a class may read constants and call functions that stand beside it.

    Args:
        kind: the class.
        base: of ours, whose subclasses count.
    """
    own = [other for other in kind.__mro__ if issubclass(other, base)]
    texts = dict.fromkeys(_read_module(other) for other in own if not is_ours(other))
    return "\n".join([kind.__qualname__, *texts])


def _read_module(kind: type) -> str:
    """The text of a class's file; that of the class alone where it was typed into a notebook."""
    file = getattr(sys.modules.get(kind.__module__), "__file__", None)
    if file is not None and os.path.isfile(file):
        return Path(file).read_text(encoding="utf-8", errors="surrogateescape")
    try:
        return inspect.getsource(kind)
    except (OSError, TypeError):  # typed into an interpreter
        return f"{kind.__module__}.{kind.__qualname__}"


def choose_name(kind: type[Any], known: Mapping[str, type[Any]], what: str) -> str:
    """The name of a user's class: its own, or that of the class, ``SignLost`` as ``sign-lost``.

    Args:
        kind: the class, which may have a ``name``.
        known: classes by name, ours among them; another of the user's gives way.
        what: such classes are called in the error.

    Raises:
        ValueError: its name is one of ours, or no name.
    """
    name = vars(kind).get("name") or re.sub("(?<=.)(?=[A-Z])", "-", kind.__name__).lower()
    taken = known.get(name)
    ours = taken is not None and is_ours(taken)
    if ours or not re.fullmatch("[a-z0-9][a-z0-9-]*", name):
        raise ValueError(
            f"{what} {kind.__name__} is called {name!r}; allowed: a name of its own, "
            "lower case and hyphens"
        )
    return str(name)
