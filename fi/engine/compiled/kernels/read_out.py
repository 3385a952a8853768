"""Differences carried through the last stage to the readout."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from fi.engine.compiled.kernels.arrays import (
    Array,
    GoldenByStep,
    LinearFanOut,
    NeuronConstants,
    PairList,
)
from fi.engine.compiled.kernels.compiling import compiled, inlined
from fi.engine.compiled.kernels.neuron_step import vector_step
from fi.engine.compiled.kernels.simd import (
    WIDTH,
    bits,
    differing,
    load,
    select,
    spread,
    store,
)


class Statistics(NamedTuple):
    """Pairs and what the readout gathers of them.

    Attributes:
        fault: ``int32 [pairs]``, or ``int64``.
        sample: as ``fault``.
        statistic: ``f [pairs, classes]``.
    """

    fault: Array
    sample: Array
    statistic: Array


@inlined
def find_first_step(pairs: PairList, first: int, end: int, steps: int) -> Any:
    """The first step at which entries of a pair are, ``steps`` where there are none."""
    start = np.int64(steps)
    for k in range(first, end):
        start = min(start, np.int64(pairs.step[np.uint64(k)]))
    return start


@inlined
def drive_all(
    drive: Array, start: int, base: int, pairs: PairList, first: int, end: int,
    fan_out: LinearFanOut, golden: GoldenByStep,
) -> None:  # fmt: skip
    """Fill ``drive f [T * padded]`` from ``start`` on: golden currents and the differences.

    ``base``: where the sample begins in the golden currents.
    """
    steps, padded = golden.currents.shape[1], golden.currents.shape[3]
    for place in range(start * padded, steps * padded, WIDTH):
        store(drive, place, load(golden.currents, base + place))
    for k in range(first, end):
        source = np.uint64(pairs.neuron[np.uint64(k)])
        change = spread(pairs.change[np.uint64(k)])
        place = np.int64(pairs.step[np.uint64(k)]) * padded
        for e in range(fan_out.first[source], fan_out.first[source + np.uint64(1)]):
            row = np.int64(fan_out.row[np.uint64(e)]) * padded
            for c in range(0, padded, WIDTH):
                here = load(drive, place + c)
                store(drive, place + c, here + change * load(fan_out.rows, row + c))


@compiled
def read_out(
    pairs: PairList, fan_out: LinearFanOut, golden: GoldenByStep, prefix: Array,
    neurons: NeuronConstants,
) -> Statistics:  # fmt: skip
    """Carry differences through the last stage, a linear one, to the counts of its spikes.

    ``prefix f [B, T + 1, padded]``: the counts before each step, and in the end.
    Only pairs whose statistic is another are listed.
    """
    alpha, beta, threshold, synaptic, reset = neurons
    steps, padded, classes = golden.currents.shape[1], golden.currents.shape[3], fan_out.neurons
    dtype = golden.currents.dtype
    total = len(pairs.fault)
    fault_of, sample_of = np.empty(total, np.int32), np.empty(total, np.int32)
    out = np.empty((total, classes), dtype)
    found = 0
    drive, final = np.empty(steps * padded, dtype), np.empty(padded, dtype)
    one, zero = spread(dtype.type(1)), spread(dtype.type(0))
    first = np.int64(0)
    for pair in range(total):
        end, sample = pairs.end[pair], np.int64(pairs.sample[pair])
        start = find_first_step(pairs, first, end, steps)
        base = sample * steps * padded
        drive_all(drive, start, base, pairs, first, end, fan_out, golden)
        first = end
        changed = np.uint32(0)
        for c in range(0, padded, WIDTH):
            a, b, limit = load(alpha, c), load(beta, c), load(threshold, c)
            syn = mem = zero
            if start > 0:
                syn = load(golden.syn, base + (start - 1) * padded + c)
                mem = load(golden.mem, base + (start - 1) * padded + c)
            before = (sample * (steps + 1) + start) * padded + c
            statistic = load(prefix, before)
            for t in range(start, steps):
                now = load(drive, t * padded + c)
                syn, mem = vector_step(syn, mem, now, a, b, limit, synaptic, reset)
                statistic = statistic + select(mem > limit, one, zero)
            store(final, c, statistic)
            usual = load(prefix, (sample * (steps + 1) + steps) * padded + c)
            real = np.uint32((1 << min(classes - c, WIDTH)) - 1)
            changed |= bits(differing(statistic, usual)) & real
        if changed != 0:
            fault_of[found], sample_of[found] = pairs.fault[pair], sample
            for c in range(classes):
                out[found, c] = final[c]
            found += 1
    return Statistics(fault_of[:found], sample_of[:found], out[:found])


@compiled
def replace_classes(pairs: PairList, golden: Array) -> Array:
    """``f [pairs, classes]``: ``golden f [B, classes]`` with the classes that a pair lists."""
    classes = golden.shape[1]
    found = np.empty((len(pairs.sample), classes), golden.dtype)
    first = np.int64(0)
    for pair in range(len(pairs.sample)):
        for c in range(classes):
            found[pair, c] = golden[pairs.sample[pair], c]
        for k in range(first, pairs.end[pair]):
            found[pair, pairs.neuron[k]] = pairs.change[k]
        first = pairs.end[pair]
    return found
