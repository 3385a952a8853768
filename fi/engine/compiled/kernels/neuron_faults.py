"""Faults of neurons."""

# mypy: disable-error-code="no-untyped-def"
from __future__ import annotations

import numpy as np

from fi.engine.compiled.kernels.compiling import compiled
from fi.engine.compiled.kernels.growing import grown
from fi.engine.compiled.kernels.neuron_step import corrupt, next_step
from fi.engine.compiled.kernels.packing import PACKED

#: Samples that are simulated side by side under one fault of a neuron.
SAMPLES = 16


@compiled
def strike_neurons(
    word, value, keep, force, flip, low, high, since, until, first, cone, currents, golden_syn,
    golden_mem, spikes, packed, alpha, beta, threshold, synaptic, reset, maximum, last,
):  # fmt: skip
    """Faults of neuron parameters, states and outputs: simulate the cone, list what differs.

    ``word``: 0 alpha, 1 beta, 2 threshold, 3 syn, 4 potential, 5 spike. Returns as
    ``strike_currents`` does. Samples are simulated side by side; a transient starts from the golden
    state before its step and ends where all of them are back in it.
    """
    width, batch, steps = currents.shape[1], currents.shape[2], currents.shape[3]
    words = packed.shape[2]
    dtype = currents.dtype
    zero, one = dtype.type(0), dtype.type(1)
    is_last = last.shape[0] > 0
    pair_strike, pair_sample = np.empty(1024, np.int32), np.empty(1024, np.int32)
    pair_end = np.empty(1024, np.int64)
    d_step, d_neuron = np.empty(4096, np.int32), np.empty(4096, np.int32)
    d_change = np.empty(4096, dtype)
    pairs = entries = 0
    now, syn, mem = np.empty(SAMPLES, dtype), np.empty(SAMPLES, dtype), np.empty(SAMPLES, dtype)
    statistic = np.empty(SAMPLES, dtype)
    a, b, limit = np.empty(SAMPLES, dtype), np.empty(SAMPLES, dtype), np.empty(SAMPLES, dtype)
    store = np.empty(SAMPLES, np.float32)
    stored = store.view(np.uint32)
    sizes = first[1:] - first[:-1]
    largest = np.max(sizes) if len(sizes) else 0
    trains = np.empty((largest, words, SAMPLES), np.uint32)
    values = np.empty((largest, SAMPLES), dtype)
    flat = currents.reshape(-1)
    for strike in range(len(word)):
        kind, start_at, end_at = word[strike], since[strike], until[strike]
        cone_size = sizes[strike]
        for block in range(0, batch, SAMPLES):
            lanes = min(SAMPLES, batch - block)
            for position in range(cone_size):
                neuron = cone[first[strike] + position]
                if kind == 5 and not is_last:
                    continue
                for w in range(words):  # steps that are not simulated are golden
                    for lane in range(SAMPLES):
                        sample = block + min(lane, lanes - 1)
                        trains[position, w, lane] = packed[neuron, sample, w]
                begin = 0 if is_last else start_at
                for lane in range(SAMPLES):
                    sample = block + min(lane, lanes - 1)
                    syn[lane] = golden_syn[neuron, sample, begin - 1] if begin > 0 else zero
                    mem[lane] = golden_mem[neuron, sample, begin - 1] if begin > 0 else zero
                statistic[:] = -np.inf if maximum else zero
                a[:], b[:], limit[:] = alpha[neuron], beta[neuron], threshold[neuron]
                for t in range(begin, steps):
                    active = start_at <= t <= end_at
                    if kind <= 2 and (t == begin or t == start_at or t == end_at + 1):
                        a[:] = value[strike] if active and kind == 0 else alpha[neuron]
                        b[:] = value[strike] if active and kind == 1 else beta[neuron]
                        limit[:] = value[strike] if active and kind == 2 else threshold[neuron]
                    for place in range(width):
                        base = ((neuron * width + place) * batch + block) * steps + t
                        for lane in range(SAMPLES):
                            v = flat[base + min(lane, lanes - 1) * steps]
                            if place == 0 or v > now[lane] or v != v:
                                now[lane] = v
                    for lane in range(SAMPLES):
                        syn[lane], mem[lane] = next_step(
                            syn[lane], mem[lane], now[lane], a[lane], b[lane], limit[lane],
                            synaptic, reset,
                        )  # fmt: skip
                    bit = np.uint32(1) << np.uint32(t & (PACKED - 1))
                    train = trains[position, t // PACKED]
                    for lane in range(SAMPLES):
                        fired = mem[lane] - limit[lane] > 0
                        train[lane] = (train[lane] | bit) if fired else (train[lane] & ~bit)
                    if active and (kind == 3 or kind == 4):
                        target = syn if kind == 3 else mem
                        # the spikes of this step are out before the state is stored
                        corrupt(target, keep[strike], force[strike], flip[strike], store, stored)
                    if is_last:
                        for lane in range(SAMPLES):
                            if maximum:
                                m = mem[lane]
                                larger = m > statistic[lane] or m != m
                                statistic[lane] = m if larger else statistic[lane]
                            else:
                                fired = (train[lane] & bit) != 0
                                if active and kind == 5:
                                    statistic[lane] += high[strike] if fired else low[strike]
                                else:
                                    statistic[lane] += one if fired else zero
                    elif t >= end_at:
                        back = True
                        for lane in range(lanes):
                            back &= mem[lane] == golden_mem[neuron, block + lane, t]
                            back &= syn[lane] == golden_syn[neuron, block + lane, t] or not synaptic
                        if back:
                            break
                for lane in range(SAMPLES):
                    values[position, lane] = statistic[lane]
            for lane in range(lanes):
                sample = block + lane
                start = entries
                for position in range(cone_size):
                    neuron = cone[first[strike] + position]
                    while entries + steps > len(d_step):
                        d_step, d_neuron = grown(d_step, entries), grown(d_neuron, entries)
                        d_change = grown(d_change, entries)
                    if is_last:
                        if values[position, lane] != last[sample, neuron]:
                            d_step[entries], d_neuron[entries] = 0, neuron
                            d_change[entries] = values[position, lane]
                            entries += 1
                        continue
                    if kind == 5:
                        for t in range(start_at, min(end_at + 1, steps)):
                            fired = spikes[neuron, sample, t] != 0
                            golden = one if fired else zero
                            faulty = high[strike] if fired else low[strike]
                            if faulty != golden:
                                d_step[entries], d_neuron[entries] = t, neuron
                                d_change[entries] = faulty - golden
                                entries += 1
                        continue
                    for w in range(words):
                        train = trains[position, w, lane]
                        other = train ^ packed[neuron, sample, w]
                        t = w * PACKED
                        while other != 0:
                            if other & np.uint32(1):
                                d_step[entries], d_neuron[entries] = t, neuron
                                d_change[entries] = one if train & np.uint32(1) else -one
                                entries += 1
                            other >>= np.uint32(1)
                            train >>= np.uint32(1)
                            t += 1
                if entries > start:
                    if pairs == len(pair_strike):
                        pair_strike = grown(pair_strike, pairs)
                        pair_sample = grown(pair_sample, pairs)
                        pair_end = grown(pair_end, pairs)
                    pair_strike[pairs], pair_sample[pairs] = strike, sample
                    pair_end[pairs] = entries
                    pairs += 1
    return (
        pair_strike[:pairs], pair_sample[:pairs], pair_end[:pairs], d_step[:entries],
        d_neuron[:entries], d_change[:entries], len(word) * batch,
    )  # fmt: skip
