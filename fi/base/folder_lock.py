"""A folder that one process writes to: a lock that dies with its holder."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path

from filelock import FileLock, Timeout

from fi.base.errors import UserError

LOCK_NAME = ".lock"


class FolderInUse(UserError):
    """Another process writes to the folder; the message says which one."""


@contextmanager
def lock_folder(folder: Path) -> Iterator[None]:
    """Hold ``folder``, which is made where it is not there, against any other process.

    The operating system ends the lock with the process (``flock``): nothing has to be removed
    after a kill or a power cut. The file ``.lock`` stays, and says who holds or held it last.

    Raises:
        FolderInUse: another process, or another campaign of this one, holds it.
        OSError: the folder cannot be written, or its file system knows no locks.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / LOCK_NAME
    lock = FileLock(path, fallback_to_soft=False)  # a soft lock would outlive a kill
    try:
        lock.acquire(blocking=False)
    except Timeout:
        raise FolderInUse(f"{folder} is in use: {describe_holder(path)}") from None
    try:
        path.write_text(json.dumps(_ourselves()) + "\n", encoding="utf-8")
        yield
    finally:
        lock.release()


def describe_holder(path: Path) -> str:
    """Who wrote the lock file at ``path``, in words."""
    try:
        entry = json.loads(path.read_text(encoding="utf-8"))
        return f"process {entry['pid']} on {entry['host']} writes to it since {entry['since']}"
    except (OSError, ValueError, KeyError, TypeError):  # it is written a moment after it is held
        return "another process has begun to write to it"


def _ourselves() -> dict[str, str | int]:
    since = datetime.now(timezone.utc).isoformat(timespec="seconds")
    return {"pid": os.getpid(), "host": platform.node(), "since": since}
