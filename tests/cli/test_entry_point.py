"""``faulty-snn``: every command by one name, errors in one line or with all that Python knows."""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path

import pytest
from places import ROOT

from fi.cli.entry_point import COMMANDS, main


def test_it_has_every_command() -> None:
    """All that ``docs/reference.md`` documents, which is made from the files in ``fi``."""
    page = (ROOT / "docs" / "reference.md").read_text(encoding="utf-8")
    documented = {
        line.rpartition(".")[2] for line in page.splitlines() if line.startswith("### python -m fi")
    }
    assert set(COMMANDS) == documented


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_behind_the_name_is_the_command(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        main([name, "--help"])
    assert stop.value.code == 0
    text = capsys.readouterr().out
    assert text.startswith(("usage: ", "Usage: "))
    assert "--traceback" in text
    assert importlib.import_module(f"fi.{name}")


def test_the_help_lists_the_commands_and_imports_none() -> None:
    code = (
        "import sys\n"
        "from fi.cli.entry_point import main\n"
        "assert main(['--help']) == 0\n"
        "assert not {'torch', 'jsonargparse', 'numpy'} & set(sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert all(f"\n  {name} " in done.stdout for name in COMMANDS)


def test_python_m_fi_is_the_same(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "fi", "tset"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert done.stderr == f"error: unknown command 'tset'; known: {', '.join(COMMANDS)}\n"


@pytest.mark.parametrize("given", [["merge", "none"], ["test", "--config", "none.yaml"]])
def test_a_traceback_where_it_is_asked_for(
    given: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(given) == 2
    line = capsys.readouterr().err
    assert line.count("\n") == 1
    assert main([*given, "--traceback"]) == 2
    text = capsys.readouterr().err
    assert text.startswith("Traceback (most recent call last):\n")
    assert text.endswith(line)


def test_a_traceback_is_no_option_that_is_replayed() -> None:
    from fi.cli.test_options import make_parser

    parser = make_parser({})
    assert "traceback" not in parser.dump_replayable(parser.parse([]), ())
