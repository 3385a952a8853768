"""How an engine decided pairs: by no change, a proof, its own stage, a later one, the readout."""

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

    Example:
        >>> Tally(100, 40, 20, 5) + Tally(10, 10, 2, 1)
        Tally(pairs=110, simulated=50, diverged=22, computed=6)
    """

    pairs: int = 0
    simulated: int = 0
    diverged: int = 0
    computed: int = 0

    def __add__(self, other: Tally) -> Tally:
        return Tally(*(a + b for a, b in zip(astuple(self), astuple(other), strict=True)))
