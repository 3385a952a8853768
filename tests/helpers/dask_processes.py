"""A Dask cluster of processes that a test starts, kills and starts again, one by one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType


class DaskProcesses:
    """A scheduler and workers on this machine, without nannies: a worker that is killed is gone.

    Args:
        folder: for the scheduler file and the logs; the workers run there.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.file = folder / "scheduler.json"
        self._started: list[subprocess.Popen[bytes]] = []
        self.scheduler = self.start_scheduler()

    def __enter__(self) -> DaskProcesses:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        place: TracebackType | None,
    ) -> None:
        for process in self._started:
            process.kill()
            process.wait()

    @property
    def address(self) -> str:
        """``tcp://host:port`` of the scheduler."""
        return str(json.loads(self.file.read_text())["address"])

    @property
    def log(self) -> str:
        """What all of them have said."""
        return (self.folder / "dask.log").read_text()

    def start_scheduler(self) -> subprocess.Popen[bytes]:
        """A scheduler, when it has written its file."""
        self.file.unlink(missing_ok=True)
        options = ["--host", "127.0.0.1", "--port", "0", "--no-dashboard"]
        scheduler = self._start("scheduler", [*options, "--scheduler-file", str(self.file)], {})
        deadline = time.monotonic() + 120
        while not self.file.exists():
            assert scheduler.poll() is None, self.log
            assert time.monotonic() < deadline, self.log
            time.sleep(0.05)
        return scheduler

    def start_worker(self, environment: Mapping[str, str] | None = None) -> subprocess.Popen[bytes]:
        """A worker of one thread, which may need a while until it joins."""
        options = ["--no-nanny", "--nthreads", "1", "--no-dashboard", "--memory-limit", "2GB"]
        options += ["--local-directory", str(self.folder)]
        return self._start("worker", [self.address, *options], environment or {})

    def _start(
        self, what: str, options: list[str], environment: Mapping[str, str]
    ) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", f"distributed.cli.dask_{what}", *options]
        with (self.folder / "dask.log").open("ab") as log:
            process = subprocess.Popen(
                command,
                cwd=self.folder,
                stdout=log,
                stderr=log,
                env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
            )
        self._started.append(process)
        return process
