"""Counts on their way to the results file."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import numpy as np

from fi.counts import COUNT_COLUMNS
from fi.faults import Fault
from fi.record import GroupCounts
from fi.results import ResultsFile
from fi.word_values import WordValue

Listener = Callable[[Sequence[Fault], GroupCounts], None]
_FAULTS, _SECONDS = 1000, 3.0


class ResultsBuffer:
    """Gathers small groups and appends them durably, every 1,000 faults or three seconds.

    Args:
        file: where they go.
        listener: is told of what was stored.
    """

    def __init__(self, file: ResultsFile, listener: Listener) -> None:
        self._file = file
        self._listener = listener
        self._faults: list[Fault] = []
        self._counts: list[GroupCounts] = []
        self._values: list[WordValue] = []
        self._written = time.monotonic()

    def add(
        self, faults: Sequence[Fault], counts: GroupCounts, values: Sequence[WordValue]
    ) -> None:
        """Take the counts of a group that is finished, and the values of its words."""
        self._faults += faults
        self._counts.append(counts)
        self._values += values
        late = time.monotonic() - self._written > _SECONDS
        if late or len(self._faults) >= _FAULTS:
            self.flush()

    def flush(self) -> None:
        """Store what is there."""
        if self._faults:
            counts = {c: np.concatenate([part[c] for part in self._counts]) for c in COUNT_COLUMNS}
            self._file.append(self._faults, counts, self._values)
            self._listener(self._faults, counts)
        self._faults, self._counts, self._values = [], [], []
        self._written = time.monotonic()
