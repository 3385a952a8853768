"""Trials of rates under a plan of protection: copies that vote, codes of several errors."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from fi.faults.fault import masks_of
from fi.faults.fault_sites import SiteFamily
from fi.faults.fault_space import unravel
from fi.faults.hits.hit_space import FamilyHits, HitSpace
from fi.faults.hits.random_numbers import derive_seed
from fi.faults.hits.rate_trial import RateTrial
from fi.faults.modelling.model_base import STORED
from fi.faults.protection.planned_words import PlannedWords, Shield
from fi.faults.protection.protected_hits import ProtectedDraw, RateProtection

#: What a faulty bit reads where it should read 0 and 1.
Reads = tuple[int, int]
#: What a bit without a fault reads.
RIGHT: Reads = (0, 1)
_MODELS: dict[Reads, str] = {(1, 0): "bit-flip", (0, 0): "stuck-at-0", (1, 1): "stuck-at-1"}
_FLIPPED: Reads = (1, 0)
#: Word -> bit -> what it reads, of one family; bits without a fault are left out.
_Words = dict[int, dict[int, Reads]]


class PlannedHits(RateProtection):
    """``PlannedWords`` for as many faults as a rate asks for, all of a trial at the same time.

    Each of the three copies of a bit under ``tmr`` is hit at the rate: the first as the trial has
    it, the others by draws that follow from its seed. Two copies that are wrong outvote the third.

    Args:
        memory: with the plan.
        space: the bits that are hit.
    """

    def __init__(self, memory: PlannedWords, space: HitSpace) -> None:
        super().__init__(memory, space)
        self.plan = memory
        self._copies = (1, 2) if memory.votes else ()

    def decode(self, trial: RateTrial) -> ProtectedDraw:
        """What is left of a trial."""
        drawn = trial.draw_words(self.space)
        others = [
            {hits.family.name: hits for hits in self.draw_copy(trial, copy)}
            for copy in self._copies
        ]
        first = {hits.family.name: hits for hits in drawn}
        families = {hits.family.name: hits.family for hits in drawn}
        families |= {hits.family.name: hits.family for copy in others for hits in copy.values()}
        left: list[FamilyHits] = []
        touched = changed = wrong = False
        for name, family in families.items():
            if not self.plan.protects(name):
                left += [first[name]] if name in first else []
                continue
            copies = [_read_hits(found.get(name)) for found in (first, *others)]
            kept: _Words = {}
            for word in sorted(set().union(*copies)):
                shield = self.plan.find_shield(name, unravel(word, family.shape))
                before = [copy.get(word, {}) for copy in copies]
                touched |= _touches(shield, before)
                after = _vote(shield, before)
                changed |= after != before[0] or any(shield.voted & set(c) for c in before[1:])
                if shield.codes:
                    flips = self._find_flips(family, word, after)
                    changed |= bool(flips)
                    errors = shield.decode(flips)
                    if errors is None:
                        return ProtectedDraw("detected", ())
                    after = dict.fromkeys(errors, _FLIPPED)
                if after:
                    kept[word] = after
            wrong |= bool(kept)
            left += _as_hits(family, kept)
        if not touched:
            return ProtectedDraw("unprotected", drawn)
        return ProtectedDraw("missed" if wrong else "corrected" if changed else "unchanged", left)

    def draw_copy(self, trial: RateTrial, copy: int) -> list[FamilyHits]:
        """The hits of another copy of all words, 1 or 2."""
        return replace(trial, seed=derive_seed(trial.seed, "copy", copy)).draw_words(self.space)

    def _find_flips(self, family: SiteFamily, word: int, bits: Mapping[int, Reads]) -> set[int]:
        """The bits of a word that read otherwise; of states, which only flip, all of them."""
        golden = int(self.plan.golden_words(family)[word]) if family.kind in STORED else 0
        return {bit for bit, reads in bits.items() if reads[golden >> bit & 1] != golden >> bit & 1}


def _read_hits(hits: FamilyHits | None) -> _Words:
    """What the bits read that are hit."""
    found: _Words = defaultdict(dict)
    if hits is None:
        return found
    rows = zip(hits.word.tolist(), hits.choice.tolist(), hits.model.tolist(), strict=True)
    for word, choice, model in rows:
        bits = hits.choices[choice]
        masks = masks_of(hits.models[model], bits)
        for bit in bits:
            low, high = (((g & masks.keep) | masks.force) ^ masks.flip for g in (0, 1 << bit))
            found[word][bit] = (low >> bit & 1, high >> bit & 1)
    return found


def _touches(shield: Shield, copies: Sequence[Mapping[int, Reads]]) -> bool:
    """Whether a protected bit is hit, in the word or in a copy that it has."""
    first, *others = copies
    return shield.has(first) or any(not shield.voted.isdisjoint(copy) for copy in others)


def _vote(shield: Shield, copies: Sequence[Mapping[int, Reads]]) -> dict[int, Reads]:
    """What the word reads behind votes and hardened cells, before its codes."""
    left = {
        bit: reads
        for bit, reads in copies[0].items()
        if bit not in shield.voted and not (bit in shield.hardened and reads == _FLIPPED)
    }
    for bit in shield.voted.intersection(*[set().union(*copies)]):
        reads = [copy.get(bit, RIGHT) for copy in copies]
        low, high = (sorted(read[golden] for read in reads)[1] for golden in (0, 1))
        if (low, high) != RIGHT:
            left[bit] = (low, high)
    return left


def _as_hits(family: SiteFamily, words: _Words) -> list[FamilyHits]:
    """Bits that are wrong as hits of a family."""
    if not words:
        return []
    models = tuple(_MODELS.values())
    rows = [
        (word, bit, models.index(_MODELS[reads]))
        for word, bits in words.items()
        for bit, reads in sorted(bits.items())
    ]
    word, bit, model = np.array(rows, np.int64).T
    choices = tuple((number,) for number in range(family.width))
    return [FamilyHits(family, word, bit, model, choices, models)]
