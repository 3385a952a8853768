"""The pairs of a campaign that was run with ``--save-pairs``, read when they are asked for."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import sparse

from fi.base.errors import UserError
from fi.metrics.outcomes import DETECTED, OUTCOMES, SDC_1
from fi.metrics.pair_codes import (
    ALARM_BITS,
    HIDDEN_DIFFER,
    OUTCOME,
    OUTPUT_DIFFER,
    SCORES_DIFFER,
)
from fi.statistics.result_table import merge_trials
from fi.store.campaign_reader import PastCampaign
from fi.store.pairs_file import PAIRS_NAME, PairBlock, PairsError, PairsFile

#: What of a network a test looks at: its scores, or the spikes of the output or of hidden layers.
SCORES, SPIKES = ("class", "top-score", "score"), ("spikes", "hidden")
DETECTORS = (*SCORES, *SPIKES)


class StoredPairs:
    """What every fault of a campaign did to every sample.

    Args:
        folder: of the campaign, ``output/<model>/<list>-<hash>``.

    Attributes:
        head: what is known of all pairs.
        samples: how many the test set has.

    Raises:
        UserError: the campaign was run without ``--save-pairs``, or the file is damaged.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self._file = PairsFile(self.folder / PAIRS_NAME)
        if not self._file.exists():
            raise UserError(
                f"{self.folder}: no {PAIRS_NAME}: the campaign was run without --save-pairs"
            )
        self.head = self._file.read_head()
        self.samples = self.head.samples

    def _check_detector(self, by: str) -> None:
        """Raise ``UserError`` where the pairs do not tell."""
        if by not in (known := (*DETECTORS, *self.head.monitors)):
            raise UserError(f"--detect {by}: allowed are {', '.join(known)}")
        if by in SPIKES and self.head.level != "spikes":
            raise UserError(
                f"--detect {by}: {self.folder} was run with --save-pairs {self.head.level}; "
                "--save-pairs spikes compares spikes"
            )
        if by == "spikes" and self.head.output is None:
            raise UserError(
                f"--detect {by}: the network of {self.folder} reads a layer without neurons, which "
                "gives no spikes; allowed are class, top-score, score, hidden"
            )

    @cached_property
    def results(self) -> pd.DataFrame:
        """The results, one row a trial, in the order of the pairs."""
        return self._rows.loc[self.injections].reset_index()

    @cached_property
    def injections(self) -> NDArray[np.int64]:
        """The trials that have pairs, ``int64 [trials]``, in their order."""
        return np.sort(self._stored)

    @cached_property
    def _rows(self) -> pd.DataFrame:
        return merge_trials(PastCampaign(self.folder).results.load()).set_index("Injection")

    @cached_property
    def _stored(self) -> NDArray[np.int64]:
        stored = [block.injection for block in self.blocks()]
        found = np.concatenate(stored or [np.zeros(0, np.int64)])
        missing = np.setdiff1d(self._rows.index.to_numpy(np.int64), found)
        if len(missing):
            raise PairsError(
                f"{self._file.path}: damaged: {len(missing)} of {len(self._rows)} trials of "
                f"results.csv have no pairs, injection {missing[0]} is the first; "
                "--overwrite runs them again"
            )
        return found

    def blocks(self) -> Iterator[PairBlock]:
        """The pairs with other scores than the golden ones, group by group, as they were stored.

        Trials without a row in results.csv, which a run that was killed has left, are not among
        them.
        """
        known = self._rows.index.to_numpy(np.int64)
        for block in self._file.blocks():
            yield block.choose(np.isin(block.injection, known))

    def outcomes(self, injection: int) -> NDArray[np.uint8]:
        """The outcome of one trial on every sample, ``uint8 [samples]``, places in ``OUTCOMES``.

        Raises:
            UserError: there is no such trial, or the code of the memory reports it.
        """
        if injection in self._rows.index and self._rows.get(DETECTED, default=pd.Series()).get(
            injection, 0
        ):
            raise UserError(
                f"{self.folder}: the memory's code reports injection {injection}: its samples have "
                "no outcome"
            )
        for block in self.blocks():
            rows = (block.injection == injection).nonzero()[0]
            if len(rows):
                own = block.trial == rows[0]
                found = np.full(self.samples, OUTCOMES.index("fully_masked"), np.uint8)
                found[block.sample[own]] = block.code[own] & OUTCOME
                return found
        raise UserError(f"{self.folder}: no injection {injection} is among the pairs")

    def detected(self, by: str = "class") -> sparse.csr_array:
        """Which samples detect which trials, ``bool [trials, samples]``, sparse.

        Args:
            by: one of ``DETECTORS``: another class than the golden one, another largest score or
                class, any other score, another spike of the output layer, or of a hidden one; or a
                monitor of the campaign, which reports the sample with the fault and not without.

        Raises:
            UserError: there is no such way, or the campaign has not compared spikes.
        """
        self._check_detector(by)
        monitors = self.head.monitors
        trials, samples = [], []
        start = 0
        for block in self.blocks():
            seen = self._find_alarms(block, by) if by in monitors else _sees(block.code, by)
            trials.append(block.trial[seen] + start)
            samples.append(block.sample[seen])
            start += len(block.injection)
        row = np.argsort(np.argsort(self._stored))  # in the order of injections
        places = np.concatenate(trials or [np.zeros(0, np.int64)])
        columns = np.concatenate(samples or [np.zeros(0, np.uint32)]).astype(np.int64)
        shape = (len(self._stored), self.samples)
        values = np.ones(len(places), bool)
        return sparse.csr_array((values, (row[places], columns)), shape=shape)

    def _find_alarms(self, block: PairBlock, monitor: str) -> NDArray[np.bool_]:
        """Which pairs of a block a monitor reports, and not without the fault, ``bool [pairs]``."""
        found: NDArray[np.bool_] = self._find_changed(block, monitor)
        found &= ~np.isin(block.sample, self.head.monitors[monitor])
        return found

    def _find_changed(self, block: PairBlock, monitor: str) -> NDArray[np.bool_]:
        """Which pairs it reports and not without the fault, or the reverse, ``bool [pairs]``."""
        bit = ALARM_BITS + list(self.head.monitors).index(monitor)
        found: NDArray[np.bool_] = (block.code >> bit) & 1 > 0
        return found

    def count_alarms(self, monitor: str) -> pd.DataFrame:
        """What a monitor reports, a row a trial in the order of ``results``.

        Returns:
            ``samples``; ``detected`` and ``missed``, the samples with another class that it reports
            and those that it does not; ``needless``, the others that it reports.
        """
        usual = np.zeros(self.samples, bool)
        usual[self.head.monitors[monitor]] = True
        parts: list[NDArray[np.int64]] = []
        for block in self.blocks():
            trials = len(block.injection)
            alarm = self._find_changed(block, monitor) ^ usual[block.sample]
            sdc, row = (block.code & OUTCOME) == SDC_1, block.trial

            def count(chosen: NDArray[np.bool_]) -> NDArray[np.int64]:
                return np.bincount(row[chosen], minlength=trials)  # noqa: B023  # called at once

            unlisted = int(usual.sum()) - count(usual[block.sample])
            counts = (count(sdc & alarm), count(sdc & ~alarm), unlisted + count(~sdc & alarm))
            parts.append(np.stack(counts, axis=1))
        order = np.argsort(self._stored)
        table = np.concatenate(parts or [np.zeros((0, 3), np.int64)])[order]
        found = pd.DataFrame(table, columns=["detected", "missed", "needless"])
        return found.assign(samples=self.samples)


def load_pairs(folder: str | Path) -> StoredPairs:
    """The pairs of a campaign that was run with ``--save-pairs``; errors as ``StoredPairs``.

    Args:
        folder: of the campaign, ``output/<model>/<list>-<hash>``.
    """
    return StoredPairs(folder)


def _sees(code: NDArray[np.uint16], by: str) -> NDArray[np.bool_]:
    outcome = code & OUTCOME
    if by == "class":
        found: NDArray[np.bool_] = outcome == SDC_1
    elif by == "top-score":
        found = outcome != OUTCOMES.index("fully_masked")
    else:
        bit = {"score": SCORES_DIFFER, "spikes": OUTPUT_DIFFER, "hidden": HIDDEN_DIFFER}[by]
        found = (code & bit) != 0
    return found
