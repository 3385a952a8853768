"""The searches of ``profile`` and ``gaffke``, compiled for large tables."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from types import FunctionType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fi.base.kernel_cache import provide_cache
from fi.statistics.interval_methods import gaffke, profile

#: In the order in which they call each other.
_PROFILE: tuple[Any, ...] = (
    profile.highest_rate,
    profile.scaled_log,
    profile.statistic,
    profile.rate_at_score_slope,
    profile.rate_at_slope,
    profile.rise_and_excess,
    profile.largest_rise,
    profile.continuity_correction,
    profile.upper_half_width,
)
_GAFFKE: tuple[Any, ...] = (
    gaffke.solve_beta,
    gaffke.root_and_total,
    gaffke.start_tilt,
    gaffke.upper_total,
    gaffke.fill_urn,
    gaffke.upper_end,
)


@lru_cache(maxsize=1)
def compile_upper_half_width() -> Callable[[NDArray[np.float64], float], float]:
    """``profile.upper_half_width`` for float64 arrays ``[strata, 5]``, kept on disk."""
    compiled: Callable[[NDArray[np.float64], float], float] = _compile(profile, _PROFILE)
    return compiled


@lru_cache(maxsize=1)
def compile_upper_end() -> Callable[..., float]:
    """``gaffke.upper_end`` for float64 arrays, ``starts`` int64, kept on disk."""
    compiled: Callable[..., float] = _compile(gaffke, _GAFFKE)
    return compiled


def _compile(module: Any, functions: tuple[Any, ...]) -> Any:
    """The last of some functions of a module, compiled once and then kept on disk.

    Compiled functions call compiled ones only: each is made of a copy that has the others in place
    of the plain ones.
    """
    provide_cache()
    from numba import njit

    names: dict[str, Any] = dict(vars(module))
    for plain in functions:
        copy = FunctionType(plain.__code__, names, plain.__name__)
        names[plain.__name__] = njit(nogil=True, cache=True, error_model="numpy")(copy)
    return names[functions[-1].__name__]
