"""Runs that end early: Ctrl-C, a full disk, a folder that cannot be written, one in use."""

from __future__ import annotations

import os
import shlex
import signal
import threading
from pathlib import Path

import pytest
from campaign_outputs import results, summary
from campaign_process import Job, ended, run_fi_test, run_here, started

ARGUMENTS = [
    *("--model", "small_networks.SmallLinear", "--data", "campaign_process.SmallEvents"),
    *("--checkpoint", "none", "--engine", "full", "--accelerator", "cpu", "--margin", "0.1"),
]


class Terminal:
    """A terminal that a process writes to and a test reads; it never fills up."""

    def __init__(self) -> None:
        self._reader, self._writer = os.openpty()
        self.name, self.text = os.ttyname(self._writer), ""
        self._shown = threading.Condition()
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        while True:
            try:
                piece = os.read(self._reader, 4096)
            except OSError:  # the end of a terminal
                return
            with self._shown:
                self.text += piece.decode()
                self._shown.notify_all()

    def wait_for(self, wanted: str) -> None:
        """Wait until the text has ``wanted``."""
        with self._shown:
            assert self._shown.wait_for(lambda: wanted in self.text, 300), self.text

    def rest(self) -> str:
        """All text, after the process has ended."""
        os.close(self._writer)
        self._thread.join()
        return self.text.replace("\r\n", "\n")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The results of the command, left alone."""
    folder = tmp_path_factory.mktemp("whole")
    arguments = [*ARGUMENTS, "--output", str(folder / "out")]
    assert ended(started(run_fi_test, folder / "log", arguments)) == 0
    return results(folder / "out")


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_run_keeps_what_is_done_and_says_how_to_continue(
    whole: bytes, tmp_path: Path, stop: signal.Signals
) -> None:
    arguments, terminal = [*ARGUMENTS, "--output", str(tmp_path / "out")], Terminal()
    process = started(run_fi_test, terminal.name, arguments)
    terminal.wait_for("pairs/s")
    assert process.pid is not None
    os.kill(process.pid, stop)
    assert ended(process) == 130
    text = terminal.rest()
    _, _, line = text.rpartition("To continue:\n  ")
    assert "\x1b[?25h" in text  # the bar has closed: the cursor is back
    assert "Traceback" not in text
    assert summary(tmp_path / "out")["status"] == "interrupted"
    stored = results(tmp_path / "out")
    assert stored.endswith(b"\n")
    command = shlex.split(line)
    assert command[:3] == ["python", "-m", "fi.test"]
    log = tmp_path / "log"
    assert ended(started(run_fi_test, log, command[3:])) == 0
    assert "faults are done already: continuing" in log.read_text()
    assert results(tmp_path / "out") == whole
    assert whole.startswith(stored)


def check_one_line(log: Path, message: str) -> None:
    errors = [line for line in log.read_text().splitlines() if "error" in line.lower()]
    assert len(errors) == 1, log.read_text()
    assert message in errors[0]
    assert "Traceback" not in log.read_text()


@pytest.mark.parametrize("size", [1500, 2800, 4500])
def test_a_full_disk_loses_nothing(tmp_path: Path, size: int) -> None:
    """No file grows beyond ``size`` bytes, as on a disk that is full then."""
    log = tmp_path / "log"
    assert run_here(Job(tmp_path / "full", longest_file=size), log) == 2
    check_one_line(log, "cannot be written: File too large; what is stored is kept")
    stored = results(tmp_path / "full") if list(tmp_path.glob("full/*/*/results.csv")) else b""
    assert run_here(Job(tmp_path / "full"), log) == 0
    assert run_here(Job(tmp_path / "whole"), log) == 0
    assert results(tmp_path / "full") == results(tmp_path / "whole")
    assert results(tmp_path / "full").startswith(stored)


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    log = tmp_path / "log"
    (tmp_path / "file").touch()
    assert run_here(Job(tmp_path / "file"), log) == 2
    check_one_line(log, f"{tmp_path / 'file'}")
