"""Fixtures: small networks under test and the campaigns on them."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from campaigns import Run, subject_of
from saccade_cache import write_shown_digits
from small_networks import SmallLinear

from fi.callbacks import standard_callbacks
from fi.campaign.runner import Campaign
from fi.campaign.settings import Hardware, Settings
from fi.campaign.subject import Subject
from fi.datamodules import SaccadeMNIST
from fi.faults.fault import Fault
from fi.sampling.fault_draw import draw
from fi.sampling.plan import SamplingPlan

torch.set_num_threads(1)  # the networks are so small that a second thread only costs time


@pytest.hookimpl(tryfirst=True)
def pytest_sessionstart(session: pytest.Session) -> None:
    """Compile the kernels, each precision in a process, before several processes do it each."""
    config = session.config
    if hasattr(config, "workerinput") or not getattr(config.option, "numprocesses", None):
        return
    script = str(Path(__file__).parent / "helpers" / "compile_kernels.py")
    running = [
        subprocess.Popen([sys.executable, script, precision], stderr=subprocess.PIPE, text=True)
        for precision in ("float32", "float64")
    ]
    for process in running:
        _, errors = process.communicate()
        if process.returncode:
            pytest.exit(f"the kernels could not be compiled:\n{errors}", returncode=3)


#: What takes longest, first: two processes then end together. Others follow in their order.
LONGEST = (
    "tests/docs/test_docs.py",
    "tests/engine/test_oracle_networks.py",
    "tests/engine/test_oracle.py",
    "tests/engine/test_oracle_models.py",
    "tests/engine/test_random_networks.py",
    "tests/commands/test_published.py",
    "tests/engine/test_engines_agree.py",
    "tests/cli/test_command_line.py",
    "tests/benchmarking/test_benchmark.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the files of ``LONGEST`` first."""
    places = {name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: places.get(item.nodeid.partition("::")[0], len(LONGEST)))


@pytest.fixture
def subject() -> Subject:
    return subject_of(SmallLinear)


@pytest.fixture
def faults(subject: Subject) -> list[Fault]:
    """About a hundred faults in all families."""
    plan = SamplingPlan(margin=0.12, models=("bit-flip", "stuck-at-1"))
    return draw(plan.space(subject.families, subject.steps), plan)


@pytest.fixture
def campaign(tmp_path: Path) -> Run:
    """Makes campaigns that write to a folder of the test and say nothing."""

    def make(subject: Subject, faults: Sequence[Fault], **options: Any) -> Campaign:
        arguments = {k: options.pop(k) for k in ("source", "say", "monitors") if k in options}
        more = options.pop("callbacks", ())
        hardware = Hardware(accelerator="cpu", precision=options.pop("precision", "32-true"))
        defaults = {
            "output": tmp_path,
            "engine": "full",
            "progress": None,
            "figures": False,
            "hardware": hardware,
        }
        settings = Settings(**{**defaults, **options})
        arguments = {"say": lambda line: None, **arguments}
        callbacks = [*standard_callbacks(settings), *more]
        return Campaign(subject, faults, settings, callbacks=callbacks, **arguments)

    return make


@pytest.fixture(scope="session")
def saccade_events(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of SaccadeMNIST's events, made once: of the digits that are shown in tests."""
    root = tmp_path_factory.getbasetemp()
    root = root.parent if "PYTEST_XDIST_WORKER" in os.environ else root
    events = root / "events"
    with (root / "events.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not SaccadeMNIST(events).cache_file("training").exists():  # the last one to be written
            write_shown_digits(events)
    return events


@pytest.fixture
def workplace(tmp_path: Path, saccade_events: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder of a test, empty but for the events of SaccadeMNIST."""
    data = tmp_path / SaccadeMNIST().root
    data.mkdir(parents=True)
    for file in saccade_events.iterdir():
        (data / file.name).symlink_to(file)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print what tests have counted, with ``record_property("tally", ...)``."""
    for reports in terminalreporter.stats.values():
        for report in reports:
            for name, value in getattr(report, "user_properties", []):
                if name == "tally" and report.when == "teardown":
                    terminalreporter.write_line(str(value))
