"""Shards: parts of a fault list that independent jobs run, and that are put together again."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from fi.base.errors import UserError
from fi.faults.fault import Fault, group_trials

Row = TypeVar("Row")
_FOLDER = re.compile(r"shard-([0-9]{1,6})-of-([0-9]{1,6})")


@dataclass(frozen=True, order=True)
class Shard:
    """The ``number``-th of ``count`` parts of a fault list; numbers count from 1.

    >>> faults = [Fault(n, "fc1.bias", (n,), bits=3) for n in range(5)]
    >>> [fault.injection for fault in Shard(1, 2).select(faults)]
    [0, 2, 4]
    """

    number: int
    count: int

    def __post_init__(self) -> None:
        if not 1 <= self.number <= self.count:
            raise ValueError(f"shard {self}; allowed: 1/{self.count} to {self.count}/{self.count}")

    def __str__(self) -> str:
        return f"{self.number}/{self.count}"

    @property
    def folder(self) -> str:
        """The name of its folder, inside that of the campaign."""
        return f"shard-{self.number}-of-{self.count}"

    def select(self, faults: Sequence[Fault]) -> list[Fault]:
        """Its faults: of every ``count`` trials of the list, in their order, the ``number``-th.

        The shards of a list share nothing, are the whole list together, and differ in length by
        one trial at most, wherever in the list the expensive faults are.
        """
        mine = group_trials(faults)[self.number - 1 :: self.count]
        return [fault for trial in mine for fault in trial]


def parse_shard(text: str) -> Shard:
    """The shard that ``--shard 3/16`` names.

    Raises:
        UserError: it is not that, or there is no such shard.
    """
    match = re.fullmatch("([0-9]{1,6})/([0-9]{1,6})", text.strip())
    if not match or not int(match[2]):
        raise UserError(f"--shard {text}: wanted is NUMBER/COUNT, as 3/16")
    try:
        return Shard(int(match[1]), int(match[2]))
    except ValueError as problem:
        raise UserError(f"--shard: {problem}") from None


def parse_shard_folder(folder: str) -> Shard | None:
    """The shard whose folder has this name, if it is one."""
    match = _FOLDER.fullmatch(folder)
    if not match or not 1 <= int(match[1]) <= int(match[2]):
        return None
    return Shard(int(match[1]), int(match[2]))


def interleave(parts: Sequence[Sequence[Sequence[Row]]]) -> list[Row]:
    """The rows of all shards, given in trials, in the order of the list: the split's inverse.

    >>> interleave([[["a"], ["c"]], [["b1", "b2"]]])
    ['a', 'b1', 'b2', 'c']
    """
    longest = max(map(len, parts), default=0)
    rounds = ([part[place] for part in parts if place < len(part)] for place in range(longest))
    return [row for turn in rounds for trial in turn for row in trial]
