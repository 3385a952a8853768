"""Differences carried through a stage that is not the last."""

# mypy: disable-error-code="no-untyped-def"
from __future__ import annotations

import numpy as np

from fi.engine.compiled.kernels.compiling import compiled, inlined
from fi.engine.compiled.kernels.growing import grown
from fi.engine.compiled.kernels.neuron_step import vector_step
from fi.engine.compiled.kernels.simd import WIDTH, bits, load, lowest, nonzero, spread, store


@inlined
def only_source(first, end, d_neuron, d_change):
    """The one input neuron that differs, -1 where there are more or a change is not finite."""
    source = np.int64(d_neuron[first])
    for k in range(first, end):
        if d_neuron[k] != source or not np.isfinite(d_change[k]):
            return np.int64(-1)
    return source


@inlined
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


@inlined
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


@inlined
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


@inlined
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


@inlined
def _clear(order, d_neuron, reach, run_position, run_length, channels, change):
    """Leave the scatter space clean."""
    for k in order:
        source = d_neuron[k]
        for e in range(reach[source], reach[source + 1]):
            base = run_position[e] * channels
            change[base : base + run_length[e] * channels] = change.dtype.type(0)


@inlined
def _listed_cells(reached, touched):
    """Empty ``reached`` into ``touched``: their number."""
    number = 0
    for cell in range(len(reached)):
        if reached[cell]:
            reached[cell] = 0
            touched[number] = cell
            number += 1
    return number


@inlined
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


@inlined
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


@inlined
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


@inlined
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


@inlined
def _numbered(touched, number, channels, cells, neuron_of):
    """The neuron of each lane."""
    for position in range(number):
        cell = np.int32(touched[position])
        part = neuron_of[position * channels : (position + 1) * channels]
        for c in range(channels):
            part[c] = np.int32(c) * np.int32(cells) + cell


@inlined
def _fire(
    t, lanes, now, syn, mem, a, b, limit, golden, neuron_of, o_step, o_neuron, o_change, entries,
    synaptic, reset, one, zero,
):  # fmt: skip
    """One step of all lanes; lists those whose spike is not the golden one: number of entries."""
    for place in range(0, lanes, WIDTH):
        threshold, m = load(limit, place), load(mem, place)
        s = load(syn, place) if synaptic else m
        s, m = vector_step(
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


@compiled
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
        source = only_source(first, end, d_neuron, d_change) if regular else np.int64(-1)
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
            o_step, o_neuron = grown(o_step, entries), grown(o_neuron, entries)
            o_change = grown(o_change, entries)
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
                out_strike, out_sample = grown(out_strike, pairs), grown(out_sample, pairs)
                out_end = grown(out_end, pairs)
            out_strike[pairs], out_sample[pairs] = pair_strike[pair], sample
            out_end[pairs] = entries
            pairs += 1
    return (
        out_strike[:pairs], out_sample[:pairs], out_end[:pairs], o_step[:entries],
        o_neuron[:entries], o_change[:entries], undecided,
    )  # fmt: skip
