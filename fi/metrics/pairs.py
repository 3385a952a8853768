"""Pairs of a fault and a sample: the unit of work and of comparison."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor


class Pairs(NamedTuple):
    """Scores of the pairs (fault, sample) that were computed to the end.

    Every pair that is not listed has the golden scores: it is fully masked.

    Attributes:
        fault: position of the fault, or trial, in the group, int64 ``[pairs]``.
        sample: position of the sample in the batch, int64 ``[pairs]``.
        scores: ``[pairs, classes]``.
    """

    fault: Tensor
    sample: Tensor
    scores: Tensor
