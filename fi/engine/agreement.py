"""Whether two engines agree: their outcomes are compared pair by pair."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from fi.engine.base import Engine
from fi.engine.group_cutting import split_into_groups
from fi.faults.fault import Fault, Trial
from fi.metrics.judgement import judge
from fi.metrics.outcomes import FULLY_MASKED
from fi.metrics.pairs import Pairs
from fi.network.batches import Batch

#: Fraction of the pairs that may differ in float32, where an order of summation moves a membrane
#: across its threshold; in float64 none may.
TOLERATED = 1e-5

#: What ``Pairs.spikes`` is multiplied by, to be added to an outcome.
SPIKES = 16


@dataclass(frozen=True)
class Agreement:
    """How two engines' outcomes compare.

    Attributes:
        pairs: compared pairs.
        differing: those with different outcomes.
        unmasked: those that the reference does not call fully masked.
        examples: the first few faults, or trials, with a differing pair.
    """

    pairs: int
    differing: int
    unmasked: int
    examples: tuple[Fault | Trial, ...] = ()

    @property
    def rate(self) -> float:
        """The fraction of the pairs that agree."""
        return 1 - self.differing / self.pairs if self.pairs else 1.0

    def holds(self, tolerated: float) -> bool:
        """Whether no more than the fraction ``tolerated`` of the pairs differs.

        A single pair may differ in a small sample, unless nothing is tolerated.
        """
        allowed = max(1.0, tolerated * self.pairs) if tolerated else 0.0
        return self.differing <= allowed

    def __str__(self) -> str:
        return (
            f"{self.pairs - self.differing:,} of {self.pairs:,} pairs agree "
            f"({self.differing} differ, {self.unmasked:,} are not masked)"
        )


def outcomes(
    engine: Engine, faults: Sequence[Fault | Trial], batches: Iterable[Batch], first: int = 0
) -> Tensor:
    """Run ``faults`` in groups: the outcome of every pair, uint8 ``[faults, samples]``.

    Args:
        engine: that runs them.
        faults: the list.
        batches: of the test set.
        first: number of the first batch, for the engine.

    Returns:
        Indices of ``OUTCOMES``; of an engine that compares spikes plus 16 times ``Pairs.spikes``.
    """
    batches = list(batches)
    rows = []
    with torch.inference_mode():
        golden = [engine.infer(events) for events, _ in batches]
        for group in split_into_groups(faults, engine.group_size(len(faults))):
            position, columns = 0, []
            with engine.injected(group):
                for number, ((events, _), scores) in enumerate(
                    zip(batches, golden, strict=True), first
                ):
                    portions = engine.pairs(events, number, scores, position)
                    columns.append(batch_outcomes(portions, scores, len(group)))
                    position += len(scores)
            rows.append(torch.cat(columns, dim=1))
    return torch.cat(rows)


def batch_outcomes(portions: Iterable[Pairs], golden: Tensor, faults: int) -> Tensor:
    """Outcomes of one batch, uint8 ``[faults, batch]``.

    Args:
        portions: the pairs that were computed; all others are masked.
        golden: the golden scores ``[batch, classes]``.
        faults: how many there are in the group.
    """
    outcome = torch.full((faults, len(golden)), FULLY_MASKED, dtype=torch.uint8)
    for pairs in portions:
        labels = torch.zeros_like(pairs.sample)
        judged = judge(golden[pairs.sample], pairs.scores, labels)
        found = judged.outcome.to(torch.uint8)
        if pairs.spikes is not None:
            found |= pairs.spikes * SPIKES
        outcome[pairs.fault.cpu(), pairs.sample.cpu()] = found.cpu()
    return outcome


def agreement(reference: Tensor, other: Tensor, faults: Sequence[Fault | Trial]) -> Agreement:
    """Compare outcomes ``[faults, samples]`` of two engines.

    Example:
        >>> reference = torch.tensor([[0, 1, 1], [0, 0, 2]])
        >>> other = torch.tensor([[0, 1, 1], [0, 0, 1]])
        >>> faults = [Fault(number, "fc1.weight", (0, number), 30) for number in range(2)]
        >>> str(agreement(reference, other, faults))
        '5 of 6 pairs agree (1 differ, 3 are not masked)'
    """
    differs = reference != other
    rows = differs.any(dim=1).nonzero().flatten().tolist()
    return Agreement(
        pairs=reference.numel(),
        differing=int(differs.sum()),
        unmasked=int((reference % SPIKES != FULLY_MASKED).sum()),
        examples=tuple(faults[row] for row in rows[:5]),
    )
