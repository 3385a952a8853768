"""Counts on their way to the results file."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import numpy as np

from fi.faults.fault import Trial
from fi.faults.word_values import WordValue
from fi.metrics.counts import COUNT_COLUMNS, GroupCounts
from fi.store.results_file import ResultsFile

Listener = Callable[[Sequence[Trial], GroupCounts], None]
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
        self._trials: list[Trial] = []
        self._counts: list[GroupCounts] = []
        self._values: list[WordValue] = []
        self._written = time.monotonic()

    def add(
        self, trials: Sequence[Trial], counts: GroupCounts, values: Sequence[WordValue]
    ) -> None:
        """Take the counts of a group that is finished, and the values of all its words."""
        self._trials += trials
        self._counts.append(counts)
        self._values += values
        late = time.monotonic() - self._written > _SECONDS
        if late or len(self._trials) >= _FAULTS:
            self.flush()

    def flush(self) -> None:
        """Store what is there."""
        if self._trials:
            counts = {c: np.concatenate([part[c] for part in self._counts]) for c in COUNT_COLUMNS}
            self._file.append(self._trials, counts, self._values)
            stored, self._trials, self._counts, self._values = self._trials, [], [], []
            self._listener(stored, counts)  # it may fail: what is stored is not stored again
        self._written = time.monotonic()
