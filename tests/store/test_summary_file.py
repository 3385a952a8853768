"""The summary of a campaign: what is damaged is refused in a line, before it is gone on with."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from fi.base.text_files import FileError
from fi.store.run_summary import sum_runs
from fi.store.summary_file import read_summary

RUN = {"status": "finished", "started": "now", "faults": 3, "pairs": 12, "wall_seconds": 0.5}


def written(folder: Path, runs: Any) -> Path:
    """A summary with these runs."""
    path = folder / "summary.json"
    path.write_text(json.dumps({"status": "finished", "runs": runs}))
    return path


def test_runs_are_read_and_add_up(tmp_path: Path) -> None:
    runs = read_summary(written(tmp_path, [RUN, RUN]))["runs"]
    assert sum_runs(runs) == {"wall_seconds": 1.0, "pairs": 24, "pairs_per_second": 24.0}


@pytest.mark.parametrize("runs", [[1], {}, "none", [{**RUN, "pairs": "12"}]])
def test_what_is_no_run_is_refused(tmp_path: Path, runs: Any) -> None:
    with pytest.raises(FileError, match="is damaged: 'runs' is no list of runs"):
        read_summary(written(tmp_path, runs))


@pytest.mark.parametrize("key", RUN)
def test_a_run_without_an_entry_is_refused(tmp_path: Path, key: str) -> None:
    run = {name: value for name, value in RUN.items() if name != key}
    with pytest.raises(FileError, match="is damaged: 'runs' is no list of runs"):
        read_summary(written(tmp_path, [run]))
