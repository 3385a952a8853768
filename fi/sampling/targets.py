"""What an iterative campaign is to know well enough: targets, each made of strata."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from fi.sampling.shuffle import Shuffle
from fi.sampling.strata import Stratum
from fi.statistics.estimators import Sample, estimate
from fi.statistics.neyman import FloatArray
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

    def half_width(
        self,
        rates: FloatArray,
        taken: FloatArray,
        populations: Sequence[int],
        confidence: float,
    ) -> float:
        """Half the width of the interval of one rate.

        Args:
            rates: mean rate of the faults that were run, of all strata ``[strata]``.
            taken: how many were run ``[strata]``.
            populations: how many there are, of any magnitude.
            confidence: nominal coverage.
        """
        total = sum(populations[n] for n in self.strata)
        samples = [
            Sample(min(float(rates[n]), 1.0), int(taken[n]), populations[n], populations[n] / total)
            for n in self.strata
        ]
        _, low, high = estimate(samples, confidence)
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
