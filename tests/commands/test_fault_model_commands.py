"""Every command of docs/fault-models.md runs, on the differential engine, and is verified."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from places import ROOT

from fi.analyse import main as analyse
from fi.test import main

PAGE = (ROOT / "docs/fault-models.md").read_text()
COMMANDS = re.findall(r"^    python -m fi\.test (.*)$", PAGE, re.MULTILINE)
QUICK = (
    "--limit-samples",
    "24",
    "--accelerator",
    "cpu",
    "--progress",
    "scores",
)


def test_there_is_a_command_for_every_model() -> None:
    for name in ("stuck-at-0", "dead", "saturated", "stuck-value", "scale", "--faults.burst"):
        assert any(name in command for command in COMMANDS), name
    assert len(COMMANDS) > 15


@pytest.mark.slow
@pytest.mark.parametrize("command", COMMANDS)
def test_it_runs_and_the_full_engine_agrees(
    command: str,
    workplace: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    arguments = shlex.split(command, comments=True)
    of_rates = "--faults.rate" in arguments
    size = ["--trials", "2"] if of_rates else ["--margin", "0.15"]
    assert main([*arguments, *QUICK, *size, "--verify", "8"]) == 0, capsys.readouterr().err
    printed = capsys.readouterr().out
    assert "differential engine" in printed
    assert "verified" in printed
    (summary,) = Path("output").glob("*/*/summary.json")
    assert main(["--config", str(summary.parent / "config.yaml")]) == 0
    assert "finished already" in capsys.readouterr().out
    assert analyse([str(summary.parent)]) == 0
    if not of_rates:
        fault_list = next(Path("output/fault_list/NMNIST").glob("*_fault_list.csv"))
        assert analyse(["--model", "NMNIST", "--fault-list", fault_list.name]) == 0
