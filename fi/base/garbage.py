"""When Python looks for garbage: not while what is made stays.

A collection walks over all that lives, and one starts whenever a quarter more lives than after the
one before. Where a list of millions of faults is made, that takes longer than making it; where
libraries are imported, a sixth of the time.
"""

from __future__ import annotations

import atexit
import ctypes
import gc
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache


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


@cache
def skip_last_collection() -> None:
    """Let the process end without looking for garbage twice more, which takes a second."""
    atexit.register(gc.freeze)


def return_freed_memory() -> None:
    """Give freed memory back to the system, where the C library can: glibc keeps most of it."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
