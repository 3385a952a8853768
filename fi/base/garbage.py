"""When Python looks for garbage: not while what is made stays.

A collection walks over all that lives, and one starts whenever a quarter more lives than after the
one before. Where a list of millions of faults is made, that takes longer than making it; where
libraries are imported, a sixth of the time.
"""

from __future__ import annotations

import atexit
import ctypes
import gc
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from typing import NoReturn

#: Of glibc's malloc.h, and the largest that it learns for the first, see its mallopt(3).
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_LARGEST_KEPT = 32 << 20
#: The exit status with which the process is ending.
_statuses: list[int] = []


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
    """Let the process end without looking for garbage twice more, which takes a second.

    Called before anything else registers a handler: its own is then the last one to run.
    """
    atexit.register(_end_quickly)


def end_process(status: int) -> NoReturn:
    """End with this exit status once all handlers have run, ``skip_last_collection`` provided.

    What Python would do after them, taking every module apart, lasts a quarter of a second.
    """
    _statuses.append(status)
    sys.exit(status)


def _end_quickly() -> None:
    if _statuses:
        with suppress(OSError, ValueError):  # a closed pipe: Python's own end reports it
            for stream in (sys.stdout, sys.stderr):
                stream.flush()
            os._exit(_statuses[-1])
    gc.freeze()


def keep_freed_memory() -> None:
    """Take back what an environment has set: glibc maps no buffer of usual size anew at every use.

    Dask gives its workers ``MALLOC_TRIM_THRESHOLD_``. With it glibc no longer learns which sizes
    come again, maps each of more than 128 KiB anew and gives it back when it is freed: golden runs
    took twice their time, in page faults. What is set here it comes to by itself otherwise.
    """
    with suppress(OSError, AttributeError):
        library = ctypes.CDLL(None)
        library.mallopt(_M_MMAP_THRESHOLD, _LARGEST_KEPT)
        library.mallopt(_M_TRIM_THRESHOLD, 2 * _LARGEST_KEPT)


def return_freed_memory() -> None:
    """Give freed memory back to the system, where the C library can: glibc keeps most of it."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
