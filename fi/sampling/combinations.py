"""All sets of some faults, counted and indexed, never listed."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate
from math import comb


class TrialNumbers:
    """Trials of ``together`` different faults, all of one group: ``numbers[i]``.

    Args:
        groups: each a list of ranges of fault numbers in a fault space.
        together: faults of a trial.

    Raises:
        ValueError: no group has so many faults.
    """

    def __init__(self, groups: Sequence[Sequence[range]], together: int) -> None:
        self.together = together
        self.groups = [list(spans) for spans in groups]
        sizes = [sum(span.stop - span.start for span in spans) for spans in self.groups]
        self._ends = list(accumulate(comb(size, together) for size in sizes))
        if not self.size:
            raise ValueError(f"there are no {together} faults to inject together")

    @property
    def size(self) -> int:
        """How many trials there are, of any magnitude."""
        return self._ends[-1] if self._ends else 0

    def __getitem__(self, position: int) -> list[int]:
        """The fault numbers of one trial, ascending."""
        if not 0 <= position < self.size:
            raise IndexError(f"trial {position} is outside: 0 to {self.size - 1}")
        group = bisect_right(self._ends, position)
        position -= self._ends[group - 1] if group else 0
        members = unrank_subset(position, self.together)
        return sorted(_find_number(self.groups[group], member) for member in members)


def unrank_subset(position: int, size: int) -> list[int]:
    """The ``position``-th set of ``size`` whole numbers, in the combinatorial number system.

    A set ``c1 < c2 < ...`` stands at ``comb(c1, 1) + comb(c2, 2) + ...`` (Knuth, The Art of
    Computer Programming 4A, 7.2.1.3), so that the sets below ``n`` are the first ``comb(n, size)``.

    >>> [unrank_subset(position, 2) for position in range(4)]
    [[0, 1], [0, 2], [1, 2], [0, 3]]
    """
    members = []
    for left in range(size, 0, -1):
        low, high = left - 1, left
        while comb(high, left) <= position:
            low, high = high, 2 * high
        while high - low > 1:  # comb(low, left) <= position < comb(high, left)
            middle = (low + high) // 2
            low, high = (middle, high) if comb(middle, left) <= position else (low, middle)
        members.append(low)
        position -= comb(low, left)
    return members[::-1]


def _find_number(spans: Sequence[range], member: int) -> int:
    """The ``member``-th number of some ranges, one after another."""
    for span in spans:
        if member < span.stop - span.start:
            return span.start + member
        member -= span.stop - span.start
    raise IndexError(f"member {member} is behind the last fault")
