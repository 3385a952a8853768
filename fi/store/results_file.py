"""The results file of a campaign: one row a fault, appended group by group while it runs."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fi.base.text_files import FileError, Row, csv_rows, csv_text, read_text
from fi.faults.csv_row import FAULT_COLUMNS, fault_row, parse_fault, parse_number
from fi.faults.fault import Fault, Trial, group_trials
from fi.faults.word_values import VALUE_COLUMNS, WordValue, parse_value, value_fields
from fi.metrics.counts import COUNT_COLUMNS, Counts, count_table, first_wrong

RESULT_COLUMNS = FAULT_COLUMNS + COUNT_COLUMNS + VALUE_COLUMNS
_HEADER = ",".join(RESULT_COLUMNS) + "\n"


class ResultsError(FileError):
    """A results file, or counts for it, that cannot be used."""


class ResultsFile:
    """The results of a campaign on disk.

    A run that is killed may leave a last line without its end: ``repair`` drops it. Lines that
    have their end are final. The same rows give the same bytes.

    Args:
        path: the file, ``results.csv``; its folder exists when the first group is appended.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)

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
            table = count_table(counts, len(trials))
        except ValueError as problem:
            raise ResultsError(f"{self.path}: {problem}") from None
        listed = [
            (fault, row)
            for trial, row in zip(trials, table.tolist(), strict=True)
            for fault in ((trial,) if isinstance(trial, Fault) else trial)
        ]
        values = [None] * len(listed) if values is None else values
        rows = (
            [*fault_row(fault), *row, *value_fields(value)]
            for (fault, row), value in zip(listed, values, strict=True)
        )
        _append(self.path, csv_text(rows).encode())

    def trial_rows(self) -> list[list[list[str]]]:
        """The fields of the rows of every trial, as they are in the file; errors as ``load``."""
        self.load()
        rows = (fields for _, fields in self._rows())
        return [list(trial) for _, trial in groupby(rows, key=itemgetter(0))]

    def load(self, whole: bool = True) -> pd.DataFrame:
        """One row a fault: the counts are int64; ``TensorIndex``, ``Bit`` and ``Step`` are text.

        ``GoldenValue`` and ``FaultyValue`` are float64; both are NaN for states and spikes.

        Args:
            whole: whether a last line that is cut off is an error; it is left out otherwise.

        Raises:
            ResultsError: the file is missing, cut off (see ``repair``) or malformed; with the line.
        """
        rows = list(self._rows(whole))
        faults = [self._fault(line, fields) for line, fields in rows]
        counts = np.array([self._counts(*row) for row in rows], dtype=np.int64)
        counts = counts.reshape(-1, len(COUNT_COLUMNS))
        self._check(faults, counts, [line for line, _ in rows])
        columns: dict[str, NDArray[Any]] = dict(zip(COUNT_COLUMNS, counts.T, strict=True))
        values = [self._value(*row) or (math.nan, math.nan) for row in rows]
        words = np.array(values, dtype=np.float64).reshape(-1, len(VALUE_COLUMNS))
        columns |= dict(zip(VALUE_COLUMNS, words.T, strict=True))
        return pd.DataFrame({**_fault_columns(faults), **columns})

    @staticmethod
    def nothing() -> pd.DataFrame:
        """What ``load`` gives of a file without a row."""
        columns = {name: pd.Series(dtype="int64") for name in COUNT_COLUMNS}
        columns |= {name: pd.Series(dtype="float64") for name in VALUE_COLUMNS}
        return pd.DataFrame({**_fault_columns([]), **columns})

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
        for line, fields in self._rows(whole=False):
            for column, value in constant.items():
                found = fields[RESULT_COLUMNS.index(column)]
                if found != str(value):
                    raise ResultsError(f"{self.path}:{line}: {column} is {found}, here {value}")

    def check_belongs(self, faults: Sequence[Fault]) -> None:
        """Raise ``ResultsError`` where a row is not of this list; a cut last line is let pass."""
        text = read_text(self.path, ResultsError)
        if "\n" not in text and not _HEADER.startswith(text):
            raise ResultsError(f"{self.path}:1: this is no results file: {text[:80]!r}")
        known = {trial[0].injection: trial for trial in group_trials(faults)}
        for line, fields in self._rows(whole=False):
            fault = self._fault(line, fields)
            if fault not in known.get(fault.injection, ()):
                trial = known.get(fault.injection, ())
                listed = "; ".join(map(str, trial)) or "not in the list"
                raise ResultsError(
                    f"{self.path}:{line}: injection {fault.injection} is {fault}; "
                    f"in the fault list it is {listed}"
                )

    def drop_unfinished(self, faults: Sequence[Fault]) -> None:
        """Drop the last rows where they are only a part of a trial of the list ``faults``."""
        rows = list(self._rows()) if self.path.exists() else []
        numbers = [self._fault(line, fields).injection for line, fields in rows]
        sizes = {trial[0].injection: len(trial) for trial in group_trials(faults)}
        present = numbers.count(numbers[-1]) if numbers else 0
        if not present or present >= sizes.get(numbers[-1], 1):
            return
        with self.path.open("r+b") as file:
            lines = file.read().splitlines(keepends=True)
            file.truncate(sum(map(len, lines[: rows[-present][0] - 1])))
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

    def _rows(self, whole: bool = True) -> Iterator[Row]:
        text = read_text(self.path, ResultsError)
        if not whole:
            text = text[: text.rfind("\n") + 1]
        if text and not text.endswith("\n"):
            line = text.count("\n") + 1
            raise ResultsError(f"{self.path}:{line}: the last line is cut off; repair drops it")
        rows = csv_rows(text, self.path, ResultsError)
        header = next(rows, (1, list(RESULT_COLUMNS)))[1]
        if tuple(header) != RESULT_COLUMNS:
            raise ResultsError(
                f"{self.path}:1: the header is {','.join(header)[:80]!r}; allowed: {_HEADER[:-1]}"
            )
        for line, row in rows:
            if len(row) != len(RESULT_COLUMNS):
                raise ResultsError(
                    f"{self.path}:{line}: {len(row)} fields; allowed: {len(RESULT_COLUMNS)}"
                )
            yield line, row

    def _fault(self, line: int, fields: list[str]) -> Fault:
        try:
            return parse_fault(fields[: len(FAULT_COLUMNS)])
        except ValueError as problem:
            raise ResultsError(f"{self.path}:{line}: {problem}") from None

    def _counts(self, line: int, fields: list[str]) -> list[int]:
        numbers = fields[len(FAULT_COLUMNS) : -len(VALUE_COLUMNS)]
        named = zip(numbers, COUNT_COLUMNS, strict=True)
        try:
            return [parse_number(field, name) for field, name in named]
        except ValueError as problem:
            raise ResultsError(f"{self.path}:{line}: {problem}") from None

    def _value(self, line: int, fields: list[str]) -> WordValue:
        try:
            return parse_value(*fields[-len(VALUE_COLUMNS) :])
        except ValueError as problem:
            raise ResultsError(f"{self.path}:{line}: {problem}") from None

    def _check(self, faults: list[Fault], counts: NDArray[np.int64], lines: list[int]) -> None:
        seen: dict[int, int] = {}
        for row, (fault, line) in enumerate(zip(faults, lines, strict=True)):
            first = seen.get(fault.injection)
            if first is not None:
                same_trial = faults[row - 1].injection == fault.injection != faults[row - 1]
                if same_trial and (counts[row] == counts[row - 1]).all():
                    continue
                what = f"injection {fault.injection} is on line {first} already"
                raise ResultsError(f"{self.path}:{line}: {what}")
            seen[fault.injection] = line
        row, what = first_wrong(counts)
        if what:
            raise ResultsError(f"{self.path}:{lines[row]}: {what}")


def _fault_columns(faults: Sequence[Fault]) -> dict[str, pd.Series]:
    fields = list(zip(*map(fault_row, faults), strict=True)) or [()] * len(FAULT_COLUMNS)
    injection, layer, index, bit, model, step = fields
    columns = (
        pd.Series(injection, dtype="int64"),
        pd.Series(layer, dtype="str"),
        pd.Series(list(map(str, index)), dtype="str"),
        pd.Series(bit, dtype="str"),
        pd.Series(model, dtype="str"),
        pd.Series(step, dtype="str"),
    )
    return dict(zip(FAULT_COLUMNS, columns, strict=True))


def _append(path: Path, data: bytes) -> None:
    """Add ``data`` behind the whole lines of the file, all of it or nothing."""
    with path.open("a+b", buffering=0) as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(size - 1, 0))
        if file.read(1) not in (b"", b"\n"):
            raise ResultsError(f"{path}: the last line is cut off; repair drops it")
        try:
            left = memoryview(data if size else _HEADER.encode() + data)
            while left:
                left = left[file.write(left) :]
            os.fsync(file.fileno())
        except BaseException:
            file.truncate(size)
            raise
