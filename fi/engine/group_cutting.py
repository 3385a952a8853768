"""Lists of trials in groups, each of which is one test run."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

Item = TypeVar("Item")


def split_into_groups(
    trials: Sequence[Item], size: int, resize: Callable[[int, float], int] | None = None
) -> Iterator[Sequence[Item]]:
    """Trials in groups, in their order; the last group may be smaller.

    Args:
        trials: all of them.
        size: of the first group, and of all where nothing resizes them.
        resize: given the size and the seconds of the group before, that of the next one; the time
            is that between two groups that are asked for.
    """
    start = 0
    while start < len(trials):
        begin = time.perf_counter()
        yield trials[start : start + size]
        start += size
        if resize is not None:
            size = resize(size, time.perf_counter() - begin)
