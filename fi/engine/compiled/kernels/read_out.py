"""Differences carried through the last stage to the readout."""

# mypy: disable-error-code="no-untyped-def"
from __future__ import annotations

import numpy as np

from fi.engine.compiled.kernels.compiling import compiled
from fi.engine.compiled.kernels.neuron_step import vector_step
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


@compiled
def finish(
    pair_strike, pair_sample, pair_end, d_step, d_neuron, d_change, reach, run_row, rows, currents,
    golden_syn, golden_mem, prefix, alpha, beta, threshold, classes, synaptic, reset, maximum,
):  # fmt: skip
    """Carry differences through the last stage, a linear one, to the readout's statistic.

    Neurons are padded to whole vectors: ``rows f [rows, padded]``, ``currents f [B, T, padded]``,
    ``prefix f [B, T + 1, padded]``. Returns ``(strike, sample, statistic)`` of the pairs whose
    statistic is another, ``statistic f [pairs, classes]``.
    """
    steps, padded = currents.shape[1], currents.shape[2]
    dtype = currents.dtype
    total = len(pair_strike)
    out_strike, out_sample = np.empty(total, np.int32), np.empty(total, np.int32)
    out = np.empty((total, classes), dtype)
    pairs = 0
    drive, final = np.empty(steps * padded, dtype), np.empty(padded, dtype)
    flat_rows, flat_currents = rows.reshape(-1), currents.reshape(-1)
    flat_prefix = prefix.reshape(-1)
    flat_syn, flat_mem = golden_syn.reshape(-1), golden_mem.reshape(-1)
    one, zero = spread(dtype.type(1)), spread(dtype.type(0))
    first = np.int64(0)
    for pair in range(total):
        end, sample = pair_end[pair], np.int64(pair_sample[pair])
        start = steps
        for k in range(first, end):
            start = min(start, np.int64(d_step[np.uint64(k)]))
        base = sample * steps * padded
        for place in range(start * padded, steps * padded, WIDTH):
            store(drive, place, load(flat_currents, base + place))
        for k in range(first, end):
            source, change = np.uint64(d_neuron[np.uint64(k)]), spread(d_change[np.uint64(k)])
            place = np.int64(d_step[np.uint64(k)]) * padded
            for e in range(reach[source], reach[source + np.uint64(1)]):
                row = np.int64(run_row[np.uint64(e)]) * padded
                for c in range(0, padded, WIDTH):
                    here = load(drive, place + c)
                    store(drive, place + c, here + change * load(flat_rows, row + c))
        first = end
        changed = np.uint32(0)
        for c in range(0, padded, WIDTH):
            a, b, limit = load(alpha, c), load(beta, c), load(threshold, c)
            silent = zero * limit
            syn = mem = zero
            if start > 0:
                syn = load(flat_syn, base + (start - 1) * padded + c)
                mem = load(flat_mem, base + (start - 1) * padded + c)
            before = (sample * (steps + 1) + start) * padded + c
            statistic = load(flat_prefix, before)
            for t in range(start, steps):
                now = load(drive, t * padded + c)
                syn, mem = vector_step(
                    syn, mem, now, a, b, limit, silent, one, zero, synaptic, reset
                )
                if maximum:
                    statistic = larger(mem, statistic)
                else:
                    statistic = statistic + select(mem > limit, one, zero)
            store(final, c, statistic)
            golden = load(flat_prefix, (sample * (steps + 1) + steps) * padded + c)
            real = np.uint32((1 << min(classes - c, WIDTH)) - 1)
            changed |= bits(differing(statistic, golden)) & real
        if changed != 0:
            out_strike[pairs], out_sample[pairs] = pair_strike[pair], sample
            for c in range(classes):
                out[pairs, c] = final[c]
            pairs += 1
    return out_strike[:pairs], out_sample[:pairs], out[:pairs]


@compiled
def replaced(pair_sample, pair_end, d_neuron, d_change, golden):
    """``f [pairs, classes]``: ``golden f [B, classes]`` with the changed classes of each pair."""
    classes = golden.shape[1]
    found = np.empty((len(pair_sample), classes), golden.dtype)
    first = np.int64(0)
    for pair in range(len(pair_sample)):
        for c in range(classes):
            found[pair, c] = golden[pair_sample[pair], c]
        for k in range(first, pair_end[pair]):
            found[pair, d_neuron[k]] = d_change[k]
        first = pair_end[pair]
    return found
