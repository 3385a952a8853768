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
from fi.engine.compiled.kernels.building.compiling import compiled, inlined
from fi.engine.compiled.kernels.neuron_step import next_step, vector_step
from fi.engine.compiled.kernels.simd import (
    WIDTH,
    bits,
    differing,
    larger,
    load,
    nonzero,
    select,
    spread,
    store,
    zeros_like,
)

#: A largest membrane this close to the golden one, in parts of what was added up, may be it.
CLOSE = 2.0**-12
#: A membrane this near to a threshold may be on either side of it.
NEAR = 2.0**-17
#: What is larger may overflow in one order of summation and not in another.
LARGEST = 2.0**64


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
    neurons: NeuronConstants, compare: bool,
) -> tuple[Statistics, Array]:  # fmt: skip
    """Carry differences through the last stage, a linear one, to the counts of its spikes.

    ``prefix f [B, T + 1, padded]``: the counts before each step, and in the end.
    Only pairs whose statistic is another are listed; where spikes are to ``compare``, those with
    another spike as well. Which these are is the second result, ``uint8 [pairs]``.
    """
    alpha, beta, threshold, synaptic, reset = neurons
    steps, padded, classes = golden.currents.shape[1], golden.currents.shape[3], fan_out.neurons
    dtype = golden.currents.dtype
    total = len(pairs.fault)
    fault_of, sample_of = np.empty(total, np.int32), np.empty(total, np.int32)
    out, fired = np.empty((total, classes), dtype), np.zeros(total, np.uint8)
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
        changed = apart = np.uint32(0)
        for c in range(0, padded, WIDTH):
            real = np.uint32((1 << min(classes - c, WIDTH)) - 1)
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
                if compare:
                    usual_spikes = bits(nonzero(load(golden.spikes, base + t * padded + c)))
                    apart |= (np.uint32(bits(mem > limit)) ^ np.uint32(usual_spikes)) & real
            store(final, c, statistic)
            usual = load(prefix, (sample * (steps + 1) + steps) * padded + c)
            changed |= bits(differing(statistic, usual)) & real
        if changed != 0 or apart != 0:
            fault_of[found], sample_of[found] = pairs.fault[pair], sample
            fired[found] = apart != 0
            for c in range(classes):
                out[found, c] = final[c]
            found += 1
    return Statistics(fault_of[:found], sample_of[:found], out[:found]), fired[:found]


@inlined
def _magnitude(values: Any) -> Any:
    zero = zeros_like(values)
    return select(values < zero, zero - values, values)


@compiled
def read_out_maxima(
    pairs: PairList, fan_out: LinearFanOut, golden: GoldenByStep, prefix: Array,
    neurons: NeuronConstants,
) -> tuple[Statistics, Array]:  # fmt: skip
    """Carry differences through the last stage, a linear one, to its largest membranes.

    Sums round here in another order than PyTorch's. So a pair is left open where a largest membrane
    is ``CLOSE`` to the golden one and may be it, where a membrane is ``NEAR`` a threshold, and
    where numbers are large or not finite.

    ``prefix f [B, T + 1, padded]``: the largest membranes before each step, and in the end.
    Listed are the pairs in which one is another for sure. The second result are those that are left
    open, bool ``[all pairs]``; what is neither has the golden ones.
    """
    alpha, beta, threshold, synaptic, reset = neurons
    steps, padded, classes = golden.currents.shape[1], golden.currents.shape[3], fan_out.neurons
    dtype = golden.currents.dtype
    total = len(pairs.fault)
    fault_of, sample_of = np.empty(total, np.int32), np.empty(total, np.int32)
    out, left_open = np.empty((total, classes), dtype), np.zeros(total, np.bool_)
    found = 0
    drive, final = np.empty(steps * padded, dtype), np.empty(padded, dtype)
    zero, lowest = spread(dtype.type(0)), spread(dtype.type(-np.inf))
    close, near, large = (
        spread(dtype.type(CLOSE)), spread(dtype.type(NEAR)), spread(dtype.type(LARGEST))
    )  # fmt: skip
    first = np.int64(0)
    for pair in range(total):
        end, sample = pairs.end[pair], np.int64(pairs.sample[pair])
        start = find_first_step(pairs, first, end, steps)
        base = sample * steps * padded
        drive_all(drive, start, base, pairs, first, end, fan_out, golden)
        uncertain = False
        for k in range(first, end):
            uncertain |= not abs(pairs.change[np.uint64(k)]) < LARGEST
        first = end
        changed = doubtful = np.uint32(0)
        for c in range(0, padded, WIDTH):
            real = np.uint32((1 << min(classes - c, WIDTH)) - 1)
            a, b, limit = load(alpha, c), load(beta, c), load(threshold, c)
            syn = mem = zero
            if start > 0:
                syn = load(golden.syn, base + (start - 1) * padded + c)
                mem = load(golden.mem, base + (start - 1) * padded + c)
            earlier = load(prefix, (sample * (steps + 1) + start) * padded + c)
            later, peak, scale = lowest, zero, _magnitude(limit)
            passed = np.uint32(0)
            for t in range(start, steps):
                now = load(drive, t * padded + c)
                syn, mem = vector_step(syn, mem, now, a, b, limit, synaptic, reset)
                later = larger(mem, later)
                size = _magnitude(now) + scale
                passed |= np.uint32(bits(near * size > _magnitude(mem - limit)))
                size = size + _magnitude(mem)
                peak = select(size > peak, size, peak)
            usual = load(prefix, (sample * (steps + 1) + steps) * padded + c)
            reached = larger(later, earlier)
            apart = bits(_magnitude(reached - usual) > close * peak)
            below = bits(usual - later > close * peak)
            same = below & ~bits(differing(reached, usual))
            usable = bits(large > peak)  # not where it is no number
            uncertain |= passed & real != 0 or usable & real != real
            changed |= apart & real
            doubtful |= (apart | same) & real ^ real
            store(final, c, reached)
        if uncertain or (changed == 0 and doubtful != 0):
            left_open[pair] = True
        elif changed != 0:
            fault_of[found], sample_of[found] = pairs.fault[pair], sample
            for c in range(classes):
                out[found, c] = final[c]
            found += 1
    return Statistics(fault_of[:found], sample_of[:found], out[:found]), left_open


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


@compiled
def find_frames(pairs: PairList) -> tuple[Array, Array]:
    """Where the steps of pairs begin that have entries, and whose they are.

    Args:
        pairs: the entries of each in the order of time.

    Returns:
        ``int64 [frames + 1]``, entries, and ``int64 [frames]``, pairs.
    """
    begins, owner = np.empty(len(pairs.step) + 1, np.int64), np.empty(len(pairs.step), np.int64)
    found = 0
    first = np.int64(0)
    for pair in range(len(pairs.end)):
        for k in range(first, pairs.end[pair]):
            if k == first or pairs.step[k] != pairs.step[k - 1]:
                begins[found], owner[found] = k, pair
                found += 1
        first = pairs.end[pair]
    begins[found] = len(pairs.step)
    return begins[: found + 1], owner[:found]


@compiled
def fill_frames(
    frames: Array, first: int, begins: Array, owner: Array, pairs: PairList, seen: Array, batch: int
) -> None:
    """Fill the first rows of ``frames f [rows, inputs]``: what a layer sees in frames that differ.

    Args:
        frames: as many of its rows are filled as there are frames from ``first`` on.
        first: the frame that comes into the first row.
        begins, owner: of ``find_frames``.
        pairs: of them.
        seen: what the layer sees in the golden run, ``f [T * batch, inputs]``.
        batch: how many samples there are.
    """
    inputs = seen.shape[1]
    for row in range(min(len(frames), len(owner) - first)):
        begin, end = begins[first + row], begins[first + row + 1]
        golden = np.int64(pairs.step[begin]) * batch + pairs.sample[owner[first + row]]
        for line in range(inputs):
            frames[row, line] = seen[golden, line]
        for k in range(begin, end):
            frames[row, pairs.neuron[k]] += pairs.change[k]


@compiled
def read_maxima(
    pairs: PairList, begins: Array, owner: Array, driven: Array, currents: Array,
    neurons: NeuronConstants, final: Array,
) -> Statistics:  # fmt: skip
    """The largest membranes over time, of the pairs in which one is another.

    Args:
        pairs: that have frames, see ``find_frames``.
        begins, owner: of it.
        driven: the currents in these frames, ``f [frames, N]``.
        currents: the golden ones, ``f [T, B, N]``.
        neurons: of the last stage.
        final: the golden statistic, ``f [B, N]``.
    """
    alpha, beta, threshold, synaptic, reset = neurons
    steps, _, count = currents.shape
    dtype = currents.dtype
    total = len(pairs.fault)
    fault_of, sample_of = np.empty(total, np.int32), np.empty(total, np.int32)
    out = np.empty((total, count), dtype)
    syn, mem, drive = np.empty(count, dtype), np.empty(count, dtype), np.empty(count, dtype)
    found = frame = 0
    for pair in range(total):
        sample = pairs.sample[pair]
        syn[:], mem[:], out[found, :] = 0, 0, -np.inf
        for t in range(steps):
            if frame < len(owner) and owner[frame] == pair and pairs.step[begins[frame]] == t:
                drive[:] = driven[frame]
                frame += 1
            else:
                drive[:] = currents[t, sample]
            for n in range(count):
                s, m = next_step(
                    syn[n], mem[n], drive[n], alpha[n], beta[n], threshold[n], synaptic, reset
                )
                syn[n], mem[n] = s, m
                best = out[found, n]
                out[found, n] = m if (m > best or m != m) else best
        changed = False
        for n in range(count):
            changed |= out[found, n] != final[sample, n]
        if changed:
            fault_of[found], sample_of[found] = pairs.fault[pair], sample
            found += 1
    return Statistics(fault_of[:found], sample_of[:found], out[:found])
