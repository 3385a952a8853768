"""When Python looks for garbage: not while millions of faults are made, none of which is any.

A collection walks over all that lives, and one starts whenever a quarter more lives than after the
one before. Where a long list is made, that takes longer than making it.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def pause_collection() -> Iterator[None]:
    """Make objects that stay, and that are in no cycle; may be nested, and decorates functions."""
    running = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if running:
            gc.enable()


@contextmanager
def exempt_from_collection() -> Iterator[None]:
    """Leave all that lives now out of the collections within."""
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()
