"""What was seen of a stratum: which rates its faults had, and how many faults had each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Histogram:
    """The rates of those faults of one stratum that were run.

    Attributes:
        values: the different rates, in [0, 1], ascending ``[values]``.
        counts: how many faults had each ``[values]``.
        population: how many faults the stratum has; ``None`` if that is not known.
        weight: its part of all faults; the weights of all strata add up to 1.
        drawn: the rates in the order in which the faults were drawn ``[faults]``, where it is kept:
            ``interval`` by betting needs it.

    Raises:
        ValueError: a rate outside [0, 1], or more faults than there are.

    >>> Histogram.of([0.5, 0.0, 0.5], population=10)
    Histogram of 3 of 10 faults, mean rate 0.333
    """

    values: FloatArray
    counts: FloatArray
    population: int | None = None
    weight: float = 1.0
    drawn: FloatArray | None = None

    def __post_init__(self) -> None:
        values = self.values
        if len(values) and not (values[0] >= 0 and values[-1] <= 1):
            wrong = values[0] if values[0] < 0 else values[-1]
            raise ValueError(f"rate is {wrong}; allowed: 0 to 1")
        if self.population is not None and self.n > self.population:
            raise ValueError(f"n is {self.n:g}; allowed: 0 to the population, {self.population}")

    @classmethod
    def of(cls, rates: ArrayLike, population: int | None = None, weight: float = 1.0) -> Histogram:
        """The histogram of the rates of some faults ``[faults]``, in the order drawn."""
        drawn = np.asarray(rates, dtype=np.float64)
        values, counts = np.unique(drawn, return_counts=True)
        return cls(values, counts.astype(np.float64), population, weight, drawn)

    @classmethod
    def of_counts(
        cls,
        counts: Sequence[int] | NDArray[np.int64],
        population: int | None = None,
        weight: float = 1.0,
    ) -> Histogram:
        """From the number of faults with a count of 0, 1, ... samples ``[samples + 1]``.

        >>> Histogram.of_counts([8, 0, 2])  # 2 of 10 faults are critical in 2 of 2 samples
        Histogram of 10 of an unknown number of faults, mean rate 0.2
        """
        number = np.asarray(counts, dtype=np.float64)
        hits = np.flatnonzero(number)
        return cls(hits / max(len(number) - 1, 1), number[hits], population, weight)

    @cached_property
    def n(self) -> float:
        """How many faults were run."""
        return float(self.counts.sum())

    @cached_property
    def rate(self) -> float:
        """Their mean rate, in [0, 1]; NaN of none."""
        n = self.n
        return min(float(self.values @ self.counts) / n, 1.0) if n else float("nan")

    def within(self, population: int | None, weight: float) -> Histogram:
        """The same as what was seen of so many faults, that part of all."""
        return Histogram(self.values, self.counts, population, weight, self.drawn)

    def mirrored(self) -> Histogram:
        """The same of the rates ``1 - x``: what did not happen."""
        drawn = None if self.drawn is None else 1 - self.drawn
        return Histogram(
            (1 - self.values)[::-1], self.counts[::-1], self.population, self.weight, drawn
        )

    def __add__(self, other: Histogram) -> Histogram:
        """What two samples of the same stratum show together, as of two shards.

        >>> Histogram.of([0.5, 0.0], 10) + Histogram.of([0.5], 10)
        Histogram of 3 of 10 faults, mean rate 0.333
        """
        values, place = np.unique(np.concatenate([self.values, other.values]), return_inverse=True)
        counts = np.zeros(len(values))
        np.add.at(counts, place, np.concatenate([self.counts, other.counts]))
        drawn = None
        if self.drawn is not None and other.drawn is not None:
            drawn = np.concatenate([self.drawn, other.drawn])
        return Histogram(values, counts, self.population, self.weight, drawn)

    def __repr__(self) -> str:
        of = "an unknown number of" if self.population is None else f"{self.population}"
        return f"Histogram of {self.n:g} of {of} faults, mean rate {self.rate:.3g}"
