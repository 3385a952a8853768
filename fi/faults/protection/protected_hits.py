"""Trials of rates in a protected memory: which hits are left behind the decoder."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from fi.faults.hits.hit_space import FamilyHits, HitSpace, Ints
from fi.faults.hits.rate_trial import RateTrial
from fi.faults.modelling.model_base import STORED
from fi.faults.protection.protected_words import FATES, ProtectedWords


@dataclass(frozen=True)
class ProtectedDraw:
    """A trial behind the decoder.

    Attributes:
        fate: as of ``ProtectedTrial``.
        hits: what the network has; nothing where an error was detected.
    """

    fate: str
    hits: Sequence[FamilyHits]


class RateProtection(ABC):
    """What protection leaves of trials of rates.

    Args:
        memory: that is protected.
        space: the bits that are hit.
    """

    def __init__(self, memory: ProtectedWords, space: HitSpace) -> None:
        self.memory, self.space = memory, space

    @abstractmethod
    def decode(self, trial: RateTrial) -> ProtectedDraw:
        """What is left of a trial."""

    def count(self, trials: Iterable[RateTrial]) -> dict[str, int]:
        """How many trials had each fate; each stands once, also where there is none."""
        fates = Counter(self.decode(trial).fate for trial in trials)
        return {fate: fates[fate] for fate in FATES}


class ProtectedHits(RateProtection):
    """``ProtectedWords`` for as many faults as a rate asks for, all of a trial at the same time."""

    def decode(self, trial: RateTrial) -> ProtectedDraw:
        """What is left of a trial."""
        drawn = trial.draw_words(self.space)
        stored = [hits for hits in drawn if hits.family.kind in STORED]
        if not stored:
            return ProtectedDraw("unprotected", drawn)
        left: list[FamilyHits] = []
        flipped = False
        for hits in stored:
            flips = self._find_flips(hits)
            flipped = flipped or bool(len(flips))
            errors = self.memory.decode_flips(flips.tolist())
            if errors is None:
                return ProtectedDraw("detected", ())
            left += _as_hits(hits, np.array(sorted(errors), np.int64))
        fate = "missed" if left else "corrected" if flipped else "unchanged"
        return ProtectedDraw(fate, [*left, *(h for h in drawn if h.family.kind not in STORED)])

    def _find_flips(self, hits: FamilyHits) -> Ints:
        """The bits of the family's memory that change, in their order, int64 ``[flips]``."""
        width = hits.family.width
        golden = self.memory.golden_words(hits.family)[hits.words]
        keep, force, flip = hits.combine_masks().astype(np.int64)
        changed = golden ^ (((golden & keep) | force) ^ flip)
        row, bit = np.nonzero(changed[:, None] >> np.arange(width) & 1)
        return np.asarray(hits.words[row] * width + bit, np.int64)


def _as_hits(hits: FamilyHits, errors: Ints) -> list[FamilyHits]:
    """Wrong bits of a family's memory as flips; what holds nothing is left out."""
    family = hits.family
    word, bit = np.divmod(errors, family.width)
    held = word < family.words
    if not held.any():
        return []
    choices = tuple((number,) for number in range(family.width))
    word, bit = word[held], bit[held]
    return [FamilyHits(family, word, bit, np.zeros_like(word), choices, ("bit-flip",))]
