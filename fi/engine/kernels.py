"""Compiled kernels of the differential engine: sequential, without the GIL, one call a thread.

Arithmetic is snnTorch's, operation by operation and without contraction, so that a membrane that a
fault does not reach comes out bit for bit as in the golden run. ``f`` is float32 or float64.
Any edit of this file compiles all of it again: what is no kernel lives elsewhere.

Differences are three arrays with an entry for each changed spike: step, neuron, change. Pair ``k``
of a pair list owns the entries from ``ends[k - 1]`` to ``ends[k]``.
"""

# ruff: noqa: ANN001, ANN201, ANN202
# mypy: disable-error-code="no-untyped-def"
from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

#: Neurons that are simulated side by side.
LANES = 16
#: Pairs that are carried side by side through the last stage.
CARRIED = 4
PACKED = 32
_compiled: Any = njit(nogil=True, cache=True, error_model="numpy")


@_compiled
def _grown(array, used):
    """A copy of twice the length."""
    larger = np.empty(2 * len(array), array.dtype)
    larger[:used] = array[:used]
    return larger


@_compiled
def _bits(word):
    """The number of set bits."""
    count = 0
    while word != 0:
        count += 1
        word &= word - np.uint32(1)
    return count


@_compiled
def _response(row, cell, neuron, sample, step, taps, inputs, peak, bias_peak, windows, level):
    """The largest response of the membrane to a change of 1 in this weight or bias."""
    if step < 0:
        return bias_peak[neuron] if row < 0 else peak[level[neuron], windows[row, cell], sample]
    if row < 0:
        return inputs.dtype.type(1)
    largest = inputs.dtype.type(0)
    for place in range(taps.shape[2]):
        source = taps[row, cell, place]
        if source >= 0:
            largest = max(largest, abs(inputs[source, sample, step]))
    return largest


@_compiled
def _candidates(
    row, channel, change, step, factor, taps, windows, level, inputs, peak, bias_peak, up, down,
    negative, cell_of, sample_of, per_sample,
):  # fmt: skip
    """Neurons and samples for which no proof says that all spikes stay: their number.

    Fills ``cell_of`` and ``sample_of``, sorted by sample. NaN margins prove nothing.
    """
    cells, batch = taps.shape[1], up.shape[1]
    found = 0
    per_sample[:] = 0
    finite = np.isfinite(change)
    size = abs(change) * factor
    for cell in range(cells):
        neuron = channel * cells + cell
        margin = up[neuron] if change > 0 else down[neuron]
        if finite and row >= 0 and step < 0 and not negative:
            response = peak[level[neuron], windows[row, cell]]
            undecided = 0
            for sample in range(batch):
                undecided += not (size * response[sample] < margin[sample])
            if undecided == 0:
                continue
        for sample in range(batch):
            bound = size * _response(
                row, cell, neuron, sample, step, taps, inputs, peak, bias_peak, windows, level
            )
            proved = finite and bound < margin[sample]
            if negative:
                proved = proved and bound < up[neuron, sample] and bound < down[neuron, sample]
            if not proved:
                cell_of[found] = cell
                sample_of[found] = sample
                per_sample[sample] += 1
                found += 1
    if cells > 1:
        _sort_by_sample(cell_of, sample_of, per_sample, found)
    return found


@_compiled
def _sort_by_sample(cell_of, sample_of, per_sample, found):
    """Counting sort, stable in the cells."""
    start = 0
    for sample in range(len(per_sample)):
        count = per_sample[sample]
        per_sample[sample] = start
        start += count
    cells = cell_of[:found].copy()
    samples = sample_of[:found].copy()
    for k in range(found):
        place = per_sample[samples[k]]
        cell_of[place] = cells[k]
        sample_of[place] = samples[k]
        per_sample[samples[k]] = place + 1


@_compiled
def _drive(out, row, change, step, neuron, cell, sample, taps, inputs, currents):
    """The faulty current of one neuron and sample, all steps; the maximum over its window."""
    batch, steps = inputs.shape[1], inputs.shape[2]
    width = taps.shape[2]
    flat_inputs, flat_currents = inputs.reshape(-1), currents.reshape(-1)
    for place in range(width):
        base = ((neuron * width + place) * batch + sample) * steps
        line = flat_currents[base : base + steps]
        source = np.int64(taps[row, cell, place]) if row >= 0 else np.int64(-1)
        signal = line
        if source >= 0:
            base = (source * batch + sample) * steps
            signal = flat_inputs[base : base + steps]
        reached = source >= 0 or row < 0
        if place == 0:
            if reached and step < 0 and row >= 0:
                for t in range(steps):
                    out[t] = line[t] + change * signal[t]
            elif reached and step < 0:
                for t in range(steps):
                    out[t] = line[t] + change
            else:
                for t in range(steps):
                    out[t] = line[t]
                if reached:
                    out[step] = line[step] + (change * signal[step] if row >= 0 else change)
        else:
            for t in range(steps):
                value = line[t]
                if reached and (step < 0 or step == t):
                    value = value + (change * signal[t] if row >= 0 else change)
                out[t] = value if (value > out[t] or value != value) else out[t]


@_compiled
def _advance(now, syn, mem, alpha, beta, threshold, synaptic, reset):
    """One step of snnTorch's Leaky or Synaptic for each lane."""
    zero = mem.dtype.type(0)
    one = mem.dtype.type(1)
    lanes = len(mem)
    if synaptic:
        for lane in range(lanes):
            fired = one if mem[lane] - threshold[lane] > 0 else zero
            s = alpha[lane] * syn[lane] + now[lane]
            m = beta[lane] * mem[lane] + s
            syn[lane] = s
            if reset == 0:
                m = m - fired * threshold[lane]
            elif reset == 1:
                m = m - m * fired
            mem[lane] = m
    elif reset == 0:
        for lane in range(lanes):
            fired = one if mem[lane] - threshold[lane] > 0 else zero
            mem[lane] = (beta[lane] * mem[lane] + now[lane]) - fired * threshold[lane]
    elif reset == 1:
        for lane in range(lanes):
            fired = one if mem[lane] - threshold[lane] > 0 else zero
            mem[lane] = beta[lane] * ((one - fired) * mem[lane]) + now[lane]
    else:
        for lane in range(lanes):
            mem[lane] = beta[lane] * mem[lane] + now[lane]


@_compiled
def _fold(statistic, mem, threshold, maximum):
    """One step of the readout for each lane: the largest membrane or the count of spikes."""
    one, zero = mem.dtype.type(1), mem.dtype.type(0)
    if maximum:
        for lane in range(len(mem)):
            value, best = mem[lane], statistic[lane]
            statistic[lane] = value if (value > best or value != value) else best
    else:
        for lane in range(len(mem)):
            statistic[lane] += one if mem[lane] - threshold[lane] > 0 else zero


@_compiled
def strike_currents(
    rows, channels, changes, when, factor, taps, windows, level, inputs, currents, packed, up, down,
    peak, bias_peak, negative, alpha, beta, threshold, synaptic, reset, maximum, last,
):  # fmt: skip
    """Faults of weights and biases: prove, simulate what is left, list what differs.

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
    cell_of, sample_of = np.empty(cells * batch, np.int32), np.empty(cells * batch, np.int32)
    per_sample = np.zeros(batch, np.int64)
    pair_strike, pair_sample = np.empty(1024, np.int32), np.empty(1024, np.int32)
    pair_end = np.empty(1024, np.int64)
    d_step, d_neuron = np.empty(4096, np.int32), np.empty(4096, np.int32)
    d_change = np.empty(4096, dtype)
    pairs = entries = undecided = 0
    drive = np.empty((LANES, steps), dtype)
    lane_alpha, lane_beta = np.empty(LANES, dtype), np.empty(LANES, dtype)
    lane_threshold = np.empty(LANES, dtype)
    now, syn, mem = np.empty(LANES, dtype), np.empty(LANES, dtype), np.empty(LANES, dtype)
    statistic = np.empty(LANES, dtype)
    fired = np.empty(LANES, np.uint32)
    trains = np.empty((words, LANES), np.uint32)
    for strike in range(len(rows)):
        row, channel, change, at = rows[strike], channels[strike], changes[strike], when[strike]
        if is_last and maximum:  # every membrane counts, spikes or not
            found = batch
            for sample in range(batch):
                cell_of[sample], sample_of[sample] = 0, sample
        else:
            found = _candidates(
                row, channel, change, at, factor, taps, windows, level, inputs, peak, bias_peak,
                up, down, negative, cell_of, sample_of, per_sample,
            )  # fmt: skip
        previous = -1
        for block in range(0, found, LANES):
            lanes = min(LANES, found - block)
            for lane in range(LANES):
                k = block + min(lane, lanes - 1)
                cell, sample = np.int64(cell_of[k]), np.int64(sample_of[k])
                neuron = channel * cells + cell
                undecided += sample != previous
                previous = sample
                lane_alpha[lane], lane_beta[lane] = alpha[neuron], beta[neuron]
                lane_threshold[lane] = threshold[neuron]
                if lane < lanes:
                    _drive(
                        drive[lane], row, change, at, neuron, cell, sample, taps, inputs, currents
                    )
            syn[:], mem[:], fired[:] = zero, zero, np.uint32(0)
            statistic[:] = -np.inf if maximum else zero
            for t in range(steps):
                for lane in range(LANES):
                    now[lane] = drive[lane, t]
                _advance(now, syn, mem, lane_alpha, lane_beta, lane_threshold, synaptic, reset)
                if is_last:
                    _fold(statistic, mem, lane_threshold, maximum)
                    continue
                bit = np.uint32(t & (PACKED - 1))
                for lane in range(LANES):
                    spike = mem[lane] - lane_threshold[lane] > 0
                    fired[lane] |= np.uint32(spike) << bit
                if bit == PACKED - 1 or t == steps - 1:
                    for lane in range(LANES):
                        trains[t // PACKED, lane] = fired[lane]
                        fired[lane] = 0
            for lane in range(lanes):
                sample = sample_of[block + lane]
                neuron = channel * cells + cell_of[block + lane]
                start = entries
                if entries + steps > len(d_step):
                    used = entries
                    while used + steps > len(d_step):
                        d_step, d_neuron = _grown(d_step, used), _grown(d_neuron, used)
                        d_change = _grown(d_change, used)
                if is_last:
                    if not (statistic[lane] == last[sample, neuron]):
                        d_step[entries], d_neuron[entries] = 0, neuron
                        d_change[entries] = statistic[lane]
                        entries += 1
                else:
                    for word in range(words):
                        train = trains[word, lane]
                        other = train ^ packed[neuron, sample, word]
                        t = word * PACKED
                        while other != 0:
                            if other & np.uint32(1):
                                d_step[entries], d_neuron[entries] = t, neuron
                                d_change[entries] = one if train & np.uint32(1) else -one
                                entries += 1
                            other >>= np.uint32(1)
                            train >>= np.uint32(1)
                            t += 1
                if entries == start:
                    continue
                known = pairs > 0 and pair_strike[pairs - 1] == strike
                if not (known and pair_sample[pairs - 1] == sample):
                    if pairs == len(pair_strike):
                        pair_strike, pair_sample = (
                            _grown(pair_strike, pairs),
                            _grown(pair_sample, pairs),
                        )
                        pair_end = _grown(pair_end, pairs)
                    pair_strike[pairs], pair_sample[pairs] = strike, sample
                    pairs += 1
                pair_end[pairs - 1] = entries
    return (
        pair_strike[:pairs], pair_sample[:pairs], pair_end[:pairs], d_step[:entries],
        d_neuron[:entries], d_change[:entries], undecided,
    )  # fmt: skip


@_compiled
def _corrupt(values, keep, force, flip, store, words):
    """Corrupt ``values[0]`` as a stored float32 word; ``store`` and ``words`` share their memory."""
    store[0] = values[0]
    golden = words[0]
    faulty = ((golden & keep) | force) ^ flip
    if faulty != golden:
        words[0] = faulty
        values[0] = store[0]


@_compiled
def strike_neurons(
    word, value, keep, force, flip, low, high, when, first, cone, currents, golden_syn, golden_mem,
    spikes, alpha, beta, threshold, synaptic, reset, maximum, last,
):  # fmt: skip
    """Faults of neuron parameters, states and outputs: simulate the cone, list what differs.

    ``word``: 0 alpha, 1 beta, 2 threshold, 3 syn, 4 potential, 5 spike. Returns as
    ``strike_currents`` does. A cone neuron is left as soon as it is back in the golden state.
    """
    width, batch, steps = currents.shape[1], currents.shape[2], currents.shape[3]
    dtype = currents.dtype
    zero, one = dtype.type(0), dtype.type(1)
    is_last = last.shape[0] > 0
    pair_strike, pair_sample = np.empty(1024, np.int32), np.empty(1024, np.int32)
    pair_end = np.empty(1024, np.int64)
    d_step, d_neuron = np.empty(4096, np.int32), np.empty(4096, np.int32)
    d_change = np.empty(4096, dtype)
    pairs = entries = 0
    now, syn, mem = np.empty(1, dtype), np.empty(1, dtype), np.empty(1, dtype)
    statistic = np.empty(1, dtype)
    a, b, limit = np.empty(1, dtype), np.empty(1, dtype), np.empty(1, dtype)
    store = np.empty(1, np.float32)
    stored = store.view(np.uint32)
    for strike in range(len(word)):
        kind, at = word[strike], when[strike]
        masks = keep[strike], force[strike], flip[strike]
        for sample in range(batch):
            pair_start = entries
            for position in range(first[strike], first[strike + 1]):
                neuron = cone[position]
                while entries + steps > len(d_step):
                    d_step, d_neuron = _grown(d_step, entries), _grown(d_neuron, entries)
                    d_change = _grown(d_change, entries)
                if kind == 5 and not is_last:
                    for t in range(max(at, 0), steps if at < 0 else at + 1):
                        fired = spikes[neuron, sample, t] != 0
                        golden = one if fired else zero
                        faulty = high[strike] if fired else low[strike]
                        if not (faulty == golden):
                            d_step[entries], d_neuron[entries] = t, neuron
                            d_change[entries] = faulty - golden
                            entries += 1
                    continue
                begin = 0 if is_last else max(at, 0)
                syn[0] = golden_syn[neuron, sample, begin - 1] if begin > 0 else zero
                mem[0] = golden_mem[neuron, sample, begin - 1] if begin > 0 else zero
                statistic[0] = -np.inf if maximum else zero
                for t in range(begin, steps):
                    active = at < 0 or at == t
                    a[0], b[0], limit[0] = alpha[neuron], beta[neuron], threshold[neuron]
                    if active:
                        if kind == 0:
                            a[0] = value[strike]
                        elif kind == 1:
                            b[0] = value[strike]
                        elif kind == 2:
                            limit[0] = value[strike]
                    now[0] = currents[neuron, 0, sample, t]
                    for place in range(1, width):
                        other = currents[neuron, place, sample, t]
                        now[0] = other if (other > now[0] or other != other) else now[0]
                    _advance(now, syn, mem, a, b, limit, synaptic, reset)
                    fired = mem[0] - limit[0] > 0
                    if active and kind == 3:
                        _corrupt(syn, masks[0], masks[1], masks[2], store, stored)
                    if active and kind == 4:
                        _corrupt(mem, masks[0], masks[1], masks[2], store, stored)
                    output = one if fired else zero
                    if is_last:
                        if active and kind == 5:
                            output = high[strike] if fired else low[strike]
                        if maximum:
                            m = mem[0]
                            larger = m > statistic[0] or m != m
                            statistic[0] = m if larger else statistic[0]
                        else:
                            statistic[0] += output
                    elif fired != (spikes[neuron, sample, t] != 0):
                        d_step[entries], d_neuron[entries] = t, neuron
                        d_change[entries] = one if fired else -one
                        entries += 1
                    if at >= 0 and not is_last:
                        same = mem[0] == golden_mem[neuron, sample, t]
                        if same and (not synaptic or syn[0] == golden_syn[neuron, sample, t]):
                            break
                if is_last and not (statistic[0] == last[sample, neuron]):
                    d_step[entries], d_neuron[entries] = 0, neuron
                    d_change[entries] = statistic[0]
                    entries += 1
            if entries > pair_start:
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
def _proved_below(
    first, end, d_step, d_neuron, d_change, reach, slots, width, largest_weight, margin, alpha, beta,
    factor, steps,
):  # fmt: skip
    """Whether differences of one input neuron are too small to change a spike of any cell."""
    source = d_neuron[first]
    for k in range(first, end):
        if d_neuron[k] != source:
            return False
    syn = mem = peak = d_change.dtype.type(0)
    k = first
    for t in range(d_step[first], steps):
        syn *= alpha
        mem *= beta
        if k < end and d_step[k] == t:
            syn += abs(d_change[k])
            k += 1
        mem += syn
        peak = max(peak, mem)
        if k == end and alpha == 0:
            break
    bound = peak * largest_weight[source] * factor * width
    cell = np.int32(-1)
    for e in range(reach[source], reach[source + 1]):
        if slots[e] // width != cell:
            cell = slots[e] // width
            if not (bound < margin[cell]):
                return False
    return True


@_compiled
def flow(
    pair_strike, pair_sample, pair_end, d_step, d_neuron, d_change, reach, slots, slot_rows, rows,
    largest_weight, before, currents, golden_syn, golden_mem, spikes, margin, alpha, beta, threshold,
    top_alpha, top_beta, factor, synaptic, reset,
):  # fmt: skip
    """Carry differences of the stage below through a stage that is not the last.

    ``alpha, beta, threshold``: ``f [cells, channels]``. Returns
    ``(strike, sample, ends, step, neuron, change, undecided)`` of the pairs that still differ.
    """
    cells, steps = before.shape[1], before.shape[2]
    width, channels = before.shape[3], before.shape[4]
    dtype = before.dtype
    one = dtype.type(1)
    out_strike, out_sample = np.empty(1024, np.int32), np.empty(1024, np.int32)
    out_end = np.empty(1024, np.int64)
    o_step, o_neuron = np.empty(4096, np.int32), np.empty(4096, np.int32)
    o_change = np.empty(4096, dtype)
    pairs = entries = undecided = 0
    change = np.empty((cells, steps, width, channels), dtype)
    hit = np.zeros((cells, steps, width), np.uint8)
    begin = np.full(cells, steps, np.int32)
    touched = np.empty(cells, np.int32)
    now, syn, mem = np.empty(channels, dtype), np.empty(channels, dtype), np.empty(channels, dtype)
    for pair in range(len(pair_strike)):
        first = pair_end[pair - 1] if pair > 0 else np.int64(0)
        end = pair_end[pair]
        sample = pair_sample[pair]
        if _proved_below(
            first, end, d_step, d_neuron, d_change, reach, slots, width, largest_weight,
            margin[sample], top_alpha, top_beta, factor, steps,
        ):  # fmt: skip
            continue
        undecided += 1
        # scatter: what the differences add to each position of each touched cell
        number = 0
        for k in range(first, end):
            t, source, d = d_step[k], d_neuron[k], d_change[k]
            for e in range(reach[source], reach[source + 1]):
                cell, place = slots[e] // width, slots[e] % width
                if begin[cell] == steps:
                    touched[number] = cell
                    number += 1
                begin[cell] = min(begin[cell], t)
                weights = rows[slot_rows[e]]
                target = change[cell, t, place]
                if hit[cell, t, place]:
                    for c in range(channels):
                        target[c] += d * weights[c]
                else:
                    hit[cell, t, place] = 1
                    for c in range(channels):
                        target[c] = d * weights[c]
        pair_start = entries
        for position in range(number):
            cell = touched[position]
            start = begin[cell]
            begin[cell] = steps
            if start > 0:
                for c in range(channels):
                    syn[c] = golden_syn[sample, cell, start - 1, c]
                    mem[c] = golden_mem[sample, cell, start - 1, c]
            else:
                syn[:], mem[:] = dtype.type(0), dtype.type(0)
            a, b, limit = alpha[cell], beta[cell], threshold[cell]
            for t in range(start, steps):
                changed = False
                for place in range(width):
                    changed |= hit[cell, t, place] != 0
                if changed:
                    for place in range(width):
                        line = before[sample, cell, t, place]
                        extra = change[cell, t, place]
                        if hit[cell, t, place]:
                            if place == 0:
                                for c in range(channels):
                                    now[c] = line[c] + extra[c]
                            else:
                                for c in range(channels):
                                    v = line[c] + extra[c]
                                    now[c] = v if (v > now[c] or v != v) else now[c]
                        elif place == 0:
                            for c in range(channels):
                                now[c] = line[c]
                        else:
                            for c in range(channels):
                                v = line[c]
                                now[c] = v if (v > now[c] or v != v) else now[c]
                        hit[cell, t, place] = 0
                else:
                    line = currents[sample, cell, t]
                    for c in range(channels):
                        now[c] = line[c]
                _advance(now, syn, mem, a, b, limit, synaptic, reset)
                golden = spikes[sample, cell, t]
                different = 0
                for c in range(channels):
                    different += (mem[c] - limit[c] > 0) != (golden[c] != 0)
                if different:
                    while entries + different > len(o_step):
                        o_step, o_neuron = _grown(o_step, entries), _grown(o_neuron, entries)
                        o_change = _grown(o_change, entries)
                    for c in range(channels):
                        fired = mem[c] - limit[c] > 0
                        if fired != (golden[c] != 0):
                            o_step[entries], o_neuron[entries] = t, c * cells + cell
                            o_change[entries] = one if fired else -one
                            entries += 1
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
    pair_strike, pair_sample, pair_end, d_step, d_neuron, d_change, reach, slot_rows, rows, currents,
    golden_syn, golden_mem, prefix, alpha, beta, threshold, classes, synaptic, reset, maximum,
):  # fmt: skip
    """Carry differences through the last stage, a linear one, to the readout's statistic.

    Neurons are padded to a multiple of the vector width: ``rows f [rows, padded]``, ``currents f [B,
    T, padded]``, ``prefix f [B, T + 1, padded]``. Returns ``(strike, sample, statistic)`` of the
    pairs whose statistic is another, ``statistic f [pairs, classes]``.
    """
    steps, padded = currents.shape[1], currents.shape[2]
    dtype = currents.dtype
    total = len(pair_strike)
    out_strike, out_sample = np.empty(total, np.int32), np.empty(total, np.int32)
    out = np.empty((total, classes), dtype)
    pairs = 0
    lanes = CARRIED * padded
    change = np.zeros((steps, lanes), dtype)
    hit = np.zeros((steps, CARRIED), np.uint8)
    now, syn, mem = np.empty(lanes, dtype), np.empty(lanes, dtype), np.empty(lanes, dtype)
    statistic = np.empty(lanes, dtype)
    a, b, limit = np.empty(lanes, dtype), np.empty(lanes, dtype), np.empty(lanes, dtype)
    for member in range(CARRIED):
        for c in range(padded):
            lane = member * padded + c
            a[lane], b[lane], limit[lane] = alpha[c], beta[c], threshold[c]
    for block in range(0, total, CARRIED):
        members = min(CARRIED, total - block)
        start = steps
        for member in range(members):
            pair = block + member
            first = pair_end[pair - 1] if pair > 0 else np.int64(0)
            for k in range(first, pair_end[pair]):
                t, source, d = d_step[k], d_neuron[k], d_change[k]
                start = min(start, t)
                target = change[t, member * padded : (member + 1) * padded]
                for e in range(reach[source], reach[source + 1]):
                    weights = rows[slot_rows[e]]
                    if hit[t, member]:
                        for c in range(padded):
                            target[c] += d * weights[c]
                    else:
                        hit[t, member] = 1
                        for c in range(padded):
                            target[c] = d * weights[c]
        for member in range(CARRIED):
            sample = pair_sample[block + min(member, members - 1)]
            for c in range(padded):
                lane = member * padded + c
                syn[lane] = golden_syn[sample, start - 1, c] if start > 0 else dtype.type(0)
                mem[lane] = golden_mem[sample, start - 1, c] if start > 0 else dtype.type(0)
                statistic[lane] = prefix[sample, start, c]
        for t in range(start, steps):
            for member in range(CARRIED):
                sample = pair_sample[block + min(member, members - 1)]
                line = currents[sample, t]
                place = now[member * padded : (member + 1) * padded]
                if hit[t, member]:
                    extra = change[t, member * padded : (member + 1) * padded]
                    for c in range(padded):
                        place[c] = line[c] + extra[c]
                    hit[t, member] = 0
                else:
                    for c in range(padded):
                        place[c] = line[c]
            _advance(now, syn, mem, a, b, limit, synaptic, reset)
            _fold(statistic, mem, limit, maximum)
        for member in range(members):
            sample = pair_sample[block + member]
            same = True
            for c in range(classes):
                same &= statistic[member * padded + c] == prefix[sample, steps, c]
            if not same:
                out_strike[pairs] = pair_strike[block + member]
                out_sample[pairs] = sample
                for c in range(classes):
                    out[pairs, c] = statistic[member * padded + c]
                pairs += 1
    return out_strike[:pairs], out_sample[:pairs], out[:pairs]
