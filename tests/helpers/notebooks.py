"""Runs a notebook from top to bottom."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import nbformat
from jupyter_client.kernelspec import KernelSpec
from jupyter_client.manager import KernelManager
from nbclient import NotebookClient
from places import ROOT

HERE = ROOT


class _ThisPython(KernelManager):
    """A kernel of the Python that runs, with this repository's packages first."""

    @property
    def kernel_spec(self) -> KernelSpec:
        command = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
        return KernelSpec(argv=command, env={"PYTHONPATH": str(HERE)}, language="python")


def executed(path: Path, folder: Path) -> Any:
    """The notebook with the outputs of a run in ``folder``."""
    notebook = nbformat.read(path, as_version=4)
    os.environ["JUPYTER_PLATFORM_DIRS"] = "1"
    client = NotebookClient(
        notebook, timeout=600, resources={"metadata": {"path": str(folder)}},
        kernel_manager_class=_ThisPython,
    )  # fmt: skip
    client.execute(env={**os.environ, "PYTHONPATH": str(HERE), "IPYTHONDIR": str(folder)})
    return notebook


if __name__ == "__main__":  # python tests/helpers/notebooks.py: run the example again and store it
    example = ROOT / "docs" / "example.ipynb"
    with TemporaryDirectory() as outputs:
        again = executed(example, Path(outputs))
    for cell in again.cells:
        cell.metadata.pop("execution", None)  # times
    nbformat.write(again, example)
