"""Work that several threads share: kernels release Python's lock, and run side by side.

The thread that asks takes part, and one thread alone needs no other: to wake a thread that waits
takes a tenth of a millisecond on many machines, as long as a kernel's call.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from functools import cache
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


@cache
def _find_helpers(threads: int) -> ThreadPoolExecutor:
    """Threads that wait for work; they stay, for starting them takes time as well."""
    return ThreadPoolExecutor(threads, "work")


# a process that is forked off has none of the threads
os.register_at_fork(after_in_child=_find_helpers.cache_clear)


def share_work(work: Callable[[T], R], items: Iterable[T], threads: int) -> Iterator[R]:
    """What ``work`` gives for each item, in their order.

    Args:
        work: that threads may run at the same time.
        items: all of them are taken at once where several threads work.
        threads: that work at most, the caller's one of them; with 1 an item is worked on when its
            result is asked for.

    Example:
        >>> list(share_work(abs, [3, -4, -5], threads=2))
        [3, 4, 5]
    """
    waiting = list(items) if threads > 1 else []
    if len(waiting) < 2:
        yield from map(work, waiting or items)
        return
    pool = _find_helpers(threads - 1)
    futures = [pool.submit(work, item) for item in waiting]
    own: dict[int, R] = {}  # what this thread has found
    ahead = 0  # no item before is left
    try:
        for place, future in enumerate(futures):
            while place not in own and not future.done():
                ahead = max(ahead, place)
                while ahead < len(futures) and not futures[ahead].cancel():
                    ahead += 1  # another thread has begun it
                if ahead == len(futures):
                    break
                own[ahead] = work(waiting[ahead])
                ahead += 1
            yield own.pop(place) if place in own else future.result()
    finally:
        _end(futures)


def _end(futures: list[Future[R]]) -> None:
    """Let no work go on after an error, or where no more results are asked for."""
    for future in futures:
        future.cancel()
    wait(future for future in futures if not future.cancelled())
