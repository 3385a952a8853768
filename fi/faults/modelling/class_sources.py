"""The source of a user's classes, on which results depend."""

from __future__ import annotations

import inspect
import os
import sys
from pathlib import Path


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
