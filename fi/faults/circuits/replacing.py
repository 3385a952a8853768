"""One method of one module replaced for a while."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn


@contextmanager
def replaced(module: nn.Module, method: str, by: Callable[..., Any]) -> Iterator[None]:
    """One method of one module replaced while the context lasts."""
    own = vars(module)
    kept = own.get(method)
    own[method] = by
    try:
        yield
    finally:
        own.pop(method)
        if kept is not None:
            own[method] = kept
