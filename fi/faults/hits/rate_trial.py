"""A trial of a rate: a row of a list, whose faults are drawn when it is run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from fi.faults.fault import Fault, Trial
from fi.faults.hits.grouped_hits import expand_hits
from fi.faults.hits.hit_space import FamilyHits, HitSpace
from fi.faults.hits.random_numbers import HitDraw, derive_seed


@dataclass(frozen=True, slots=True)
class RateTrial:
    """One trial: every bit of its scope is hit with probability ``rate``.

    Attributes:
        injection: its number in the list.
        rate: the probability of a hit, of each bit.
        scope: ``network``, or the layer that alone has faults.
        seed: of its draw.
        hits: the number of its faults, which follows from rate, scope and seed.
        steps: the time steps at which all of them are active; ``None`` is permanent.
    """

    injection: int
    rate: float
    scope: str
    seed: int
    hits: int
    steps: range | None = None

    @classmethod
    def make(cls, space: HitSpace, injection: int, rate: float, scope: str, seed: int) -> RateTrial:
        """The trial of that seed; of several times in the space one is drawn for the trial."""
        hits = HitDraw(seed).binomial(space.size_of(scope), rate)
        times = space.space.steps
        (place,) = HitDraw(derive_seed(seed, "step")).below(len(times), 1).tolist()
        return cls(injection, rate, scope, seed, hits, times[place])

    def draw(self, space: HitSpace) -> list[FamilyHits]:
        """Its faults, family by family."""
        return space.draw(self.rate, HitDraw(self.seed), self.scope)

    def draw_words(self, space: HitSpace) -> list[FamilyHits]:
        """The same with faults of groups as faults of all their words."""
        return expand_hits(self.draw(space), space.words)

    def list_faults(self, space: HitSpace) -> Iterator[Fault]:
        """Its faults as an ordinary list has them, one a bit that is hit."""
        for hits in self.draw(space):
            yield from hits.faults(self.injection, self.steps)

    def merge_by_word(self, drawn: Sequence[FamilyHits]) -> Trial:
        """What was drawn of words as one fault for each word that is hit by a model."""
        return tuple(
            fault for hits in drawn for fault in hits.faults_by_word(self.injection, self.steps)
        )

    def __str__(self) -> str:
        return f"trial {self.injection}: {self.hits} faults at a rate of {self.rate:g}"
