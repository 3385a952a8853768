"""No kernel leaves an array."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from fi.engine.compiled.kernels.building.compiling import CHECK_BOUNDS, CHECK_BOUNDS_VARIABLE
from fi.engine.compiled.kernels.simd import WIDTH

SCRIPT = Path(__file__).parents[1] / "helpers" / "checked_kernels.py"


@pytest.mark.slow
def test_every_kernel_stays_within_its_arrays() -> None:
    """On faults of every family in every kind of stage, compiled with checks: it takes minutes."""
    assert not CHECK_BOUNDS
    root = SCRIPT.parents[2]
    done = subprocess.run(
        [sys.executable, str(SCRIPT)],
        env={**os.environ, CHECK_BOUNDS_VARIABLE: "1", "PYTHONPATH": str(root)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["checked"]
    assert found["uncalled"] == []
    beyond = [2 * WIDTH, -2 * WIDTH - 1]
    assert found["raising"] == {
        "load_at": [WIDTH + 1, *beyond],
        "store_at": [WIDTH + 1, *beyond],
        "read_at": beyond,
    }
