"""What CUDA's libraries read when they start: it must be set before, which a notebook may miss."""

from __future__ import annotations

import os
import sys

from fi.base.errors import UserError

_VARIABLE = "CUBLAS_WORKSPACE_CONFIG"
#: Whether the variable was there before CUDA was used.
_in_time = True


def set_cublas_workspace() -> None:
    """Give cuBLAS workspaces that make its products reproducible, unless somebody has.

    It reads them when it starts: call this as early as possible.
    """
    global _in_time
    torch = sys.modules.get("torch")
    started = torch is not None and torch.cuda.is_initialized()
    _in_time = _VARIABLE in os.environ or not started
    os.environ.setdefault(_VARIABLE, ":4096:8")


def check_cublas() -> None:
    """Raise ``UserError`` where CUDA was used before the variable was set."""
    if not _in_time:
        raise UserError(
            f"CUDA was used before fi was imported, without {_VARIABLE}: its products may differ "
            "from run to run. Import fi first, or set the variable to :4096:8, and start again"
        )
