"""Compiled kernels of the differential engine: sequential, without the GIL, one call a thread.

Arithmetic is snnTorch's, operation by operation and without contraction, so that a membrane that a
fault does not reach comes out bit for bit as in the golden run. ``f`` is float32 or float64.
Any edit of this file compiles all of it again: what is no kernel lives elsewhere.

Differences are three arrays with an entry for each changed spike: step, neuron, change. Pair ``k``
of a pair list owns the entries from ``ends[k - 1]`` to ``ends[k]``.
"""

# mypy: disable-error-code="no-untyped-def"
from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from fi.engine.vectors import (
    WIDTH,
    bits,
    differing,
    larger,
    load,
    lowest,
    nonzero,
    select,
    spread,
    store,
)

#: Neurons that are simulated side by side. A call with arrays costs as much as a step of them all.
LANES = 64
#: Kinds of strikes in ``close_loop`` beyond a neuron's words: of the synapse, of the recurrence.
CONDUCTED, FED = 6, 7
#: Samples that are simulated side by side under one fault of a neuron.
SAMPLES = 16
PACKED = 32
_options: Any = {"nogil": True, "cache": True, "error_model": "numpy"}
_compiled: Any = njit(**_options)
#: What is called within a time loop: always inlined, and without reference counts. An array that is
#: passed or sliced costs two atomic operations otherwise, more than a step of all lanes. Such a
#: function cannot allocate.
_bare: Any = {"forceinline": True, "_nrt": False}
_inlined: Any = njit(**_options, **_bare)


@_compiled
def _grown(array, used):
    """A copy of twice the length."""
    larger = np.empty(2 * len(array), array.dtype)
    larger[:used] = array[:used]
    return larger


#: What gathers the lowest bits of eight bytes in the highest byte.
_EIGHT_TO_BITS = np.uint64(0x0102040810204080)


@_compiled
def margins(mem, syn, threshold, alpha, beta, norms, offsets, seen, roundings, synaptic):
    """``up, down``, ``f [N, B]``, of states ``f [N, B, T]``: see ``fi.engine.trace.margins``.

    ``seen``: ``f [cells, B, T]``, the norm of the inputs that a cell sees; ``norms, offsets``: of
    each channel's weights. ``roundings``: how much two runs err in a step, relative.
    """
    neurons, batch, steps = mem.shape
    cells = len(seen)
    infinite, zero = mem.dtype.type(np.inf), mem.dtype.type(0)
    up, down = np.empty((neurons, batch), mem.dtype), np.empty((neurons, batch), mem.dtype)
    for neuron in range(neurons):
        channel, limit = neuron // cells, threshold[neuron]
        norm, offset = norms[channel], offsets[channel]
        for sample in range(batch):
            rise = fall = infinite
            before = error = syn_error = zero
            for t in range(steps):
                now = mem[neuron, sample, t]
                size = norm * seen[neuron - channel * cells, sample, t] + offset
                if synaptic:
                    size += abs(syn[neuron, sample, t])
                    syn_error = alpha[neuron] * syn_error + roundings * size
                    error = beta[neuron] * error + syn_error
                error = beta[neuron] * error if not synaptic else error
                error += roundings * (before + abs(now) + abs(limit) + size)
                before = abs(now)
                over = now - limit
                margin = abs(over) - error
                high = margin if over > 0 else infinite
                low = infinite if over > 0 else margin
                fall = high if (high < fall or high != high) else fall
                rise = low if (low < rise or low != low) else rise
            up[neuron, sample], down[neuron, sample] = rise, fall
    return up, down


@_compiled
def peaks(inputs, windows, decays):
    """``f [levels, windows, B]``: see ``StrikeTrace.peak``; ``inputs f [effective, B, T]``."""
    batch, steps = inputs.shape[1], inputs.shape[2]
    width = windows.shape[1]
    found = np.zeros((len(decays), len(windows), batch), inputs.dtype)
    driven = np.empty(steps, inputs.dtype)
    for window in range(len(windows)):
        for sample in range(batch):
            driven[:] = 0
            for place in range(width):
                source = windows[window, place]
                if source >= 0:
                    signal = inputs[source, sample]
                    for t in range(steps):
                        size = abs(signal[t])
                        driven[t] = size if (size > driven[t] or size != size) else driven[t]
            silent = True
            for t in range(steps):
                silent &= driven[t] == 0
            if silent:
                continue
            for level in range(len(decays)):
                alpha, beta = decays[level, 0], decays[level, 1]
                syn = mem = peak = inputs.dtype.type(0)
                for t in range(steps):
                    syn = alpha * syn + driven[t]
                    mem = beta * mem + syn
                    peak = mem if (mem > peak or mem != mem) else peak
                found[level, window, sample] = peak
    return found


@_inlined
def _response(
    row, cell, neuron, sample, since, until, taps, inputs, peak, bias_peak, windows, level
):
    """The largest response of the membrane to a change of 1 in this weight or bias."""
    if until > since:  # no window has a larger one than the whole run
        return bias_peak[neuron] if row < 0 else peak[level[neuron], windows[row, cell], sample]
    if row < 0:
        return inputs.dtype.type(1)
    largest = inputs.dtype.type(0)
    for place in range(taps.shape[2]):
        source = taps[row, cell, place]
        if source >= 0:
            largest = max(largest, abs(inputs[source, sample, since]))
    return largest


@_inlined
def _candidates(
    row, channel, change, since, until, factor, taps, windows, level, inputs, peak, bias_peak, up,
    down, negative, cell_of, sample_of, per_sample,
):  # fmt: skip
    """Neurons and samples for which no proof says that all spikes stay: their number.

    Fills ``cell_of`` and ``sample_of``, which have room for one more than there can be, cell by
    cell, and counts by sample. NaN margins prove nothing.
    """
    cells, batch = taps.shape[1], up.shape[1]
    found = 0
    per_sample[:] = 0
    finite = np.isfinite(change)
    size = up.dtype.type(abs(change) * factor)
    for cell in range(cells):
        neuron = channel * cells + cell
        margin = up[neuron] if change > 0 else down[neuron]
        if finite and row >= 0 and until > since and not negative:
            response = peak[level[neuron], windows[row, cell]]
            undecided = np.int32(0)  # as wide as the numbers that are compared
            for sample in range(batch):
                undecided += np.int32(not (size * response[sample] < margin[sample]))
            if undecided:
                start = found
                for sample in range(batch):  # without a branch: nearly all are proved
                    cell_of[found], sample_of[found] = cell, sample
                    found += not (size * response[sample] < margin[sample])
                for k in range(start, found):
                    per_sample[sample_of[k]] += 1
            continue
        for sample in range(batch):
            bound = size * _response(
                row, cell, neuron, sample, since, until, taps, inputs, peak, bias_peak, windows,
                level,
            )  # fmt: skip
            proved = finite and bound < margin[sample]
            if negative:
                proved = proved and bound < up[neuron, sample] and bound < down[neuron, sample]
            if not proved:
                cell_of[found] = cell
                sample_of[found] = sample
                per_sample[sample] += 1
                found += 1
    return found


@_inlined
def _sort_by_sample(cell_of, sample_of, per_sample, found, cells, samples):
    """Counting sort into ``cells`` and ``samples``, stable; the number of different samples."""
    start = different = 0
    for sample in range(len(per_sample)):
        count = per_sample[sample]
        per_sample[sample] = start
        start += count
        different += count > 0
    for k in range(found):
        place = per_sample[sample_of[k]]
        cells[place], samples[place] = cell_of[k], sample_of[k]
        per_sample[sample_of[k]] = place + 1
    return different


@_inlined
def _drive(
    drive, lane, out, row, change, since, until, neuron, cell, sample, taps, batch, steps,
    flat_inputs, flat_currents,
):  # fmt: skip
    """Fill ``drive[:, lane]`` with the faulty current of a neuron: the maximum over its window.

    ``out`` is working space, ``f [steps]``.
    """
    width = taps.shape[2]
    plain = np.isfinite(change)  # then no NaN can come up in the window
    for place in range(width):
        base = ((neuron * width + place) * batch + sample) * steps
        line = flat_currents[base : base + steps]
        source = np.int64(taps[row, cell, place]) if row >= 0 else np.int64(-1)
        base = (source * batch + sample) * steps if source >= 0 else np.int64(0)
        signal = flat_inputs[base : base + steps]
        reached = source >= 0 or row < 0
        if since > 0 or until < steps - 1 or not reached:  # rare, or outside the image
            for t in range(steps):
                value = line[t]
                if reached and since <= t <= until:
                    value = value + (change * signal[t] if row >= 0 else change)
                old = out[t]
                out[t] = value if (place == 0 or value > old or value != value) else old
        elif row < 0:
            for t in range(steps):
                value, old = line[t] + change, out[t]
                out[t] = value if (place == 0 or value > old or value != value) else old
        elif place == 0:
            for t in range(steps):
                out[t] = line[t] + change * signal[t]
        elif plain:
            for t in range(steps):
                value, old = line[t] + change * signal[t], out[t]
                out[t] = value if value > old else old
        else:
            for t in range(steps):
                value, old = line[t] + change * signal[t], out[t]
                out[t] = value if (value > old or value != value) else old
    for t in range(steps):
        drive[t, lane] = out[t]


@_inlined
def _next(syn, mem, now, alpha, beta, threshold, synaptic, reset):
    """One step of snnTorch's Leaky or Synaptic: the new ``syn, mem``."""
    one, zero = type(mem)(1), type(mem)(0)
    fired = one if mem - threshold > 0 else zero
    if synaptic:
        syn = alpha * syn + now
        mem = beta * mem + syn
        if reset == 0:
            mem = mem - fired * threshold
        elif reset == 1:
            mem = mem - mem * fired
    elif reset == 0:
        mem = (beta * mem + now) - fired * threshold
    elif reset == 1:
        mem = beta * ((one - fired) * mem) + now
    else:
        mem = beta * mem + now
    return syn, mem


@_inlined
def _vector_step(syn, mem, now, alpha, beta, threshold, silent, one, zero, synaptic, reset):
    """``_next`` of vectors; ``silent`` is ``0 * threshold``, what a neuron at rest subtracts."""
    fired = mem > threshold
    if synaptic:
        syn = alpha * syn + now
        mem = beta * mem + syn
        if reset == 0:
            mem = mem - select(fired, threshold, silent)
        elif reset == 1:
            mem = mem - mem * select(fired, one, zero)
    elif reset == 0:
        mem = (beta * mem + now) - select(fired, threshold, silent)
    elif reset == 1:
        mem = beta * (select(fired, zero, one) * mem) + now
    else:
        mem = beta * mem + now
    return syn, mem


@_inlined
def _play(
    drive, steps, alpha, beta, threshold, synaptic, reset, trains, statistic, what, one, zero
):
    """All steps of all lanes, from rest, on the currents ``drive f [steps * LANES]``.

    ``what``: 0 packs the spikes into ``trains uint32 [words * LANES]``, 1 adds their number to
    ``statistic f [LANES]``, 2 keeps the largest membrane there.
    """
    nothing = spread(np.uint32(0))
    for place in range(0, LANES, WIDTH):
        a, b, limit = load(alpha, place), load(beta, place), load(threshold, place)
        silent = zero * limit
        syn = mem = zero
        gathered, train = load(statistic, place), nothing
        for t in range(steps):
            now = load(drive, t * LANES + place)
            syn, mem = _vector_step(syn, mem, now, a, b, limit, silent, one, zero, synaptic, reset)
            if what == 0:
                bit = spread(np.uint32(1 << (t & (PACKED - 1))))
                train = train | select(mem > limit, bit, nothing)
                if t & (PACKED - 1) == PACKED - 1 or t == steps - 1:
                    store(trains, (t // PACKED) * LANES + place, train)
                    train = nothing
            elif what == 1:
                gathered = gathered + select(mem > limit, one, zero)
            else:
                gathered = larger(mem, gathered)
        store(statistic, place, gathered)


@_compiled
def strike_currents(
    rows, channels, changes, since, until, factor, taps, windows, level, inputs, currents, packed,
    up, down, peak, bias_peak, negative, alpha, beta, threshold, synaptic, reset, maximum, last,
):  # fmt: skip
    """Faults of weights and biases: prove, simulate what is left, list what differs.

    A fault is active from step ``since`` to ``until``, both included.

    Returns ``(strike, sample, ends, step, neuron, change, undecided)``. In a stage that is not the
    last, pairs are those whose spikes differ. Where ``last`` (``f [B, classes]``, the golden
    statistic) is not empty, pairs are those whose statistic differs, and ``change`` is the new
    statistic of the class ``neuron``. ``undecided`` counts the pairs that no proof decided.
    """
    batch, steps = inputs.shape[1], inputs.shape[2]
    cells, words = taps.shape[1], packed.shape[2]
    dtype = inputs.dtype
    zero, one = dtype.type(0), dtype.type(1)
    is_last = last.shape[0] > 0
    room = cells * batch + 1
    cell_of, sample_of = np.empty(room, np.int32), np.empty(room, np.int32)
    per_sample = np.zeros(batch, np.int64)
    room = cells * batch + LANES
    queue_strike, queue_cell = np.empty(room, np.int32), np.empty(room, np.int32)
    queue_sample = np.empty(room, np.int32)
    queued = 0
    pair_strike, pair_sample = np.empty(1024, np.int32), np.empty(1024, np.int32)
    pair_end = np.empty(1024, np.int64)
    d_step, d_neuron = np.empty(4096, np.int32), np.empty(4096, np.int32)
    d_change = np.empty(4096, dtype)
    pairs = entries = undecided = 0
    drive, line = np.empty((steps, LANES), dtype), np.empty(steps, dtype)
    drive[:] = zero
    lane_alpha, lane_beta = np.zeros(LANES, dtype), np.zeros(LANES, dtype)
    lane_threshold = np.zeros(LANES, dtype)
    statistic, trains = np.empty(LANES, dtype), np.zeros((words, LANES), np.uint32)
    flat_inputs, flat_currents = inputs.reshape(-1), currents.reshape(-1)
    flat_drive, flat_trains = drive.reshape(-1), trains.reshape(-1)
    ones, zeros = spread(one), spread(zero)
    single = taps.shape[2] == 1 and taps.min() >= 0
    what = 0 if not is_last else (2 if maximum else 1)
    for strike in range(len(rows) + 1):
        if strike < len(rows):  # queue what no proof decides
            if is_last and maximum:  # every membrane counts, spikes or not
                found = batch
                for sample in range(batch):
                    queue_cell[queued + sample], queue_sample[queued + sample] = 0, sample
                undecided += batch
            else:
                found = _candidates(
                    rows[strike], channels[strike], changes[strike], since[strike], until[strike],
                    factor, taps, windows, level, inputs, peak, bias_peak, up, down, negative,
                    cell_of, sample_of, per_sample,
                )  # fmt: skip
                if found:
                    undecided += _sort_by_sample(
                        cell_of, sample_of, per_sample, found, queue_cell[queued:],
                        queue_sample[queued:],
                    )  # fmt: skip
            queue_strike[queued : queued + found] = strike
            queued += found
        head = 0
        while queued - head >= LANES or (strike == len(rows) and head < queued):
            lanes = min(LANES, queued - head)
            while entries + lanes * steps > len(d_step):
                d_step, d_neuron = _grown(d_step, entries), _grown(d_neuron, entries)
                d_change = _grown(d_change, entries)
            if pairs + lanes > len(pair_strike):
                pair_strike, pair_sample = _grown(pair_strike, pairs), _grown(pair_sample, pairs)
                pair_end = _grown(pair_end, pairs)
            for lane in range(lanes):
                k = head + lane
                struck = queue_strike[k]
                cell, sample = np.int64(queue_cell[k]), np.int64(queue_sample[k])
                neuron = channels[struck] * cells + cell
                lane_alpha[lane], lane_beta[lane] = alpha[neuron], beta[neuron]
                lane_threshold[lane] = threshold[neuron]
                row, change = np.int64(rows[struck]), changes[struck]
                if not single or row < 0 or since[struck] > 0 or until[struck] < steps - 1:
                    _drive(
                        drive, lane, line, row, change, since[struck], until[struck], neuron, cell,
                        sample, taps, batch, steps, flat_inputs, flat_currents,
                    )  # fmt: skip
                    continue
                golden = np.uint64((neuron * batch + sample) * steps)
                source = np.uint64((np.int64(taps[row, cell, 0]) * batch + sample) * steps)
                for t in range(steps):  # unsigned: no check for negative numbers
                    now = change * flat_inputs[source + np.uint64(t)]
                    now = flat_currents[golden + np.uint64(t)] + now
                    flat_drive[np.uint64(t * LANES + lane)] = now
            statistic[:] = -np.inf if maximum else zero
            _play(
                flat_drive, steps, lane_alpha, lane_beta, lane_threshold, synaptic, reset,
                flat_trains, statistic, what, ones, zeros,
            )  # fmt: skip
            for lane in range(lanes):
                k = head + lane
                struck, sample = queue_strike[k], queue_sample[k]
                neuron = channels[struck] * cells + queue_cell[k]
                start = entries
                if is_last:
                    if statistic[lane] != last[sample, neuron]:
                        d_step[entries], d_neuron[entries] = 0, neuron
                        d_change[entries] = statistic[lane]
                        entries += 1
                else:
                    for word in range(words):
                        train = trains[word, lane]
                        other = train ^ packed[neuron, sample, word]
                        while other != 0:
                            step = lowest(other)
                            d_step[entries] = word * PACKED + step
                            d_neuron[entries] = neuron
                            d_change[entries] = one if train >> np.uint32(step) & 1 else -one
                            entries += 1
                            other &= other - np.uint32(1)
                if entries == start:
                    continue
                known = pairs > 0 and pair_strike[pairs - 1] == struck
                if not (known and pair_sample[pairs - 1] == sample):
                    pair_strike[pairs], pair_sample[pairs] = struck, sample
                    pairs += 1
                pair_end[pairs - 1] = entries
            head += lanes
        for k in range(head, queued):  # fewer than LANES wait for the next strike
            queue_strike[k - head], queue_cell[k - head] = queue_strike[k], queue_cell[k]
            queue_sample[k - head] = queue_sample[k]
        queued -= head
    return (
        pair_strike[:pairs], pair_sample[:pairs], pair_end[:pairs], d_step[:entries],
        d_neuron[:entries], d_change[:entries], undecided,
    )  # fmt: skip


@_compiled
def _corrupt(values, keep, force, flip, store, words):
    """Corrupt values as stored float32 words; ``store`` and ``words`` share their memory."""
    for lane in range(len(values)):
        store[lane] = values[lane]
    for lane in range(len(values)):
        golden = words[lane]
        faulty = ((golden & keep) | force) ^ flip
        words[lane] = faulty
        if faulty != golden:
            values[lane] = store[lane]


@_compiled
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
                        syn[lane], mem[lane] = _next(
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
                        _corrupt(target, keep[strike], force[strike], flip[strike], store, stored)
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
                        d_step, d_neuron = _grown(d_step, entries), _grown(d_neuron, entries)
                        d_change = _grown(d_change, entries)
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
                        pair_strike = _grown(pair_strike, pairs)
                        pair_sample = _grown(pair_sample, pairs)
                        pair_end = _grown(pair_end, pairs)
                    pair_strike[pairs], pair_sample[pairs] = strike, sample
                    pair_end[pairs] = entries
                    pairs += 1
    return (
        pair_strike[:pairs], pair_sample[:pairs], pair_end[:pairs], d_step[:entries],
        d_neuron[:entries], d_change[:entries], len(word) * batch,
    )  # fmt: skip


@_compiled
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
        s, m = _next(s, m, now, a, b, limit, synaptic, reset)
        if active and (what == 3 or what == 4):
            held[0] = s if what == 3 else m
            _corrupt(held, keep[strike], force[strike], flip[strike], store, stored)
            s = held[0] if what == 3 else s
            m = held[0] if what == 4 else m
    return s, m


@_compiled
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
            o_step, o_neuron = _grown(o_step, entries), _grown(o_neuron, entries)
            o_change = _grown(o_change, entries)
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
                s, m = _next(syn[c], mem[c], now[c], a[c], b[c], limit[c], synaptic, reset)
                syn[c], mem[c] = s, m
                flags[c] = np.uint8(m - limit[c] > 0) ^ spikes[sample, t, c]
            if active and (what == 3 or what == 4):
                held[0] = syn[struck] if what == 3 else mem[struck]
                _corrupt(held, keep[strike], force[strike], flip[strike], store, stored)
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


@_inlined
def _only_source(first, end, d_neuron, d_change):
    """The one input neuron that differs, -1 where there are more or a change is not finite."""
    source = np.int64(d_neuron[first])
    for k in range(first, end):
        if d_neuron[k] != source or not np.isfinite(d_change[k]):
            return np.int64(-1)
    return source


@_inlined
def _surge(first, end, d_step, d_change, sign, alpha, beta, factor, steps):
    """``factor`` times the largest response of a membrane to the changes of one sign."""
    syn = mem = peak = d_change.dtype.type(0)
    k = first
    for t in range(d_step[first], steps):
        syn *= alpha
        mem *= beta
        if k < end and d_step[k] == t:
            syn += max(sign * d_change[k], d_change.dtype.type(0))
            k += 1
        mem += syn
        peak = max(peak, mem)
        if k == end and alpha == 0:
            break
    return peak * factor


@_inlined
def _undecided_cells(
    source, rising, falling, cells_of, cells_reached, cell_rows, rows, up, down, sample, touched,
    entry_of,
):  # fmt: skip
    """Cells of which a neuron may spike otherwise: their number.

    One input neuron differs. ``rising``: the membrane's largest response to its changes above 0,
    for a weight of 1, ``falling`` to those below 0. A maximum over a window rises by no more than
    the largest rise in it. Fills ``touched`` and ``entry_of``, the place in ``cells_reached``.
    """
    width, channels = cell_rows.shape[1], rows.shape[1]
    zero = rows.dtype.type(0)
    number = 0
    for e in range(cells_of[source], cells_of[source + 1]):
        cell = cells_reached[e]
        margin_up, margin_down = up[sample, cell], down[sample, cell]
        undecided = 0
        if width == 4:
            one, two = rows[cell_rows[e, 0]], rows[cell_rows[e, 1]]
            three, four = rows[cell_rows[e, 2]], rows[cell_rows[e, 3]]
            for c in range(channels):
                high = max(zero, max(max(one[c], two[c]), max(three[c], four[c])))
                low = max(zero, -min(min(one[c], two[c]), min(three[c], four[c])))
                proved = rising * high + falling * low < margin_up[c]
                proved &= rising * low + falling * high < margin_down[c]
                undecided += not proved
        else:
            for c in range(channels):
                high = low = zero
                for place in range(width):
                    weight = rows[cell_rows[e, place], c]
                    high, low = max(high, weight), max(low, -weight)
                proved = rising * high + falling * low < margin_up[c]
                proved &= rising * low + falling * high < margin_down[c]
                undecided += not proved
        if undecided:
            touched[number], entry_of[number] = cell, e
            number += 1
    return number


@_inlined
def _sorted_by_step(
    first, end, d_step, d_neuron, d_change, cells_of, cells_reached, ends, order, reached
):
    """Sort differences into ``order`` by step, ``ends[t]`` of them up to ``t``; mark their cells.

    Returns whether all changes are finite.
    """
    plain = True
    ends[:] = 0
    for k in range(first, end):
        ends[d_step[k]] += 1
        plain &= np.isfinite(d_change[k])
        source = d_neuron[k]
        for e in range(cells_of[source], cells_of[source + 1]):
            reached[cells_reached[e]] = 1
    total = 0
    for t in range(len(ends)):
        total += ends[t]
        ends[t] = total - ends[t]
    for k in range(first, end):
        t = d_step[k]
        order[ends[t]] = k
        ends[t] += 1
    return plain


@_inlined
def _scatter(
    order, d_neuron, d_change, reach, run_position, run_row, run_length, cells_of, cells_reached,
    rows, change, hit,
):  # fmt: skip
    """Add what the differences of a step, ``order``, change where they reach."""
    channels = rows.shape[1]
    flat_rows = rows.reshape(-1)
    for k in order:
        source, d = d_neuron[k], d_change[k]
        for e in range(cells_of[source], cells_of[source + 1]):
            hit[cells_reached[e]] = 1
        for e in range(reach[source], reach[source + 1]):
            length = run_length[e] * channels
            base = run_position[e] * channels
            target = change[base : base + length]
            base = np.int64(run_row[e]) * channels
            weights = flat_rows[base : base + length]
            for c in range(length):
                target[c] += d * weights[c]


@_inlined
def _clear(order, d_neuron, reach, run_position, run_length, channels, change):
    """Leave the scatter space clean."""
    for k in order:
        source = d_neuron[k]
        for e in range(reach[source], reach[source + 1]):
            base = run_position[e] * channels
            change[base : base + run_length[e] * channels] = change.dtype.type(0)


@_inlined
def _listed_cells(reached, touched):
    """Empty ``reached`` into ``touched``: their number."""
    number = 0
    for cell in range(len(reached)):
        if reached[cell]:
            reached[cell] = 0
            touched[number] = cell
            number += 1
    return number


@_inlined
def _runs(touched, number, run_first, run_cells):
    """Neighbouring cells in one run: the number of runs."""
    runs = 0
    for k in range(number):
        if k > 0 and touched[k] == touched[k - 1] + 1:
            run_cells[runs - 1] += 1
        else:
            run_first[runs], run_cells[runs] = touched[k], 1
            runs += 1
    return runs


@_inlined
def _copied(source, base, run_first, run_cells, runs, channels, target):
    """Copy the runs of cells that begin at ``base`` of a flat array."""
    lane = 0
    for run in range(runs):
        length = run_cells[run] * channels
        begin = base + run_first[run] * channels
        line, place = source[begin : begin + length], target[lane : lane + length]
        for c in range(length):
            place[c] = line[c]
        lane += length


@_inlined
def _pool_one(base, d, e, cell_rows, rows, flat_before, now):
    """Currents of a cell under a change ``d`` of one input neuron."""
    width, channels = cell_rows.shape[1], rows.shape[1]
    if width == 4:
        first = flat_before[base : base + channels]
        second = flat_before[base + channels : base + 2 * channels]
        third = flat_before[base + 2 * channels : base + 3 * channels]
        fourth = flat_before[base + 3 * channels : base + 4 * channels]
        one, two = rows[cell_rows[e, 0]], rows[cell_rows[e, 1]]
        three, four = rows[cell_rows[e, 2]], rows[cell_rows[e, 3]]
        for c in range(channels):
            left = max(first[c] + d * one[c], third[c] + d * three[c])
            right = max(second[c] + d * two[c], fourth[c] + d * four[c])
            now[c] = max(left, right)
        return
    for place in range(width):
        line = flat_before[base + place * channels : base + (place + 1) * channels]
        weights = rows[cell_rows[e, place]]
        if place == 0:
            for c in range(channels):
                now[c] = line[c] + d * weights[c]
        else:
            for c in range(channels):
                now[c] = max(now[c], line[c] + d * weights[c])


@_inlined
def _pool_scattered(base, cell, windows, plain, flat_before, change, now):
    """Currents of a cell with what is scattered into ``change``."""
    width, channels = windows.shape[1], len(now)
    if width == 4 and plain:  # 2x2 windows: two runs of two positions
        lines = flat_before[base : base + 4 * channels]
        begin = windows[cell, 0] * channels
        upper = change[begin : begin + 2 * channels]
        begin = windows[cell, 2] * channels
        lower = change[begin : begin + 2 * channels]
        for c in range(channels):
            left = max(lines[c] + upper[c], lines[2 * channels + c] + lower[c])
            v, w = lines[channels + c] + upper[channels + c], lines[3 * channels + c]
            right = max(v, w + lower[channels + c])
            now[c] = max(left, right)
        return
    for place in range(width):
        line = flat_before[base + place * channels : base + (place + 1) * channels]
        where = windows[cell, place]
        if where < 0:
            if place == 0:
                for c in range(channels):
                    now[c] = line[c]
            continue  # outside the image: -inf, never the largest
        begin = where * channels
        extra = change[begin : begin + channels]
        if place == 0:
            for c in range(channels):
                now[c] = line[c] + extra[c]
        else:
            for c in range(channels):
                v, old = line[c] + extra[c], now[c]
                now[c] = v if (v > old or v != v) else old


@_inlined
def _numbered(touched, number, channels, cells, neuron_of):
    """The neuron of each lane."""
    for position in range(number):
        cell = np.int32(touched[position])
        part = neuron_of[position * channels : (position + 1) * channels]
        for c in range(channels):
            part[c] = np.int32(c) * np.int32(cells) + cell


@_inlined
def _fire(
    t, lanes, now, syn, mem, a, b, limit, golden, neuron_of, o_step, o_neuron, o_change, entries,
    synaptic, reset, one, zero,
):  # fmt: skip
    """One step of all lanes; lists those whose spike is not the golden one: number of entries."""
    for place in range(0, lanes, WIDTH):
        threshold, m = load(limit, place), load(mem, place)
        s = load(syn, place) if synaptic else m
        s, m = _vector_step(
            s, m, load(now, place), load(a, place), load(b, place), threshold, zero * threshold,
            one, zero, synaptic, reset,
        )  # fmt: skip
        store(mem, place, m)
        if synaptic:
            store(syn, place, s)
        left = bits(m > threshold) ^ bits(nonzero(load(golden, place)))
        while left != 0:
            lane = np.uint64(place + lowest(left))
            o_step[np.uint64(entries)] = t
            o_neuron[np.uint64(entries)] = neuron_of[lane]
            o_change[np.uint64(entries)] = 1 - 2 * np.int32(golden[lane])
            entries += 1
            left &= left - np.uint32(1)
    return entries


@_compiled
def flow(
    order, pair_strike, pair_sample, pair_end, d_step, d_neuron, d_change, reach, run_position,
    run_row, run_length, cells_of, cells_reached, cell_rows, reach_rows, rows, positions, windows,
    paired, regular, before, currents, golden_syn, golden_mem, spikes, up, down, alpha, beta,
    threshold, top_alpha, top_beta, factor, synaptic, reset,
):  # fmt: skip
    """Carry differences of the stage below through a stage that is not the last.

    All cells that a difference reaches are simulated side by side, ``channels`` lanes each, from
    the first step that differs on; neighbouring cells are copied in one run. Pairs are taken in
    ``order``: sample by sample, so that the golden trace of one stays in the cache. Where one input
    neuron differs, cells that a bound decides are left out; else what the differences of a step
    change is gathered in ``change`` first. ``alpha, beta, threshold``: ``f [cells, channels]``;
    ``regular``: no weight and no membrane is infinite or NaN. Returns ``(strike, sample, ends,
    step, neuron, change, undecided)`` of the pairs that still differ.
    """
    steps, cells = before.shape[1], before.shape[2]
    width, channels = before.shape[3], before.shape[4]
    dtype = before.dtype
    zero, one = dtype.type(0), dtype.type(1)
    out_strike, out_sample = np.empty(1024, np.int32), np.empty(1024, np.int32)
    out_end = np.empty(1024, np.int64)
    o_step, o_neuron = np.empty(4096, np.int32), np.empty(4096, np.int32)
    o_change = np.empty(4096, dtype)
    pairs = entries = undecided = 0
    change, hit = np.zeros(positions * channels, dtype), np.zeros(cells, np.uint8)
    longest, last_end = np.int64(0), np.int64(0)
    for end in pair_end:
        longest, last_end = max(longest, end - last_end), end
    by_step, ends = np.empty(longest, np.int64), np.empty(steps, np.int64)
    reached = np.zeros(cells, np.uint8)
    touched, entry_of = np.empty(cells, np.int64), np.empty(cells, np.int64)
    run_first, run_cells = np.empty(cells, np.int64), np.empty(cells, np.int64)
    size = cells * channels
    room = size + WIDTH  # lanes are taken in whole vectors
    now, syn, mem = np.zeros(room, dtype), np.zeros(room, dtype), np.zeros(room, dtype)
    a, b, limit = np.zeros(room, dtype), np.zeros(room, dtype), np.zeros(room, dtype)
    golden, neuron_of = np.zeros(room, np.uint8), np.empty(size, np.int32)
    ones, zeros = spread(one), spread(zero)
    flat_before, flat_currents = before.reshape(-1), currents.reshape(-1)
    flat_spikes = spikes.reshape(-1)
    flat_syn, flat_mem = golden_syn.reshape(-1), golden_mem.reshape(-1)
    flat_alpha, flat_beta = alpha.reshape(-1), beta.reshape(-1)
    flat_threshold = threshold.reshape(-1)
    for pair in order:
        first = pair_end[pair - 1] if pair > 0 else np.int64(0)
        end = pair_end[pair]
        sample = np.int64(pair_sample[pair])
        source = _only_source(first, end, d_neuron, d_change) if regular else np.int64(-1)
        plain = True
        if source >= 0:
            rising = _surge(first, end, d_step, d_change, one, top_alpha, top_beta, factor, steps)
            falling = _surge(first, end, d_step, d_change, -one, top_alpha, top_beta, factor, steps)
            number = _undecided_cells(
                source, rising, falling, cells_of, cells_reached, cell_rows, reach_rows, up, down,
                sample, touched, entry_of,
            )  # fmt: skip
            if number == 0:
                continue
            start = np.int64(d_step[first])
        else:
            finite = _sorted_by_step(
                first, end, d_step, d_neuron, d_change, cells_of, cells_reached, ends, by_step,
                reached,
            )  # fmt: skip
            plain = regular and finite
            number = _listed_cells(reached, touched)
            start = np.int64(d_step[by_step[0]])
        undecided += 1
        lanes = number * channels
        runs = _runs(touched, number, run_first, run_cells)
        _numbered(touched, number, channels, cells, neuron_of)
        _copied(flat_alpha, 0, run_first, run_cells, runs, channels, a)
        _copied(flat_beta, 0, run_first, run_cells, runs, channels, b)
        _copied(flat_threshold, 0, run_first, run_cells, runs, channels, limit)
        if start > 0:
            base = (sample * steps + start - 1) * size
            _copied(flat_syn, base, run_first, run_cells, runs, channels, syn)
            _copied(flat_mem, base, run_first, run_cells, runs, channels, mem)
        else:
            syn[:], mem[:] = zero, zero
        while entries + lanes * (steps - start) > len(o_step):
            o_step, o_neuron = _grown(o_step, entries), _grown(o_neuron, entries)
            o_change = _grown(o_change, entries)
        pair_start = entries
        for lane in range(lanes, lanes + -lanes % WIDTH):  # the rest is of an earlier pair
            now[lane] = syn[lane] = mem[lane] = a[lane] = b[lane] = limit[lane] = zero
            golden[lane] = 0
        k, done = first, np.int64(0)
        for t in range(start, steps):
            base = (sample * steps + t) * size
            _copied(flat_spikes, base, run_first, run_cells, runs, channels, golden)
            if source >= 0 and k < end and d_step[k] == t:
                for position in range(number):
                    _pool_one(
                        (base + touched[position] * channels) * width, d_change[k],
                        entry_of[position], cell_rows, reach_rows, flat_before,
                        now[position * channels : (position + 1) * channels],
                    )  # fmt: skip
                k += 1
            else:
                _copied(flat_currents, base, run_first, run_cells, runs, channels, now)
            if source < 0 and ends[t] > done:
                due = by_step[done : ends[t]]
                done = ends[t]
                _scatter(
                    due, d_neuron, d_change, reach, run_position, run_row, run_length,
                    cells_of, cells_reached, rows, change, hit,
                )  # fmt: skip
                for position in range(number):
                    cell = touched[position]
                    if hit[cell]:
                        hit[cell] = 0
                        _pool_scattered(
                            (base + cell * channels) * width, cell, windows, paired and plain,
                            flat_before, change,
                            now[position * channels : (position + 1) * channels],
                        )  # fmt: skip
                _clear(due, d_neuron, reach, run_position, run_length, channels, change)
            entries = _fire(
                t, lanes, now, syn, mem, a, b, limit, golden, neuron_of, o_step, o_neuron, o_change,
                entries, synaptic, reset, ones, zeros,
            )  # fmt: skip
        if entries > pair_start:
            if pairs == len(out_strike):
                out_strike, out_sample = _grown(out_strike, pairs), _grown(out_sample, pairs)
                out_end = _grown(out_end, pairs)
            out_strike[pairs], out_sample[pairs] = pair_strike[pair], sample
            out_end[pairs] = entries
            pairs += 1
    return (
        out_strike[:pairs], out_sample[:pairs], out_end[:pairs], o_step[:entries],
        o_neuron[:entries], o_change[:entries], undecided,
    )  # fmt: skip


@_compiled
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
                syn, mem = _vector_step(
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


@_compiled
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


@_compiled
def largest_membranes(currents, alpha, beta, threshold, synaptic, reset):
    """``f [B, N]``: the largest membrane over time of neurons on currents ``f [T, B, N]``."""
    steps, batch, neurons = currents.shape
    dtype = currents.dtype
    largest = np.empty((batch, neurons), dtype)
    syn, mem = np.empty(neurons, dtype), np.empty(neurons, dtype)
    for sample in range(batch):
        for n in range(neurons):
            syn[n], mem[n], largest[sample, n] = 0, 0, -np.inf
        for t in range(steps):
            for n in range(neurons):
                s, m = _next(
                    syn[n], mem[n], currents[t, sample, n], alpha[n], beta[n], threshold[n],
                    synaptic, reset,
                )  # fmt: skip
                syn[n], mem[n] = s, m
                best = largest[sample, n]
                largest[sample, n] = m if (m > best or m != m) else best
    return largest
