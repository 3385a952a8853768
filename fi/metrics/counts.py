"""What faults did, counted over the samples of the test set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fi.metrics.outcomes import DETECTED, OUTCOMES

#: Counts over samples, per fault.
COUNT_COLUMNS = ("samples", *OUTCOMES, "non_finite", "correct", "golden_correct")
#: The same in a campaign on a memory with a code.
PROTECTED_COLUMNS = (*COUNT_COLUMNS, DETECTED)
#: Counts of a group of faults: ``COUNT_COLUMNS`` -> integers ``[faults]``.
Counts = Mapping[str, ArrayLike]
#: Counts of some faults by column of the results file, int64 ``[faults]`` each.
GroupCounts = Mapping[str, NDArray[np.int64]]


def count_table(
    counts: Counts, faults: int, names: Sequence[str] = COUNT_COLUMNS
) -> NDArray[np.int64]:
    """The counts as an array ``[faults, columns]``.

    Args:
        counts: integers ``[faults]`` by the names of the columns.
        faults: how many there are.
        names: of the columns, ``COUNT_COLUMNS`` or ``PROTECTED_COLUMNS``.

    Raises:
        ValueError: a column is missing or of another length, no integers, or inconsistent.

    >>> one = dict.fromkeys(COUNT_COLUMNS, [0]) | {"samples": [10], "sdc_1": [4]}
    >>> count_table(one | {"fully_masked": [6]}, faults=1)
    array([[10,  6,  4,  0,  0,  0,  0,  0,  0,  0]])
    >>> count_table(one, faults=2)
    Traceback (most recent call last):
        ...
    ValueError: samples is int64 of shape (1,); allowed: integers of shape (2,)
    """
    missing = [name for name in names if name not in counts]
    if missing:
        raise ValueError(f"no counts for the columns {', '.join(missing)}")
    columns = {name: np.asarray(counts[name]) for name in names}
    for name, values in columns.items():
        if values.shape != (faults,) or values.dtype.kind not in "iu":
            raise ValueError(
                f"{name} is {values.dtype} of shape {values.shape}; "
                f"allowed: integers of shape {(faults,)}"
            )
    table = np.stack(list(columns.values()), axis=1).astype(np.int64)
    row, what = first_wrong(table)
    if what:
        raise ValueError(f"fault {row} of the group: {what}")
    return table


def first_wrong(table: NDArray[np.int64]) -> tuple[int, str]:
    """The first row ``[faults, columns]`` that counts no whole number of pairs, and why.

    The columns are ``COUNT_COLUMNS`` or ``PROTECTED_COLUMNS``.
    """
    samples = table[:, 0]
    outcomes = table[:, 1 : 1 + len(OUTCOMES)].sum(axis=1)
    outcomes += table[:, len(COUNT_COLUMNS) :].sum(axis=1)
    tests = (
        (outcomes != samples, "the outcomes do not add up to samples"),
        (samples < 1, "samples is not positive"),
        ((table < 0).any(axis=1), "a count is negative"),
        ((table > samples[:, None]).any(axis=1), "a count is above samples"),
    )
    for wrong, what in tests:
        if wrong.any():
            row = int(wrong.argmax())
            values = ", ".join(
                f"{name}={value}"
                for name, value in zip(PROTECTED_COLUMNS, table[row], strict=False)
            )
            return row, f"{what}: {values}"
    return 0, ""
