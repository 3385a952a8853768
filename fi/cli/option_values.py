"""What the values of options mean: sizes, bits, times."""

from __future__ import annotations

import re
from typing import Any

from fi.base.errors import UserError
from fi.cli.error_text import NO_WORDS
from fi.faults.bits import WORD_BITS
from fi.faults.csv_row import parse_steps
from fi.faults.fault import Bits
from fi.statistics.intervals import METHODS


def read_words(value: Any) -> str:
    """What an option of words reads in a file, where YAML makes numbers and lists of some.

    >>> read_words(1e-4), read_words([1e-4, 1e-05]), read_words(30), read_words("23-31")
    ('0.0001', '0.0001,1e-05', '30', '23-31')
    """
    if isinstance(value, list):
        return ",".join(map(read_words, value))
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        raise ValueError(f"{value}: {NO_WORDS}")
    return str(value)


def split_words(text: str) -> tuple[str, ...]:
    return tuple(word.strip() for word in text.split(",") if word.strip())


def parse_size(text: str) -> int:
    """The bytes in ``4GB``, ``512 MiB`` or ``100000000``; at least 1 MB."""
    found = re.fullmatch(r"([0-9]*\.?[0-9]+) *([kmgt]?)(i?)b?", text.strip().lower())
    size = 0.0
    if found:
        base = 1024 if found[3] else 1000
        size = float(found[1]) * base ** " kmgt".index(found[2] or " ")
    if size < 10**6:
        raise UserError(f"--memory {text}: allowed are sizes from 1MB on, as 512MB or 4GB")
    return int(size)


def parse_times(text: str) -> dict[str, Any]:
    """The part of a plan that says when faults are active."""
    if text in ("permanent", "transient"):
        return {"transient": text == "transient"}
    length = re.fullmatch("window:([1-9][0-9]{0,8})", text)
    if length:
        return {"transient": True, "window": int(length[1])}
    try:
        window = parse_steps(text)
    except ValueError:
        window = None
    if window is None:
        raise UserError(
            f"--faults.steps {text}: allowed are permanent, transient, window:N, a step, or a "
            "window as 3-7"
        )
    return {"during": (window[0], window[-1])}


def parse_bit_sets(text: str, burst: int = 1) -> tuple[int | Bits, ...]:
    """The bits in ``0,23-31,3+7``: numbers in ascending order, then sets of several.

    With a ``burst`` each number is the lowest of so many adjacent bits.
    """
    bits: set[int] = set()
    sets: dict[Bits, None] = {}
    for part in split_words(text):
        if not re.fullmatch("[0-9]{1,3}(-[0-9]{1,3}|([+][0-9]{1,3})+)?", part):
            raise UserError(
                f"--faults.bits {text}: allowed are numbers, ranges and sets, as 0,23-31,3+7"
            )
        if "+" in part:
            sets[tuple(sorted({int(bit) for bit in part.split("+")}))] = None
        else:
            first, _, last = part.partition("-")
            bits.update(range(int(first), int(last or first) + 1))
    if not 1 <= burst <= WORD_BITS:
        raise UserError(f"--faults.burst {burst}: allowed is 1 to {WORD_BITS}")
    if burst > 1 and not bits:
        raise UserError(
            f"--faults.burst {burst} is of bits as 0-31; --faults.bits {text} has sets alone"
        )
    if burst == 1:
        return (*sorted(bits), *sets)
    starts = (bit for bit in sorted(bits) if bit + burst <= WORD_BITS)
    return (*(tuple(range(bit, bit + burst)) for bit in starts), *sets)


def read_method(text: str | None) -> str | None:
    """The method of intervals that ``--interval`` names; ``UserError`` for an unknown one."""
    if text is not None and text not in METHODS:
        raise UserError(f"--interval {text}: allowed are {', '.join(METHODS)}")
    return text
