"""A campaign in the process of a worker: its network, golden run and traces, kept between tasks.

The functions are what the tasks of a cluster call. A worker has one campaign at a time, and runs
one task at a time: a network holds one group of faults.
"""

from __future__ import annotations

import os
import platform
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch

from fi.base.errors import UserError, first_line
from fi.base.garbage import keep_freed_memory
from fi.base.usable_memory import find_usable_memory, limit_memory
from fi.campaign.cluster.packing import unpack
from fi.campaign.cluster.work_order import Prepared, WorkOrder
from fi.campaign.fault_injection import FaultInjection
from fi.campaign.golden_run import GoldenRun, GoldenTest
from fi.campaign.running.basis import identify_subject
from fi.campaign.running.engine_finding import find_engine
from fi.campaign.running.group_runs import PackedPairs
from fi.campaign.subject import keep_network
from fi.campaign.trainer import exact_arithmetic, make_trainer, on_gpu, run_test
from fi.metrics.counts import GroupCounts
from fi.metrics.pair_codes import shift_pairs
from fi.network.recorder.recorded_network import RecordedNetwork


@dataclass(frozen=True)
class GroupFound:
    """What a worker found of a group.

    Attributes:
        counts: integers ``[trials]`` by column.
        packed: its pairs, where they are kept, see ``fi.metrics.pair_codes``.
        ways: pairs by the way in which they were decided.
        seconds: that it took.
        golden_seconds: those of them that went into golden runs and traces.
    """

    counts: GroupCounts
    packed: PackedPairs | None
    ways: dict[str, int]
    seconds: float
    golden_seconds: float


class NotPrepared(RuntimeError):
    """The worker has another campaign by now, or none."""


class Released(RuntimeError):
    """Nobody waits for the results any more."""


class WorkerCampaign:
    """The campaign of an order, with its golden run.

    Args:
        order: what the client asks for.

    Raises:
        UserError: the network or the data cannot be made here.
    """

    def __init__(self, order: WorkOrder) -> None:
        self.order = order
        self.subject = subject = order.make_subject()
        callbacks = [FaultInjection(), _StopWhenReleased(order.token)]
        self.trainer = make_trainer(order.hardware, callbacks, alone=True)
        self.engine, _ = find_engine(
            subject,
            self.trainer.strategy.root_device,
            order.engine,
            self._share_memory(),
            order.threads,
            lambda: (subject.staged, subject.why_not_recorded),
        )
        start = time.monotonic()
        golden, self._own = self._run_golden()
        self.golden_seconds = time.monotonic() - start
        self.runs = order.make_runs(self.trainer, self.engine, subject, golden)

    def _share_memory(self) -> int | None:
        """What the engine may use: what the order says, or half of the worker's memory on a CPU.

        A process that shares its machine with others takes a quarter; a worker's is its own.
        """
        if self.order.memory is not None or on_gpu(self.trainer):
            return self.order.memory
        return find_usable_memory() // 2

    def _run_golden(self) -> tuple[GoldenRun, dict[str, str]]:
        """The golden run, and the hashes of what it is of.

        One pass: that it is the client's shows that it is reproducible.
        """
        subject, staged = self.subject, self.engine.network
        recorded = staged if isinstance(staged, RecordedNetwork) else None
        with ExitStack() as stack:
            weights = self._enter(stack)
            test = GoldenTest(subject.network, subject.infer, recorded)
            run_test(self.trainer, test, subject.batches)
            return test.record, identify_subject(subject, weights, test.record)

    def _enter(self, stack: ExitStack) -> str:
        """Put network and torch into the state of a run, until the end of ``stack``."""
        stack.enter_context(exact_arithmetic(on_gpu(self.trainer)))
        precision = self.order.hardware.precision
        return stack.enter_context(keep_network(self.subject, precision))

    @property
    def prepared(self) -> Prepared:
        """What the client is told."""
        differing = tuple(k for k, v in self._own.items() if self.order.identity[k] != v)
        threads = torch.get_num_threads()
        return Prepared(platform.node(), threads, self.golden_seconds, differing)

    def run(self, trials: Sequence[Any]) -> GroupFound:
        """Run a group; the network is bit for bit as it was before and afterwards."""
        start, golden = time.monotonic(), self.engine.golden_seconds
        decisions = self.runs.make_decisions({})
        decisions.expect(len(trials), len(trials))
        parts: list[GroupCounts] = []
        pairs: list[PackedPairs] = []
        first = 0
        with ExitStack() as stack:
            self._enter(stack)
            for group, counts, packed in self.runs.run(trials):
                parts.append(counts)
                if packed is not None:
                    pairs.append(shift_pairs(packed, first))
                first += len(group)
        counts = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        packed = np.concatenate(pairs) if pairs else None
        ways = decisions.count(len(trials))
        golden = self.engine.golden_seconds - golden
        return GroupFound(counts, packed, ways, time.monotonic() - start, golden)


class _StopWhenReleased(pl.Callback):
    """Ends a test run that nobody waits for, with its next batch."""

    def __init__(self, token: str) -> None:
        self._token = token

    def on_test_batch_start(self, *args: Any, **kwargs: Any) -> None:
        if self._token in _released:
            raise Released


_one_at_a_time = threading.Lock()
_kept: list[WorkerCampaign] = []
_released: set[str] = set()


def prepare(order: WorkOrder) -> Prepared:
    """Make the campaign of ``order``, in place of another one, and say what it is like.

    Raises:
        UserError: it cannot be made here.
    """
    with _one_at_a_time:
        _forget()
        _take_limits(order)
        campaign = WorkerCampaign(order)
        if not campaign.prepared.differing:
            _kept.append(campaign)
        return campaign.prepared


def run_group(token: str, packed: bytes) -> GroupFound:
    """Run a group of trials of the order ``token``, as ``pack_trials`` has packed them.

    Raises:
        NotPrepared: the worker does not have that order.
        Released: the order was given up.
    """
    with _one_at_a_time:
        if token in _released:
            raise Released
        if not _kept or _kept[0].order.token != token:
            raise NotPrepared(token)
        try:
            return _kept[0].run(unpack(packed))
        finally:
            if token in _released:
                _forget()


def release(token: str) -> None:
    """Give the order up: what runs of it ends with its next batch, and nothing is kept."""
    _released.add(token)
    if _one_at_a_time.acquire(blocking=False):  # else what runs forgets it when it ends
        try:
            if _kept and _kept[0].order.token == token:
                _forget()
        finally:
            _one_at_a_time.release()


def _forget() -> None:
    while _kept:
        _kept.pop().runs.forget()


def _take_limits(order: WorkOrder) -> None:
    """Take the threads and the memory that the cluster has given to this worker."""
    from distributed import get_worker

    keep_freed_memory()
    worker = get_worker()
    torch.set_num_threads(order.threads or worker.state.nthreads)
    limit_memory(worker.memory_manager.memory_limit)


def find_in(folder: str) -> None:
    """Work in ``folder``, where this machine has it, and find modules there as the command does.

    Raises:
        UserError: the machine has no such folder.
    """
    try:
        os.chdir(folder)
    except OSError as error:
        raise UserError(
            f"the folder of the command, {folder}, is not on {platform.node()}: "
            f"{first_line(error)}; the machines must share it"
        ) from error
    if folder not in sys.path:
        sys.path.insert(0, folder)
