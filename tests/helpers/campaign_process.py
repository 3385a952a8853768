"""Campaigns in processes of their own, which a test kills, stops or starves.

The processes are forked from a server that has everything imported; it has no threads, so that
forking is safe, and a process costs milliseconds.
"""

from __future__ import annotations

import os
import resource
import signal
import socket
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cache
from multiprocessing import forkserver, get_context
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytorch_lightning as pl
import torch
from rate_campaigns import rate_campaign
from small_networks import INPUT_SHAPES, SmallConv, SmallLinear, event_batches, small
from torch import nn

from fi.callbacks import standard_callbacks
from fi.campaign.cluster import group_queue
from fi.campaign.fault_test import FaultTest
from fi.campaign.golden_run import GoldenTest
from fi.campaign.runner import Campaign
from fi.campaign.settings import Hardware, Settings
from fi.campaign.subject import Subject
from fi.cli.execution import run_command
from fi.network.batches import Batches
from fi.sampling.fault_draw import draw
from fi.sampling.plan import SamplingPlan
from fi.sampling.sequential import IterativeDraw
from fi.store import results_file, write_buffer
from fi.store.run_summary import ListRecord
from fi.test import main as command

CONTEXT = get_context("forkserver")
CONTEXT.set_forkserver_preload(["campaign_process"])


@dataclass(frozen=True)
class Job:
    """One run of a small campaign.

    Attributes:
        output: the root of its results.
        engine: full or differential.
        kill: where the process kills itself with SIGKILL: ``("golden", n)`` in the n-th batch of
            the golden runs, ``("group", n)`` in the n-th test run, ``("write", n)`` in the middle
            of the n-th write, ``("stored", n)`` after it, ``("call", n)`` at the n-th call or
            return of any function.
        rank, processes, port: of a run of several processes.
        stored: faults between two writes.
        longest_file: a file that would grow longer does not: the disk is full.
        user: to become, before anything is done.
        iterative: draw by interim analyses instead of one list of 41 faults.
        rates: run 20 trials of two rates instead, some sparse and some dense.
        together: faults of each trial of a list.
        pairs: keep the outcome of every pair.
        cluster: the Dask cluster that runs the trials, two of them a task at first.
        seconds: that every inference takes longer, on a worker of the cluster.
    """

    output: Path
    engine: str = "full"
    kill: tuple[str, int] | None = None
    rank: int = 0
    processes: int = 1
    port: int = 0
    stored: int = 4
    longest_file: int | None = None
    user: int | None = None
    iterative: bool = False
    rates: bool = False
    together: int = 1
    pairs: bool = False
    cluster: str | None = None
    seconds: float = 0.0
    environment: dict[str, str] = field(default_factory=dict)


class SmallEvents:
    """A datamodule of small events."""

    def setup(self, stage: str) -> None:
        self.batches = event_batches(INPUT_SHAPES[SmallLinear])

    def test_dataloader(self) -> Any:
        return self.batches


class KillAt(pl.Callback):
    """Kills the process in a golden batch, or at the start of a test run of faults."""

    def __init__(self, place: str, number: int) -> None:
        self.place, self.left = place, number

    def _count(self) -> None:
        self.left -= 1
        if self.left < 0:
            die()

    def on_test_batch_end(self, trainer: Any, module: pl.LightningModule, *args: Any) -> None:
        if self.place == "golden" and isinstance(module, GoldenTest):
            self._count()

    def on_test_start(self, trainer: Any, module: pl.LightningModule) -> None:
        if self.place == "group" and isinstance(module, FaultTest):
            self._count()


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def kill_at_write(place: str, number: int) -> None:
    """Kill the process half-way through the ``number``-th write of results, or after it."""
    whole, left = results_file._append, iter(range(number, -1, -1))

    def append(path: Path, data: bytes, header: str) -> None:
        last = next(left) == 0
        if last and place == "write":
            data = data if path.exists() else header.encode() + data
            with path.open("ab") as file:
                file.write(data[: len(data) // 2])
            die()
        whole(path, data, header)
        if last:
            die()

    results_file._append = append


class Calls:
    """Kills the process at the ``number``-th call or return of any function, C ones included."""

    def __init__(self, number: int) -> None:
        self.number, self.seen = number, 0

    def __call__(self, *event: Any) -> None:
        self.seen += 1
        if self.seen > self.number:
            die()


def campaign_of(job: Job) -> Campaign:
    """The campaign: 41 faults in a small network, of convolutions for the differential engine.

    An iterative one has some sixty, in three draws.
    """
    kind = SmallLinear if job.engine == "full" else SmallConv
    if job.rates:
        return rates_of(job)
    subject = Subject(small(kind), event_batches(INPUT_SHAPES[kind]))
    plan = SamplingPlan(margin=0.2, models=("bit-flip", "stuck-at-1"), together=job.together)
    if job.iterative:
        plan = replace(plan, margin=0.05, sites=("fc*.weight",))
    space = plan.space(subject.families, subject.steps)
    faults = IterativeDraw(space, plan, 0.99) if job.iterative else draw(space, plan)
    ranks = Hardware("cpu", devices=job.processes, strategy="ddp" if job.processes > 1 else "auto")
    settings = Settings(
        job.output,
        engine=job.engine,
        progress=None,
        hardware=ranks,
        save_pairs=job.pairs,
        cluster=job.cluster,
    )
    place, number = job.kill or ("", 0)
    source = ListRecord("51196_fault_list.csv")
    if isinstance(faults, IterativeDraw):
        source = replace(source, scheme=faults.design.scheme, design=faults.design)
    callbacks = [*standard_callbacks(settings), KillAt(place, number)]
    remake = SlowSubject(kind, job.seconds)
    return Campaign(subject, faults, settings, source, callbacks=callbacks, remake=remake)


@dataclass(frozen=True)
class SlowSubject:
    """Makes the subject anew on a worker; every inference of it takes some seconds longer."""

    kind: type[nn.Module]
    seconds: float = 0.0

    def __call__(self) -> Subject:
        subject = Subject(small(self.kind), event_batches(INPUT_SHAPES[self.kind]))
        subject.batches = SlowBatches(subject.batches, self.seconds)
        return subject


class SlowBatches:
    """Batches of which each takes some seconds."""

    def __init__(self, batches: Batches, seconds: float) -> None:
        self.batches, self.seconds = batches, seconds

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__dict__["batches"], name)

    def __iter__(self) -> Any:
        for batch in self.batches:
            time.sleep(self.seconds)
            yield batch


def rates_of(job: Job) -> Campaign:
    """A campaign of rates."""
    subject = Subject(small(SmallConv), event_batches(INPUT_SHAPES[SmallConv]))
    rates, margin = ((0.001, 0.01), 0.1 if job.iterative else 0.01)
    kill = KillAt(*(job.kill or ("", 0)))
    devices = {"devices": job.processes, "strategy": "ddp" if job.processes > 1 else "auto"}
    return rate_campaign(
        subject,
        job.output,
        rates,
        60 if job.iterative else 10,
        job.iterative,
        plan={"margin": margin},
        engine="auto",
        hardware=Hardware("cpu", **devices),
        callbacks=[kill],
        figures=True,
        cluster=job.cluster,
        remake=SlowSubject(SmallConv, job.seconds),
    )


def run_job(job: Job) -> None:
    """The campaign of ``job`` in this process, which ends with the exit status of a command."""
    torch.set_num_threads(1)
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(line_buffering=True)  # type: ignore[union-attr]  # a TextIOWrapper
    write_buffer._FAULTS = job.stored
    group_queue.FIRST_SIZE, group_queue._GROWTH = 2, 1
    if job.processes > 1:
        os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(job.port)}
        os.environ |= {"LOCAL_RANK": str(job.rank), "NODE_RANK": "0"}
        os.environ |= {"WORLD_SIZE": str(job.processes)}
    if job.user is not None:
        os.setuid(job.user)
    if job.longest_file is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (job.longest_file, job.longest_file))
    place, number = job.kill or ("", 0)
    if place in ("write", "stored"):
        kill_at_write(place, number)
    sys.exit(run_command("a job", lambda words: _run(campaign_of(job), place, number), []))


def _run(campaign: Campaign, place: str, number: int) -> None:
    calls = Calls(number)
    sys.setprofile(calls if place == "call" else None)
    try:
        campaign.run()
    finally:
        sys.setprofile(None)
    print(f"calls: {calls.seen}")


def _child(work: Callable[..., object], log: str, *arguments: Any) -> None:
    """``work`` with its output in ``log``, which may be a terminal."""
    place = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOCTTY)
    os.dup2(place, 1)
    os.dup2(place, 2)
    work(*arguments)


def started(work: Callable[..., object], log: Path | str, *arguments: Any) -> BaseProcess:
    """``work`` in a process of its own; its output goes to the file or terminal ``log``."""
    _start_server()
    process = CONTEXT.Process(target=_child, args=(work, str(log), *arguments))
    process.start()
    return process


@cache
def _start_server() -> None:
    """Start the server where it finds this module, which it does not look for in ``sys.path``."""
    with patch.dict(os.environ, {"PYTHONPATH": os.pathsep.join(sys.path)}):
        forkserver.ensure_running()


def ended(process: BaseProcess, seconds: float = 300) -> int | None:
    """The exit code of a process; a negative one is the signal that killed it."""
    process.join(seconds)
    if process.is_alive():
        process.kill()
        process.join()
        raise AssertionError(f"the process has not ended after {seconds} seconds")
    return process.exitcode


def run_here(job: Job, log: Path) -> int | None:
    """The exit code of ``job``, run to its end in a process of its own."""
    return ended(started(run_job, log, job))


def run_fi_test(arguments: list[str]) -> None:
    """``python -m fi.test`` with these arguments, as from a terminal."""
    signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in a shell's background
    torch.set_num_threads(1)
    sys.exit(command(arguments))


def free_port() -> int:
    """A port that nobody listens at."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])
