"""Which trials a worker gets next, what is done with lost groups, and in which order results leave.

Nothing here knows Dask: the queue is of places in a list of trials.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Generic, TypeVar

T = TypeVar("T")

#: Seconds that a group's trials are to take: a worker that is lost costs little more. Where each
#: group makes golden runs anew it is longer, for that cost to be a small part of it.
USUAL_SECONDS, LONGEST_SECONDS = 20.0, 60.0
#: What a group takes at least when the end is near, so that its overhead is small beside it.
_LEAST_SECONDS = 2.0
#: How many times the golden runs that each group makes anew its trials are to take.
_WORTH = 4.0
#: Trials of the first groups, before anybody knows how long one takes.
FIRST_SIZE = 512
#: By how much a group may be larger than those before: a first measurement is no promise.
_GROWTH = 4
#: So often a group may fail.
ATTEMPTS = 3


@dataclass
class Group:
    """The trials from ``start`` to before ``end``, and how often they have failed where.

    Attributes:
        start, end: places in the list.
        failed_on: the workers on which it has failed, one entry for each time.
    """

    start: int
    end: int
    failed_on: list[str] = field(default_factory=list)

    def __len__(self) -> int:
        return self.end - self.start


class GroupQueue(Generic[T]):
    """Deals a list of trials out in groups, and gives what became of them in the list's order.

    Args:
        trials: how many there are.
        sizes: remembers from one list to the next how large groups are.

    Example:
        >>> queue = GroupQueue(3, GroupSizes(first=3))
        >>> one, two = queue.take(workers=1), queue.take(workers=1)
        >>> queue.finish(two, "later")
        >>> list(queue.pop_ready())
        []
        >>> queue.finish(one, "sooner")
        >>> [(group.start, group.end, found) for group, found in queue.pop_ready()]
        [(0, 2, 'sooner'), (2, 3, 'later')]
        >>> queue.finished
        True
    """

    def __init__(self, trials: int, sizes: GroupSizes) -> None:
        self.trials, self.sizes = trials, sizes
        self._dealt = self._written = 0
        self._again: list[Group] = []
        self._done: dict[int, tuple[Group, T]] = {}

    @property
    def finished(self) -> bool:
        """Whether every result has left."""
        return self._written == self.trials

    def take(self, workers: int, worker: str = "") -> Group | None:
        """The next group, one that was lost before any other; ``None`` where all are dealt out.

        Args:
            workers: among which the rest is to be divided.
            worker: who is to run it: rather no group that has failed there, if others may take it.
        """
        for group in self._again:
            if worker not in group.failed_on or workers <= len(set(group.failed_on)):
                self._again.remove(group)
                return group
        left = self.trials - self._dealt
        if not left:
            return None
        size = min(left, self.sizes.choose(left, workers))
        group = Group(self._dealt, self._dealt + size)
        self._dealt += size
        return group

    def put_back(self, group: Group) -> None:
        """Take back a group that nobody has begun."""
        self._again.append(group)
        self._again.sort(key=lambda lost: lost.start)

    def fail(self, group: Group, worker: str, error: BaseException) -> None:
        """Take back a group that has failed on ``worker``; raise ``error`` at the third time."""
        group.failed_on.append(worker)
        if len(group.failed_on) >= ATTEMPTS:
            raise error
        self.put_back(group)

    def finish(self, group: Group, found: T) -> None:
        """Take what was found of a group; ``ValueError`` where it was found already."""
        if group.start < self._written or group.start in self._done:
            raise ValueError(f"trials {group.start} to {group.end - 1} have their results already")
        self._done[group.start] = (group, found)

    def pop_ready(self) -> Iterator[tuple[Group, T]]:
        """The groups that follow the last one that has left, as far as they are there."""
        while self._written in self._done:
            group, found = self._done.pop(self._written)
            self._written = group.end
            yield group, found


class GroupSizes:
    """How many trials a group has: as many as a worker runs in some seconds.

    Args:
        first: trials of the first groups; ``FIRST_SIZE`` by default.

    Example:
        >>> sizes = GroupSizes(first=100)
        >>> sizes.note(100, seconds=1.0)
        >>> sizes.choose(left=1_000_000, workers=2), sizes.choose(left=1000, workers=2)
        (400, 250)
    """

    def __init__(self, first: int | None = None) -> None:
        self._size, self._speed = first or FIRST_SIZE, 0.0
        self._again = 0.0  # seconds of golden runs that a group makes anew

    def note_golden(self, seconds: float, trial_part: float = 1.0) -> None:
        """A golden run takes so long; ``trial_part`` of it is the most that a trial may take.

        So the first groups, of which nobody knows better, are no longer than a group may be.
        """
        if not self._speed:
            longest = max(seconds * trial_part, 1e-6)
            self._size = max(1, min(self._size, int(LONGEST_SECONDS / longest)))

    def note(self, trials: int, seconds: float, golden: float = 0.0, is_first: bool = True) -> None:
        """A worker has run a group.

        Args:
            trials: of the group.
            seconds: that it took.
            golden: those of them that went into golden runs and traces.
            is_first: the worker's first group makes them, whether later ones do or not.
        """
        speed = trials / max(seconds - golden, 1e-6)
        self._speed = speed if not self._speed else (self._speed + speed) / 2
        if not is_first:
            self._again = golden
        usual = self._stretch(USUAL_SECONDS)
        self._size = max(1, min(int(self._speed * usual), _GROWTH * self._size))

    def _stretch(self, seconds: float) -> float:
        """For how long trials are to run, for the golden runs before them to be worth it."""
        return min(LONGEST_SECONDS, max(seconds, _WORTH * self._again))

    def choose(self, left: int, workers: int) -> int:
        """The size of the next group where ``left`` trials are for so many workers."""
        even = -(-left // (2 * max(1, workers)))  # in the end all are to be done at the same time
        least = max(1, min(self._size, int(self._speed * self._stretch(_LEAST_SECONDS))))
        if left <= least * workers:  # the last groups
            return -(-left // -(-left // least))
        return max(least, min(self._size, even))
