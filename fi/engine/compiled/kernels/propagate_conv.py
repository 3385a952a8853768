"""Differences carried through a stage that is not the last."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from fi.engine.compiled.kernels.arrays import (
    Array,
    FanOut,
    GoldenByStep,
    NeuronConstants,
    PairList,
    ResponseBound,
)
from fi.engine.compiled.kernels.compiling import compiled, inlined
from fi.engine.compiled.kernels.neuron_step import vector_step
from fi.engine.compiled.kernels.pair_lists import (
    cut_pairs,
    grow_entries,
    new_pairs,
    put_entry,
    put_pair,
)
from fi.engine.compiled.kernels.simd import WIDTH, bits, count_trailing_zeros, load, nonzero, store

#: Where more than one input neuron differs.
NO_SOURCE = np.int64(-1)
#: Positions in a window of 2x2, the most common one.
_TWO_BY_TWO = 4


class Lanes(NamedTuple):
    """Neurons that are simulated side by side, up to whole vectors: all ``[cells * channels]``.

    Attributes:
        now: ``f``, currents of a step.
        syn, mem: ``f``, states.
        alpha, beta, threshold: ``f``.
        golden: ``uint8``, golden spikes of a step.
        neuron: ``int32``, their numbers.
    """

    now: Array
    syn: Array
    mem: Array
    alpha: Array
    beta: Array
    threshold: Array
    golden: Array
    neuron: Array


class ReachedCells(NamedTuple):
    """Cells that are simulated, in the order of their numbers: all ``int64 [cells]``.

    Attributes:
        cell: their numbers.
        entry: where they are among the cells that the input neuron reaches.
        run_first, run_cells: neighbouring cells in one run.
    """

    cell: Array
    entry: Array
    run_first: Array
    run_cells: Array


class Scatter(NamedTuple):
    """What the differences of many input neurons change, by step.

    Attributes:
        entry: ``int64 [longest pair]``, entries sorted by step.
        end: ``int64 [T]``, where those of a step end.
        reached: ``uint8 [cells]``, cells that any of them reaches.
        hit: ``uint8 [cells]``, cells that those of a step reach.
        change: ``f [positions * channels]``, of the currents of a step.
    """

    entry: Array
    end: Array
    reached: Array
    hit: Array
    change: Array


@inlined
def find_only_source(pairs: PairList, first: int, end: int) -> Any:
    """The one input neuron that differs; NO_SOURCE if there are more, or a change is not finite."""
    source = np.int64(pairs.neuron[first])
    for k in range(first, end):
        if pairs.neuron[k] != source or not np.isfinite(pairs.change[k]):
            return NO_SOURCE
    return source


@inlined
def _find_peak_response(
    pairs: PairList, first: int, end: int, sign: Any, bound: ResponseBound, steps: int
) -> Any:
    """``factor`` times the largest response of a membrane to the changes of one sign."""
    alpha, beta, factor = bound
    nothing = pairs.change.dtype.type(0)
    syn = mem = peak = nothing
    k = first
    for t in range(pairs.step[first], steps):
        syn *= alpha
        mem *= beta
        if k < end and pairs.step[k] == t:
            syn += max(sign * pairs.change[k], nothing)
            k += 1
        mem += syn
        peak = max(peak, mem)
        if k == end and alpha == 0:
            break
    return peak * factor


@inlined
def _find_undecided_cells(
    source: int, rising: Any, falling: Any, sample: int, fan_out: FanOut, golden: GoldenByStep,
    found: ReachedCells,
) -> int:  # fmt: skip
    """Cells of which a neuron may spike otherwise: their number.

    One input neuron differs. ``rising``: the membrane's largest response to its changes above 0,
    for a weight of 1, ``falling`` to those below 0. A maximum over a window rises by no more than
    the largest rise in it. Fills ``cell`` and ``entry``.
    """
    cell_rows, rows = fan_out.cell_rows, fan_out.reach_rows
    width, channels = cell_rows.shape[1], rows.shape[1]
    zero = rows.dtype.type(0)
    number = 0
    for e in range(fan_out.cells_first[source], fan_out.cells_first[source + 1]):
        cell = fan_out.cells[e]
        margin_up, margin_down = golden.up[sample, cell], golden.down[sample, cell]
        undecided = 0
        if width == _TWO_BY_TWO:
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
            found.cell[number], found.entry[number] = cell, e
            number += 1
    return number


@inlined
def _sort_by_step(pairs: PairList, first: int, end: int, fan_out: FanOut, scatter: Scatter) -> bool:
    """Sort a pair's entries by step, and mark the cells that they reach.

    Returns whether all changes are finite.
    """
    plain = True
    ends, order = scatter.end, scatter.entry
    ends[:] = 0
    for k in range(first, end):
        ends[pairs.step[k]] += 1
        plain &= np.isfinite(pairs.change[k])
        source = pairs.neuron[k]
        for e in range(fan_out.cells_first[source], fan_out.cells_first[source + 1]):
            scatter.reached[fan_out.cells[e]] = 1
    total = 0
    for t in range(len(ends)):
        total += ends[t]
        ends[t] = total - ends[t]
    for k in range(first, end):
        t = pairs.step[k]
        order[ends[t]] = k
        ends[t] += 1
    return plain


@inlined
def _scatter_changes(
    begin: int, end: int, pairs: PairList, fan_out: FanOut, scatter: Scatter
) -> None:
    """Add what the differences of a step, sorted entries ``begin`` to ``end``, change."""
    channels = fan_out.rows.shape[1]
    flat_rows = fan_out.rows.reshape(-1)
    for place in range(begin, end):
        k = scatter.entry[place]
        source, d = pairs.neuron[k], pairs.change[k]
        for e in range(fan_out.cells_first[source], fan_out.cells_first[source + 1]):
            scatter.hit[fan_out.cells[e]] = 1
        for e in range(fan_out.first[source], fan_out.first[source + 1]):
            length = fan_out.length[e] * channels
            base = fan_out.position[e] * channels
            target = scatter.change[base : base + length]
            base = np.int64(fan_out.row[e]) * channels
            weights = flat_rows[base : base + length]
            for c in range(length):
                target[c] += d * weights[c]


@inlined
def _clear_changes(
    begin: int, end: int, pairs: PairList, fan_out: FanOut, scatter: Scatter
) -> None:
    """Take back what ``_scatter_changes`` did."""
    channels = fan_out.rows.shape[1]
    for place in range(begin, end):
        source = pairs.neuron[scatter.entry[place]]
        for e in range(fan_out.first[source], fan_out.first[source + 1]):
            base = fan_out.position[e] * channels
            part = scatter.change[base : base + fan_out.length[e] * channels]
            part[:] = scatter.change.dtype.type(0)


@inlined
def _list_reached(scatter: Scatter, found: ReachedCells) -> int:
    """Empty the marks of ``_sort_by_step`` into ``cell``: how many there are."""
    number = 0
    for cell in range(len(scatter.reached)):
        if scatter.reached[cell]:
            scatter.reached[cell] = 0
            found.cell[number] = cell
            number += 1
    return number


@inlined
def _join_runs(found: ReachedCells, number: int) -> int:
    """Neighbouring cells in one run: the number of runs."""
    runs = 0
    for k in range(number):
        if k > 0 and found.cell[k] == found.cell[k - 1] + 1:
            found.run_cells[runs - 1] += 1
        else:
            found.run_first[runs], found.run_cells[runs] = found.cell[k], 1
            runs += 1
    return runs


@inlined
def _copy_runs(
    source: Array, base: int, found: ReachedCells, runs: int, channels: int, target: Array
) -> None:
    """Copy the runs of cells that begin at ``base`` of a flat array."""
    lane = 0
    for run in range(runs):
        length = found.run_cells[run] * channels
        begin = base + found.run_first[run] * channels
        line, place = source[begin : begin + length], target[lane : lane + length]
        for c in range(length):
            place[c] = line[c]
        lane += length


@inlined
def _drive_one(
    base: int, change: Any, number: int, fan_out: FanOut, found: ReachedCells, before: Array,
    now: Array,
) -> None:  # fmt: skip
    """Currents of all cells under the change of one input neuron.

    ``base``: where the step begins in the flat golden currents of cells; ``before``: those before
    the pool, flat.
    """
    cell_rows, rows = fan_out.cell_rows, fan_out.reach_rows
    width, channels = cell_rows.shape[1], rows.shape[1]
    for position in range(number):
        begin = (base + found.cell[position] * channels) * width
        e = found.entry[position]
        target = now[position * channels : (position + 1) * channels]
        if width == _TWO_BY_TWO:
            first = before[begin : begin + channels]
            second = before[begin + channels : begin + 2 * channels]
            third = before[begin + 2 * channels : begin + 3 * channels]
            fourth = before[begin + 3 * channels : begin + 4 * channels]
            one, two = rows[cell_rows[e, 0]], rows[cell_rows[e, 1]]
            three, four = rows[cell_rows[e, 2]], rows[cell_rows[e, 3]]
            for c in range(channels):
                left = max(first[c] + change * one[c], third[c] + change * three[c])
                right = max(second[c] + change * two[c], fourth[c] + change * four[c])
                target[c] = max(left, right)
            continue
        for place in range(width):
            line = before[begin + place * channels : begin + (place + 1) * channels]
            weights = rows[cell_rows[e, place]]
            if place == 0:
                for c in range(channels):
                    target[c] = line[c] + change * weights[c]
            else:
                for c in range(channels):
                    target[c] = max(target[c], line[c] + change * weights[c])


@inlined
def _drive_hit(
    base: int, plain: bool, number: int, fan_out: FanOut, found: ReachedCells, scatter: Scatter,
    before: Array, now: Array,
) -> None:  # fmt: skip
    """Currents of the cells that are hit, with what is scattered; as ``_drive_one``.

    ``plain``: all changes and golden currents are finite.
    """
    windows, change = fan_out.windows, scatter.change
    width, channels = windows.shape[1], fan_out.rows.shape[1]
    for position in range(number):
        cell = found.cell[position]
        if not scatter.hit[cell]:
            continue
        scatter.hit[cell] = 0
        start = (base + cell * channels) * width
        target = now[position * channels : (position + 1) * channels]
        if width == _TWO_BY_TWO and plain and fan_out.paired:  # two runs of two positions
            lines = before[start : start + 4 * channels]
            begin = windows[cell, 0] * channels
            upper = change[begin : begin + 2 * channels]
            begin = windows[cell, 2] * channels
            lower = change[begin : begin + 2 * channels]
            for c in range(channels):
                left = max(lines[c] + upper[c], lines[2 * channels + c] + lower[c])
                v, w = lines[channels + c] + upper[channels + c], lines[3 * channels + c]
                right = max(v, w + lower[channels + c])
                target[c] = max(left, right)
            continue
        for place in range(width):
            line = before[start + place * channels : start + (place + 1) * channels]
            where = windows[cell, place]
            if where < 0:
                if place == 0:
                    for c in range(channels):
                        target[c] = line[c]
                continue  # outside the image: -inf, never the largest
            begin = where * channels
            extra = change[begin : begin + channels]
            if place == 0:
                for c in range(channels):
                    target[c] = line[c] + extra[c]
            else:
                for c in range(channels):
                    v, old = line[c] + extra[c], target[c]
                    target[c] = v if (v > old or v != v) else old


@inlined
def _number_lanes(
    found: ReachedCells, number: int, channels: int, cells: int, lanes: Lanes
) -> None:
    """Fill in the neuron of each lane."""
    for position in range(number):
        cell = np.int32(found.cell[position])
        part = lanes.neuron[position * channels : (position + 1) * channels]
        for c in range(channels):
            part[c] = np.int32(c) * np.int32(cells) + cell


@inlined
def _clear_rest(lanes: Lanes, count: int) -> None:
    """Silence the lanes of the last vector behind ``count``, which are of an earlier pair."""
    nothing = lanes.now.dtype.type(0)
    for lane in range(count, count + -count % WIDTH):
        lanes.now[lane] = lanes.syn[lane] = lanes.mem[lane] = nothing
        lanes.alpha[lane] = lanes.beta[lane] = lanes.threshold[lane] = nothing
        lanes.golden[lane] = 0


@inlined
def _fire(
    t: int, count: int, lanes: Lanes, synaptic: bool, reset: int, out: PairList, entries: int
) -> int:
    """One step of all lanes; lists those whose spike is not the golden one: number of entries."""
    for place in range(0, count, WIDTH):
        threshold, m = load(lanes.threshold, place), load(lanes.mem, place)
        s = load(lanes.syn, place) if synaptic else m
        s, m = vector_step(
            s, m, load(lanes.now, place), load(lanes.alpha, place), load(lanes.beta, place),
            threshold, synaptic, reset,
        )  # fmt: skip
        store(lanes.mem, place, m)
        if synaptic:
            store(lanes.syn, place, s)
        left = bits(m > threshold) ^ bits(nonzero(load(lanes.golden, place)))
        while left != 0:
            lane = np.uint64(place + count_trailing_zeros(left))
            change = 1 - 2 * np.int32(lanes.golden[lane])
            entries = put_entry(out, entries, t, lanes.neuron[lane], change)
            left &= left - np.uint32(1)
    return entries


@compiled
def _new_lanes(golden: GoldenByStep) -> Lanes:
    """Room for all neurons of a stage, in whole vectors."""
    dtype = golden.before.dtype
    size = golden.before.shape[2] * golden.before.shape[4]
    room = size + WIDTH
    return Lanes(
        np.zeros(room, dtype),
        np.zeros(room, dtype),
        np.zeros(room, dtype),
        np.zeros(room, dtype),
        np.zeros(room, dtype),
        np.zeros(room, dtype),
        np.zeros(room, np.uint8),
        np.zeros(room, np.int32),
    )


@compiled
def _new_scatter(pairs: PairList, fan_out: FanOut, golden: GoldenByStep) -> Scatter:
    """Room for the longest pair."""
    longest, last_end = np.int64(0), np.int64(0)
    for end in pairs.end:
        longest, last_end = max(longest, end - last_end), end
    cells, channels = golden.before.shape[2], golden.before.shape[4]
    return Scatter(
        np.empty(longest, np.int64),
        np.empty(golden.before.shape[1], np.int64),
        np.zeros(cells, np.uint8),
        np.zeros(cells, np.uint8),
        np.zeros(fan_out.positions * channels, golden.before.dtype),
    )


@compiled
def propagate_conv(
    pairs: PairList, order: Array, fan_out: FanOut, golden: GoldenByStep, neurons: NeuronConstants,
    bound: ResponseBound,
) -> PairList:  # fmt: skip
    """Carry differences of the stage below through a stage that is not the last.

    All cells that a difference reaches are simulated side by side, ``channels`` lanes each, from
    the first step that differs on; neighbouring cells are copied in one run. Pairs are taken in
    ``order int64 [pairs]``: sample by sample, so that the golden trace of one stays in the cache.
    Where one input neuron differs, cells that a bound decides are left out; else what the
    differences of a step change is gathered first. The constants of neurons are ``f [cells,
    channels]``. Returns the pairs that still differ.
    """
    steps, cells, channels = golden.before.shape[1], golden.before.shape[2], golden.before.shape[4]
    synaptic, reset = neurons.synaptic, neurons.reset
    one = golden.before.dtype.type(1)
    out = new_pairs(len(pairs.fault), golden.before)
    listed = entries = 0
    scatter, lanes = _new_scatter(pairs, fan_out, golden), _new_lanes(golden)
    found = ReachedCells(
        np.empty(cells, np.int64),
        np.empty(cells, np.int64),
        np.empty(cells, np.int64),
        np.empty(cells, np.int64),
    )
    size = cells * channels
    before, currents = golden.before.reshape(-1), golden.currents.reshape(-1)
    spikes, golden_syn, golden_mem = (
        golden.spikes.reshape(-1),
        golden.syn.reshape(-1),
        golden.mem.reshape(-1),
    )
    alpha, beta = neurons.alpha.reshape(-1), neurons.beta.reshape(-1)
    threshold = neurons.threshold.reshape(-1)
    for pair in order:
        first = pairs.end[pair - 1] if pair > 0 else np.int64(0)
        end = pairs.end[pair]
        sample = np.int64(pairs.sample[pair])
        source = find_only_source(pairs, first, end) if golden.regular else NO_SOURCE
        plain = True
        if source >= 0:
            rising = _find_peak_response(pairs, first, end, one, bound, steps)
            falling = _find_peak_response(pairs, first, end, -one, bound, steps)
            number = _find_undecided_cells(source, rising, falling, sample, fan_out, golden, found)
            if number == 0:
                continue
            start = np.int64(pairs.step[first])
        else:
            finite = _sort_by_step(pairs, first, end, fan_out, scatter)
            plain = golden.regular and finite
            number = _list_reached(scatter, found)
            start = np.int64(pairs.step[scatter.entry[0]])
        count = number * channels
        runs = _join_runs(found, number)
        _number_lanes(found, number, channels, cells, lanes)
        _copy_runs(alpha, 0, found, runs, channels, lanes.alpha)
        _copy_runs(beta, 0, found, runs, channels, lanes.beta)
        _copy_runs(threshold, 0, found, runs, channels, lanes.threshold)
        if start > 0:
            base = (sample * steps + start - 1) * size
            _copy_runs(golden_syn, base, found, runs, channels, lanes.syn)
            _copy_runs(golden_mem, base, found, runs, channels, lanes.mem)
        else:
            lanes.syn[:], lanes.mem[:] = 0, 0
        if entries + count * (steps - start) > len(out.step):
            out = grow_entries(out, entries, entries + count * (steps - start))
        pair_start = entries
        _clear_rest(lanes, count)
        k, done = first, np.int64(0)
        for t in range(start, steps):
            base = (sample * steps + t) * size
            _copy_runs(spikes, base, found, runs, channels, lanes.golden)
            if source >= 0 and k < end and pairs.step[k] == t:
                _drive_one(base, pairs.change[k], number, fan_out, found, before, lanes.now)
                k += 1
            else:
                _copy_runs(currents, base, found, runs, channels, lanes.now)
            if source < 0 and scatter.end[t] > done:
                due = scatter.end[t]
                _scatter_changes(done, due, pairs, fan_out, scatter)
                _drive_hit(base, plain, number, fan_out, found, scatter, before, lanes.now)
                _clear_changes(done, due, pairs, fan_out, scatter)
                done = due
            entries = _fire(t, count, lanes, synaptic, reset, out, entries)
        if entries > pair_start:
            listed = put_pair(out, listed, pairs.fault[pair], sample, entries)
    return cut_pairs(out, listed, entries)
