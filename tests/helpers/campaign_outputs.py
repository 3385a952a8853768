"""What the only campaign below a folder has written."""

from __future__ import annotations

import json
from pathlib import Path


def results(output: Path) -> bytes:
    """The only results file there."""
    (path,) = output.glob("*/*/results.csv")
    return path.read_bytes()


def summary(output: Path) -> dict[str, object]:
    (path,) = output.glob("*/*/summary.json")
    found: dict[str, object] = json.loads(path.read_text())
    return found
