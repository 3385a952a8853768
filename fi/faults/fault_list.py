"""Fault lists: the unit of exchange and of replay, a CSV file with one row a fault."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from fi.base.text_files import FileError, Row, csv_rows, read_text, write_text
from fi.faults.csv_row import FAULT_COLUMNS, SPIKINGJET_COLUMNS, fault_list_text, parse_fault
from fi.faults.fault import Fault, group_trials
from fi.faults.fault_checks import check_known
from fi.faults.fault_sites import SiteFamily
from fi.faults.models import fault_model


class FaultListError(FileError):
    """A fault list that cannot be used; names the file, the line and what is allowed."""


def read_fault_list(
    path: str | Path, families: Sequence[SiteFamily] | None = None, steps: int | None = None
) -> list[Fault]:
    """The faults of a list, in the order of its rows.

    Lists with SpikingJET's four columns hold permanent bit flips. Rows that follow each other with
    the same injection number are one trial of several faults.

    Args:
        path: the file.
        families: the site families of the network; every fault must have its site there.
        steps: time steps of a run; every transient fault must be at one of them.

    Raises:
        FaultListError: with file, line, value and what is allowed.
    """
    path = Path(path)
    rows = csv_rows(read_text(path, FaultListError), path, FaultListError)
    width = _check_header(next(rows, None), path)
    known = None if families is None else {family.name: family for family in families}
    lines: dict[int, int] = {}  # number of the injection -> line
    faults: list[Fault] = []
    trial: list[Fault] = []
    for line, row in rows:
        try:
            faults.append(_parse(row, width, trial, lines, known, steps))
        except ValueError as problem:
            raise FaultListError(f"{path}:{line}: {problem}") from None
        fault = faults[-1]
        trial = [*trial, fault] if trial and trial[0].injection == fault.injection else [fault]
        lines.setdefault(fault.injection, line)
    if not faults:
        raise FaultListError(f"{path}: the list is empty; allowed: one fault or more")
    return faults


def _check_header(header: Row | None, path: Path) -> int:
    """The number of fields in a row."""
    line, columns = header or (1, [])
    if columns[1:4] == ["Rate", "Scope", "Seed"]:
        raise FaultListError(
            f"{path} has trials of rates, not faults; --faults.rate draws them again from the same "
            "options, and --write-faults N makes a fault list of trial N"
        )
    if tuple(columns) not in (FAULT_COLUMNS, SPIKINGJET_COLUMNS):
        raise FaultListError(
            f"{path}:{line}: the header is {','.join(columns)[:80]!r}; allowed: "
            f"{','.join(FAULT_COLUMNS)} or {','.join(SPIKINGJET_COLUMNS)}"
        )
    return len(columns)


def _parse(
    row: list[str],
    width: int,
    trial: Sequence[Fault],
    lines: dict[int, int],
    known: dict[str, SiteFamily] | None,
    steps: int | None,
) -> Fault:
    if len(row) != width:
        columns = ",".join(FAULT_COLUMNS[:width])
        raise ValueError(f"{len(row)} fields; allowed: the {width} fields {columns}")
    fault = parse_fault(row)
    fault_model(fault.model)
    same_trial = bool(trial) and trial[0].injection == fault.injection
    if fault.injection in lines and (not same_trial or fault in trial):
        raise ValueError(
            f"Injection {fault.injection} is on line {lines[fault.injection]} already; "
            "allowed: different faults of one trial, on neighbouring lines"
        )
    if known is not None:
        check_known(fault, known, steps)
    return fault


def write_fault_list(path: str | Path, faults: Iterable[Fault]) -> None:
    """Write a list; one that exists is kept, and must be the same.

    Raises:
        FaultListError: there is no fault, the faults of a trial do not stand together, another list
            is there, or the folder cannot be written.
    """
    path, faults = Path(path), list(faults)
    try:
        check_trials(faults)
    except ValueError as problem:
        raise FaultListError(f"{path} is not written: {problem}") from None
    text = fault_list_text(faults)
    if path.exists():
        _check_same(path, text)
        return
    try:
        write_text(path, text)
    except OSError as problem:
        raise FaultListError(f"{path} cannot be written: {problem.strerror}") from problem


def grow_fault_list(path: Path, faults: Sequence[Fault]) -> None:
    """Write a list that an earlier, shorter one may stand for so far.

    Raises:
        FaultListError: a list is there that does not begin like this one, or the folder cannot be
            written.
    """
    text = fault_list_text(faults)
    if path.exists():
        there = read_text(path, FaultListError)
        if there.startswith(text):
            return
        if not text.startswith(there):
            _check_same(path, text)
    try:
        write_text(path, text)
    except OSError as problem:
        raise FaultListError(f"{path} cannot be written: {problem.strerror}") from problem


def check_trials(faults: Sequence[Fault]) -> None:
    """Raise ``ValueError`` for an empty list, or one with the same injection in two places."""
    if not faults:
        raise ValueError("the fault list is empty")
    numbers = [fault.injection for fault in faults]
    if len(set(numbers)) == len(numbers):  # no trial of several faults: nothing can stand twice
        return
    trials = group_trials(faults)
    for number, times in Counter(trial[0].injection for trial in trials).items():
        if times > 1:
            raise ValueError(f"injection {number} comes twice; allowed: its faults side by side")
    for trial in trials:
        if len(set(trial)) < len(trial):
            raise ValueError(f"injection {trial[0].injection} has the same fault twice")


def _check_same(path: Path, text: str) -> None:
    if read_text(path, FaultListError) != text:
        raise FaultListError(
            f"{path} holds other faults; a list is never overwritten: take another name or seed"
        )
