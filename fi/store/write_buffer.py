"""Counts on their way to the results file."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from fi.faults.fault import Trial
from fi.faults.word_values import WordValue
from fi.metrics.counts import GroupCounts
from fi.store.pairs_file import PairBlock, PairsFile
from fi.store.results_file import ResultsFile

Listener = Callable[[Sequence[Trial], GroupCounts], None]
_FAULTS, _SECONDS = 1000, 3.0


class ResultsBuffer:
    """Gathers small groups and appends them durably, every 1,000 faults or three seconds.

    Args:
        file: where they go.
        listener: is told of what was stored.
        pairs: where the pairs go, before the counts; ``None`` where they are not kept.
    """

    def __init__(
        self, file: ResultsFile, listener: Listener, pairs: PairsFile | None = None
    ) -> None:
        self._file, self._pairs_file = file, pairs
        self._listener = listener
        self._trials: list[Trial] = []
        self._counts: list[GroupCounts] = []
        self._values: list[WordValue] = []
        self._blocks: list[PairBlock] = []
        self._written = time.monotonic()

    def add(
        self,
        trials: Sequence[Trial],
        counts: GroupCounts,
        values: Sequence[WordValue],
        packed: NDArray[np.int64] | None = None,
    ) -> None:
        """Take the counts of a group that is finished, the values of all its words, its pairs."""
        if packed is not None:
            self._blocks.append(PairBlock.of(trials, packed))
        self._trials += trials
        self._counts.append(counts)
        self._values += values
        late = time.monotonic() - self._written > _SECONDS
        if late or len(self._trials) >= _FAULTS:
            self.flush()

    def flush(self) -> None:
        """Store what is there."""
        if self._trials:
            if self._pairs_file is not None:
                self._pairs_file.append(PairBlock.join(self._blocks))
                self._blocks = []
            counts = {
                c: np.concatenate([part[c] for part in self._counts]) for c in self._counts[0]
            }
            self._file.append(self._trials, counts, self._values)
            stored, self._trials, self._counts, self._values = self._trials, [], [], []
            self._listener(stored, counts)  # it may fail: what is stored is not stored again
        self._written = time.monotonic()
