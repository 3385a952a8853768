"""A results file row by row: slow, but an error has its line."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fi.base.text_files import FileError, Row, csv_rows
from fi.faults.csv_row import FAULT_COLUMNS, fault_row, parse_fault, parse_number
from fi.faults.fault import Fault
from fi.faults.word_values import VALUE_COLUMNS, WordValue, parse_value
from fi.metrics.counts import COUNT_COLUMNS, PROTECTED_COLUMNS, first_wrong

RESULT_COLUMNS = FAULT_COLUMNS + COUNT_COLUMNS + VALUE_COLUMNS
HEADER = ",".join(RESULT_COLUMNS) + "\n"
#: With one column more: of campaigns on a memory with a code.
PROTECTED_HEADER = ",".join(FAULT_COLUMNS + PROTECTED_COLUMNS + VALUE_COLUMNS) + "\n"


class ResultsError(FileError):
    """A results file, or counts for it, that cannot be used."""


def count_columns_of(text: str) -> tuple[str, ...]:
    """The counts that a results file has, as its header says."""
    return PROTECTED_COLUMNS if text.startswith(PROTECTED_HEADER) else COUNT_COLUMNS


def read_frame_by_row(text: str, path: Path) -> pd.DataFrame:
    """The table of ``text``, as ``ResultsFile.load`` gives it; ``ResultsError`` names the line."""
    rows, names = list(read_rows(text, path)), count_columns_of(text)
    faults = [read_fault(line, fields, path) for line, fields in rows]
    counts = np.array([_read_counts(*row, names, path) for row in rows], dtype=np.int64)
    counts = counts.reshape(-1, len(names))
    _check_rows(faults, counts, [line for line, _ in rows], path)
    columns: dict[str, NDArray[Any]] = dict(zip(names, counts.T, strict=True))
    values = [_read_value(*row, path) or (math.nan, math.nan) for row in rows]
    words = np.array(values, dtype=np.float64).reshape(-1, len(VALUE_COLUMNS))
    columns |= dict(zip(VALUE_COLUMNS, words.T, strict=True))
    return pd.DataFrame({**fault_columns(faults), **columns})


def read_rows(text: str, path: Path) -> Iterator[Row]:
    """Line and fields of each row; ``ResultsError`` where they are not those of a results file."""
    if text and not text.endswith("\n"):
        line = text.count("\n") + 1
        raise ResultsError(f"{path}:{line}: the last line is cut off; repair drops it")
    rows = csv_rows(text, path, ResultsError)
    columns = FAULT_COLUMNS + count_columns_of(text) + VALUE_COLUMNS
    header = next(rows, (1, list(columns)))[1]
    if tuple(header) != columns:
        raise ResultsError(
            f"{path}:1: the header is {','.join(header)[:80]!r}; allowed: {HEADER[:-1]}"
        )
    for line, row in rows:
        if len(row) != len(columns):
            raise ResultsError(f"{path}:{line}: {len(row)} fields; allowed: {len(columns)}")
        yield line, row


def read_fault(line: int, fields: list[str], path: Path) -> Fault:
    """The fault of a row; ``ResultsError`` names the line."""
    try:
        return parse_fault(fields[: len(FAULT_COLUMNS)])
    except ValueError as problem:
        raise ResultsError(f"{path}:{line}: {problem}") from None


def _read_counts(line: int, fields: list[str], names: Sequence[str], path: Path) -> list[int]:
    numbers = fields[len(FAULT_COLUMNS) : -len(VALUE_COLUMNS)]
    named = zip(numbers, names, strict=True)
    try:
        return [parse_number(field, name) for field, name in named]
    except ValueError as problem:
        raise ResultsError(f"{path}:{line}: {problem}") from None


def _read_value(line: int, fields: list[str], path: Path) -> WordValue:
    try:
        return parse_value(*fields[-len(VALUE_COLUMNS) :])
    except ValueError as problem:
        raise ResultsError(f"{path}:{line}: {problem}") from None


def _check_rows(
    faults: list[Fault], counts: NDArray[np.int64], lines: list[int], path: Path
) -> None:
    seen: dict[int, int] = {}
    trial: list[Fault] = []
    for row, (fault, line) in enumerate(zip(faults, lines, strict=True)):
        first = seen.setdefault(fault.injection, line)
        if first == line:
            trial = [fault]
            continue
        same_trial = trial[0].injection == fault.injection
        if not same_trial or fault in trial or (counts[row] != counts[row - 1]).any():
            what = f"injection {fault.injection} is on line {first} already"
            raise ResultsError(f"{path}:{line}: {what}")
        trial.append(fault)
    row, what = first_wrong(counts)
    if what:
        raise ResultsError(f"{path}:{lines[row]}: {what}")


def fault_columns(faults: Sequence[Fault]) -> dict[str, pd.Series]:
    """The columns of the faults, as in a table of results."""
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
