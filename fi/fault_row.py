"""A fault as fields of a CSV row, in fault lists and in results."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache

from fi.faults import Fault, Index

FAULT_COLUMNS = ("Injection", "Layer", "TensorIndex", "Bit", "Model", "Step")
#: The columns of SpikingJET's fault lists, whose faults are permanent bit flips.
SPIKINGJET_COLUMNS = FAULT_COLUMNS[:4]

_NUMBER = re.compile("[0-9]{1,18}")
_TUPLE = re.compile(r"\((?:N,(?: ?N(?:, ?N)*,?)?)?\)".replace("N", "[0-9]{1,18}"))
_LONGEST_NAME = 200


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


def parse_fault(row: Sequence[str]) -> Fault:
    """The fault of a row of four (SpikingJET) or six fields; ``ValueError`` names the field."""
    injection, layer, index, bit, *rest = row
    model, step = rest or ("bit-flip", "")
    return Fault(
        parse_number(injection, "Injection"),
        parse_layer(layer),
        parse_index(index),
        parse_number(bit, "Bit"),
        model if len(model) <= _LONGEST_NAME else shown(model),
        parse_number(step, "Step") if step else None,
    )


def fault_row(fault: Fault) -> tuple[object, ...]:
    """The six fields of ``fault``, the inverse of ``parse_fault``."""
    step = "" if fault.step is None else fault.step
    return fault.injection, fault.layer, fault.index, fault.bit, fault.model, step
