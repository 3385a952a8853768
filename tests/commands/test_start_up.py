"""What a command imports: nothing before it is needed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from campaigns import Run

from fi.campaign.subject import Subject
from fi.faults.fault import Fault

#: Run a command, then print which of the packages named behind ``--`` it has imported.
PROBE = """
import runpy, sys
command, packages = sys.argv[1:sys.argv.index("--")], sys.argv[sys.argv.index("--") + 1:]
sys.argv = command
try:
    runpy.run_module(command[0], run_name="__main__")
except SystemExit as end:
    status = end.code
print("imported:", *(name for name in packages if name in sys.modules), "status", status)
"""
HEAVY = ("pytorch_lightning", "torchmetrics", "numba", "pandas", "scipy", "matplotlib")


def probe(command: list[str], packages: tuple[str, ...]) -> str:
    """The last line of ``PROBE``."""
    words = [sys.executable, "-c", PROBE, *command, "--", *packages]
    ended = subprocess.run(words, capture_output=True, text=True, check=False)
    return ended.stdout.splitlines()[-1]  # its own exit status is that of the command


@pytest.mark.parametrize(
    ("options", "status", "packages"),
    [
        (["--help"], 0, HEAVY),
        (["--model", "Nope"], 2, HEAVY),
        (["--model", "NMNIST", "--help"], 0, HEAVY),
        (["--model", "NMNIST", "--margin", "5"], 2, (*HEAVY[:4], "matplotlib")),
        (["--model", "NMNIST", "--data.seeds", "5"], 2, (*HEAVY[:4], "matplotlib")),
    ],
    ids=["help", "unknown model", "a model's help", "margin", "option of the data"],
)
def test_help_and_errors_of_options_need_pytorch_at_most(
    options: list[str], status: int, packages: tuple[str, ...]
) -> None:
    assert probe(["fi.test", *options], packages) == f"imported: status {status}"


def test_results_are_read_without_lightning_and_numba(
    campaign: Run, subject: Subject, faults: list[Fault], tmp_path: Path
) -> None:
    campaign(subject, faults).run()
    options = ["--model", subject.name, "--fault-list", "faults", "--output", str(tmp_path)]
    options += ["--by", "family,bit", "--top", "2"]
    packages = ("pytorch_lightning", "torchmetrics", "numba")
    assert probe(["fi.analyse", *options], packages) == "imported: status 0"
