"""Work that threads share: each item once, results in order, nothing goes on after an error."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest

from fi.engine.work_sharing import share_work


@pytest.mark.parametrize("threads", [1, 2, 5])
@pytest.mark.parametrize("items", [0, 1, 2, 37])
def test_each_item_is_worked_on_once_and_results_keep_their_order(threads: int, items: int) -> None:
    seen: list[int] = []

    def work(item: int) -> int:
        time.sleep(0.001 * (item % 3))  # so that later ones end first
        seen.append(item)
        return -item

    assert list(share_work(work, range(items), threads)) == [-item for item in range(items)]
    assert sorted(seen) == list(range(items))


def test_the_caller_and_another_thread_take_part() -> None:
    both = threading.Barrier(2, timeout=60)

    def work(item: int) -> str:
        both.wait()  # passes only where two items are worked on at the same time
        return threading.current_thread().name

    names = set(share_work(work, range(2), threads=2))
    assert threading.current_thread().name in names
    assert len(names) == 2


def test_one_thread_works_when_a_result_is_asked_for() -> None:
    seen: list[int] = []
    found = share_work(lambda item: seen.append(item), range(9), threads=1)
    next(found)
    next(found)
    assert seen == [0, 1]


def _stop_at_an_error(seen: list[int], place: int) -> Callable[[int], int]:
    def work(item: int) -> int:
        seen.append(item)
        if item == place:
            raise ValueError(f"item {item}")
        time.sleep(0.005)
        return item

    return work


@pytest.mark.parametrize("place", [0, 1, 2, 5])
def test_an_error_is_raised_and_what_has_not_begun_is_left(place: int) -> None:
    seen: list[int] = []
    with pytest.raises(ValueError, match=f"item {place}"):
        list(share_work(_stop_at_an_error(seen, place), range(400), threads=3))
    begun = len(seen)
    assert begun < 100
    time.sleep(0.05)
    assert len(seen) == begun


def test_work_ends_where_no_more_results_are_asked_for() -> None:
    seen: list[int] = []
    found = share_work(_stop_at_an_error(seen, -1), range(400), threads=3)
    next(found)
    found.close()  # type: ignore[attr-defined]
    begun = len(seen)
    time.sleep(0.05)
    assert len(seen) == begun < 100


def test_work_may_share_work_of_its_own() -> None:
    def outer(item: int) -> int:
        return sum(share_work(lambda part: part * item, range(20), threads=3))

    assert list(share_work(outer, range(12), threads=3)) == [190 * item for item in range(12)]
