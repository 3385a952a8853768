"""The queue of groups: every trial once, in the list's order, whatever is lost."""

from __future__ import annotations

import random

import pytest

from fi.campaign.cluster.group_queue import ATTEMPTS, Group, GroupQueue, GroupSizes


@pytest.mark.parametrize("seed", range(20))
def test_every_trial_leaves_once_and_in_order(seed: int) -> None:
    """Workers finish in any order, fail, and are lost."""
    chance = random.Random(seed)
    trials, sizes = chance.randrange(1, 3000), GroupSizes(first=chance.randrange(1, 100))
    queue: GroupQueue[range] = GroupQueue(trials, sizes)
    running: list[Group] = []
    left: list[int] = []
    while not queue.finished:
        while len(running) < 6 and (group := queue.take(workers=3, worker="a")):
            running.append(group)
        group = running.pop(chance.randrange(len(running)))
        fate = chance.random()
        if fate < 0.1 and len(group.failed_on) < ATTEMPTS - 1:
            queue.fail(group, f"worker {len(group.failed_on)}", RuntimeError("lost"))
        elif fate < 0.2:
            queue.put_back(group)
        else:
            sizes.note(len(group), chance.uniform(0.1, 30))
            queue.finish(group, range(group.start, group.end))
        for group, found in queue.pop_ready():
            assert (found.start, found.stop) == (group.start, group.end)
            left += found
    assert left == list(range(trials))


def test_a_group_that_fails_three_times_ends_with_its_error() -> None:
    queue: GroupQueue[None] = GroupQueue(1, GroupSizes())
    group = queue.take(workers=1)
    for number in range(ATTEMPTS - 1):
        assert group is not None
        queue.fail(group, f"worker {number}", RuntimeError("again"))
        group = queue.take(workers=1)
    assert group is not None
    with pytest.raises(RuntimeError, match="at last"):
        queue.fail(group, "the third", RuntimeError("at last"))


def test_a_group_goes_to_a_worker_on_which_it_has_not_failed() -> None:
    queue: GroupQueue[None] = GroupQueue(1, GroupSizes())
    group = queue.take(workers=2, worker="a")
    assert group is not None
    queue.fail(group, "a", RuntimeError("once"))
    assert queue.take(workers=2, worker="a") is None
    assert queue.take(workers=2, worker="b") is group
    queue.put_back(group)
    assert queue.take(workers=1, worker="a") is group  # nobody else is there


def test_results_are_taken_once() -> None:
    queue: GroupQueue[str] = GroupQueue(4, GroupSizes(first=2))
    first, second = queue.take(1), queue.take(1)
    assert first is not None
    assert second is not None
    queue.finish(second, "second")
    with pytest.raises(ValueError, match="trials 2 to 2 have their results already"):
        queue.finish(second, "second")
    queue.finish(first, "first")
    assert [found for _, found in queue.pop_ready()] == ["first", "second"]
    with pytest.raises(ValueError, match="trials 0 to 1"):
        queue.finish(first, "first")


@pytest.mark.parametrize(("per_second", "golden"), [(0.02, 60.0), (3.0, 1.0), (1000.0, 5.0)])
def test_a_group_costs_a_minute_at_most_where_a_trial_does_not(
    per_second: float, golden: float
) -> None:
    sizes = GroupSizes()
    sizes.note_golden(golden)
    for _ in range(10):
        size = sizes.choose(left=10**6, workers=4)
        sizes.note(size, size / per_second)
    assert size == 1 or size / per_second <= 60
    assert size / per_second >= 15


def test_the_last_groups_are_small_so_that_all_workers_end_together() -> None:
    sizes = GroupSizes()
    for _ in range(10):
        sizes.note(1000, 10.0)
    assert sizes.choose(left=10**6, workers=10) == 2000
    assert sizes.choose(left=10_000, workers=10) == 500
    assert sizes.choose(left=2500, workers=10) == 200  # not smaller: two seconds of work
    assert sizes.choose(left=1000, workers=10) == 200  # the last ones
    assert sizes.choose(left=150, workers=10) == 150


def test_groups_that_make_golden_runs_anew_are_long_up_to_the_last() -> None:
    """Six seconds before each group's trials, of which a worker runs a hundred a second."""
    sizes = GroupSizes(first=100)
    sizes.note(100, 7.0, golden=6.0)  # any worker's first group: no more is known
    assert sizes.choose(left=10**6, workers=2) == 400
    for _ in range(10):
        sizes.note(100, 7.0, golden=6.0, is_first=False)
    assert sizes.choose(left=10**6, workers=2) == 2400
    left, dealt = 10_000, []
    while left:
        dealt.append(min(left, sizes.choose(left, workers=2)))
        left -= dealt[-1]
    assert dealt == [2400, 2400, 2400, 1400, 1400]


def test_golden_runs_that_are_kept_do_not_slow_the_estimate() -> None:
    sizes = GroupSizes(first=1000)
    sizes.note(1000, 30.0, golden=20.0)
    sizes.note(1000, 10.0, golden=0.0, is_first=False)
    assert sizes.choose(left=10**6, workers=2) == 2000
