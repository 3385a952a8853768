"""A results file as a table, all rows at once: each check is one operation on a column."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fi.faults.csv_row import FAULT_COLUMNS, parse_bits, parse_index, parse_layer, parse_steps
from fi.faults.fault import Fault, format_bits, format_steps
from fi.faults.word_values import VALUE_COLUMNS
from fi.metrics.counts import first_wrong
from fi.store.results_rows import HEADER, PROTECTED_HEADER, count_columns_of

#: Numbers of a results file have at most 18 digits, all of which int64 can hold.
_POWERS = 10 ** np.arange(1, 18, dtype=np.int64)


def _canonical_model(name: str) -> str:
    if len(name) > 200:
        raise ValueError(name)
    return name


#: Column -> its text as ``fault_row`` writes it; ``ValueError`` for one that is no such field.
_CANONICAL: dict[str, Callable[[str], str]] = {
    "Layer": parse_layer,
    "TensorIndex": lambda text: str(parse_index(text)),
    "Bit": lambda text: format_bits(parse_bits(text)),
    "Model": _canonical_model,
    "Step": lambda text: format_steps(parse_steps(text)),
}


@lru_cache(maxsize=1)  # the table, TensorBoard and the report read the same file one after another
def read_frame(text: str) -> pd.DataFrame | None:
    """The table of the whole lines in ``text``, as ``ResultsFile.load`` gives it.

    Returns:
        ``None`` where a row may be wrong, or is written otherwise than ``append`` writes it: only a
        reading row by row can tell.
    """
    if not text.startswith((HEADER, PROTECTED_HEADER)):
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)
            # Text as objects, not as pandas' own type, which is slow to walk over.
            types: dict[str, Any] = dict.fromkeys(
                (FAULT_COLUMNS[0], *count_columns_of(text)), "int64"
            )
            types |= dict.fromkeys((*_CANONICAL, *VALUE_COLUMNS), object)
            raw = pd.read_csv(
                io.BytesIO(text.encode()),  # StringIO takes four bytes a character
                dtype=types,
                index_col=False,
                na_filter=False,
                skip_blank_lines=False,
            )
        return _checked_frame(raw, text)
    except (ValueError, OverflowError, pd.errors.ParserWarning):
        return None


def _checked_frame(raw: pd.DataFrame, text: str) -> pd.DataFrame | None:
    """``raw`` with canonical texts and numbers, where all of its rows are right."""
    words = {name: raw.pop(name).tolist() for name in VALUE_COLUMNS}
    word_length = sum(len("".join(column)) for column in words.values())
    values = _read_values(*words.values())
    del words  # the largest part of it
    texts = {name: _Texts.of(raw[name], name) for name in _CANONICAL}
    names = count_columns_of(text)
    numbers = {name: raw[name].to_numpy() for name in (FAULT_COLUMNS[0], *names)}
    # Fields are verbatim here, except that numbers may have had signs, spaces or zeros, and that
    # there may have been more fields: the text would be longer then.
    fields = len(FAULT_COLUMNS) + len(names) + len(VALUE_COLUMNS)
    length = text.index("\n") + 1 + len(raw) * fields  # a comma or line end behind each field
    length += sum(map(_digits, numbers.values())) + sum(t.length for t in texts.values())
    if length + word_length != len(text):
        return None
    counts = np.stack([numbers[name] for name in names], axis=1)
    if first_wrong(counts)[1] or not _check_bits(texts["Bit"], texts["Model"]):
        return None
    if not _check_trials(numbers["Injection"], counts, [t.codes for t in texts.values()]):
        return None
    return pd.DataFrame(
        {
            "Injection": numbers["Injection"],
            **{name: column.series() for name, column in texts.items()},
            **{name: numbers[name] for name in names},
            **dict(zip(VALUE_COLUMNS, values, strict=True)),
        }
    )


def _read_values(golden: list[str], faulty: list[str]) -> list[NDArray[np.float64]]:
    """Both columns of words as floats, NaN where both are empty; ``ValueError`` for others."""
    if [not text for text in golden] != [not text for text in faulty]:
        raise ValueError("a value has no partner")
    return [_read_floats(column) for column in (golden, faulty)]


def _read_floats(column: list[str]) -> NDArray[np.float64]:
    numbers = np.array([float(text or "nan") for text in column], dtype=np.float64)
    if any(a != b for a, b in zip(map(repr, numbers.tolist()), column, strict=True) if b):
        raise ValueError("a value is not written as it is read")
    return numbers


@dataclass(frozen=True)
class _Texts:
    """A column of text with few different values.

    Attributes:
        values: the different ones, canonical.
        codes: the place of each row's in ``values``.
        length: characters of all rows as they are in the file, quotes included.
    """

    values: Sequence[str]
    codes: NDArray[np.int64]
    length: int

    @classmethod
    def of(cls, column: pd.Series, name: str) -> _Texts:
        """The column ``name``; ``ValueError`` where a value is no such field."""
        codes, uniques = pd.factorize(column)
        written = uniques.tolist()
        if any(quoted in text for text in written for quoted in '"\r\n'):
            raise ValueError(f"{name} has quotes or lines in it")
        lengths = np.array([len(text) + 2 * ("," in text) for text in written], np.int64)
        values = list(map(_CANONICAL[name], written))
        if len(set(values)) < len(values):  # equal faults would have different codes
            raise ValueError(f"{name} has a value that is written in two ways")
        return cls(values, codes, int(lengths[codes].sum()))

    def series(self) -> pd.Series:
        """The column again."""
        return pd.Series(np.array(self.values, dtype=object)[self.codes], dtype="str")


def _digits(numbers: NDArray[np.int64]) -> int:
    """How many digits numbers have together; ``ValueError`` for one that no field may hold."""
    if len(numbers) and not 0 <= numbers.min() <= numbers.max() < 10**18:
        raise ValueError("a number is outside its range")
    return int(np.searchsorted(_POWERS, numbers, side="right").sum()) + len(numbers)


def _check_bits(bits: _Texts, models: _Texts) -> bool:
    """Whether every fault model takes its bits; ``ValueError`` where one does not."""
    pairs = np.unique(bits.codes * len(models.values) + models.codes).tolist()
    for bit, model in (divmod(pair, len(models.values)) for pair in pairs):
        Fault(0, "", (), parse_bits(bits.values[bit]), models.values[model])
    return True


def _check_trials(
    injections: NDArray[np.int64], counts: NDArray[np.int64], codes: Sequence[NDArray[np.int64]]
) -> bool:
    """Whether rows of one injection are neighbours: different faults with the same counts."""
    again = np.flatnonzero(injections[1:] == injections[:-1]) + 1
    if len(np.unique(injections)) != len(injections) - len(again):
        return False
    in_trials = np.union1d(again - 1, again)
    faults = pd.DataFrame({name: c[in_trials] for name, c in enumerate((injections, *codes))})
    if faults.duplicated().any():
        return False
    return bool((counts[again] == counts[again - 1]).all())
