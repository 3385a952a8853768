"""Killed and continued: the results are those of a campaign that was left alone."""

from __future__ import annotations

import random
import signal
from pathlib import Path

import pytest
from campaign_outputs import results, summary
from campaign_process import Job, run_here

KILLS = [("golden", 4), ("write", 3), ("stored", 4)]
MORE_KILLS = [
    ("golden", 1),
    ("group", 0),
    ("group", 25),
    ("write", 0),
    ("stored", 0),
    ("write", 8),
]

#: A moment that never comes.
COUNT = ("call", 10**12)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The results of a campaign that nobody stops."""
    folder = tmp_path_factory.mktemp("whole")
    assert run_here(Job(folder), folder / "log") == 0
    return results(folder)


def test_killed_three_times_and_continued(whole: bytes, tmp_path: Path) -> None:
    log = tmp_path / "log"
    for kill in KILLS:
        assert run_here(Job(tmp_path, kill=kill), log) == -signal.SIGKILL
    stored = results(tmp_path)
    assert 0 < len(stored) < len(whole)
    assert whole.startswith(stored)
    assert run_here(Job(tmp_path), log) == 0
    assert results(tmp_path) == whole
    found = summary(tmp_path)
    assert [run["status"] for run in found["runs"]] == ["killed", "killed", "finished"]
    assert found["pairs"] == 24 * (whole.count(b"\n") - 1)
    assert "faults are done already: continuing the run that was started" in log.read_text()
    assert "(killed)" in log.read_text()
    assert not list(tmp_path.rglob(".*.tmp"))


@pytest.mark.slow
@pytest.mark.parametrize("kill", MORE_KILLS, ids=str)
def test_killed_at_a_chosen_moment(whole: bytes, tmp_path: Path, kill: tuple[str, int]) -> None:
    log = tmp_path / "log"
    assert run_here(Job(tmp_path, kill=kill), log) == -signal.SIGKILL
    assert run_here(Job(tmp_path), log) == 0
    assert results(tmp_path) == whole


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_killed_five_times_at_random_moments(whole: bytes, tmp_path: Path, seed: int) -> None:
    """Moments are calls and returns of functions, of C too, drawn over the whole run."""
    draw, log = random.Random(seed), tmp_path / "log"
    assert run_here(Job(tmp_path / "counted", kill=COUNT), log) == 0
    calls = int(log.read_text().rpartition("calls: ")[2])
    kills, outputs = 0, [tmp_path / "0"]
    while kills < 5:
        kill = ("call", draw.randrange(calls))
        exit_code = run_here(Job(outputs[-1], kill=kill), log)
        assert exit_code in (-signal.SIGKILL, 0)
        kills += exit_code != 0
        if exit_code == 0:  # what was left to do has ended before the moment came
            outputs.append(tmp_path / str(len(outputs)))
    for output in outputs:
        assert run_here(Job(output), log) == 0
        assert results(output) == whole
