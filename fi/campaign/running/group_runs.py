"""The Lightning test runs of a campaign: group after group of trials, and their counts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
import pytorch_lightning as pl
from numpy.typing import NDArray
from torch import Tensor

from fi.campaign.fault_test import FaultTest
from fi.campaign.golden_run import GoldenRun
from fi.campaign.running.decision_counts import DecisionCounts
from fi.campaign.subject import Subject
from fi.campaign.trainer import run_test
from fi.engine.base import Engine
from fi.engine.differential.engine import default_memory
from fi.engine.group_cutting import split_into_groups
from fi.faults.fault import Trial
from fi.metrics.counts import GroupCounts
from fi.metrics.fault_counts import FaultCounts

#: Pairs of a group that differ, ``int64 [pairs]``, see ``fi.metrics.pair_codes``.
PackedPairs = NDArray[np.int64]
#: A group, its counts, integers ``[trials of the group]`` by column, and its pairs where kept.
GroupRun = tuple[Sequence[Any], GroupCounts, PackedPairs | None]


class GroupRuns:
    """Runs trials in groups through one Trainer.

    Args:
        trainer: with ``FaultInjection`` among its callbacks.
        engine: runs the faults.
        subject: the network and its test set.
        golden: what the fault-free network gave.
        keep_scores: hand the pairs of every batch to the callbacks.
        keep_pairs: give the pairs of every group, see ``fi.metrics.pair_codes``.
    """

    def __init__(
        self,
        trainer: pl.Trainer,
        engine: Engine,
        subject: Subject,
        golden: GoldenRun,
        keep_scores: bool = False,
        keep_pairs: bool = False,
    ) -> None:
        self.trainer, self.engine = trainer, engine
        self.subject, self.golden = subject, golden
        self.keep_scores, self.keep_pairs = keep_scores, keep_pairs
        self.not_run = 0  # trials of this process that were decided without a test run

    def open(self) -> AbstractContextManager[None]:
        """What the runs need from the first to the last of them."""
        return nullcontext()

    def summarise(self) -> dict[str, Any]:
        """What ``summary.json`` says of where the trials were run, beside the usual."""
        return {}

    def make_decisions(self, earlier: Mapping[str, int]) -> DecisionCounts:
        """Counts how the pairs of the next runs are decided, beside ``earlier`` ones."""
        before, samples = self.not_run, self.golden.samples
        return DecisionCounts(
            self.engine,
            samples,
            self.trainer.world_size,
            earlier,
            lambda: self.not_run - before,
        )

    def size_group(self, trials: int) -> int:
        """How many of ``trials`` one test run takes, in all processes together."""
        return self.engine.group_size(trials) * self.trainer.world_size

    def run(self, trials: Sequence[Trial]) -> Iterator[GroupRun]:
        """Every group with its counts, integers ``[trials of the group]`` by column, and pairs."""
        device = self.trainer.strategy.root_device
        self.subject.batches.keep_on(device, default_memory(device))
        resize = self.engine.resize_group if self.trainer.world_size == 1 else None
        test: FaultTest | None = None
        for group in split_into_groups(trials, self.size_group(len(trials)), resize):
            if test is None or len(group) > test.metric.faults:
                metric = FaultCounts(len(group), self.keep_pairs)
                test = FaultTest(self.engine, self.golden, metric, self.keep_scores)
            yield (group, *self._run_group(test, group))
            test.metric.reset()

    def _run_group(
        self, test: FaultTest, group: Sequence[Trial]
    ) -> tuple[GroupCounts, PackedPairs | None]:
        """One test run: the counts of a group, and its pairs where kept."""
        test.take_group(group, self.trainer.global_rank, self.trainer.world_size)
        run_test(self.trainer, test, self.subject.batches)
        found = test.found
        packed = found.pop("packed").reshape(-1).cpu().numpy() if self.keep_pairs else None
        return _copy_first(found, len(group)), packed

    def forget(self) -> None:
        """Drop the test set and what is kept of it: when the last group is done, others need it."""
        self.engine.forget()
        self.subject.batches.forget()


def _copy_first(counts: Mapping[str, Tensor], trials: int) -> GroupCounts:
    """The counts of the first ``trials``: the last group may have fewer than the metric."""
    return {
        name: values.reshape(-1)[:trials].cpu().numpy().copy() for name, values in counts.items()
    }
