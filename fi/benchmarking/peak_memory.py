"""The memory that a process has taken."""

from __future__ import annotations

import resource
import sys


def peak_memory() -> float:
    """The most that this process has had in memory so far, in MB (of 2**20 bytes)."""
    unit = 1 if sys.platform == "darwin" else 1024  # bytes on macOS, else kilobytes
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20
