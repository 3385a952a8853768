"""A kernel that several processes compile, each on its own."""

from __future__ import annotations

import os
from multiprocessing.queues import Queue
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

import numpy as np


def total(values):  # type: ignore[no-untyped-def]
    """The sum."""
    found = values[0]
    for value in values[1:]:
        found += value
    return found


def sum_in_precisions(
    folder: Path, precisions: list[str], meeting: Barrier | None, answers: Queue[Any]
) -> None:
    """Call the kernel, kept in ``folder``, and answer with results and how often it was compiled.

    With a ``meeting``, nothing is written before the other process wants to write as well.
    """
    os.environ["NUMBA_CACHE_DIR"] = str(folder)
    from numba.core.caching import IndexDataCacheFile

    from fi.engine.compiled.kernels.building.compiling import compiled

    write = IndexDataCacheFile._open_for_write

    def write_together(self: Any, path: str) -> Any:
        if meeting is not None:
            meeting.wait(60)
        return write(self, path)

    kernel: Any = compiled(total)
    IndexDataCacheFile._open_for_write = write_together
    results = [float(kernel(np.full(3, 0.1, precision))) for precision in precisions]
    answers.put((results, sum(kernel.stats.cache_misses.values())))
