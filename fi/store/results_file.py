"""The results file of a campaign: one row a fault, appended group by group while it runs."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from itertools import groupby, repeat
from operator import itemgetter
from pathlib import Path
from typing import ClassVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fi.base.text_files import read_text
from fi.faults.csv_row import FAULT_COLUMNS, fault_lines, fault_row
from fi.faults.fault import Fault, Trial, group_trials
from fi.faults.word_values import VALUE_COLUMNS, WordValue, value_text
from fi.metrics.counts import COUNT_COLUMNS, PROTECTED_COLUMNS, Counts, count_table
from fi.store.results_frame import read_frame
from fi.store.results_rows import (
    HEADER,
    PROTECTED_HEADER,
    RESULT_COLUMNS,
    ResultsError,
    fault_columns,
    read_fault,
    read_frame_by_row,
    read_rows,
)


class ResultsFile:
    """The results of a campaign on disk.

    A run that is killed may leave a last line without its end: ``repair`` drops it. Lines that
    have their end are final. The same rows give the same bytes.

    Args:
        path: the file, ``results.csv``; its folder exists when the first group is appended.
    """

    header: ClassVar[str] = HEADER
    counted: ClassVar[tuple[str, ...]] = COUNT_COLUMNS

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)

    def _append_rows(self, text: str) -> None:
        _append(self.path, text.encode(), self.header)

    def append(
        self,
        trials: Sequence[Fault | Trial],
        counts: Counts,
        values: Sequence[WordValue] | None = None,
    ) -> None:
        """Add a group of trials in one durable write; every fault of a trial has its counts.

        Args:
            trials: the group.
            counts: its counts, integers ``[trials]`` by column.
            values: golden and faulty value of each word; ``None`` leaves all of them empty.

        Raises:
            ResultsError: a column is missing or of another length, or a row whose outcomes do not
                add up to its samples; nothing is written then.
            OSError: the file cannot be written, as on a full disk; it is left as it was.
        """
        try:
            table = count_table(counts, len(trials), self.counted)
        except ValueError as problem:
            raise ResultsError(f"{self.path}: {problem}") from None
        whole = [trial if isinstance(trial, tuple) else (trial,) for trial in trials]
        faults = fault_lines(fault for trial in whole for fault in trial)
        texts = _count_texts(table, [len(trial) for trial in whole])
        words = map(value_text, repeat(None, len(texts)) if values is None else values)
        lines = map(",".join, zip(faults, texts, words, strict=True))
        self._append_rows("\n".join([*lines, ""]))

    def trial_rows(self) -> list[list[list[str]]]:
        """The fields of the rows of every trial, as they are in the file; errors as ``load``."""
        self.load()
        rows = (fields for _, fields in read_rows(self._text(), self.path))
        return [list(trial) for _, trial in groupby(rows, key=itemgetter(0))]

    def load(self, whole: bool = True) -> pd.DataFrame:
        """One row a fault: the counts are int64; ``TensorIndex``, ``Bit`` and ``Step`` are text.

        ``GoldenValue`` and ``FaultyValue`` are float64; both are NaN for states and spikes.

        Args:
            whole: whether a last line that is cut off is an error; it is left out otherwise.

        Raises:
            ResultsError: the file is missing, cut off (see ``repair``) or malformed; with the line.
        """
        text = self._text(whole)
        frame = read_frame(text)
        return read_frame_by_row(text, self.path) if frame is None else frame.copy(deep=False)

    @classmethod
    def nothing(cls) -> pd.DataFrame:
        """What ``load`` gives of a file without a row."""
        columns = {name: pd.Series(dtype="int64") for name in cls.counted}
        columns |= {name: pd.Series(dtype="float64") for name in VALUE_COLUMNS}
        return pd.DataFrame({**fault_columns([]), **columns})

    def done(self) -> list[int]:
        """The injection numbers that are finished, in the order of the file.

        Raises:
            ResultsError: as ``load``; a file that is not there has none.
        """
        if not self.path.exists():
            return []
        numbers: list[int] = self.load()["Injection"].tolist()
        return numbers

    def check_constant(self, constant: Mapping[str, int]) -> None:
        """Raise ``ResultsError`` where a row is not of this test set.

        Args:
            constant: columns that have one value in every row, and that value.
        """
        text = self._text(whole=False)
        frame = read_frame(text)
        if frame is not None and all(
            (frame[name] == value).all() for name, value in constant.items()
        ):
            return
        for line, fields in read_rows(text, self.path):
            for column, value in constant.items():
                found = fields[RESULT_COLUMNS.index(column)]
                if found != str(value):
                    raise ResultsError(f"{self.path}:{line}: {column} is {found}, here {value}")

    def check_belongs(self, faults: Sequence[Fault]) -> None:
        """Raise ``ResultsError`` where a row is not of this list; a cut last line is let pass."""
        text = read_text(self.path, ResultsError)
        if "\n" not in text and not self.header.startswith(text):
            raise ResultsError(f"{self.path}:1: this is no results file: {text[:80]!r}")
        text = text[: text.rfind("\n") + 1]
        frame = read_frame(text)
        if frame is not None and _all_listed(frame, faults):
            return
        known = {trial[0].injection: trial for trial in group_trials(faults)}
        for line, fields in read_rows(text, self.path):
            fault = read_fault(line, fields, self.path)
            if fault not in known.get(fault.injection, ()):
                trial = known.get(fault.injection, ())
                listed = "; ".join(map(str, trial)) or "not in the list"
                raise ResultsError(
                    f"{self.path}:{line}: injection {fault.injection} is {fault}; "
                    f"in the fault list it is {listed}"
                )

    def drop_unfinished(self, faults: Sequence[Fault]) -> None:
        """Drop the last rows where they are only a part of a trial of the list ``faults``."""
        numbers = self.load()["Injection"] if self.path.exists() else pd.Series(dtype="int64")
        sizes = {trial[0].injection: len(trial) for trial in group_trials(faults)}
        present = int((numbers == numbers.iloc[-1]).sum()) if len(numbers) else 0
        if not present or present >= sizes.get(int(numbers.iloc[-1]), 1):
            return
        lines = [line for line, _ in read_rows(self._text(), self.path)]
        with self.path.open("r+b") as file:
            data = file.read().splitlines(keepends=True)
            file.truncate(sum(map(len, data[: lines[-present] - 1])))
            os.fsync(file.fileno())

    def repair(self) -> int:
        """Drop a last line that has no end, as a killed run leaves it; the bytes dropped."""
        if not self.path.exists():
            return 0
        with self.path.open("r+b") as file:
            data = file.read()
            kept = data.rfind(b"\n") + 1
            if kept < len(data):
                file.truncate(kept)
                os.fsync(file.fileno())
        return len(data) - kept

    def _text(self, whole: bool = True) -> str:
        """What is in the file; without a last line that is cut off where not the ``whole``."""
        text = read_text(self.path, ResultsError)
        return text if whole else text[: text.rfind("\n") + 1]


class ProtectedResultsFile(ResultsFile):
    """The results of a campaign on a memory with a code: one count more, ``detected``.

    ``ResultsFile`` reads both kinds; what is appended has to be of one.
    """

    header: ClassVar[str] = PROTECTED_HEADER
    counted: ClassVar[tuple[str, ...]] = PROTECTED_COLUMNS


def _count_texts(table: NDArray[np.int64], sizes: Sequence[int]) -> list[str]:
    """The counts of each row as text: those of trial ``i`` ``sizes[i]`` times."""
    known: dict[tuple[int, ...], str] = {}  # most faults of a campaign have the same counts
    texts = []
    for row, size in zip(map(tuple, table.tolist()), sizes, strict=True):
        if row not in known:
            known[row] = ",".join(map(str, row))
        texts += [known[row]] * size
    return texts


def _all_listed(frame: pd.DataFrame, faults: Sequence[Fault]) -> bool:
    """Whether every row of a table of results is a fault of the list."""
    listed = {(row[0], row[1], str(row[2]), *row[3:]) for row in map(fault_row, faults)}
    columns = (frame[name].tolist() for name in FAULT_COLUMNS)
    return listed.issuperset(zip(*columns, strict=True))


def _append(path: Path, data: bytes, header: str) -> None:
    """Add ``data`` behind the whole lines of the file, all of it or nothing."""
    with path.open("a+b", buffering=0) as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(size - 1, 0))
        if file.read(1) not in (b"", b"\n"):
            raise ResultsError(f"{path}: the last line is cut off; repair drops it")
        try:
            left = memoryview(data if size else header.encode() + data)
            while left:
                left = left[file.write(left) :]
            os.fsync(file.fileno())
        except BaseException:
            file.truncate(size)
            raise
