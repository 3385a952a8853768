"""Differences carried through a linear stage below the last one."""

# mypy: disable-error-code="no-untyped-def"
from __future__ import annotations

import numpy as np

from fi.engine.compiled.kernels.compiling import compiled, inlined
from fi.engine.compiled.kernels.growing import grown
from fi.engine.compiled.kernels.neuron_step import vector_step
from fi.engine.compiled.kernels.propagate_conv import only_source
from fi.engine.compiled.kernels.simd import (
    WIDTH,
    bits,
    load,
    lowest,
    nonzero,
    select,
    spread,
    store,
)

#: Steps of one block's spikes in a word of 64 bits.
STEPS = 64 // WIDTH


@compiled
def flow_dense(
    order, pair_strike, pair_sample, pair_end, d_step, d_neuron, d_change, reach, run_row, rows,
    currents, golden_syn, golden_mem, spikes, up, down, alpha, beta, threshold, neurons,
    top_alpha, top_beta, factor, regular, synaptic, reset,
):  # fmt: skip
    """``flow`` of a linear stage, ``WIDTH`` neurons at a time, each block over all steps.

    Neurons are padded to whole vectors: ``rows f [rows, padded]``; ``currents, golden_syn,
    golden_mem f [B, T, padded]``, ``spikes uint8`` of the same shape; ``up, down f [B, padded]``;
    ``alpha, beta, threshold f [padded]``. Where one input neuron differs, blocks that a bound
    decides are left out. The entries of a pair are listed block by block, those of a neuron in the
    order of time. Returns ``(strike, sample, ends, step, neuron, change, undecided)`` of the pairs
    that still differ.
    """
    steps, padded = currents.shape[1], currents.shape[2]
    dtype = currents.dtype
    out_strike, out_sample = np.empty(1024, np.int32), np.empty(1024, np.int32)
    out_end = np.empty(1024, np.int64)
    o_step, o_neuron = np.empty(4096, np.int32), np.empty(4096, np.int32)
    o_change = np.empty(4096, dtype)
    pairs = entries = undecided = 0
    drive = np.empty(steps * padded, dtype)
    blocks = np.empty(padded // WIDTH, np.int64)
    delta = np.empty(steps, dtype)
    room = steps + -steps % STEPS
    differs = np.zeros(len(blocks) * room, np.uint16)  # a bit for each neuron of a block
    golden = np.zeros_like(differs)
    four, four_golden = differs.view(np.uint64), golden.view(np.uint64)
    flat_rows, flat_currents = rows.reshape(-1), currents.reshape(-1)
    flat_syn, flat_mem = golden_syn.reshape(-1), golden_mem.reshape(-1)
    flat_spikes = spikes.reshape(-1)
    flat_up, flat_down = up.reshape(-1), down.reshape(-1)
    one, zero = spread(dtype.type(1)), spread(dtype.type(0))
    for pair in order:
        first = pair_end[pair - 1] if pair > 0 else np.int64(0)
        end = pair_end[pair]
        sample = np.int64(pair_sample[pair])
        source = only_source(first, end, d_neuron, d_change) if regular else np.int64(-1)
        number, row, base = 0, np.int64(0), sample * steps * padded
        if source >= 0:
            start = np.int64(d_step[first])
            row = np.int64(run_row[reach[source]]) * padded
            for t in range(start, steps):
                delta[t] = 0
            for k in range(first, end):
                delta[d_step[np.uint64(k)]] = d_change[np.uint64(k)]
            number = _undecided_blocks(
                delta, start, np.int64(d_step[end - 1]), row, flat_rows, flat_up, flat_down,
                sample, top_alpha, top_beta, factor, neurons, padded, blocks,
            )  # fmt: skip
            if number == 0:
                continue
        else:
            for c in range(0, padded, WIDTH):
                blocks[number] = c
                number += 1
            start = steps
            for k in range(first, end):
                start = min(start, np.int64(d_step[k]))
            drive_all(
                drive, start, steps, padded, base, first, end, d_step, d_neuron, d_change, reach,
                run_row, flat_rows, flat_currents,
            )  # fmt: skip
        undecided += 1
        while entries + number * WIDTH * (steps - start) > len(o_step):
            o_step, o_neuron = grown(o_step, entries), grown(o_neuron, entries)
            o_change = grown(o_change, entries)
        pair_start = entries
        before = base + (start - 1) * padded
        for b in range(number):
            c = blocks[b]
            a, decay, limit = load(alpha, c), load(beta, c), load(threshold, c)
            silent, weight = zero * limit, load(flat_rows, row + c)
            syn = load(flat_syn, before + c) if start > 0 else zero
            mem = load(flat_mem, before + c) if start > 0 else zero
            for t in range(start, steps):
                if source >= 0:
                    now = load(flat_currents, base + t * padded + c) + spread(delta[t]) * weight
                else:
                    now = load(drive, t * padded + c)
                syn, mem = vector_step(
                    syn, mem, now, a, decay, limit, silent, one, zero, synaptic, reset
                )
                spiking = bits(nonzero(load(flat_spikes, base + t * padded + c)))
                golden[np.uint64(b * room + t)] = spiking
                differs[np.uint64(b * room + t)] = bits(mem > limit) ^ spiking
        for b in range(number):
            entries = listed(
                differs, four, four_golden, b * room, start, room, blocks[b], o_step, o_neuron,
                o_change, entries,
            )  # fmt: skip
        if entries > pair_start:
            if pairs == len(out_strike):
                out_strike, out_sample = grown(out_strike, pairs), grown(out_sample, pairs)
                out_end = grown(out_end, pairs)
            out_strike[pairs], out_sample[pairs] = pair_strike[pair], sample
            out_end[pairs] = entries
            pairs += 1
    return (
        out_strike[:pairs], out_sample[:pairs], out_end[:pairs], o_step[:entries],
        o_neuron[:entries], o_change[:entries], undecided,
    )  # fmt: skip


@inlined
def drive_all(
    drive, start, steps, padded, base, first, end, d_step, d_neuron, d_change, reach, run_row,
    flat_rows, flat_currents,
):  # fmt: skip
    """Fill ``drive f [steps * padded]`` from ``start`` on: golden currents and the differences."""
    for place in range(start * padded, steps * padded, WIDTH):
        store(drive, place, load(flat_currents, base + place))
    for k in range(first, end):
        source, change = np.uint64(d_neuron[np.uint64(k)]), spread(d_change[np.uint64(k)])
        place = np.int64(d_step[np.uint64(k)]) * padded
        line = np.int64(run_row[reach[source]]) * padded
        for c in range(0, padded, WIDTH):
            here = load(drive, place + c)
            store(drive, place + c, here + change * load(flat_rows, line + c))


@inlined
def listed(
    differs, four, four_golden, begin, start, room, neuron, o_step, o_neuron, o_change, entries
):
    """List the spikes of a block that differ, and leave it clean: the number of entries.

    Bits of its steps are from ``differs[begin]`` on, ``room`` of them; ``four, four_golden`` are
    those of four steps in a word. ``neuron``: the block's first.
    """
    for word in range((begin + start) // STEPS, (begin + room) // STEPS):
        left, spiking = four[word], four_golden[word]
        while left != 0:
            bit = lowest(left)
            was = np.int32((spiking >> np.uint64(bit)) & np.uint64(1))
            o_step[np.uint64(entries)] = word * STEPS + (bit >> 4) - begin
            o_neuron[np.uint64(entries)] = neuron + (bit & (WIDTH - 1))
            o_change[np.uint64(entries)] = np.int32(1) - np.int32(2) * was
            entries += 1
            left &= left - np.uint64(1)
    for t in range(begin + start, begin + room):
        differs[t] = 0
    return entries


@inlined
def _undecided_blocks(
    delta, start, last, row, flat_rows, flat_up, flat_down, sample, alpha, beta, factor, neurons,
    padded, blocks,
):  # fmt: skip
    """Blocks of neurons of which one may spike otherwise, into ``blocks``: their number.

    One input neuron differs, by ``delta f [steps]``, from step ``start`` to ``last``. Its changes
    above 0 move a membrane by at most ``rising`` for a weight of 1, those below 0 by ``falling``.
    """
    nothing = delta.dtype.type(0)
    syn_up = syn_down = up = down = rising = falling = nothing
    for t in range(start, len(delta)):
        syn_up = alpha * syn_up + max(delta[t], nothing)
        syn_down = alpha * syn_down + max(-delta[t], nothing)
        up, down = beta * up + syn_up, beta * down + syn_down
        rising, falling = max(rising, up), max(falling, down)
        if t >= last and alpha == 0:
            break
    highest, lowest_ = spread(rising * factor), spread(falling * factor)
    zero = spread(nothing)
    number = 0
    for c in range(0, padded, WIDTH):
        weight = load(flat_rows, row + c)
        above = select(weight > zero, weight, zero)
        below = above - weight
        rise = highest * above + lowest_ * below < load(flat_up, sample * padded + c)
        fall = highest * below + lowest_ * above < load(flat_down, sample * padded + c)
        possible = ~(bits(rise) & bits(fall))
        if possible & np.uint32((1 << min(neurons - c, WIDTH)) - 1) != 0:
            blocks[number] = c
            number += 1
    return number
