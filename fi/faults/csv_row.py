"""A fault as fields of a CSV row, in fault lists and in results."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import chain, islice

from fi.base.text_files import csv_text
from fi.faults.fault import Bits, Fault, Index, format_bits, format_steps

FAULT_COLUMNS = ("Injection", "Layer", "TensorIndex", "Bit", "Model", "Step")
#: The columns of SpikingJET's fault lists, whose faults are permanent bit flips.
SPIKINGJET_COLUMNS = FAULT_COLUMNS[:4]

_NUMBER = re.compile("[0-9]{1,18}")
_TUPLE = re.compile(r"\((?:N,(?: ?N(?:, ?N)*,?)?)?\)".replace("N", "[0-9]{1,18}"))
_BITS = re.compile("[0-9]{1,2}(?:-[0-9]{1,2}|(?:[+][0-9]{1,2})+)?")
_STEPS = re.compile("([0-9]{1,18})(?:-([0-9]{1,18}))?")
_LONGEST_NAME = 200
_PART = 10_000


def shown(field: str) -> str:
    """``field`` for an error message: quoted, escaped, cut where it is long."""
    return repr(field if len(field) <= 60 else f"{field[:60]}...")


def parse_number(field: str, column: str) -> int:
    """A whole number of at most 18 digits; ``ValueError`` names the column."""
    if not _NUMBER.fullmatch(field):
        raise ValueError(f"{column} is {shown(field)}; allowed: a whole number, 0 or more")
    return int(field)


@lru_cache(maxsize=65536)
def parse_index(field: str) -> Index:
    """Python's tuple, as ``(3, 101)``, ``(4,)`` or ``()``; ``ValueError`` for anything else."""
    if not _TUPLE.fullmatch(field):
        raise ValueError(
            f"TensorIndex is {shown(field)}; allowed: a tuple such as (3, 101), (4,) or ()"
        )
    return tuple(map(int, _NUMBER.findall(field)))


def parse_layer(field: str) -> str:
    """The name of a site family, as far as that can be said without the network."""
    if not (0 < len(field) <= _LONGEST_NAME and field.isprintable()):
        raise ValueError(f"Layer is {shown(field)}; allowed: a name such as fc1.weight")
    return field


@lru_cache(maxsize=4096)
def parse_bits(field: str) -> Bits:
    """``11`` is one bit, ``3-5`` are neighbours, ``3+7+9`` a set, nothing is no bit."""
    if not field:
        return ()
    if not _BITS.fullmatch(field):
        raise ValueError(f"Bit is {shown(field)}; allowed: a bit such as 11, or 3-5, or 3+7+9")
    first, dash, last = field.partition("-")
    if not dash:
        return tuple(map(int, field.split("+")))
    if int(first) >= int(last):
        raise ValueError(f"Bit is {shown(field)}; allowed: the lower bit first, as 3-5")
    return tuple(range(int(first), int(last) + 1))


def parse_steps(field: str) -> range | None:
    """Nothing is permanent, ``5`` one step, ``3-7`` a window, both ends included."""
    if not field:
        return None
    found = _STEPS.fullmatch(field)
    if not found or int(found[2] or found[1]) < int(found[1]):
        raise ValueError(f"Step is {shown(field)}; allowed: nothing, a step, or a window as 3-7")
    return range(int(found[1]), int(found[2] or found[1]) + 1)


def parse_fault(row: Sequence[str]) -> Fault:
    """The fault of a row of four (SpikingJET) or six fields; ``ValueError`` names the field."""
    injection, layer, index, bit, *rest = row
    model, step = rest or ("bit-flip", "")
    return Fault(
        parse_number(injection, "Injection"),
        parse_layer(layer),
        parse_index(index),
        parse_bits(bit),
        model if len(model) <= _LONGEST_NAME else shown(model),
        parse_steps(step),
    )


def fault_row(fault: Fault) -> tuple[object, ...]:
    """The six fields of ``fault``, the inverse of ``parse_fault``."""
    bits, steps = format_bits(fault.bits), format_steps(fault.steps)
    return fault.injection, fault.layer, fault.index, bits, fault.model, steps


def fault_lines(faults: Iterable[Fault]) -> Iterator[str]:
    """The line of each fault without its end, as ``csv_text`` of its ``fault_row`` has it."""
    for fault in faults:
        what = _format_fault(fault.bits, fault.model, fault.steps)
        yield f"{fault.injection},{_format_site(fault.layer, fault.index)},{what}"


def fault_list_text(faults: Iterable[Fault]) -> str:
    """The text of a fault list."""
    return "".join(fault_list_parts(faults))


def fault_list_parts(faults: Iterable[Fault]) -> Iterator[str]:
    """The text of a fault list, some thousand lines at a time: all of them take much memory."""
    lines = chain([",".join(FAULT_COLUMNS)], fault_lines(faults))
    while part := list(islice(lines, _PART)):
        yield "\n".join([*part, ""])


@lru_cache(maxsize=65536)
def _format_site(layer: str, index: Index) -> str:
    return csv_text([(layer, index)])[:-1]


@lru_cache(maxsize=65536)
def _format_fault(bits: Bits, model: str, steps: range | None) -> str:
    return csv_text([(format_bits(bits), model, format_steps(steps))])[:-1]
