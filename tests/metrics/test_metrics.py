"""Counts per fault against a loop over pairs, over any split into batches and portions."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from fi.metrics.counts import COUNT_COLUMNS
from fi.metrics.fault_counts import FaultCounts, count_batch
from fi.metrics.judgement import judge
from fi.metrics.outcomes import OUTCOMES
from fi.metrics.pairs import Pairs

FAULTS, SAMPLES, CLASSES = 5, 12, 3


@pytest.fixture
def scores() -> tuple[Tensor, Tensor, Tensor]:
    """Golden ``[samples, classes]``, faulty ``[faults, samples, classes]`` and labels."""
    generator = torch.Generator().manual_seed(3)
    golden = torch.rand(SAMPLES, CLASSES, generator=generator)
    factor = 1 + 0.4 * torch.rand(FAULTS, SAMPLES, 1, generator=generator)
    faulty = golden * factor
    faulty[0] = golden
    faulty[1] = golden.roll(1, dims=1)
    faulty[2, 3, 1], faulty[3, 4, 0] = float("nan"), float("inf")
    faulty[4, ::2] = golden[::2]
    return golden, faulty, torch.randint(0, CLASSES, (SAMPLES,), generator=generator)


def looped(golden: Tensor, faulty: Tensor, labels: Tensor) -> dict[str, list[int]]:
    """The counts, one pair after the other."""
    counts = {name: [0] * len(faulty) for name in COUNT_COLUMNS}
    for fault, rows in enumerate(faulty):
        for one, other, label in zip(golden, rows, labels, strict=True):
            outcome, non_finite, correct = judge(one[None], other[None], label[None])
            counts["samples"][fault] += 1
            counts[OUTCOMES[int(outcome)]][fault] += 1
            counts["non_finite"][fault] += bool(non_finite)
            counts["correct"][fault] += bool(correct)
            counts["golden_correct"][fault] += int(one.argmax()) == int(label)
    return counts


def listed(faulty: Tensor, chosen: Tensor) -> Pairs:
    """The pairs of a bool table ``[faults, samples]``."""
    fault, sample = chosen.nonzero(as_tuple=True)
    return Pairs(fault, sample, faulty[fault, sample])


@pytest.mark.parametrize("batch", [12, 5, 1])
def test_any_split_into_batches_counts_the_same(
    scores: tuple[Tensor, Tensor, Tensor], batch: int
) -> None:
    golden, faulty, labels = scores
    metric = FaultCounts(FAULTS)
    for start in range(0, SAMPLES, batch):
        part = slice(start, start + batch)
        everything = torch.ones(FAULTS, len(labels[part]), dtype=torch.bool)
        metric.update([listed(faulty[:, part], everything)], golden[part], labels[part], ALL)
    assert_counts(metric, looped(golden, faulty, labels))


ALL = slice(0, FAULTS)


def assert_counts(metric: FaultCounts, wanted: dict[str, list[int]]) -> None:
    assert {name: values.tolist() for name, values in metric.compute().items()} == wanted


def test_pairs_that_are_not_listed_are_fully_masked(scores: tuple[Tensor, Tensor, Tensor]) -> None:
    golden, faulty, labels = scores
    changed = (faulty != golden).any(dim=2)
    assert 0 < changed.sum() < changed.numel()
    metric = FaultCounts(FAULTS)
    metric.update([listed(faulty, changed)], golden, labels, ALL)
    assert_counts(metric, looped(golden, faulty, labels))


def test_portions_of_a_batch_count_it_once(scores: tuple[Tensor, Tensor, Tensor]) -> None:
    golden, faulty, labels = scores
    odd = torch.zeros(FAULTS, SAMPLES, dtype=torch.bool)
    odd[:, 1::2] = True
    metric = FaultCounts(FAULTS)
    metric.update([listed(faulty, odd), listed(faulty, ~odd)], golden, labels, ALL)
    assert_counts(metric, looped(golden, faulty, labels))


def test_every_pair_has_one_outcome(scores: tuple[Tensor, Tensor, Tensor]) -> None:
    golden, faulty, labels = scores
    everything = torch.ones(FAULTS, SAMPLES, dtype=torch.bool)
    counts = count_batch([listed(faulty, everything)], golden, labels, FAULTS)
    table = dict(zip(COUNT_COLUMNS, counts, strict=True))
    assert torch.equal(sum(table[name] for name in OUTCOMES), table["samples"])
    assert table["non_finite"].tolist() == [0, 0, 1, 1, 0]


def test_processes_fill_their_own_entries_and_add_up(
    scores: tuple[Tensor, Tensor, Tensor],
) -> None:
    golden, faulty, labels = scores
    metrics = [FaultCounts(FAULTS), FaultCounts(FAULTS)]
    for metric, share in zip(metrics, (slice(0, 2), slice(2, FAULTS)), strict=True):
        everything = torch.ones(share.stop - share.start, SAMPLES, dtype=torch.bool)
        metric.update([listed(faulty[share], everything)], golden, labels, share)
    sums = {n: (metrics[0].compute()[n] + metrics[1].compute()[n]).tolist() for n in COUNT_COLUMNS}
    assert sums == looped(golden, faulty, labels)


def test_a_reset_metric_starts_from_zero(scores: tuple[Tensor, Tensor, Tensor]) -> None:
    golden, _, labels = scores
    metric = FaultCounts(FAULTS)
    metric.update([], golden, labels, ALL)
    metric.reset()
    metric.update([], golden, labels, slice(0, 2))
    assert metric.compute()["samples"].tolist() == [SAMPLES, SAMPLES, 0, 0, 0]
