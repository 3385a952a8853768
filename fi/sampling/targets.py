"""What an iterative campaign is to know well enough: targets, each made of strata."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from fi.sampling.shuffle import Shuffle
from fi.sampling.strata import Stratum
from fi.statistics.estimators import estimate
from fi.statistics.histogram import Histogram
from fi.statistics.survey_design import FAMILY_WISE, NETWORK


@dataclass
class ShuffledStratum:
    """A stratum with the random order in which its faults are drawn.

    Attributes:
        stratum: the faults.
        order: of their positions in the stratum; what was taken of it has been drawn.
        target: number of the target that it belongs to.
    """

    stratum: Stratum
    order: Shuffle
    target: int


@dataclass
class Target:
    """What has an interval of its own.

    Attributes:
        name: ``network``, or that of its only stratum.
        strata: the numbers of its strata.
        half_widths: rate -> half the width of its interval at the last interim analysis.
        done: whether all intervals are narrow enough; it is not drawn from any more.
    """

    name: str
    strata: list[int]
    half_widths: dict[str, float] = field(default_factory=dict)
    done: bool = False

    def half_width(self, seen: Sequence[Histogram], confidence: float, method: str) -> float:
        """Half the width of the interval of one rate.

        Args:
            seen: what all strata have shown, with their populations ``[strata]``.
            confidence: nominal coverage.
            method: of the interval.
        """
        own = [seen[n] for n in self.strata]
        sizes = [stratum.population or 0 for stratum in own]
        parts = [s.within(size, size / sum(sizes)) for s, size in zip(own, sizes, strict=True)]
        _, low, high = estimate(parts, confidence, method)
        return (high - low) / 2


def shuffle_strata(
    strata: Sequence[Stratum], scheme: str, seed: int
) -> tuple[list[ShuffledStratum], list[Target]]:
    """The strata of a scheme in random order, and what has an interval of its own."""
    parts = []
    for number, stratum in enumerate(strata):
        order = Shuffle.seeded(seed, stratum.name, stratum.population)
        parts.append(ShuffledStratum(stratum, order, 0 if scheme == FAMILY_WISE else number))
    if scheme == FAMILY_WISE:
        return parts, [Target(NETWORK, list(range(len(parts))))]
    return parts, [Target(stratum.name, [n]) for n, stratum in enumerate(strata)]
