"""``summary.json`` on disk, and in what the campaigns of two of them differ."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fi.base.text_files import FileError, read_text, write_text

#: What a run must have, and its type.
_RUN: dict[str, type | tuple[type, ...]] = {
    "status": str,
    "started": str,
    "faults": int,
    "pairs": int,
    "wall_seconds": (int, float),
}


def read_summary(path: Path) -> dict[str, Any]:
    """The entries of a ``summary.json``; ``FileError`` where it is damaged, with the line."""
    text = read_text(path, FileError)
    try:
        entries = json.loads(text)
    except (ValueError, RecursionError) as problem:
        line = f":{problem.lineno}" if isinstance(problem, json.JSONDecodeError) else ""
        raise FileError(f"{path}{line} is damaged: not JSON; --overwrite starts again") from None
    if not isinstance(entries, dict):
        raise FileError(f"{path} is damaged: not the summary of a campaign")
    if not _are_runs(entries.get("runs", [])):
        raise FileError(f"{path} is damaged: 'runs' is no list of runs; --overwrite starts again")
    return entries


def _are_runs(found: Any) -> bool:
    """Whether it is a list of what ``RunSummary`` writes of each run."""
    return isinstance(found, list) and all(
        isinstance(run, dict) and all(isinstance(run.get(key), of) for key, of in _RUN.items())
        for run in found
    )


def write_summary(folder: Path, entries: Mapping[str, Any]) -> None:
    """Replace the ``summary.json`` in ``folder``."""
    text = json.dumps(dict(entries), indent=2, ensure_ascii=False)
    write_text(folder / "summary.json", text + "\n")


def list_differences(identity: Mapping[str, str], other: Any) -> list[str]:
    """The entries that two identities do not share, by name, with the beginnings of the hashes."""
    other = other if isinstance(other, Mapping) else {}
    return [
        f"{key} ({_shorten(other.get(key))} there, {_shorten(value)} here)"
        for key, value in identity.items()
        if other.get(key) != value
    ]


def _shorten(value: object) -> str:
    text = "none" if value is None else str(value)
    return text[: 8 if len(text) >= 64 else 20]  # a hash, or a word
