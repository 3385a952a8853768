"""How an engine decided pairs."""

from __future__ import annotations

from dataclasses import astuple, dataclass


@dataclass
class Tally:
    """How the pairs were decided.

    Attributes:
        pairs: all of them but those of faults that change nothing.
        simulated: those that no proof decided in the fault's own stage.
        diverged: those whose spikes (in the last stage: whose scores) differ from the golden ones
            there.
        computed: those that reached the readout with another statistic.
    """

    pairs: int = 0
    simulated: int = 0
    diverged: int = 0
    computed: int = 0

    def __add__(self, other: Tally) -> Tally:
        return Tally(*(a + b for a, b in zip(astuple(self), astuple(other), strict=True)))
