"""What a campaign ran with: versions, machine, times."""

from __future__ import annotations

import platform
import sys
from datetime import datetime, timezone
from functools import cache
from importlib.metadata import PackageNotFoundError, version
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
