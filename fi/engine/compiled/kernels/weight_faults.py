"""Faults of weights and biases."""

# mypy: disable-error-code="no-untyped-def"
from __future__ import annotations

import numpy as np

from fi.engine.compiled.kernels.compiling import compiled, inlined
from fi.engine.compiled.kernels.growing import grown
from fi.engine.compiled.kernels.neuron_step import vector_step
from fi.engine.compiled.kernels.packing import PACKED
from fi.engine.compiled.kernels.simd import WIDTH, larger, load, lowest, select, spread, store

#: Neurons that are simulated side by side. A call with arrays costs as much as a step of them all.
LANES = 64


@inlined
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


@inlined
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


@inlined
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


@inlined
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


@inlined
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
            syn, mem = vector_step(syn, mem, now, a, b, limit, silent, one, zero, synaptic, reset)
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


@compiled
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
                d_step, d_neuron = grown(d_step, entries), grown(d_neuron, entries)
                d_change = grown(d_change, entries)
            if pairs + lanes > len(pair_strike):
                pair_strike, pair_sample = grown(pair_strike, pairs), grown(pair_sample, pairs)
                pair_end = grown(pair_end, pairs)
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
