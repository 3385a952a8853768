"""The fault space: every (site, fault model, step, bit), counted and indexed, never listed."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import accumulate

from fi.faults.bits import WORD_BITS
from fi.faults.fault import Bits, Fault, Index
from fi.faults.fault_sites import Kind, SiteFamily
from fi.faults.models import fault_model


@lru_cache(maxsize=65536)  # the faults of a word share its index
def unravel(number: int, shape: tuple[int, ...]) -> Index:
    """The index of the ``number``-th word of a tensor of ``shape``, in row-major order."""
    index: list[int] = []
    for size in reversed(shape):
        number, digit = divmod(number, size)
        index.append(digit)
    return tuple(reversed(index))


def ravel(index: Sequence[int], shape: Sequence[int]) -> int:
    """The row-major number of the word at ``index``, the inverse of ``unravel``.

    >>> ravel((2, 1), (3, 4)), unravel(9, (3, 4))
    (9, (2, 1))
    """
    number = 0
    for digit, size in zip(index, shape, strict=True):
        number = number * size + digit
    return number


@dataclass(frozen=True)
class Variant:
    """What one fault model can do to every word of a family.

    Attributes:
        model: its name.
        choices: the bits that it may hit, one choice a fault; ``((),)`` for a model of whole words.
    """

    model: str
    choices: tuple[Bits, ...]


@dataclass(frozen=True)
class FaultSpace:
    """All faults that a campaign may draw: ``space.size`` of them, ``space[i]`` gives one.

    The number of a fault is mixed radix: family, word, model, time, bits (the bits move fastest). A
    model stands only in families of its kinds, and a choice of bits only where the word has them;
    ``left_out`` says which families have no fault at all.

    Attributes:
        families: the site families; of those that are given, the ones that have a fault.
        models: names of fault models.
        bits: what of a word may be hit, one choice a fault: a bit, or a tuple of bits.
        steps: when a fault is active, one choice a fault; ``None`` is permanent.
        left_out: names of the given families that have none: no model fits them.

    Raises:
        ValueError: there is no fault at all.

    >>> from fi.faults.fault_sites import Kind, SiteFamily
    >>> weights = SiteFamily("fc1.weight", (100, 50), Kind.SYNAPSE)
    >>> space = FaultSpace((weights,), models=("bit-flip", "dead"), bits=(30, 31))
    >>> space.size  # 5,000 words x (2 bits + 1 whole word)
    15000
    >>> print(space[4])
    bit-flip of bit 31 in fc1.weight[0, 1]
    >>> space.number(space[4])
    4
    """

    families: tuple[SiteFamily, ...]
    models: tuple[str, ...] = ("bit-flip",)
    bits: tuple[int | Bits, ...] = tuple(range(WORD_BITS))
    steps: tuple[range | None, ...] = (None,)
    left_out: tuple[str, ...] = field(init=False, compare=False)
    _menus: dict[tuple[Kind, int], tuple[Variant, ...]] = field(
        init=False, repr=False, compare=False
    )
    _ends: tuple[int, ...] = field(init=False, repr=False, compare=False)
    _positions: dict[str, int] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        sorts = {(family.kind, family.width) for family in self.families}
        self._set("_menus", {sort: self._menu(*sort) for sort in sorts})
        given = self.families
        self._set("families", tuple(family for family in given if self.faults_per_word(family)))
        kept = {family.name for family in self.families}
        self._set("left_out", tuple(f.name for f in given if f.name not in kept))
        self._set("_ends", tuple(accumulate(map(self.size_of, self.families))))
        self._set(
            "_positions", {family.name: position for position, family in enumerate(self.families)}
        )
        if not self.size:
            raise ValueError(
                "the fault space is empty: no site, model, bit or step is left "
                f"(models {', '.join(self.models)}; sites {', '.join(f.name for f in given)})"
            )

    def _set(self, name: str, value: object) -> None:
        object.__setattr__(self, name, value)

    def _menu(self, kind: Kind, width: int) -> tuple[Variant, ...]:
        """The models and bits that fit words of that kind and width."""
        choices = tuple((bits,) if isinstance(bits, int) else bits for bits in self.bits)
        fitting = tuple(bits for bits in choices if max(bits) < width)
        variants = []
        for name in self.models:
            model = fault_model(name)
            bits = fitting if model.takes_bits else ((),)
            if kind in model.kinds and bits:
                variants.append(Variant(name, bits))
        return tuple(variants)

    @property
    def transient_families(self) -> list[str]:
        """The families in which a fault may last for some steps: all, or none."""
        transient = any(time is not None for time in self.steps)
        return [family.name for family in self.families] if transient else []

    def variants(self, family: SiteFamily) -> tuple[Variant, ...]:
        """What may happen to every word of ``family``."""
        return self._menus[family.kind, family.width]

    def faults_per_word(self, family: SiteFamily) -> int:
        """How many faults every word of ``family`` has."""
        choices = sum(len(variant.choices) for variant in self.variants(family))
        return choices * len(self.steps)

    @property
    def size(self) -> int:
        """The number of faults; unlike ``len``, of any magnitude."""
        return self._ends[-1] if self._ends else 0

    def __len__(self) -> int:
        return self.size

    def size_of(self, family: SiteFamily) -> int:
        """The number of faults in one family."""
        return family.words * self.faults_per_word(family)

    def family(self, name: str) -> SiteFamily:
        """The family of that name; ``KeyError`` where it has no fault."""
        return self.families[self._positions[name]]

    def range_of(self, name: str) -> range:
        """The fault numbers of the family ``name``."""
        position = self._positions[name]
        start = self._ends[position - 1] if position else 0
        return range(start, self._ends[position])

    def choices_of(self, name: str) -> tuple[Bits, ...]:
        """The choices of bits in the family ``name``, each once; ``()`` is the whole word."""
        choices = (bits for v in self.variants(self.family(name)) for bits in v.choices)
        return tuple(dict.fromkeys(choices))

    def numbers_with(self, name: str, bits: Bits) -> FaultNumbers:
        """The numbers of the family ``name`` whose faults hit just ``bits``, of any model."""
        family, blocks, start = self.family(name), [], 0
        for variant in self.variants(family):
            if bits in variant.choices:
                blocks.append((start + variant.choices.index(bits), len(variant.choices)))
            start += len(self.steps) * len(variant.choices)
        first = self.range_of(name).start
        return FaultNumbers(first, family.words, start, len(self.steps), tuple(blocks))

    def fault(self, number: int, injection: int = 0) -> Fault:
        """The ``number``-th fault of the space, as row ``injection`` of a list."""
        if not 0 <= number < self.size:
            raise IndexError(f"fault {number} is outside the space: 0 to {self.size - 1}")
        position = bisect_right(self._ends, number)
        family = self.families[position]
        number -= self._ends[position - 1] if position else 0
        word, number = divmod(number, self.faults_per_word(family))
        for variant in self.variants(family):
            if number < len(self.steps) * len(variant.choices):
                break
            number -= len(self.steps) * len(variant.choices)
        step, bits = divmod(number, len(variant.choices))
        return Fault(
            injection,
            family.name,
            unravel(word, family.shape),
            variant.choices[bits],
            variant.model,
            self.steps[step],
        )

    def __getitem__(self, number: int) -> Fault:
        return self.fault(number)

    def number(self, fault: Fault) -> int:
        """The inverse of ``fault``; ``ValueError`` where it is not in this space."""
        if fault.layer not in self._positions:
            raise ValueError(f"{fault} is not in this fault space: {fault.layer} has none")
        family = self.family(fault.layer)
        number = self.range_of(fault.layer).start
        number += ravel(fault.index, family.shape) * self.faults_per_word(family)
        for variant in self.variants(family):
            if variant.model == fault.model:
                step, bits = self.steps.index(fault.steps), variant.choices.index(fault.bits)
                return number + step * len(variant.choices) + bits
            number += len(self.steps) * len(variant.choices)
        raise ValueError(f"{fault} is not in this fault space: models {', '.join(self.models)}")


@dataclass(frozen=True)
class FaultNumbers:
    """Some faults of one family, evenly spread over it: ``numbers[i]`` for ``i < numbers.size``.

    Attributes:
        first: number of the first fault of the family.
        words: of the family.
        per_word: faults of every word.
        steps: choices of time.
        blocks: of every model that has them, the offset within a word, and how far apart they are.
    """

    first: int
    words: int
    per_word: int
    steps: int
    blocks: tuple[tuple[int, int], ...]

    @property
    def size(self) -> int:
        """How many they are; unlike ``len``, of any magnitude."""
        return self.words * self.steps * len(self.blocks)

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, position: int) -> int:
        if not 0 <= position < self.size:
            raise IndexError(f"position {position} is outside: 0 to {self.size - 1}")
        position, step = divmod(position, self.steps)
        word, block = divmod(position, len(self.blocks))
        offset, apart = self.blocks[block]
        return self.first + word * self.per_word + offset + step * apart
