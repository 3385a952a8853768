"""A test set as a file: the places of its samples, in the order in which they were chosen."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from fi.base.text_files import FileError, csv_rows, csv_text, read_text, write_text

HEADER = ["Sample"]


def write_subset(path: Path, samples: Iterable[int]) -> None:
    """Write the places of some samples in a test set, from 0 on; ``OSError`` where it cannot be."""
    write_text(path, csv_text([HEADER, *([sample] for sample in samples)]))


def read_subset(path: Path) -> list[int]:
    """The places in a file.

    Raises:
        FileError: there is no such file, or a line of it is no place, or there twice.
    """
    rows = csv_rows(read_text(path, FileError), path, FileError)
    line, header = next(rows, (1, []))
    if header != HEADER:
        raise FileError(f"{path}:{line}: the header is {','.join(header)}; allowed is Sample")
    found: dict[int, int] = {}
    for line, row in rows:
        if len(row) != 1 or not row[0].isdecimal():
            raise FileError(f"{path}:{line}: {','.join(row)}: allowed is a place from 0 on")
        if int(row[0]) in found:
            raise FileError(f"{path}:{line}: sample {row[0]} is in line {found[int(row[0])]}, too")
        found[int(row[0])] = line
    if not found:
        raise FileError(f"{path}: no sample is in it")
    return list(found)
