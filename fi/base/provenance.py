"""What a campaign ran with: versions, the commits of code that is under git, machine, times."""

from __future__ import annotations

import inspect
import platform
import subprocess
import sys
from datetime import datetime, timezone
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

_PACKAGES = (
    "faulty-snn",
    "torch",
    "snntorch",
    "pytorch-lightning",
    "torchmetrics",
    "numpy",
    "numba",
)


def list_versions() -> dict[str, str]:
    """Versions of Python, of this tool and of what it computes with."""
    return {"python": platform.python_version()} | {name: _version(name) for name in _PACKAGES}


@cache  # it is searched for in all of the path, and the summary is written often
def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"


def describe_machine(device: torch.device) -> dict[str, Any]:
    """The host, the device and the settings that floating-point results depend on."""
    on_gpu = device.type == "cuda"
    return {
        "host": platform.node(),
        "platform": platform.platform(),
        "device": torch.cuda.get_device_name(device) if on_gpu else device.type,
        "threads": torch.get_num_threads(),
        "tf32": torch.backends.cudnn.allow_tf32 or torch.backends.cuda.matmul.allow_tf32,
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "cudnn_benchmark": torch.backends.cudnn.benchmark,
        "command": [sys.argv[0].rpartition("/")[2], *sys.argv[1:]],
    }


def now() -> str:
    """The time, UTC, to the second."""
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


_SECONDS = 10
_HOME = Path(__file__).resolve().parents[1]


def find_checkouts(**classes: type) -> dict[str, dict[str, Any]]:
    """The commits of this tool and of a user's classes; what is not under git is left out.

    Args:
        classes: of the network, of the data, by what they are.

    Returns:
        what -> ``{"commit": ..., "dirty": ...}``; dirty is a checkout in which files are changed,
        or where git does not know the file itself.
    """
    files = {"faulty-snn": _HOME / "__init__.py"}
    files |= {what: file for what, cls in classes.items() if (file := _source(cls))}
    own = files["faulty-snn"].parents[1]
    theirs = {
        what: file
        for what, file in files.items()
        if what == "faulty-snn" or not file.is_relative_to(own)
    }
    return {what: found for what, file in theirs.items() if (found := find_checkout(file))}


@cache
def find_checkout(file: Path) -> dict[str, Any] | None:
    """Commit and state of the checkout that ``file`` is in; ``None`` outside git.

    An installed copy of a package that git ignores or does not know, as in the ``.venv`` of a
    project, is not of that project's commit: it counts as outside, unless the file is to be added.
    """
    folder = str(file.parent)
    commit = _git(folder, "rev-parse", "--verify", "HEAD")
    if commit is None or _git(folder, "check-ignore", "--quiet", str(file)) is not None:
        return None
    changes = _git(folder, "status", "--porcelain", "--untracked-files=no")
    known = _git(folder, "ls-files", "--error-unmatch", str(file)) is not None
    return {"commit": commit.strip(), "dirty": changes != "" or not known}


def _source(cls: type) -> Path | None:
    try:
        return Path(inspect.getfile(cls)).resolve()
    except (TypeError, OSError):  # typed into an interpreter
        return None


def _git(folder: str, *command: str) -> str | None:
    """What git prints; ``None`` where it is not installed, fails or takes too long."""
    try:
        done = subprocess.run(
            ["git", "--no-optional-locks", "-C", folder, *command],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None
