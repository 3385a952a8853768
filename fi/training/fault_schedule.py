"""Faults in a training, step by step."""

from __future__ import annotations

from dataclasses import dataclass

from fi.faults.bits import WORD_BITS
from fi.faults.fault import Bits


@dataclass(frozen=True)
class FaultSchedule:
    """Which bits are wrong in which step.

    Attributes:
        rates: probability that a bit is hit, in equal parts of the training, one after another;
            without any, one bit is in each step.
        bits: that may be hit.
        models: fault models of bits.
        sites: patterns of site families.
        seed: of the draws.
        group: words that are hit at once, as ``--faults.group`` names them; empty: single words.

    >>> schedule = FaultSchedule((1e-5, 1e-4))
    >>> [schedule.rate_at(step, 10) for step in (0, 4, 5, 9)]
    [1e-05, 1e-05, 0.0001, 0.0001]
    """

    rates: tuple[float, ...]
    bits: tuple[int | Bits, ...] = tuple(range(WORD_BITS))
    models: tuple[str, ...] = ("bit-flip",)
    sites: tuple[str, ...] = ("*",)
    seed: int = 51196
    group: str = ""

    def rate_at(self, step: int, steps: int) -> float:
        """The rate of ``step`` of so many; ``ValueError`` where there are none."""
        if not self.rates:
            raise ValueError("there are no rates: one bit is hit in each step")
        return self.rates[min(step * len(self.rates) // max(1, steps), len(self.rates) - 1)]
