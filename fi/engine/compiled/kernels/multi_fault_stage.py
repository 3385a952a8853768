"""Several faults, and differences from below, in one linear stage."""

# mypy: disable-error-code="no-untyped-def"
from __future__ import annotations

import numpy as np

from fi.engine.compiled.kernels.compiling import compiled, inlined
from fi.engine.compiled.kernels.growing import grown
from fi.engine.compiled.kernels.neuron_step import corrupt, vector_step
from fi.engine.compiled.kernels.propagate_linear import STEPS, drive_all, listed
from fi.engine.compiled.kernels.simd import WIDTH, bits, load, nonzero, spread, store

#: Later than the last step of any fault.
AFTER_ALL = np.int64(1 << 40)


@compiled
def meet(
    pair_strike, pair_sample, pair_end, d_step, d_neuron, d_change, reach, run_row, rows, inputs,
    currents, golden_syn, golden_mem, spikes, prefix, alpha, beta, threshold, c_first, c_order,
    c_source, c_neuron, c_change, c_since, c_until, n_first, n_order, n_word, n_value, n_keep,
    n_force, n_flip, n_low, n_high, n_since, n_until, n_cone_first, n_cone, neurons, synaptic,
    reset, is_last,
):  # fmt: skip
    """All neurons of a linear stage, under every fault of a trial and with what differs below.

    A pair has any number of differences, none as well. Neurons are padded to whole vectors, as in
    ``flow_dense``; ``inputs f [lines, B, T]``; ``prefix f [B, T + 1, padded]``. Trial ``k`` owns
    the current strikes ``c_order[c_first[k]:c_first[k + 1]]`` of ``CurrentStrikes``, with
    ``c_source`` the input line of a weight, -1 for a bias; ``n_...`` likewise of ``NeuronStrikes``.
    No two hit the same word. The readout counts spikes. Returns what ``strike_neurons`` returns.
    """
    steps, padded = currents.shape[1], currents.shape[2]
    dtype = currents.dtype
    unit, nothing = dtype.type(1), dtype.type(0)
    out_strike, out_sample = np.empty(1024, np.int32), np.empty(1024, np.int32)
    out_end = np.empty(1024, np.int64)
    o_step, o_neuron = np.empty(4096, np.int32), np.empty(4096, np.int32)
    o_change = np.empty(4096, dtype)
    pairs = entries = 0
    drive, seen = np.empty(steps * padded, dtype), np.empty(steps, dtype)
    syn, mem = np.empty(padded, dtype), np.empty(padded, dtype)
    statistic, held = np.empty(padded, dtype), np.empty(1, dtype)
    a, b, limit = alpha.copy(), beta.copy(), threshold.copy()
    written = np.empty(1, np.float32)
    word_of = written.view(np.uint32)
    blocks, room = padded // WIDTH, steps + -steps % STEPS
    differs = np.zeros(blocks * room, np.uint16)  # a bit for each neuron of a block
    golden = np.zeros_like(differs)
    four, four_golden = differs.view(np.uint64), golden.view(np.uint64)
    flat_rows, flat_currents = rows.reshape(-1), currents.reshape(-1)
    flat_syn, flat_mem = golden_syn.reshape(-1), golden_mem.reshape(-1)
    flat_spikes, flat_prefix = spikes.reshape(-1), prefix.reshape(-1)
    flat_inputs = inputs.reshape(-1)
    batch = len(currents)
    one, zero = spread(unit), spread(nothing)
    for pair in range(len(pair_strike)):
        first = pair_end[pair - 1] if pair > 0 else np.int64(0)
        end = pair_end[pair]
        trial, sample = np.int64(pair_strike[pair]), np.int64(pair_sample[pair])
        start = np.int64(steps)
        for k in range(first, end):
            start = min(start, np.int64(d_step[k]))
        for k in range(c_first[trial], c_first[trial + 1]):
            start = min(start, np.int64(c_since[c_order[k]]))
        for k in range(n_first[trial], n_first[trial + 1]):
            start = min(start, np.int64(n_since[n_order[k]]))
        base = sample * steps * padded
        drive_all(
            drive, start, steps, padded, base, first, end, d_step, d_neuron, d_change, reach,
            run_row, flat_rows, flat_currents,
        )  # fmt: skip
        for k in range(c_first[trial], c_first[trial + 1]):
            strike = c_order[k]
            source, struck = np.int64(c_source[strike]), np.int64(c_neuron[strike])
            since, until = np.int64(c_since[strike]), np.int64(c_until[strike])
            last = min(until + 1, steps)
            for t in range(since, last):
                seen[t] = (
                    flat_inputs[(source * batch + sample) * steps + t] if source >= 0 else unit
                )
            if source >= 0:
                for d in range(first, end):
                    if d_neuron[d] == source:
                        seen[d_step[d]] += d_change[d]
            for t in range(since, last):  # of a huge weight nothing is left where nothing is seen
                drive[t * padded + struck] += c_change[strike] * seen[t]
        for c in range(0, padded, WIDTH):
            before = base + (start - 1) * padded + c
            store(syn, c, load(flat_syn, before) if start > 0 else zero)
            store(mem, c, load(flat_mem, before) if start > 0 else zero)
            if is_last:  # ``prefix`` is of that stage
                store(statistic, c, load(flat_prefix, base + (sample + start) * padded + c))
        _set_parameters(
            start, True, trial, n_first, n_order, n_word, n_value, n_since, n_until, n_cone_first,
            n_cone, alpha, beta, threshold, a, b, limit,
        )  # fmt: skip
        pair_start = entries
        while entries + blocks * WIDTH * (steps - start) > len(o_step):
            o_step, o_neuron = grown(o_step, entries), grown(o_neuron, entries)
            o_change = grown(o_change, entries)
        for t in range(start, steps):
            if t > start:
                _set_parameters(
                    t, False, trial, n_first, n_order, n_word, n_value, n_since, n_until,
                    n_cone_first, n_cone, alpha, beta, threshold, a, b, limit,
                )  # fmt: skip
            for block in range(blocks):
                c = block * WIDTH
                top = load(limit, c)
                s, m = vector_step(
                    load(syn, c), load(mem, c), load(drive, t * padded + c), load(a, c),
                    load(b, c), top, zero * top, one, zero, synaptic, reset,
                )  # fmt: skip
                store(mem, c, m)
                store(syn, c, s)
                spiking = bits(nonzero(load(flat_spikes, base + t * padded + c)))
                golden[block * room + t] = spiking
                differs[block * room + t] = bits(m > top) ^ spiking
            for k in range(n_first[trial], n_first[trial + 1]):
                strike = n_order[k]
                what, struck = n_word[strike], np.int64(n_cone[n_cone_first[strike]])
                if what < 3 or not n_since[strike] <= t <= n_until[strike]:
                    continue
                if what < 5:  # the spikes of this step are out before the state is stored
                    held[0] = syn[struck] if what == 3 else mem[struck]
                    corrupt(held, n_keep[strike], n_force[strike], n_flip[strike], written, word_of)
                    if what == 3:
                        syn[struck] = held[0]
                    else:
                        mem[struck] = held[0]
                    continue
                place, bit = struck // WIDTH * room + t, np.uint16(1 << (struck % WIDTH))
                usual = unit if golden[place] & bit else nothing
                fired = (golden[place] ^ differs[place]) & bit
                faulty = n_high[strike] if fired else n_low[strike]
                if is_last:
                    # taken as silent below, so that just this is added
                    golden[place] &= ~bit
                    differs[place] &= ~bit
                    statistic[struck] += faulty
                else:
                    differs[place] &= ~bit
                    if faulty != usual:
                        o_step[entries], o_neuron[entries] = t, struck
                        o_change[entries] = faulty - usual
                        entries += 1
            if is_last:
                for c in range(padded):
                    place, bit = c // WIDTH * room + t, np.uint16(1 << (c % WIDTH))
                    if (golden[place] ^ differs[place]) & bit:
                        statistic[c] += unit
        _set_parameters(
            AFTER_ALL, True, trial, n_first, n_order, n_word, n_value, n_since, n_until,
            n_cone_first, n_cone, alpha, beta, threshold, a, b, limit,
        )  # fmt: skip
        if is_last:
            for c in range(neurons):
                if statistic[c] != flat_prefix[base + (sample + steps) * padded + c]:
                    o_step[entries], o_neuron[entries] = 0, c
                    o_change[entries] = statistic[c]
                    entries += 1
            differs[:] = 0
        else:
            for block in range(blocks):
                entries = listed(
                    differs, four, four_golden, block * room, start, room, block * WIDTH, o_step,
                    o_neuron, o_change, entries,
                )  # fmt: skip
        if entries > pair_start:
            if pairs == len(out_strike):
                out_strike, out_sample = grown(out_strike, pairs), grown(out_sample, pairs)
                out_end = grown(out_end, pairs)
            out_strike[pairs], out_sample[pairs] = trial, sample
            out_end[pairs] = entries
            pairs += 1
    return (
        out_strike[:pairs], out_sample[:pairs], out_end[:pairs], o_step[:entries],
        o_neuron[:entries], o_change[:entries], len(pair_strike),
    )  # fmt: skip


@inlined
def _set_parameters(
    t, always, trial, n_first, n_order, n_word, n_value, n_since, n_until, n_cone_first, n_cone,
    alpha, beta, threshold, a, b, limit,
):  # fmt: skip
    """Bring ``a, b, limit`` to what a trial's faults make of them in step ``t``."""
    for k in range(n_first[trial], n_first[trial + 1]):
        strike = n_order[k]
        what, since, until = n_word[strike], np.int64(n_since[strike]), np.int64(n_until[strike])
        if what > 2 or not (always or t == since or t == until + 1):
            continue
        active = since <= t <= until
        for position in range(n_cone_first[strike], n_cone_first[strike + 1]):
            c = n_cone[position]
            if what == 0:
                a[c] = n_value[strike] if active else alpha[c]
            elif what == 1:
                b[c] = n_value[strike] if active else beta[c]
            else:
                limit[c] = n_value[strike] if active else threshold[c]
