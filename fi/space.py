"""The fault space: every (site, fault model, step, bit), counted and indexed, never listed."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from math import prod

from fi.faults import Fault, Index, fault_model
from fi.sites import SiteFamily
from fi.words import WORD_BITS


def unravel(number: int, shape: Sequence[int]) -> Index:
    """The index of the ``number``-th word of a tensor of ``shape``, in row-major order."""
    index: list[int] = []
    for size in reversed(shape):
        number, digit = divmod(number, size)
        index.append(digit)
    return tuple(reversed(index))


def ravel(index: Sequence[int], shape: Sequence[int]) -> int:
    """The row-major number of the word at ``index``."""
    number = 0
    for digit, size in zip(index, shape, strict=True):
        number = number * size + digit
    return number


@dataclass(frozen=True)
class FaultSpace:
    """All faults that a campaign may draw: ``len(space)`` of them, ``space[i]`` gives one.

    The number of a fault is mixed radix: family, word, model, step, bit (the bit moves fastest).

    Attributes:
        families: the site families.
        models: names of fault models.
        bits: the bits of a word that may be hit.
        steps: the time steps; ``(None,)`` is permanent.
    """

    families: tuple[SiteFamily, ...]
    models: tuple[str, ...] = ("bit-flip",)
    bits: tuple[int, ...] = tuple(range(WORD_BITS))
    steps: tuple[int | None, ...] = (None,)
    _ends: tuple[int, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        for name in self.models:
            fault_model(name)
        ends = accumulate(family.words * self.faults_per_word for family in self.families)
        object.__setattr__(self, "_ends", tuple(ends))
        if not self.size:
            raise ValueError("the fault space is empty: no site, model, bit or step is left")

    @property
    def faults_per_word(self) -> int:
        """How many faults every word has."""
        return prod((len(self.models), len(self.steps), len(self.bits)))

    @property
    def size(self) -> int:
        """The number of faults; unlike ``len``, of any magnitude."""
        return self._ends[-1] if self._ends else 0

    def __len__(self) -> int:
        return self.size

    def size_of(self, family: SiteFamily) -> int:
        """The number of faults in one family."""
        return family.words * self.faults_per_word

    def range_of(self, name: str) -> range:
        """The fault numbers of the family ``name``."""
        position = [family.name for family in self.families].index(name)
        start = self._ends[position - 1] if position else 0
        return range(start, self._ends[position])

    def fault(self, number: int, injection: int = 0) -> Fault:
        """The ``number``-th fault of the space, as row ``injection`` of a list."""
        if not 0 <= number < self.size:
            raise IndexError(f"fault {number} is outside the space: 0 to {self.size - 1}")
        position = bisect_right(self._ends, number)
        family = self.families[position]
        number -= self._ends[position - 1] if position else 0
        number, bit = divmod(number, len(self.bits))
        number, step = divmod(number, len(self.steps))
        word, model = divmod(number, len(self.models))
        return Fault(
            injection,
            family.name,
            unravel(word, family.shape),
            self.bits[bit],
            self.models[model],
            self.steps[step],
        )

    def __getitem__(self, number: int) -> Fault:
        return self.fault(number)

    def number(self, fault: Fault) -> int:
        """The inverse of ``fault``; ``ValueError`` where it is not in this space."""
        span = self.range_of(fault.layer)
        family = next(f for f in self.families if f.name == fault.layer)
        number = ravel(fault.index, family.shape) * len(self.models)
        number += self.models.index(fault.model)
        number = number * len(self.steps) + self.steps.index(fault.step)
        return span.start + number * len(self.bits) + self.bits.index(fault.bit)


def check_fault(fault: Fault, families: Sequence[SiteFamily], steps: int | None = None) -> None:
    """Raise ``ValueError``, naming what is allowed, for a fault that this network cannot have."""
    check_known(fault, {family.name: family for family in families}, steps)


def check_known(fault: Fault, known: Mapping[str, SiteFamily], steps: int | None = None) -> None:
    """``check_fault`` for many faults: ``known`` has the site families by name."""
    if fault.layer not in known:
        raise ValueError(f"unknown layer {fault.layer!r}; known: {', '.join(known)}")
    shape = known[fault.layer].shape
    inside = len(fault.index) == len(shape) and all(
        0 <= digit < size for digit, size in zip(fault.index, shape, strict=False)
    )
    if not inside:
        raise ValueError(f"index {fault.index} is outside {fault.layer} of shape {shape}")
    if steps is not None and fault.step is not None and fault.step >= steps:
        raise ValueError(f"step {fault.step} is after the last one: the run has {steps} steps")
