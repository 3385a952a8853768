"""The outcome of a pair (fault, sample), judged on its golden and its faulty scores."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from fi.metrics.outcomes import BAND_ENDS, FULLY_MASKED, SDC_0_5, SDC_1, SDC_20


class Judgement(NamedTuple):
    """Per pair: ``outcome`` int64 index into ``OUTCOMES``, ``non_finite`` and ``correct`` bool."""

    outcome: Tensor
    non_finite: Tensor
    correct: Tensor


def find_top(scores: Tensor) -> tuple[Tensor, Tensor]:
    """Top score and its class, ``[pairs]`` each; the lowest class wins ties, NaN is largest."""
    largest = scores.amax(dim=-1, keepdim=True)
    winners = scores == largest
    if (nan := largest.isnan()).any():
        winners |= scores.isnan() & nan
    return largest.squeeze(-1), winners.view(torch.uint8).argmax(dim=-1)


def judge(golden: Tensor, faulty: Tensor, labels: Tensor) -> Judgement:
    """The outcome of each pair.

    Args:
        golden: fault-free scores ``[pairs, classes]``, finite.
        faulty: scores under the fault ``[pairs, classes]``.
        labels: true classes ``[pairs]``.

    Top-1 class and score equal: fully masked. Class differs, or a score is NaN: SDC-1. Else the
    change of the top score in per cent of the golden one falls in [0, 5), [5, 10), [10, 20) or
    [20, infinity); a golden top score of 0 with another faulty one is in the last. Scores are
    judged as float32, whatever the precision of the run. The ratio is computed in float64.

    >>> from fi.metrics.outcomes import OUTCOMES
    >>> golden = torch.tensor([[1.0, 3.0], [1.0, 3.0], [1.0, 3.0]])
    >>> faulty = torch.tensor([[0.0, 3.0], [4.0, 3.0], [1.0, 3.45]])
    >>> judged = judge(golden, faulty, labels=torch.tensor([1, 1, 1]))
    >>> [OUTCOMES[outcome] for outcome in judged.outcome]
    ['fully_masked', 'sdc_1', 'sdc_10_20']
    """
    return judge_tops(find_top(golden.to(torch.float32)), faulty, labels)


def judge_tops(golden: tuple[Tensor, Tensor], faulty: Tensor, labels: Tensor) -> Judgement:
    """``judge``, where of the fault-free scores only ``find_top`` of their float32 is given."""
    faulty = faulty.to(torch.float32)
    (golden_top, golden_class), (faulty_top, faulty_class) = golden, find_top(faulty)
    nan = faulty_top.isnan()  # as soon as one score is
    before, after = golden_top.double(), faulty_top.double()
    change = 100.0 * ((after - before).abs() / before.abs())
    ends = torch.tensor(BAND_ENDS, dtype=torch.float64, device=faulty.device)
    outcome = SDC_0_5 + torch.bucketize(change, ends, right=True)
    outcome[before == 0] = SDC_20
    outcome[after == before] = FULLY_MASKED
    outcome[(faulty_class != golden_class) | nan] = SDC_1
    non_finite = ~faulty.isfinite().all(dim=-1)
    return Judgement(outcome, non_finite, (faulty_class == labels) & ~nan)
