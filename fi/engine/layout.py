"""Golden traces turned so that time is innermost, in blocks that stay in the cache."""

# mypy: disable-error-code="no-untyped-def"
from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from numba import njit
from torch import Tensor

from fi.engine.stage_model import Array

_compiled: Any = njit(nogil=True, cache=True, error_model="numpy")


@_compiled
def _turn(flat, offsets, order, by_step, by_sample, first, last, found):
    """Copy the samples from ``first`` to before ``last``."""
    batch, steps = found.shape[1], found.shape[2]
    out = found.reshape(-1)
    for sample in range(first, last):
        for row in order:
            source = sample * by_sample + offsets[row]
            target = (row * batch + sample) * steps
            for t in range(steps):  # unsigned: no check for negative numbers
                out[np.uint64(target + t)] = flat[np.uint64(source + t * by_step)]


def time_innermost(values: Tensor) -> Array:
    """``[rows, batch, time]`` of ``[time, batch, ...]``, a view of any strides, on a CPU.

    numpy copies such a view line by line of the result, each element from another cache line; here
    the elements of a sample are taken in the order in which they lie in memory.
    """
    steps, batch = values.shape[:2]
    offsets = np.zeros(1, np.int64)
    for size, stride in zip(values.shape[2:], values.stride()[2:], strict=True):
        offsets = (offsets[:, None] + np.arange(size) * stride).ravel()
    extent = 1 + sum((n - 1) * s for n, s in zip(values.shape, values.stride(), strict=True))
    found = np.empty((len(offsets), batch, steps), values[:0].numpy().dtype)
    if not found.size:
        return found
    flat = values.detach().as_strided((extent,), (1,)).numpy()
    order = np.argsort(offsets, kind="stable")
    across = values.stride()[:2]
    ends = np.linspace(0, batch, 1 + min(batch, torch.get_num_threads())).astype(int).tolist()
    with ThreadPoolExecutor(len(ends) - 1) as pool:
        list(
            pool.map(
                lambda part: _turn(flat, offsets, order, *across, *part, found), pairwise(ends)
            )
        )
    return found
