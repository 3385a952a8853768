"""The golden run: the fault-free inference, recorded twice, reproducible and finite."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from fi.base.errors import UserError, report_errors
from fi.base.user_code import report_user_code
from fi.campaign.trainer import run_test
from fi.engine.base import Infer
from fi.metrics.fault_counts import find_correct
from fi.network.adapting.seeding import read_generators
from fi.network.batches import Batch, Batches
from fi.network.randomness import explain, find_causes
from fi.network.stages import SpikingNetwork
from fi.store.identity import tensors_hash


@dataclass
class GoldenRun:
    """What the fault-free inference gave.

    Attributes:
        scores: per batch ``[batch, classes]``, on the CPU.
        labels: per batch ``[batch]``, on the CPU.
    """

    scores: list[Tensor] = field(default_factory=list)
    labels: list[Tensor] = field(default_factory=list)

    @property
    def samples(self) -> int:
        """The number of test samples."""
        return sum(map(len, self.labels))

    @property
    def batch_size(self) -> int:
        """The size of the first batch; only the last one may be smaller."""
        return len(self.labels[0])

    @property
    def correct(self) -> int:
        """How many samples are classified right."""
        pairs = zip(self.scores, self.labels, strict=True)
        return sum(int(find_correct(s, y).sum()) for s, y in pairs)

    @property
    def accuracy(self) -> float:
        """Part of the samples that are classified right."""
        return self.correct / self.samples

    @property
    def digest(self) -> str:
        """Hash of scores and labels."""
        return tensors_hash([*self.scores, *self.labels])


class GoldenTest(pl.LightningModule):
    """A test run without a fault that records scores and labels."""

    def __init__(self, network: nn.Module, infer: Infer) -> None:
        super().__init__()
        self.network = network
        self.infer = infer
        self.record = GoldenRun()
        self.draws = False

    def test_step(self, batch: Batch, number: int) -> None:
        events, labels = batch
        before = read_generators()
        with report_user_code(f"the golden run, batch {number}"):
            scores = self.infer(events)
        self.draws |= before != read_generators()
        self.record.scores.append(scores.detach().cpu().clone())
        self.record.labels.append(labels.cpu())


def run_golden(
    trainer: pl.Trainer, network: nn.Module, infer: Infer, batches: Batches
) -> GoldenRun:
    """Run the test set twice without a fault; both runs must agree bit for bit and be finite.

    Raises:
        UserError: the loader gave other samples, the scores differ, or one of them is not finite.
    """
    records, digests = [], []
    for _ in range(2):
        batches.forget()
        module = GoldenTest(network, infer)
        run_test(trainer, module, batches)
        records.append(module.record)
        digests.append(batches.digest)
    if not records[0].samples:
        raise UserError(f"{batches.source}: the test loader has no samples")
    if digests[0] != digests[1]:
        raise UserError(
            f"{batches.source}: the test loader gave other samples, or another order, in a second "
            "pass; it must not shuffle or augment"
        )
    with report_errors(UserError, prefix=f"{type(network).__name__}: "):
        check_golden(records[0], records[1], lambda: _explain_difference(network, infer, batches))
        if module.draws:
            why = _explain_difference(network, infer, batches)
            raise UserError(
                f"its forward draws random numbers, which faults may make visible; {why}"
            )
    return records[0]


def _explain_difference(network: nn.Module, infer: Infer, batches: Batches) -> str:
    """What to look at where two golden runs differ."""
    device = next((word.device for word in network.parameters()), torch.device("cpu"))
    events = batches.first()[0].to(device)
    return explain(find_causes(network, infer, events), not isinstance(network, SpikingNetwork))


def check_golden(
    first: GoldenRun, second: GoldenRun, say_why: Callable[[], str] = lambda: ""
) -> None:
    """Raise ``UserError`` where two golden runs differ or a score is not finite.

    ``say_why`` says what to look at where they differ.
    """
    for number, (one, two) in enumerate(zip(first.scores, second.scores, strict=True)):
        finite = one.isfinite().all(dim=1)
        if not finite.all():
            sample = int(finite.long().argmin())
            found = one[sample].tolist()
            raise UserError(
                f"the golden run has non-finite scores: batch {number}, sample {sample}: {found}"
            )
        if not torch.equal(one, two):
            sample = int((one != two).any(dim=1).long().argmax())
            raise UserError(
                f"the golden run is not reproducible: scores of batch {number}, sample {sample} "
                f"are {one[sample].tolist()} in one run and {two[sample].tolist()} in the next; "
                f"{say_why()}"
            )
