"""The notebook in ``docs``: it was run, and it runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nbformat
import pytest
from notebooks import executed
from places import ROOT

NOTEBOOK = ROOT / "docs" / "example.ipynb"


def results(notebook: Any) -> list[str]:
    """What its expressions gave, as text."""
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    return [
        output["data"]["text/plain"]
        for cell in cells
        for output in cell.outputs
        if output.output_type == "execute_result"
    ]


def test_it_was_run_and_is_small() -> None:
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbformat.validate(notebook)
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    assert all(cell.outputs for cell in cells)
    assert not [o for cell in cells for o in cell.outputs if o.output_type == "error"]
    assert sum("image/svg+xml" in o.get("data", {}) for cell in cells for o in cell.outputs) == 2
    assert NOTEBOOK.stat().st_size < 300_000


@pytest.mark.slow
@pytest.mark.filterwarnings("default")  # of the kernel's libraries
def test_it_runs_to_the_same_results(tmp_path: Path) -> None:
    stored = nbformat.read(NOTEBOOK, as_version=4)
    again = executed(NOTEBOOK, tmp_path)
    assert results(again) == results(stored)
    assert len(results(stored)) >= 6
    assert list(tmp_path.glob("output/NMNIST/*/results.csv"))
