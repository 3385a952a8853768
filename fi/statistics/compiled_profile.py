"""The functions of ``fi.statistics.profile``, compiled: for tables of thousands of intervals."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from types import FunctionType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fi.base.kernel_cache import provide_cache
from fi.statistics import profile

#: In the order in which they call each other.
_FUNCTIONS: tuple[Any, ...] = (
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


@lru_cache(maxsize=1)
def compile_upper_half_width() -> Callable[[NDArray[np.float64], float], float]:
    """``upper_half_width`` for float64 arrays ``[strata, 5]``, compiled once and then kept on disk.

    Compiled functions call compiled ones only: each is made of a copy that has the others in place
    of the plain ones.
    """
    provide_cache()
    from numba import njit

    names: dict[str, Any] = dict(vars(profile))
    for plain in _FUNCTIONS:
        copy = FunctionType(plain.__code__, names, plain.__name__)
        names[plain.__name__] = njit(nogil=True, cache=True, error_model="numpy")(copy)
    compiled: Callable[[NDArray[np.float64], float], float] = names["upper_half_width"]
    return compiled
