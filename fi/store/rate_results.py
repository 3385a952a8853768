"""The results file of a campaign of rates: one row a trial."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import pandas as pd

from fi.base.text_files import Row, csv_rows, csv_text, read_text
from fi.faults.csv_row import parse_layer, parse_number, parse_steps, shown
from fi.faults.fault import format_steps
from fi.faults.hits.rate_trial import RateTrial
from fi.metrics.counts import COUNT_COLUMNS, PROTECTED_COLUMNS, Counts, count_table, first_wrong
from fi.store.results_file import ResultsFile
from fi.store.results_rows import ResultsError

#: What says which faults a trial has: they are drawn from it when it is run.
TRIAL_COLUMNS = ("Injection", "Rate", "Scope", "Seed", "Faults", "Step")
RATE_COLUMNS = TRIAL_COLUMNS + COUNT_COLUMNS
#: The same of a memory with a code.
PROTECTED_RATE_COLUMNS = TRIAL_COLUMNS + PROTECTED_COLUMNS
_USUAL = len(RATE_COLUMNS)


def trial_row(trial: RateTrial) -> tuple[Any, ...]:
    """The fields of a trial, in a list and in results."""
    steps = format_steps(trial.steps)
    return trial.injection, repr(trial.rate), trial.scope, trial.seed, trial.hits, steps


def trial_list_text(trials: Sequence[RateTrial]) -> str:
    """The text of a list of trials."""
    return csv_text([TRIAL_COLUMNS, *map(trial_row, trials)])


class RateResultsFile(ResultsFile):
    """The results of a campaign of rates on disk; as ``ResultsFile``, one row a trial.

    The same trials and counts give the same bytes.
    """

    header: ClassVar[str] = csv_text([RATE_COLUMNS])

    def append(
        self, trials: Sequence[Any], counts: Counts, values: Sequence[Any] | None = None
    ) -> None:
        try:
            table = count_table(counts, len(trials), self.counted)
        except ValueError as problem:
            raise ResultsError(f"{self.path}: {problem}") from None
        rows = zip(map(trial_row, trials), table.tolist(), strict=True)
        self._append_rows(csv_text([*t, *c] for t, c in rows))

    def trial_rows(self) -> list[list[list[str]]]:
        return [[fields] for _, fields in self._rows(self._text())]

    def load(self, whole: bool = True) -> pd.DataFrame:
        """One row a trial: ``Injection``, ``Seed``, ``Faults`` and the counts are int64.

        ``Rate`` is float64; ``Scope`` and ``Step`` are text.
        """
        text = self._text(whole)
        rows = list(self._rows(text))
        columns = PROTECTED_RATE_COLUMNS if rows and len(rows[0][1]) > _USUAL else RATE_COLUMNS
        parsed = [self._parse(line, fields) for line, fields in rows]
        table = np.array([row[len(TRIAL_COLUMNS) :] for row in parsed], np.int64)
        row, what = first_wrong(table.reshape(-1, len(columns) - len(TRIAL_COLUMNS)))
        if what:
            raise ResultsError(f"{self.path}:{rows[row][0]}: {what}")
        seen: dict[int, int] = {}
        for (line, _), fields in zip(rows, parsed, strict=True):
            if (first := seen.setdefault(fields[0], line)) != line:
                what = f"injection {fields[0]} is on line {first} already"
                raise ResultsError(f"{self.path}:{line}: {what}")
        return _make_frame(parsed, columns)

    @classmethod
    def nothing(cls) -> pd.DataFrame:
        return _make_frame([])

    def check_constant(self, constant: Mapping[str, int]) -> None:
        for line, fields in self._rows(self._text(whole=False)):
            for column, value in constant.items():
                found = fields[RATE_COLUMNS.index(column)]
                if found != str(value):
                    raise ResultsError(f"{self.path}:{line}: {column} is {found}, here {value}")

    def check_belongs(self, faults: Sequence[Any]) -> None:
        text = read_text(self.path, ResultsError)
        known = {trial.injection: list(map(str, trial_row(trial))) for trial in faults}
        for line, fields in self._rows(text[: text.rfind("\n") + 1]):
            mine = fields[: len(TRIAL_COLUMNS)]
            listed = known.get(parse_number(fields[0], "Injection"))
            if mine != listed:
                there = "not in the list" if listed is None else ",".join(listed)
                raise ResultsError(
                    f"{self.path}:{line}: trial {','.join(mine)}; in the list it is {there}"
                )

    def drop_unfinished(self, faults: Sequence[Any]) -> None:
        """Nothing to do: a trial is one row."""

    def _rows(self, text: str) -> Iterator[Row]:
        """Line and fields of each row; ``ResultsError`` where they are not those of such a file."""
        if text and not text.endswith("\n"):
            line = text.count("\n") + 1
            raise ResultsError(f"{self.path}:{line}: the last line is cut off; repair drops it")
        rows = csv_rows(text, self.path, ResultsError)
        _, header = next(rows, (1, list(RATE_COLUMNS)))
        if tuple(header) not in (RATE_COLUMNS, PROTECTED_RATE_COLUMNS):
            found, wanted = ",".join(header)[:80], self.header[:-1]
            raise ResultsError(f"{self.path}:1: the header is {found!r}; allowed: {wanted}")
        for line, fields in rows:
            if len(fields) != len(header):
                raise ResultsError(
                    f"{self.path}:{line}: {len(fields)} fields; allowed: {len(header)}"
                )
            yield line, fields

    def _parse(self, line: int, fields: list[str]) -> list[Any]:
        injection, rate, scope, seed, hits, step, *counts = fields
        try:
            return [
                parse_number(injection, "Injection"),
                parse_rate(rate),
                parse_layer(scope),
                parse_number(seed, "Seed"),
                parse_number(hits, "Faults"),
                format_steps(parse_steps(step)),
                *(parse_number(c, n) for c, n in zip(counts, PROTECTED_COLUMNS, strict=False)),
            ]
        except ValueError as problem:
            raise ResultsError(f"{self.path}:{line}: {problem}") from None


class ProtectedRateResultsFile(RateResultsFile):
    """The results in a memory with a code: one count more; ``RateResultsFile`` reads both."""

    header: ClassVar[str] = csv_text([PROTECTED_RATE_COLUMNS])
    counted: ClassVar[tuple[str, ...]] = PROTECTED_COLUMNS


def parse_rate(field: str) -> float:
    """A rate as it is written, above 0 and 1 at most; ``ValueError`` for anything else."""
    try:
        rate = float(field)
    except ValueError:
        rate = 0.0
    if not 0 < rate <= 1 or repr(rate) != field:
        raise ValueError(f"Rate is {shown(field)}; allowed: a number as 1e-05, 1.0 at most")
    return rate


def _make_frame(rows: Sequence[Sequence[Any]], names: Sequence[str] = RATE_COLUMNS) -> pd.DataFrame:
    columns = list(zip(*rows, strict=True)) or [()] * len(names)
    types = {"Rate": "float64", "Scope": "str", "Step": "str"}
    return pd.DataFrame(
        {
            name: pd.Series(column, dtype=types.get(name, "int64"))
            for name, column in zip(names, columns, strict=True)
        }
    )
