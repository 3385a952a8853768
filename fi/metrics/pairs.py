"""Pairs of a fault and a sample: the unit of work and of comparison."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

#: Bits of ``Pairs.spikes``: a spike of a hidden layer, or of the output layer, is not golden.
HIDDEN, OUTPUT = 1, 2


class Pairs(NamedTuple):
    """Scores of the pairs (fault, sample) that were computed to the end.

    Every pair that is not listed has the golden scores: it is fully masked.

    Attributes:
        fault: position of the fault, or trial, in the group, int64 ``[pairs]``.
        sample: position of the sample in the batch, int64 ``[pairs]``.
        scores: ``[pairs, classes]``.
        spikes: whose spikes differ, ``HIDDEN`` and ``OUTPUT``, uint8 ``[pairs]``; ``None`` where
            nobody asked. Then a pair that is not listed has golden spikes, too.
        alarms: which monitors report it and not the golden run, or the reverse: a bit for each,
            uint8 ``[pairs]``; ``None`` where there are none.
    """

    fault: Tensor
    sample: Tensor
    scores: Tensor
    spikes: Tensor | None = None
    alarms: Tensor | None = None
