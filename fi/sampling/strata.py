"""The parts of a fault space from which faults are drawn on their own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from fi.faults.fault import Bits, format_bits, format_steps
from fi.faults.fault_space import FaultNumbers, FaultSpace
from fi.statistics.survey_design import (
    BIT_WISE,
    FAMILY_WISE,
    NETWORK,
    Design,
    FamilyFaults,
    stratum_name,
)


class FaultNumberSequence(Protocol):
    """Some numbers of a fault space, never listed."""

    @property
    def size(self) -> int:
        """How many, of any magnitude."""

    def __getitem__(self, position: int) -> int:
        """The number at ``position``, from 0 to ``size - 1``."""


@dataclass(frozen=True)
class Span:
    """Neighbouring numbers, as of a whole family."""

    first: int
    size: int

    def __getitem__(self, position: int) -> int:
        return self.first + position


@dataclass(frozen=True)
class Stratum:
    """A part of the fault space.

    Attributes:
        name: as ``stratum_name`` gives it.
        parts: the numbers of its faults in the space.
        family: its site family, where it is within one.
        bits: the bits that all its faults hit, where that is so.
    """

    name: str
    parts: tuple[FaultNumberSequence, ...]
    family: str = ""
    bits: Bits = ()

    @property
    def population(self) -> int:
        """The number of its faults."""
        return sum(part.size for part in self.parts)

    def number(self, position: int) -> int:
        """The number in the space of its ``position``-th fault."""
        for part in self.parts:
            if position < part.size:
                return part[position]
            position -= part.size
        raise IndexError(f"position {position} is behind the last fault of {self.name}")


def stratify(space: FaultSpace, scheme: str) -> list[Stratum]:
    """The strata of a scheme, in the order of the network.

    Network-wise and exhaustive: one. Layer-wise: one for each module, with the weights and biases,
    or the parameters, states and spikes, that it has. Family-wise: one for each site family.
    Data-unaware and data-aware: one for each site family and bit (or set of bits; the whole word,
    of models that take no bit).
    """
    if scheme in BIT_WISE:
        return [
            _bit_stratum(space, f.name, bits)
            for f in space.families
            for bits in space.choices_of(f.name)
        ]
    if scheme not in ("layer-wise", FAMILY_WISE):
        return [Stratum(NETWORK, (Span(0, space.size),))]
    parts: dict[str, list[FaultNumberSequence]] = {}
    for family in space.families:
        span = Span(space.range_of(family.name).start, space.size_of(family))
        parts.setdefault(stratum_name(scheme, family.name, ""), []).append(span)
    return [Stratum(name, tuple(spans)) for name, spans in parts.items()]


def _bit_stratum(space: FaultSpace, family: str, bits: Bits) -> Stratum:
    numbers: FaultNumbers = space.numbers_with(family, bits)
    name = stratum_name(BIT_WISE[0], family, format_bits(bits))
    return Stratum(name, (numbers,), family, bits)


def describe_design(
    space: FaultSpace, scheme: str, together: int = 1, within_layer: bool = False
) -> Design:
    """What estimates need to know of a draw from ``space``, of trials of ``together`` faults."""
    families = tuple(
        FamilyFaults(family.name, family.words, _bits_by_model(space, family.name))
        for family in space.families
    )
    return Design(scheme, families, tuple(map(format_steps, space.steps)), together, within_layer)


def _bits_by_model(space: FaultSpace, family: str) -> Mapping[str, Sequence[str]]:
    variants = space.variants(space.family(family))
    return {v.model: tuple(map(format_bits, v.choices)) for v in variants}
