"""Text files that are either read whole, with the place of every error, or written whole."""

from __future__ import annotations

import csv
import io
import os
import platform
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

import yaml

from fi.base.errors import UserError

Row = tuple[int, list[str]]
Parsed = TypeVar("Parsed")


class FileError(UserError, ValueError):
    """Something is wrong with a file; the message says which one and, where known, the line."""


def write_text(path: Path, text: str) -> None:
    """Write ``text`` as UTF-8; errors and what a reader sees as ``write_bytes``."""
    write_bytes(path, text.encode())


def write_bytes(path: Path, data: bytes) -> None:
    """Write ``data`` durably: a reader sees the old file or the whole new one.

    Raises:
        OSError: the folder cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{platform.node()}.{os.getpid()}.tmp")
    try:
        with draft.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def csv_text(rows: Iterable[Sequence[object]]) -> str:
    """CSV of ``rows`` with ``\\n`` line ends; fields are quoted only where they must be."""
    out = io.StringIO(newline="")
    csv.writer(out, lineterminator="\n").writerows(rows)
    return out.getvalue()


def read_text(path: Path, error: type[FileError]) -> str:
    """The text of a UTF-8 file; a byte order mark is dropped.

    Raises:
        error: the file is missing, a folder, not readable, not UTF-8, or has NUL bytes.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise error(f"{path}: no such file") from None
    except IsADirectoryError:
        raise error(f"{path} is a folder, not a file") from None
    except OSError as problem:
        raise error(f"{path} cannot be read: {problem.strerror}") from problem
    if b"\0" in data:
        raise error(f"{path}:{_line_of(data, data.index(0))}: NUL byte; allowed: text in UTF-8")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as problem:
        line = _line_of(data, problem.start)
        raise error(f"{path}:{line}: not UTF-8 ({problem.reason}); allowed: UTF-8") from None


def _line_of(data: bytes, position: int) -> int:
    return data.count(b"\n", 0, position) + 1


def csv_rows(text: str, path: Path, error: type[FileError]) -> Iterator[Row]:
    """``(line, fields)`` of each row of CSV ``text``; lines count from 1, blank ones are skipped.

    Raises:
        error: a row is not CSV, with the line where it starts.
    """
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    while True:
        line = reader.line_num + 1
        try:
            row = next(reader)
        except StopIteration:
            return
        except csv.Error as problem:
            raise error(f"{path}:{line}: not CSV: {problem}") from None
        if row:
            yield line, row


def read_parsed(path: Path, parse: Callable[[str], Parsed]) -> Parsed:
    """What ``parse`` makes of a file of YAML; ``FileError`` names the file and what is wrong.

    ``parse`` raises ``ValueError`` or ``yaml.YAMLError``.
    """
    text = read_text(path, FileError)
    try:
        return parse(text)
    except (yaml.YAMLError, ValueError) as problem:
        raise FileError(f"{path}: {' '.join(str(problem).split())}") from None
