"""A campaign on a Dask cluster: the bytes of one process, whatever happens to the workers."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from importlib.util import find_spec
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest
from campaign_outputs import results, summary
from campaign_process import Job, ended, run_fi_test, run_here, run_job, started
from dask_processes import DaskProcesses

from fi.base.errors import UserError
from fi.campaign.cluster.cluster_place import check_cluster, connect, read_description
from fi.store.pairs_file import PairBlock, PairsFile

if find_spec("distributed") is None:
    pytest.skip("the package distributed is not installed", allow_module_level=True)

#: What is run, as options of a job; the first is among the fast tests.
KINDS = {
    "single faults": {"engine": "differential"},
    "single faults, one a test run": {"engine": "full"},
    "trials": {"engine": "differential", "together": 3},
    "pairs": {"engine": "differential", "pairs": True},
    "iterative": {"engine": "differential", "iterative": True},
    "rates": {"engine": "differential", "rates": True},
    "iterative rates": {"engine": "differential", "rates": True, "iterative": True},
}
#: A second or so of a campaign that takes six on two workers.
SLOW = {"engine": "full", "seconds": 0.1}


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DaskProcesses]:
    """A scheduler, and two workers that were started separately."""
    with DaskProcesses(tmp_path_factory.mktemp("cluster")) as processes:
        processes.start_worker()
        processes.start_worker()
        yield processes


def run_alone(job: Job, folder: Path) -> bytes:
    """The results of a job in one process, without a cluster."""
    alone = replace(job, output=folder / "alone", cluster=None, seconds=0.0)
    log = folder / "alone.log"
    assert run_here(alone, log) == 0, log.read_text()
    return results(alone.output)


def wait_for_rows(output: Path, rows: int, process: BaseProcess) -> None:
    """Until so many rows of results are stored."""
    deadline = time.monotonic() + 240
    while time.monotonic() < deadline and process.is_alive():
        found = list(output.glob("*/*/results.csv"))
        if found and found[0].read_bytes().count(b"\n") > rows:
            return
        time.sleep(0.02)
    raise AssertionError("the campaign stores nothing")


def wait_for_text(log: Path, text: str, process: BaseProcess) -> None:
    """Until the process has said this."""
    deadline = time.monotonic() + 240
    while not (log.exists() and text in log.read_text()):
        assert process.is_alive(), log.read_text()
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.05)


def check_same(job: Job, folder: Path, log: Path, whole: bool = True) -> None:
    """The job has the results of one process, and its counts of decisions where it ran whole."""
    assert results(job.output) == run_alone(job, folder), log.read_text()
    found, alone = summary(job.output), summary(folder / "alone")
    assert found["status"] == "finished"
    assert found["done"] == alone["done"]
    assert found["cluster"]["address"] == job.cluster
    if whole:
        assert found["decided"] == alone["decided"]


@pytest.mark.parametrize(
    "kind", [next(iter(KINDS)), *(pytest.param(k, marks=pytest.mark.slow) for k in list(KINDS)[1:])]
)
def test_two_workers_give_the_bytes_of_one_process(
    cluster: DaskProcesses, tmp_path: Path, kind: str
) -> None:
    log = tmp_path / "log"
    job = Job(tmp_path / "two", cluster=cluster.address, **KINDS[kind])
    assert run_here(job, log) == 0, log.read_text() + cluster.log
    check_same(job, tmp_path, log)
    if kind == "pairs":
        one, two = (next(tmp_path.glob(f"{name}/*/*/pairs.bin")) for name in ("alone", "two"))
        assert read_pairs(one) == read_pairs(two)
    if not job.rates:  # those say nothing here
        assert f"cluster {cluster.address}, dashboard http" in log.read_text()


def read_pairs(path: Path) -> list[tuple[int, ...]]:
    """Trial, sample and code of every pair that is kept."""
    block = PairBlock.join(list(PairsFile(path).blocks()))
    injections = block.injection[block.trial]
    return list(zip(*(a.tolist() for a in (injections, block.sample, block.code)), strict=True))


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["single faults", "iterative rates"])
def test_local_workers_give_the_bytes_of_one_process(tmp_path: Path, kind: str) -> None:
    log = tmp_path / "log"
    job = Job(tmp_path / "two", cluster="local:2", **KINDS[kind])
    assert run_here(job, log) == 0, log.read_text()
    check_same(job, tmp_path, log)


def count_local_workers(workers: int) -> None:
    """End with status 0 where so many workers share the processors of this machine."""
    with connect(f"local:{workers}") as client:
        client.wait_for_workers(workers, timeout=240)
        threads = list(client.nthreads().values())
    sys.exit(threads != [max(1, len(os.sched_getaffinity(0)) // workers)] * workers)


@pytest.mark.slow
def test_local_workers_share_the_processors(tmp_path: Path) -> None:
    log = tmp_path / "log"
    assert ended(started(count_local_workers, log, 2)) == 0, log.read_text()


@pytest.mark.slow
def test_a_worker_is_killed(tmp_path: Path) -> None:
    with DaskProcesses(tmp_path) as cluster:
        killed, _ = cluster.start_worker(), cluster.start_worker()
        log = tmp_path / "log"
        job = Job(tmp_path / "two", cluster=cluster.address, **SLOW)
        process = started(run_job, log, job)
        wait_for_rows(job.output, 8, process)
        killed.send_signal(signal.SIGKILL)
        assert ended(process) == 0, log.read_text()
        check_same(job, tmp_path, log)


@pytest.mark.slow
def test_a_worker_joins_late(tmp_path: Path) -> None:
    with DaskProcesses(tmp_path) as cluster:
        log = tmp_path / "log"
        job = Job(tmp_path / "two", cluster=cluster.address, **{**SLOW, "seconds": 0.3})
        process = started(run_job, log, job)
        wait_for_text(log, "has no worker yet: waiting for one", process)
        cluster.start_worker()
        wait_for_rows(job.output, 4, process)
        cluster.start_worker()
        assert ended(process) == 0, log.read_text()
        assert summary(job.output)["cluster"]["workers"] == 2
        check_same(job, tmp_path, log)


@pytest.mark.slow
def test_the_scheduler_is_killed_and_the_command_given_again(tmp_path: Path) -> None:
    log = tmp_path / "log"
    job = Job(tmp_path / "two", **SLOW)
    with DaskProcesses(tmp_path) as cluster:
        cluster.start_worker()
        process = started(run_job, log, replace(job, cluster=cluster.address))
        wait_for_rows(job.output, 4, process)
        cluster.scheduler.kill()
        assert ended(process) == 2, log.read_text()
        assert "the scheduler is gone" in log.read_text()
        assert "Traceback" not in log.read_text()
        stored = results(job.output)
        cluster.start_scheduler()
        cluster.start_worker()
        job = replace(job, cluster=cluster.address)
        assert run_here(job, log) == 0, log.read_text()
    assert results(job.output).startswith(stored)
    check_same(job, tmp_path, log, whole=False)


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_the_command_is_killed_and_given_again(
    cluster: DaskProcesses, tmp_path: Path, how: signal.Signals
) -> None:
    log = tmp_path / "log"
    job = Job(tmp_path / "two", cluster=cluster.address, **SLOW)
    process = started(run_job, log, job)
    wait_for_rows(job.output, 4, process)
    os.kill(process.pid or 0, how)
    assert ended(process) == (-how if how == signal.SIGKILL else 130), log.read_text()
    stored = results(job.output)
    if how == signal.SIGTERM:  # the tasks are released: the workers are free at once
        assert summary(job.output)["status"] == "interrupted"
    assert run_here(job, log) == 0, log.read_text()
    assert results(job.output).startswith(stored)
    check_same(job, tmp_path, log, whole=False)


def run_in_a_terminal(arguments: list[str]) -> None:
    """``fi.test`` and the processes that it starts, alone in a group that Ctrl-C goes to."""
    os.setsid()
    run_fi_test(arguments)


def list_group(group: int) -> list[str]:
    """The processes of a group that have not ended, by their command lines."""
    lines = []
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it has ended
            state, _, own = (folder / "stat").read_text().rpartition(")")[2].split()[:3]
            if int(own) == group and state != "Z":
                lines.append((folder / "cmdline").read_bytes().replace(b"\0", b" ").decode())
    return lines


@pytest.mark.slow
def test_ctrl_c_ends_the_command_and_its_local_workers(tmp_path: Path) -> None:
    """Quietly, all of them, and the command given again goes on."""
    arguments = ["--model", "NMNIST", "--engine", "full", "--limit-samples", "20", "--margin"]
    arguments += ["0.1", "--no-figures", "--output", str(tmp_path / "out")]
    log = tmp_path / "log"
    process = started(run_in_a_terminal, log, [*arguments, "--cluster", "local:2"])
    group = process.pid or 0
    wait_for_rows(tmp_path / "out", 4, process)
    os.killpg(group, signal.SIGINT)
    assert ended(process) == 130, log.read_text()
    said = log.read_text()
    assert "interrupted; what is done is kept" in said
    assert not [word for word in ("Traceback", "ERROR", "terminate called") if word in said]
    deadline = time.monotonic() + 10
    while list_group(group) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert list_group(group) == []
    stored = results(tmp_path / "out")
    again = started(run_fi_test, log, [*arguments, "--cluster", "local:2"])
    assert ended(again) == 0, log.read_text()
    assert results(tmp_path / "out").startswith(stored)
    arguments[-1] = str(tmp_path / "alone")
    assert ended(started(run_fi_test, tmp_path / "alone.log", arguments)) == 0
    assert results(tmp_path / "out") == results(tmp_path / "alone")
    assert "ERROR" not in log.read_text()


#: A network whose scores hang on the machine: on one of the workers it rounds otherwise.
NET = """
import os
import snntorch, torch
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(3)
        self.fc, self.lif = nn.Linear(12, 4), snntorch.Leaky(beta=0.9)

    def forward(self, events):
        state, spikes = self.lif.init_leaky(), []
        for frame in events:
            spike, state = self.lif(self.fc(frame), state)
            spikes.append(spike)
        return torch.stack(spikes).sum(0) * float(os.environ.get("NET_ROUNDS", "1"))

def events():
    drawn = torch.Generator().manual_seed(1)
    batch = lambda: (torch.rand(5, 8, 12, generator=drawn).round(), torch.arange(8) % 4)
    return [batch(), batch()]
"""


@pytest.mark.slow
def test_a_worker_that_rounds_otherwise_is_refused_and_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "net.py").write_text(NET)
    monkeypatch.chdir(tmp_path)
    options = ["--model", "./net.py:Net", "--data", "./net.py:events", "--margin", "0.1"]
    options += ["--no-figures", "--engine", "full", "--quiet"]
    log = tmp_path / "log"
    assert ended(started(run_fi_test, log, [*options, "--output", "alone"])) == 0, log.read_text()
    with DaskProcesses(tmp_path) as cluster:
        other = cluster.start_worker({"NET_ROUNDS": "1.0000001"})
        command = [*options, "--output", "two", "--cluster", str(cluster.file)]
        assert ended(started(run_fi_test, log, command)) == 2, log.read_text()
        assert "no worker can take part, 1 is refused, as tcp://" in log.read_text()
        assert "the same network gives other golden scores there" in log.read_text()
        cluster.start_worker()
        command.remove("--quiet")
        process = started(run_fi_test, log, command)
        assert ended(process) == 0, log.read_text()
        assert other.poll() is None
    said = log.read_text()
    assert "worker tcp://" in said
    assert "is refused: " in said
    assert "Traceback" not in said
    assert results(tmp_path / "two") == results(tmp_path / "alone")


@pytest.mark.slow
def test_a_cluster_class_is_started_and_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "cluster.yaml").write_text(
        "class: distributed.LocalCluster\n"
        "arguments: {n_workers: 0, threads_per_worker: 1, dashboard_address: ':0'}\n"
        "workers: 1\n"
    )
    log = tmp_path / "log"
    job = Job(tmp_path / "two", engine="differential", cluster="cluster.yaml")
    assert run_here(job, log) == 0, log.read_text()
    check_same(job, tmp_path, log)


def test_what_is_no_cluster_is_refused(tmp_path: Path) -> None:
    wrong, empty = tmp_path / "wrong.json", tmp_path / "empty.yaml"
    wrong.write_text(json.dumps({"id": 3}))
    empty.write_text("arguments: {cores: 4}\n")
    for given, message in [
        ("local:0", "at least one worker"),
        ("local", "there is no such file; wanted is local:N, tcp://host:port"),
        ("tcp://host", "there is no such file"),
        (str(wrong), "this is no scheduler file: it has no address"),
        (str(empty), "it names no class, as class: dask_jobqueue.SLURMCluster"),
    ]:
        with pytest.raises(UserError, match=f"^--cluster {given}: .*{message}"):
            check_cluster(given)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("class: a.B\nworker: 3", "unknown worker; allowed: class, arguments, workers"),
        ("class: a.B\nworkers: 0", "workers: 0; allowed is a number above 0"),
        ("class: a.B\narguments: 4", "arguments: wanted are arguments by name, not 4"),
        ("[", "while parsing"),
    ],
)
def test_a_description_says_what_is_wrong(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "cluster.yaml"
    path.write_text(text)
    with pytest.raises(UserError, match=message):
        read_description(path)


def test_a_scheduler_that_does_not_answer_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from fi.campaign.cluster import cluster_place

    monkeypatch.setattr(cluster_place, "_PATIENCE", 0.5)
    with (
        pytest.raises(UserError, match=r"--cluster tcp://127.0.0.1:9: no scheduler answers: "),
        cluster_place.connect("tcp://127.0.0.1:9"),
    ):
        pass
