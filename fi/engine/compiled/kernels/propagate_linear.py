"""Differences carried through a linear stage below the last one."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from fi.engine.compiled.kernels.arrays import (
    Array,
    GoldenByStep,
    LinearFanOut,
    NeuronConstants,
    PairList,
    ResponseBound,
)
from fi.engine.compiled.kernels.building.compiling import compiled, inlined
from fi.engine.compiled.kernels.neuron_step import vector_step
from fi.engine.compiled.kernels.pair_lists import (
    cut_pairs,
    grow_entries,
    new_pairs,
    put_entry,
    put_pair,
)
from fi.engine.compiled.kernels.propagate_conv import NO_SOURCE, find_only_source
from fi.engine.compiled.kernels.read_out import drive_all, find_first_step
from fi.engine.compiled.kernels.simd import (
    WIDTH,
    bits,
    count_trailing_zeros,
    load,
    nonzero,
    select,
    spread,
)

#: Steps of one block's spikes in a word of 64 bits.
STEPS = 64 // WIDTH


class SpikeBits(NamedTuple):
    """Spikes of blocks of ``WIDTH`` neurons, a bit for each neuron.

    Attributes:
        differs: ``uint16 [blocks * room]``, whether a spike is another than the golden one.
        golden: ``uint16 [blocks * room]``, the golden spikes.
        differs_by_four: ``uint64``, the memory of ``differs``, ``STEPS`` steps in a word.
        golden_by_four: the same of ``golden``.
        room: steps of a block, up to whole words.
    """

    differs: Array
    golden: Array
    differs_by_four: Array
    golden_by_four: Array
    room: int


@compiled
def new_spike_bits(blocks: int, steps: int) -> SpikeBits:
    """No differences in so many blocks."""
    room = steps + -steps % STEPS
    differs = np.zeros(blocks * room, np.uint16)
    golden = np.zeros_like(differs)
    return SpikeBits(differs, golden, differs.view(np.uint64), golden.view(np.uint64), room)


@compiled
def propagate_linear(
    pairs: PairList, order: Array, fan_out: LinearFanOut, golden: GoldenByStep,
    neurons: NeuronConstants, bound: ResponseBound,
) -> PairList:  # fmt: skip
    """``propagate_conv`` of a linear stage, ``WIDTH`` neurons at a time, each block over all steps.

    Where one input neuron differs, blocks that a bound decides are left out. The entries of a pair
    are listed block by block, those of a neuron in the order of time.
    """
    steps, padded = golden.currents.shape[1], golden.currents.shape[3]
    dtype = golden.currents.dtype
    alpha, beta, threshold, synaptic, reset = neurons
    out = new_pairs(len(pairs.fault), golden.currents)
    listed = entries = 0
    drive, delta = np.empty(steps * padded, dtype), np.empty(steps, dtype)
    blocks = np.empty(padded // WIDTH, np.int64)
    trains = new_spike_bits(len(blocks), steps)
    zero = spread(dtype.type(0))
    for pair in order:
        first = pairs.end[pair - 1] if pair > 0 else np.int64(0)
        end = pairs.end[pair]
        sample = np.int64(pairs.sample[pair])
        source = find_only_source(pairs, first, end) if golden.regular else NO_SOURCE
        number, row, base = 0, np.int64(0), sample * steps * padded
        if source >= 0:
            start = np.int64(pairs.step[first])
            row = np.int64(fan_out.row[fan_out.first[source]]) * padded
            _fill_delta(delta, start, pairs, first, end)
            last = np.int64(pairs.step[end - 1])
            number = _find_undecided_blocks(
                delta, start, last, row, sample, fan_out, golden, bound, blocks
            )
            if number == 0:
                continue
        else:
            for c in range(0, padded, WIDTH):
                blocks[number] = c
                number += 1
            start = find_first_step(pairs, first, end, steps)
            drive_all(drive, start, base, pairs, first, end, fan_out, golden)
        if entries + number * WIDTH * (steps - start) > len(out.step):
            out = grow_entries(out, entries, entries + number * WIDTH * (steps - start))
        pair_start = entries
        before = base + (start - 1) * padded
        for b in range(number):
            c = blocks[b]
            a, decay, limit = load(alpha, c), load(beta, c), load(threshold, c)
            weight = load(fan_out.rows, row + c)
            syn = load(golden.syn, before + c) if start > 0 else zero
            mem = load(golden.mem, before + c) if start > 0 else zero
            for t in range(start, steps):
                if source >= 0:
                    current = load(golden.currents, base + t * padded + c)
                    now = current + spread(delta[t]) * weight
                else:
                    now = load(drive, t * padded + c)
                syn, mem = vector_step(syn, mem, now, a, decay, limit, synaptic, reset)
                spiking = bits(nonzero(load(golden.spikes, base + t * padded + c)))
                place = np.uint64(b * trains.room + t)
                trains.golden[place] = spiking
                trains.differs[place] = bits(mem > limit) ^ spiking
        for b in range(number):
            entries = list_block(out, entries, trains, b, start, blocks[b])
        if entries > pair_start:
            listed = put_pair(out, listed, pairs.fault[pair], sample, entries)
    return cut_pairs(out, listed, entries)


@inlined
def _fill_delta(delta: Array, start: int, pairs: PairList, first: int, end: int) -> None:
    """Fill ``delta f [T]``, from ``start`` on, with the changes of a pair's only input neuron."""
    for t in range(start, len(delta)):
        delta[t] = 0
    for k in range(first, end):
        delta[pairs.step[np.uint64(k)]] = pairs.change[np.uint64(k)]


@inlined
def list_block(
    out: PairList, entries: int, trains: SpikeBits, block: int, start: int, neuron: int
) -> int:
    """List the spikes of a block that differ, from ``start`` on, and leave it clean.

    ``neuron`` is the block's first. Returns the number of entries.
    """
    begin = block * trains.room
    for word in range((begin + start) // STEPS, (begin + trains.room) // STEPS):
        left, spiking = trains.differs_by_four[word], trains.golden_by_four[word]
        while left != 0:
            bit = count_trailing_zeros(left)
            was = np.int32((spiking >> np.uint64(bit)) & np.uint64(1))
            step = word * STEPS + bit // WIDTH - begin
            change = np.int32(1) - np.int32(2) * was
            entries = put_entry(out, entries, step, neuron + bit % WIDTH, change)
            left &= left - np.uint64(1)
    for t in range(begin + start, begin + trains.room):
        trains.differs[t] = 0
    return entries


@inlined
def _find_undecided_blocks(
    delta: Array, start: int, last: int, row: int, sample: int, fan_out: LinearFanOut,
    golden: GoldenByStep, bound: ResponseBound, blocks: Array,
) -> int:  # fmt: skip
    """Blocks of neurons of which one may spike otherwise, into ``blocks``: their number.

    One input neuron differs, by ``delta f [T]``, from step ``start`` to ``last``. Its changes above
    0 move a membrane by at most ``rising`` for a weight of 1, those below 0 by ``falling``.
    """
    alpha, beta, factor = bound
    padded = golden.currents.shape[3]
    nothing = delta.dtype.type(0)
    syn_up = syn_down = up = down = rising = falling = nothing
    for t in range(start, len(delta)):
        syn_up = alpha * syn_up + max(delta[t], nothing)
        syn_down = alpha * syn_down + max(-delta[t], nothing)
        up, down = beta * up + syn_up, beta * down + syn_down
        rising, falling = max(rising, up), max(falling, down)
        if t >= last and alpha == 0:
            break
    highest, lowest = spread(rising * factor), spread(falling * factor)
    zero = spread(nothing)
    number = 0
    for c in range(0, padded, WIDTH):
        weight: Any = load(fan_out.rows, row + c)
        above = select(weight > zero, weight, zero)
        below = above - weight
        rise = highest * above + lowest * below < load(golden.up, sample * padded + c)
        fall = highest * below + lowest * above < load(golden.down, sample * padded + c)
        possible = ~(bits(rise) & bits(fall))
        real = np.uint32((1 << min(fan_out.neurons - c, WIDTH)) - 1)
        if possible & real != 0:
            blocks[number] = c
            number += 1
    return number
