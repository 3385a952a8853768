"""The bits of a memory that a rate may hit: counted and indexed, never listed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from fi.faults.fault import Bits, Fault
from fi.faults.fault_sites import SiteFamily
from fi.faults.fault_space import FaultSpace, unravel
from fi.faults.formats.state_faults import state_masks
from fi.faults.hits.random_numbers import HitDraw
from fi.faults.modelling.circuit_models import CircuitModel
from fi.faults.modelling.line_models import LineModel
from fi.faults.modelling.model_base import STORED
from fi.faults.models import fault_model
from fi.faults.word_formats import FLOAT32, WordFormat

Ints = NDArray[np.int64]
Masks = NDArray[np.int32]

#: The scope of a trial in all layers.
NETWORK = "network"


@dataclass(frozen=True)
class FamilyHits:
    """What of one site family is hit, in ascending order of words and bits.

    Attributes:
        family: the words.
        word: row-major number of the word that each hit is in, int64 ``[hits]``.
        choice: which of ``choices`` it is, int64 ``[hits]``.
        model: which of ``models`` it is, int64 ``[hits]``.
        choices: the bits that a hit may be in; ``((),)`` is the whole word.
        models: names of fault models.
    """

    family: SiteFamily
    word: Ints
    choice: Ints
    model: Ints
    choices: tuple[Bits, ...]
    models: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.word)

    @property
    def takes_bits(self) -> bool:
        """Whether a hit is a bit, or several, rather than a whole word."""
        return self.choices != ((),)

    @cached_property
    def words(self) -> Ints:
        """The different words that are hit, ascending, int64 ``[words]``."""
        return np.unique(self.word)

    def combine_masks(self, form: WordFormat = FLOAT32) -> Masks:
        """What all hits of a word of that format do to it: keep, force, flip, int32 ``[3, words]``.

        No bit is hit twice, so that the order of the hits of a word is of no account.
        """
        table = np.array(
            [[state_masks(m, bits, form) for bits in self.choices] for m in self.models], np.int32
        )
        each = table[self.model, self.choice]  # [hits, 3]
        starts = np.searchsorted(self.word, self.words)
        joins = (np.bitwise_and, np.bitwise_or, np.bitwise_xor)
        joined = [join.reduceat(part, starts) for join, part in zip(joins, each.T, strict=True)]
        return np.array(joined, np.int32).reshape(3, -1)

    def faults(self, injection: int, steps: range | None) -> Iterator[Fault]:
        """The hits as ordinary faults, one each, of trial ``injection``."""
        hits = zip(self.word.tolist(), self.choice.tolist(), self.model.tolist(), strict=True)
        for word, choice, model in hits:
            index = unravel(word, self.family.shape)
            bits, name = self.choices[choice], self.models[model]
            yield Fault(injection, self.family.name, index, bits, name, steps)

    def faults_by_word(self, injection: int, steps: range | None) -> Iterator[Fault]:
        """The same with the hits of a word by one model as one fault of several bits."""
        pairs, first = np.unique(np.stack([self.word, self.model]), axis=1, return_inverse=True)
        bits: list[list[int]] = [[] for _ in range(pairs.shape[1])]
        for place, choice in zip(first.reshape(-1).tolist(), self.choice.tolist(), strict=True):
            bits[place] += self.choices[choice]
        for (word, model), hit in zip(pairs.T.tolist(), bits, strict=True):
            index, name = unravel(word, self.family.shape), self.models[model]
            yield Fault(injection, self.family.name, index, tuple(sorted(hit)), name, steps)


class HitSpace:
    """The bits that a rate is of: of every word of a fault space, each bit that it may hit.

    A bit (or a set of bits, or the whole word, as the fault models have it) is one place; places
    are numbered by family, word and bit. Of several models one is drawn for each hit.

    Args:
        space: the fault space of one fault, of words or of groups; its times are those of the whole
            trial.
        words: the families of the words that groups are of.

    Raises:
        ValueError: bits that overlap, or models of bits beside models of whole words.

    >>> from fi.faults.fault_sites import Kind
    >>> weights = SiteFamily("fc1.weight", (100, 50), Kind.SYNAPSE)
    >>> space = HitSpace(FaultSpace((weights,)))
    >>> space.size
    160000
    >>> hits, = space.draw(1e-4, HitDraw(0))
    >>> len(hits), hits.word[:3].tolist()
    (17, [22, 135, 231])
    """

    def __init__(self, space: FaultSpace, words: Sequence[SiteFamily] = ()) -> None:
        self.space, self.words = space, words
        self._menus = {family.name: self._read_menu(family) for family in space.families}

    def _read_menu(self, family: SiteFamily) -> tuple[tuple[Bits, ...], tuple[str, ...]]:
        variants = self.space.variants(family)
        choices = variants[0].choices
        models = tuple(variant.model for variant in variants)
        if any(variant.choices != choices for variant in variants):
            raise ValueError(
                f"fault models {', '.join(models)}: a rate is of bits or of whole words; allowed: "
                "models that all take bits, or that all take whole words"
            )
        bits = [bit for choice in choices for bit in choice]
        if len(set(bits)) < len(bits):
            raise ValueError("bits overlap; allowed with a rate: each bit once, so no burst")
        for name in models:
            model = fault_model(name)
            if isinstance(model, (LineModel, CircuitModel)):
                raise ValueError(f"fault model {name} is of lines or neurons; a rate is of words")
            if model.takes_bits and model.gives_values() and family.kind in STORED:
                raise ValueError(
                    f"fault model {name} takes bits, but says nothing of them in {family.name}; "
                    "allowed with a rate: masks of bits, or takes_bits = False"
                )
        return choices, models

    @property
    def layers(self) -> list[str]:
        """The modules that have places, in the order of the network."""
        return list(dict.fromkeys(family.layer or family.name for family in self.space.families))

    def families_of(self, scope: str = NETWORK) -> list[SiteFamily]:
        """The site families of a layer, or of the whole network."""
        return [f for f in self.space.families if scope in (NETWORK, f.layer or f.name)]

    def places_of(self, family: SiteFamily) -> int:
        """How many places one family has."""
        return family.words * len(self._menus[family.name][0])

    def size_of(self, scope: str = NETWORK) -> int:
        """How many places a layer, or the whole network, has."""
        return sum(map(self.places_of, self.families_of(scope)))

    @property
    def size(self) -> int:
        """How many places there are."""
        return self.size_of()

    def draw(self, rate: float, draw: HitDraw, scope: str = NETWORK) -> list[FamilyHits]:
        """The hits of one trial, family by family; families without any are left out."""
        return self.draw_number(draw.binomial(self.size_of(scope), rate), draw, scope)

    def draw_number(self, number: int, draw: HitDraw, scope: str = NETWORK) -> list[FamilyHits]:
        """So many hits, family by family; families without any are left out."""
        places = draw.subset(self.size_of(scope), number)
        return self._split(places, draw, self.families_of(scope))

    def _split(
        self, places: Ints, draw: HitDraw, families: Sequence[SiteFamily]
    ) -> list[FamilyHits]:
        """Places, ascending, as hits; the models are drawn last, in their order."""
        found, first = [], 0
        for family in families:
            choices, models = self._menus[family.name]
            last = first + self.places_of(family)
            start, end = np.searchsorted(places, [first, last]).tolist()
            word, choice = np.divmod(places[start:end] - first, len(choices))
            first = last
            if not len(word):
                continue
            one = len(models) == 1
            model = np.zeros_like(word) if one else draw.below(len(models), len(word))
            found.append(FamilyHits(family, word, choice, model, choices, models))
        return found
