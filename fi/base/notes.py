"""Lines beside the results: what was decided for the user, and what makes numbers misleading."""

from __future__ import annotations

import os
import sys


def note(text: str) -> None:
    """Print ``note: text`` on stderr, in the first process of several."""
    _print_line("note", text)


def warn_user(text: str) -> None:
    """Print ``warning: text`` on stderr, in the first process of several."""
    _print_line("warning", text)


def _print_line(kind: str, text: str) -> None:
    if os.environ.get("LOCAL_RANK", "0") == "0" and os.environ.get("NODE_RANK", "0") == "0":
        print(f"{kind}: {text}", file=sys.stderr)
