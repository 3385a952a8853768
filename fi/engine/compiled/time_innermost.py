"""Golden traces turned so that time is innermost, in an order that suits the cache."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from fi.engine.compiled.kernels.arrays import Array
from fi.engine.compiled.kernels.building.compiling import compiled
from fi.engine.compiled.kernels.simd import (
    WIDTH,
    bits,
    differing,
    larger,
    load,
    select,
    spread,
    store,
)
from fi.engine.work_sharing import share_work


@compiled
def _turn(
    flat: Array, offsets: Array, order: Array, by_step: int, by_sample: int, first: int, last: int,
    found: Array,
) -> None:  # fmt: skip
    """Copy the samples from ``first`` to before ``last``.

    ``flat f``: the memory of the view; ``offsets, order int64 [rows]``: where a row begins in it,
    and the rows in that order; ``by_step, by_sample``: from one to the next in it.
    """
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
    by_step, by_sample = values.stride()[:2]

    def turn(part: tuple[int, int]) -> None:
        _turn(flat, offsets, order, by_step, by_sample, *part, found)

    _share_samples(turn, batch)
    return found


def _share_samples(work: Callable[[tuple[int, int]], None], batch: int) -> None:
    """Let every thread do its part of the samples, given by its first and last."""
    ends = np.linspace(0, batch, 1 + min(batch, torch.get_num_threads())).astype(int).tolist()
    for _ in share_work(work, pairwise(ends), len(ends) - 1):
        pass


@compiled
def _turn_lines(
    flat: Array, by_step: int, by_sample: int, first: int, last: int, decays: Array, found: Array,
    peak: Array,
) -> None:  # fmt: skip
    """Lines and their peaks of the samples from ``first`` to before ``last``, as ``_turn``."""
    lines, steps = found.shape[0], found.shape[2]
    dtype = found.dtype
    zero = spread(dtype.type(0))
    lane_of = np.empty(WIDTH, dtype)
    for sample in range(first, last):
        for block in range(0, lines, WIDTH):
            begin = min(block, lines - WIDTH)  # the last vector shares lines with the one before
            base = sample * by_sample + begin
            silent = True
            for t in range(steps):
                some = bits(differing(load(flat, base + t * by_step), zero))
                silent &= some == 0
                lane = 0
                while some != 0:  # few are: most lines are silent at most steps
                    if some & np.uint32(1):
                        source = np.uint64(base + t * by_step + lane)
                        found[np.uint64(begin + lane), sample, t] = flat[source]
                    some >>= np.uint32(1)
                    lane += 1
            if silent:
                continue
            for level in range(len(decays)):
                alpha, beta = spread(decays[level, 0]), spread(decays[level, 1])
                syn = mem = highest = zero
                for t in range(steps):
                    signal = load(flat, base + t * by_step)
                    syn = alpha * syn + select(signal < zero, zero - signal, signal)
                    mem = beta * mem + syn
                    highest = larger(mem, highest)
                store(lane_of, 0, highest)
                for lane in range(WIDTH):
                    peak[level, begin + lane, sample] = lane_of[lane]


def turn_lines(signals: Tensor, decays: Array) -> tuple[Array, Array]:
    """Spikes turned so that time is innermost, and what they do to a membrane at most.

    Args:
        signals: ``[time, batch, lines]``, ``lines`` at least ``WIDTH``, on a CPU; mostly 0.
        decays: ``f [levels, 2]``, alpha and beta of the membranes.

    Returns:
        ``f [lines, batch, time]``, and ``f [levels, lines, batch]``, the largest response of a
        membrane to ``|signal|``.
    """
    steps, batch, lines = signals.shape
    signals = signals.detach().contiguous()
    flat = signals.flatten().numpy()
    found = np.zeros((lines, batch, steps), flat.dtype)
    peak = np.zeros((len(decays), lines, batch), flat.dtype)
    decays = decays.astype(flat.dtype)

    def turn(part: tuple[int, int]) -> None:
        _turn_lines(flat, batch * lines, lines, *part, decays, found, peak)

    _share_samples(turn, batch)
    return found, peak
