"""A stage with recurrence, fed with what differs in it."""

# mypy: disable-error-code="no-untyped-def"
from __future__ import annotations

import numpy as np

from fi.engine.compiled.kernels.compiling import compiled
from fi.engine.compiled.kernels.growing import grown
from fi.engine.compiled.kernels.neuron_step import corrupt, next_step
from fi.engine.compiled.kernels.simd import lowest

#: Kinds of strikes beyond a neuron's words: of the synapse, of the recurrence.
CONDUCTED, FED = 6, 7
#: What gathers the lowest bits of eight bytes in the highest byte.
_EIGHT_TO_BITS = np.uint64(0x0102040810204080)


@compiled
def _alone(
    s, m, begin, start, strike, kind, row, change, value, keep, force, flip, until, inputs, taps,
    fed, line, sample, alpha, beta, threshold, synaptic, reset, held, store, stored,
):  # fmt: skip
    """A struck neuron from ``begin`` to before ``start``: no spike differs, no feedback either."""
    one = type(m)(1)
    what, source = kind[strike], row[strike]
    signals = line
    if what == CONDUCTED and source >= 0:
        signals = inputs[taps[source], sample]
    elif what == FED and source >= 0:
        signals = fed[source, sample]
    for t in range(begin, start):
        active = t <= until[strike]
        now, a, b, limit = line[t], alpha, beta, threshold
        if active and what >= CONDUCTED:
            now += change[strike] * (signals[t] if source >= 0 else one)
        a = value[strike] if active and what == 0 else a
        b = value[strike] if active and what == 1 else b
        limit = value[strike] if active and what == 2 else limit
        s, m = next_step(s, m, now, a, b, limit, synaptic, reset)
        if active and (what == 3 or what == 4):
            held[0] = s if what == 3 else m
            corrupt(held, keep[strike], force[strike], flip[strike], store, stored)
            s = held[0] if what == 3 else s
            m = held[0] if what == 4 else m
    return s, m


@compiled
def close_loop(
    order, pair_strike, pair_sample, pair_end, d_step, kind, row, change, value, keep, force, flip,
    low, high, since, until, first, cone, inputs, taps, fed, lines, feedback, currents, golden_syn,
    golden_mem, spikes, alpha, beta, threshold, synaptic, reset,
):  # fmt: skip
    """Faults in a stage with recurrence: simulate all of its neurons, differences fed back.

    The pairs are those whose spikes differ without the feedback, at ``d_step`` first; no other pair
    can, and none before. They are taken in ``order``: sample by sample, so that the golden trace of
    one stays in the cache. ``currents f [B, T, N]`` have the golden feedback in them, ``lines
    f [N, 1, B, T]`` are the same; ``feedback f [N, N]`` has a row for each neuron that spikes,
    which sees ``fed f [N, B, T]``. ``kind`` as ``word`` in ``strike_neurons``, or CONDUCTED or FED.
    Returns ``(strike, sample, ends, step, neuron, change)``.
    """
    # No array is sliced or named anew within the loop over steps: numba would count references
    # there, which took a third of the time.
    steps, neurons = currents.shape[1], currents.shape[2]
    dtype = currents.dtype
    zero, one = dtype.type(0), dtype.type(1)
    total = len(pair_strike)
    out_strike, out_sample = np.empty(total, np.int32), np.empty(total, np.int32)
    out_end = np.empty(total, np.int64)
    o_step, o_neuron = np.empty(4096, np.int32), np.empty(4096, np.int32)
    o_change = np.empty(4096, dtype)
    pairs = entries = 0
    now, syn, mem = np.empty(neurons, dtype), np.empty(neurons, dtype), np.empty(neurons, dtype)
    a, b, limit = alpha.copy(), beta.copy(), threshold.copy()
    flags = np.zeros(neurons + 64 - neurons % 64, np.uint8)
    flag_words = flags.view(np.uint64)
    held, store = np.empty(1, dtype), np.empty(1, np.float32)
    stored = store.view(np.uint32)
    for pair in order:
        strike, sample = pair_strike[pair], pair_sample[pair]
        what, source = kind[strike], row[strike]
        begin, end = since[strike], until[strike]
        struck = cone[first[strike]]
        start = steps
        for k in range(pair_end[pair - 1] if pair > 0 else np.int64(0), pair_end[pair]):
            start = min(start, d_step[k])
        for c in range(neurons):
            syn[c] = golden_syn[sample, start - 1, c] if start > 0 else zero
            mem[c] = golden_mem[sample, start - 1, c] if start > 0 else zero
        if what != 5 and begin < start:
            for position in range(first[strike], first[strike + 1]):
                c = cone[position]
                s = golden_syn[sample, begin - 1, c] if begin > 0 else zero
                m = golden_mem[sample, begin - 1, c] if begin > 0 else zero
                syn[c], mem[c] = _alone(
                    s, m, begin, start, strike, kind, row, change, value, keep, force, flip, until,
                    inputs, taps, fed, lines[c, 0, sample], sample, alpha[c], beta[c], threshold[c],
                    synaptic, reset, held, store, stored,
                )  # fmt: skip
        while entries + neurons * (steps - start) > len(o_step):
            o_step, o_neuron = grown(o_step, entries), grown(o_neuron, entries)
            o_change = grown(o_change, entries)
        pair_start = before = entries
        for t in range(start, steps):
            active = t <= end
            k = before
            if entries - k >= 4:  # four rows at a time: fewer loads and stores, the same order
                d0, d1, d2, d3 = o_change[k], o_change[k + 1], o_change[k + 2], o_change[k + 3]
                n0, n1, n2, n3 = o_neuron[k], o_neuron[k + 1], o_neuron[k + 2], o_neuron[k + 3]
                for c in range(neurons):
                    v = currents[sample, t, c] + d0 * feedback[n0, c]
                    v = (v + d1 * feedback[n1, c]) + d2 * feedback[n2, c]
                    now[c] = v + d3 * feedback[n3, c]
                k += 4
            else:
                for c in range(neurons):
                    now[c] = currents[sample, t, c]
            while entries - k >= 4:
                d0, d1, d2, d3 = o_change[k], o_change[k + 1], o_change[k + 2], o_change[k + 3]
                n0, n1, n2, n3 = o_neuron[k], o_neuron[k + 1], o_neuron[k + 2], o_neuron[k + 3]
                for c in range(neurons):
                    v = (now[c] + d0 * feedback[n0, c]) + d1 * feedback[n1, c]
                    now[c] = (v + d2 * feedback[n2, c]) + d3 * feedback[n3, c]
                k += 4
            while k < entries:
                d0, n0 = o_change[k], o_neuron[k]
                for c in range(neurons):
                    now[c] += d0 * feedback[n0, c]
                k += 1
            if active and what == CONDUCTED:
                now[struck] += change[strike] * (
                    inputs[taps[source], sample, t] if source >= 0 else one
                )
            elif active and what == FED:
                signal = fed[source, sample, t] if source >= 0 else one
                for k in range(before, entries):
                    if o_neuron[k] == source:  # it spikes otherwise than in the golden run
                        signal += o_change[k]
                now[struck] += change[strike] * signal
            elif what <= 2:
                for position in range(first[strike], first[strike + 1]):
                    c = cone[position]
                    a[c] = value[strike] if active and what == 0 else alpha[c]
                    b[c] = value[strike] if active and what == 1 else beta[c]
                    limit[c] = value[strike] if active and what == 2 else threshold[c]
            before = entries
            for c in range(neurons):
                s, m = next_step(syn[c], mem[c], now[c], a[c], b[c], limit[c], synaptic, reset)
                syn[c], mem[c] = s, m
                flags[c] = np.uint8(m - limit[c] > 0) ^ spikes[sample, t, c]
            if active and (what == 3 or what == 4):
                held[0] = syn[struck] if what == 3 else mem[struck]
                corrupt(held, keep[strike], force[strike], flip[strike], store, stored)
                if what == 3:
                    syn[struck] = held[0]
                else:
                    mem[struck] = held[0]
            if active and what == 5:
                usual = one if spikes[sample, t, struck] else zero
                fired = flags[struck] != spikes[sample, t, struck]
                flags[struck] = 0
                difference = (high[strike] if fired else low[strike]) - usual
                if difference != 0:
                    o_step[entries], o_neuron[entries], o_change[entries] = t, struck, difference
                    entries += 1
            for block in range(0, len(flag_words), 8):
                flagged = np.uint64(0)
                for word in range(8):
                    eight = flag_words[block + word] * _EIGHT_TO_BITS >> np.uint64(56)
                    flagged |= eight << np.uint64(8 * word)
                while flagged != 0:
                    c = 8 * block + lowest(flagged)
                    o_step[entries], o_neuron[entries] = t, c
                    o_change[entries] = 1 - 2 * np.int32(spikes[sample, t, c])
                    entries += 1
                    flagged &= flagged - np.uint64(1)
            if t >= end and entries == before:
                back = True
                for c in range(neurons):
                    back &= mem[c] == golden_mem[sample, t, c]
                    back &= syn[c] == golden_syn[sample, t, c] or not synaptic
                if back:
                    break
        for position in range(first[strike], first[strike + 1]):
            c = cone[position]
            a[c], b[c], limit[c] = alpha[c], beta[c], threshold[c]
        if entries > pair_start:
            out_strike[pairs], out_sample[pairs] = strike, sample
            out_end[pairs] = entries
            pairs += 1
    return (
        out_strike[:pairs], out_sample[:pairs], out_end[:pairs], o_step[:entries],
        o_neuron[:entries], o_change[:entries],
    )  # fmt: skip
