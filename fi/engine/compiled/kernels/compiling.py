"""How kernels are compiled, and kept for the next process.

numba keeps compiled code as long as the file of the function stays what it was. Kernels use each
other across files: here the code is kept as long as all files of this package stay what they were.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from numba import njit
from numba.core.caching import CompileResultCacheImpl, FunctionCache
from numba.core.dispatcher import Dispatcher

#: Without the lock, and with numpy's rules for division.
_OPTIONS: Any = {"nogil": True, "cache": True, "error_model": "numpy"}
_BARE: Any = {"forceinline": True, "_nrt": False}
#: All kernels, and what is inlined into them.
KERNELS: list[Dispatcher] = []


def compiled(function: Callable[..., Any]) -> Any:
    """A kernel that Python calls, or one that kernels call without being inlined."""
    return _kept(njit(**_OPTIONS)(function))


def inlined(function: Callable[..., Any]) -> Any:
    """What is called within a time loop: always inlined, and without reference counts.

    An array that is passed or sliced costs two atomic operations otherwise, more than a step of all
    lanes. Such a function cannot allocate.
    """
    return _kept(njit(**_OPTIONS, **_BARE)(function))


def _kept(kernel: Any) -> Any:
    kernel._cache = _Cache(kernel.py_func)
    KERNELS.append(kernel)
    return kernel


@cache
def sources_digest(folder: Path = Path(__file__).parent) -> str:
    """A hash of all source files of a folder."""
    digest = hashlib.sha256()
    for path in sorted(folder.glob("*.py")):
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


class _Locator:
    """numba's own place for compiled code, with a stamp that covers all sources."""

    def __init__(self, own: Any) -> None:
        self.own = own

    def __getattr__(self, name: str) -> Any:
        return getattr(self.own, name)

    def get_source_stamp(self) -> tuple[Any, str]:
        return self.own.get_source_stamp(), sources_digest()


class _Kept(CompileResultCacheImpl):
    @property
    def locator(self) -> Any:
        return _Locator(super().locator)


class _Cache(FunctionCache):
    _impl_class = _Kept
