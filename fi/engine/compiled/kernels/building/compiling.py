"""How kernels are compiled, and kept for the next process."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

from numba import njit
from numba.core.dispatcher import Dispatcher

#: Set to 1 it compiles kernels, in files of their own, that raise ``IndexError`` where an index
#: leaves its array: slow ones, for tests and for who writes kernels.
CHECK_BOUNDS_VARIABLE = "FAULTY_SNN_CHECK_BOUNDS"
CHECK_BOUNDS = os.environ.get(CHECK_BOUNDS_VARIABLE, "") not in ("", "0")
#: Without the lock, and with numpy's rules for division.
_OPTIONS: Any = {"nogil": True, "cache": True, "error_model": "numpy", "boundscheck": CHECK_BOUNDS}
_BARE: Any = {"forceinline": True, "_nrt": False}
#: All kernels, and what is inlined into them.
KERNELS: list[Dispatcher] = []

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")


def compiled(function: Callable[Parameters, Result]) -> Callable[Parameters, Result]:
    """A kernel that Python calls, or one that kernels call without being inlined."""
    kernel: Callable[Parameters, Result] = _listed(njit(**_OPTIONS)(function))
    return kernel


def inlined(function: Callable[..., Any]) -> Any:
    """What is called within a time loop: always inlined, and without reference counts.

    An array that is passed or sliced costs two atomic operations otherwise, more than a step of all
    lanes. Such a function cannot allocate.
    """
    return _listed(njit(**_OPTIONS, **_BARE)(function))


def _listed(kernel: Any) -> Any:
    use_own_files(kernel)
    KERNELS.append(kernel)
    return kernel


def use_own_files(kernel: Any) -> None:
    """Let a kernel's code be kept in ``code_files``, where numba is as these expect it.

    Where it is not, numba keeps the code in its own way, and the first kernel says so.
    """
    try:
        from fi.engine.compiled.kernels.building.code_files import KernelCache

        kernel._cache = KernelCache(kernel.py_func, f"bounds checked: {CHECK_BOUNDS}")
    except (ImportError, AttributeError, TypeError) as error:
        if not KERNELS:
            warnings.warn(
                f"kernels are kept by numba's own cache, whose classes are not those that this "
                f"version was written for ({error}): it does not see an edit of another file, nor "
                f"two processes that compile at once",
                RuntimeWarning,
                stacklevel=3,
            )
        if CHECK_BOUNDS:  # it does not tell kernels with and without checks apart
            kernel._cache.disable()
