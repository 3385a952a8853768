"""The golden run: the fault-free inference, recorded twice, reproducible and finite."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field

import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from fi.base.errors import GraphDiffers, UserError, report_errors
from fi.base.user_code import report_user_code
from fi.campaign.trainer import StaysOnDevice, run_test
from fi.engine.base import Infer
from fi.metrics.fault_counts import find_correct
from fi.network.adapting.seeding import read_generators
from fi.network.batches import Batch, Batches
from fi.network.randomness import explain, find_causes
from fi.network.recorder.checking import SpikeDigest, compare
from fi.network.recorder.recorded_network import RecordedNetwork
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

    def first_sample(self, number: int) -> int:
        """The position in the test set of the first sample of a batch."""
        return sum(map(len, self.labels[:number]))

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


class GoldenTest(StaysOnDevice):
    """A test run without a fault that records scores and labels.

    Args:
        network: that is run.
        infer: its scores.
        staged: its stage graph, recorded from its forward, which is held against it.
    """

    def __init__(
        self, network: nn.Module, infer: Infer, staged: RecordedNetwork | None = None
    ) -> None:
        super().__init__()
        self.network = network
        self.infer = infer
        self.staged = (staged,)  # in a tuple: its modules are those of the network
        self.record = GoldenRun()
        self.draws = False

    def test_step(self, batch: Batch, number: int) -> None:
        events, labels = batch
        before = read_generators()
        digest = SpikeDigest()
        with ExitStack() as watched:
            watched.enter_context(report_user_code(f"the golden run, batch {number}"))
            if self.staged[0] is not None:
                watched.enter_context(digest.watching(self.network))
            scores = self.infer(events)
        self.draws |= before != read_generators()
        self._check_stages(digest, scores, events, number)
        self.record.scores.append(scores.detach().cpu().clone())
        self.record.labels.append(labels.cpu())

    def _check_stages(
        self, digest: SpikeDigest, scores: Tensor, events: Tensor, number: int
    ) -> None:
        """Raise ``GraphDiffers`` where the stage graph gives other spikes or scores of a batch."""
        (staged,) = self.staged
        difference = None if staged is None else compare(staged, digest, scores, events)
        if difference:
            raise GraphDiffers(
                f"{type(self.network).__name__}: batch {number}: the stage graph recorded from its "
                f"forward gives other {difference}; --engine full runs the network as it is"
            )


def run_golden(
    trainer: pl.Trainer,
    network: nn.Module,
    infer: Infer,
    batches: Batches,
    staged: RecordedNetwork | None = None,
) -> GoldenRun:
    """Run the test set twice without a fault; both runs must agree bit for bit and be finite.

    In the first one a stage graph ``staged`` that was recorded from the network's forward is held
    against it: spikes of every neuron at every step, and scores.

    Raises:
        UserError: the loader gave other samples, the scores differ, or one of them is not finite.
        GraphDiffers: the stage graph is not that of the network.
    """
    records, digests = [], []
    for graph in (staged, None):
        batches.forget()
        module = GoldenTest(network, infer, graph)
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
