"""Several processes of one campaign (gloo, CPU): results do not depend on their number."""

from __future__ import annotations

import signal
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from campaign_outputs import results, summary
from campaign_process import Job, ended, free_port, run_here, run_job, started


def run_two(job: Job, log: Path, kills: Sequence[tuple[str, int] | None] = (None, None)) -> list:
    """The exit codes of ``job`` split between two processes, each with its kill."""
    ranks = replace(job, processes=2, port=free_port())
    processes = [
        started(run_job, log, replace(ranks, rank=rank, kill=kill))
        for rank, kill in enumerate(kills)
    ]
    return [ended(process) for process in processes]


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A campaign on each engine, in one process."""
    folder = tmp_path_factory.mktemp("one")
    for engine in ("full", "differential"):
        assert run_here(Job(folder / engine, engine), folder / "log") == 0
    return folder


@pytest.mark.parametrize("engine", ["full", "differential"])
def test_two_processes_give_the_bytes_of_one(one: Path, tmp_path: Path, engine: str) -> None:
    log = tmp_path / "log"
    assert run_two(Job(tmp_path, engine), log) == [0, 0], log.read_text()
    assert results(tmp_path) == results(one / engine)
    assert summary(tmp_path)["processes"] == 2
    assert log.read_text().count("golden accuracy") == 1  # the first process speaks


@pytest.mark.parametrize("killed", [0, 1])
def test_one_of_two_is_killed_and_both_are_started_again(
    one: Path, tmp_path: Path, killed: int
) -> None:
    log = tmp_path / "log"
    kills = [("group", 9) if rank == killed else None for rank in (0, 1)]
    codes = run_two(Job(tmp_path), log, kills)
    assert codes[killed] == -signal.SIGKILL
    assert codes[1 - killed] == 2
    assert f"error: process {1 - killed} of 2: another process has ended" in log.read_text()
    assert "Traceback" not in log.read_text()
    stored = results(tmp_path)
    assert 0 < len(stored) < len(results(one / "full"))
    assert run_two(Job(tmp_path), log) == [0, 0], log.read_text()
    assert results(tmp_path) == results(one / "full")


def test_what_one_process_began_another_number_ends(one: Path, tmp_path: Path) -> None:
    log = tmp_path / "log"
    assert run_here(Job(tmp_path, kill=("stored", 3)), log) == -signal.SIGKILL
    assert run_two(Job(tmp_path), log) == [0, 0], log.read_text()
    assert results(tmp_path) == results(one / "full")


def test_an_error_of_the_first_process_ends_all(tmp_path: Path) -> None:
    log = tmp_path / "log"
    (tmp_path / "file").touch()
    assert run_two(Job(tmp_path / "file"), log) == [2, 2]
    assert log.read_text().count("error: ") == 1
    assert "Traceback" not in log.read_text()
