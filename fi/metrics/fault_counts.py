"""What a group of faults did, counted over samples: a torchmetric with a fault axis."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

from fi.metrics.counts import COUNT_COLUMNS
from fi.metrics.judgement import Judgement, find_top, judge_tops
from fi.metrics.outcomes import FULLY_MASKED, OUTCOMES
from fi.metrics.pair_codes import pack_pairs
from fi.metrics.pairs import Pairs

_SAMPLES, _NON_FINITE, _CORRECT, _GOLDEN_CORRECT = (
    COUNT_COLUMNS.index(name) for name in ("samples", "non_finite", "correct", "golden_correct")
)
_FIRST_OUTCOME = COUNT_COLUMNS.index(OUTCOMES[0])
_OUTCOME_ROWS = slice(_FIRST_OUTCOME, _FIRST_OUTCOME + len(OUTCOMES))


def find_correct(scores: Tensor, labels: Tensor) -> Tensor:
    """Which samples are classified right, bool ``[batch]``, of ``scores`` ``[batch, classes]``."""
    return find_top(scores.to(torch.float32))[1] == labels


def count_batch(
    portions: Iterable[Pairs],
    golden: Tensor,
    labels: Tensor,
    faults: int,
    take: Callable[[Pairs, Judgement], None] | None = None,
) -> Tensor:
    """What ``faults`` faults did to one batch, int64 ``[columns, faults]``.

    Args:
        portions: all computed pairs of the batch; any other pair has the golden scores.
        golden: fault-free scores ``[batch, classes]``.
        labels: true classes ``[batch]``.
        faults: the number of faults in the group.
        take: is given each portion, and what was judged of it.
    """
    tops = find_top(golden.to(torch.float32))
    right = tops[1] == labels
    counts = torch.zeros(len(COUNT_COLUMNS), faults, dtype=torch.int64, device=golden.device)
    counts[_SAMPLES] = counts[_FIRST_OUTCOME + FULLY_MASKED] = len(golden)
    counts[_CORRECT] = counts[_GOLDEN_CORRECT] = right.sum()
    for pairs in portions:
        judged = _count_portion(counts, pairs, tops, labels, right)
        if take is not None:
            take(pairs, judged)
    return counts


def _count_portion(
    counts: Tensor, pairs: Pairs, tops: tuple[Tensor, Tensor], labels: Tensor, right: Tensor
) -> Judgement:
    """Move the pairs of one portion from fully masked, in ``counts``, to what they really did.

    Args:
        counts: of the batch, ``[columns, faults]``.
        pairs: the portion.
        tops: ``find_top`` of the golden scores, ``[batch]`` each.
        labels, right: true classes, and whether the golden run found them, ``[batch]``.
    """
    fault, sample, scores = pairs.fault, pairs.sample, pairs.scores
    faults = counts.shape[1]
    golden = tops[0][sample], tops[1][sample]
    outcome, non_finite, correct = judged = judge_tops(golden, scores, labels[sample])

    def per_fault(chosen: Tensor) -> Tensor:
        return torch.bincount(fault[chosen], minlength=faults)

    kinds = torch.bincount(outcome * faults + fault, minlength=len(OUTCOMES) * faults)
    counts[_OUTCOME_ROWS] += kinds.view(len(OUTCOMES), faults)
    counts[_FIRST_OUTCOME + FULLY_MASKED] -= torch.bincount(fault, minlength=faults)
    counts[_NON_FINITE] += per_fault(non_finite)
    counts[_CORRECT] += per_fault(correct) - per_fault(right[sample])
    return judged


def _no_pairs() -> Tensor:
    return torch.zeros(0, dtype=torch.int64)


class FaultCounts(Metric):
    """Counts over samples for each of at most ``faults`` faults; one state a column of the results.

    The states are int64 of shape ``(faults,)`` and add up over batches and processes. It is reset
    for every group; a smaller group uses the first entries.

    Args:
        faults: how many faults a group has at most.
        keep_pairs: keep every pair that differs, too, for ``pairs``.
        kwargs: as any ``torchmetrics.Metric`` takes.

    >>> counts = FaultCounts(faults=2)
    >>> golden = torch.tensor([[1.0, 3.0], [2.0, 1.0]])  # two samples, two classes
    >>> flipped = Pairs(torch.tensor([1]), torch.tensor([0]), torch.tensor([[4.0, 3.0]]))
    >>> counts.update([flipped], golden, labels=torch.tensor([1, 0]), entries=slice(0, 2))
    >>> table = counts.compute()
    >>> table["fully_masked"], table["sdc_1"], table["correct"]
    (tensor([2, 1]), tensor([0, 1]), tensor([2, 1]))
    """

    packed: list[Tensor]
    full_state_update = False
    is_differentiable = False
    higher_is_better = False

    def __init__(self, faults: int, keep_pairs: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.faults = faults
        self.keep_pairs = keep_pairs
        if keep_pairs:
            self.add_state("packed", [], dist_reduce_fx="cat")
        for name in COUNT_COLUMNS:
            self.add_state(name, torch.zeros(faults, dtype=torch.int64), dist_reduce_fx="sum")

    def update(
        self,
        portions: Iterable[Pairs],
        golden: Tensor,
        labels: Tensor,
        entries: slice,
        first: int = 0,
    ) -> None:
        """Add one batch: all its ``portions`` at once, for the faults at ``entries``.

        ``first`` is the place of its first sample in the test set.
        """

        def keep(pairs: Pairs, judged: Judgement) -> None:
            differs = (pairs.scores != golden[pairs.sample]).any(dim=1)
            self.packed.append(pack_pairs(pairs, judged, differs, entries.start, first))

        size = entries.stop - entries.start
        take = keep if self.keep_pairs else None
        counts = count_batch(portions, golden, labels, size, take)
        for name, values in zip(COUNT_COLUMNS, counts, strict=True):
            getattr(self, name)[entries] += values

    def compute(self) -> dict[str, Tensor]:
        """The counts, int64 ``[faults]`` each, by column; ``packed`` where pairs are kept."""
        found = {name: getattr(self, name) for name in COUNT_COLUMNS}
        if self.keep_pairs:
            found["packed"] = dim_zero_cat(self.packed if len(self.packed) else [_no_pairs()])
        return found

    def total(self, column: str) -> int:
        """This process's count of one column so far, over all faults."""
        return int(getattr(self, column).sum())
