"""How a command's process ends."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

_START = """
import atexit
from fi.base.garbage import end_process, skip_last_collection
skip_last_collection()
atexit.register(print, "handler")
print("text", end=" ", flush=False)
"""


@pytest.mark.parametrize("status", [0, 2, 130])
def test_a_process_ends_with_its_status_after_all_handlers(status: int) -> None:
    done = run(f"end_process({status})")
    assert (done.returncode, done.stdout) == (status, "text handler\n")


def test_without_a_status_python_ends_the_process() -> None:
    done = run("pass")
    assert (done.returncode, done.stdout) == (0, "text handler\n")
    failed = run("raise KeyError('cause')")
    assert failed.returncode == 1
    assert "KeyError: 'cause'" in failed.stderr


def test_a_closed_pipe_is_not_hidden() -> None:
    close = "import os; reads, writes = os.pipe(); os.dup2(writes, 1); os.close(reads)"
    done = run(f"{close}; end_process(0)")
    assert done.returncode == 120
    assert "BrokenPipeError" in done.stderr


def run(code: str) -> subprocess.CompletedProcess[str]:
    buffered = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    return subprocess.run(
        [sys.executable, "-c", _START + code],
        capture_output=True, text=True, check=False, env=buffered,
    )  # fmt: skip
