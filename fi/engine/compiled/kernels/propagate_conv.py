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
from fi.engine.compiled.kernels.simd import (
    WIDTH,
    aligned_zeros,
    bits,
    count_trailing_zeros,
    load,
    load_first,
    nonzero,
    select,
    spread,
    store,
    zeros_like,
)

#: Where more than one input neuron differs.
NO_SOURCE = np.int64(-1)
#: Positions in a window of 2x2, the most common one.
_TWO_BY_TWO = 4
#: Changes larger than this may sum up to infinity in one order and not in another.
_LARGE = 2.0**64
#: Vectors whose spikes are in a word of 64 bits.
_BY_FOUR = 64 // WIDTH


class Lanes(NamedTuple):
    """Neurons of a stage: all ``[cells * padded]``, a cell's channels filled up to whole vectors.

    Attributes:
        now: ``f``, the currents of a step, or what they change by: this is 0 between steps.
        syn, mem: ``f``, states of the cells that have begun.
        alpha, beta, threshold: ``f``.
    """

    now: Array
    syn: Array
    mem: Array
    alpha: Array
    beta: Array
    threshold: Array


class Vectors(NamedTuple):
    """What is simulated, vector by vector, in the order in which cells began.

    Attributes:
        lane: ``int64 [vectors]``, where a vector begins among the lanes.
        place: ``int64 [vectors]``, where among the golden neurons of a step.
        real: ``int64 [vectors]``, how many neurons are behind that, in the vector or in others.
        neuron: ``int32 [vectors]``, the first one's number.
        differs: ``uint16 [vectors]``, bits: spikes of a step that are not the golden ones.
        golden: ``uint16 [vectors]``, the golden ones.
        differs_by_four, golden_by_four: ``uint64``, the same memory, four vectors in a word.
    """

    lane: Array
    place: Array
    real: Array
    neuron: Array
    differs: Array
    golden: Array
    differs_by_four: Array
    golden_by_four: Array


class ReachedCells(NamedTuple):
    """Cells that are simulated: all ``[cells]``.

    Attributes:
        cell: ``int64``, their numbers, in the order in which they began.
        entry: ``int64``, where they are among the cells that the only source reaches.
        begun: ``uint8``, by cell: whether it is one of them.
        hit: ``uint8``, by cell: whether a difference reaches it in this step.
    """

    cell: Array
    entry: Array
    begun: Array
    hit: Array


class Scatter(NamedTuple):
    """What the differences of many input neurons change, by step.

    Attributes:
        end: ``int64 [T]``, where those of a step end.
        neuron: ``int32 [longest pair]``, input neurons that differ, sorted by step.
        change: ``f [longest pair]``, by how much they differ.
        before: ``f [positions * channels]``, what currents before a pool change by in a step.
    """

    end: Array
    neuron: Array
    change: Array
    before: Array


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
    width, channels = cell_rows.shape[1], golden.up.shape[2]
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
def _sort_by_step(pairs: PairList, first: int, end: int, scatter: Scatter) -> bool:
    """Sort a pair's entries by step: whether all changes are finite, and none is large."""
    plain = True
    ends = scatter.end
    ends[:] = 0
    for k in range(first, end):
        ends[np.uint64(pairs.step[k])] += 1
        plain &= abs(pairs.change[k]) < _LARGE
    total = 0
    for t in range(len(ends)):
        total += ends[t]
        ends[t] = total - ends[t]
    for k in range(first, end):
        t = np.uint64(pairs.step[k])
        place = np.uint64(ends[t])
        scatter.neuron[place], scatter.change[place] = pairs.neuron[k], pairs.change[k]
        ends[t] += 1
    return plain


@inlined
def _begin_cell(
    cell: int, number: int, base: int, golden: GoldenByStep, synaptic: bool, found: ReachedCells,
    lanes: Lanes, vectors: Vectors,
) -> int:  # fmt: skip
    """Simulate a cell from now on; the number of such cells.

    ``base``: where the step before begins in the flat golden states, negative before the first.
    """
    cells, channels = golden.mem.shape[2], golden.mem.shape[3]
    padded = channels + -channels % WIDTH
    v = number * (padded // WIDTH)
    for c in range(0, channels, WIDTH):
        lane, place, real = cell * padded + c, cell * channels + c, channels - c
        mem = zeros_like(load(lanes.mem, lane))
        syn = mem
        if base >= 0:
            mem = load_first(golden.mem, base + place, real)
            if synaptic:
                syn = load_first(golden.syn, base + place, real)
        store(lanes.mem, lane, mem)
        store(lanes.syn, lane, syn)
        vectors.lane[v], vectors.place[v], vectors.real[v] = lane, place, real
        vectors.neuron[v] = c * cells + cell
        v += 1
    found.cell[number], found.begun[cell] = cell, 1
    return number + 1


@inlined
def _begin_hit(
    begin: int, end: int, number: int, base: int, fan_out: FanOut, golden: GoldenByStep,
    synaptic: bool, scatter: Scatter, found: ReachedCells, lanes: Lanes, vectors: Vectors,
) -> int:  # fmt: skip
    """Mark the cells that the differences of a step hit: the number of cells begun."""
    place = np.int32(-1)
    for k in range(begin, end):
        source = np.uint64(scatter.neuron[k])
        if fan_out.place[source] == place:
            continue
        place = fan_out.place[source]
        for e in range(fan_out.cells_first[source], fan_out.cells_first[source + np.uint64(1)]):
            cell = np.int64(fan_out.cells[e])
            found.hit[cell] = 1
            if not found.begun[cell]:
                number = _begin_cell(cell, number, base, golden, synaptic, found, lanes, vectors)
    return number


@inlined
def _add_changes(
    begin: int, end: int, number: int, base: int, fan_out: FanOut, golden: GoldenByStep,
    synaptic: bool, scatter: Scatter, found: ReachedCells, lanes: Lanes, vectors: Vectors,
) -> int:  # fmt: skip
    """Add what the differences of a step, sorted entries ``begin`` to ``end``, change, by cell.

    Where no pool takes a maximum, and all is finite. Two neighbours in the list that reach the same
    cells are added at once; one alone with a second change of 0, as a loop of two lengths would be
    guessed wrongly too often. Returns the number of cells begun, as ``_begin_hit``.
    """
    rows, cell_rows, now = fan_out.reach_rows, fan_out.cell_rows, lanes.now
    padded = rows.shape[1]
    k = begin
    while k < end:
        source = np.uint64(scatter.neuron[k])
        place, first = fan_out.place[source], fan_out.cells_first[source]
        reached = fan_out.cells_first[source + np.uint64(1)] - first
        change, other = scatter.change[k], now.dtype.type(0)
        second = first
        k += 1
        if k < end and fan_out.place[np.uint64(scatter.neuron[k])] == place:
            second, other = fan_out.cells_first[np.uint64(scatter.neuron[k])], scatter.change[k]
            k += 1
        by, by_other = spread(change), spread(other)
        for j in range(reached):
            cell = np.int64(fan_out.cells[np.uint64(first + j)])
            if not found.begun[np.uint64(cell)]:
                number = _begin_cell(cell, number, base, golden, synaptic, found, lanes, vectors)
            lane = cell * padded
            row = np.int64(cell_rows[np.uint64(first + j), 0]) * padded
            more = np.int64(cell_rows[np.uint64(second + j), 0]) * padded
            for c in range(0, padded, WIDTH):
                added = by * load(rows, row + c) + by_other * load(rows, more + c)
                store(now, lane + c, load(now, lane + c) + added)
    return number


@inlined
def _scatter_changes(begin: int, end: int, fan_out: FanOut, scatter: Scatter) -> None:
    """Add what the differences of a step, sorted entries ``begin`` to ``end``, change."""
    rows = fan_out.rows
    channels = rows.shape[1]
    for k in range(begin, end):
        source, change = scatter.neuron[k], scatter.change[k]
        for e in range(fan_out.first[source], fan_out.first[source + 1]):
            length = fan_out.length[e] * channels
            target, row = fan_out.position[e] * channels, np.int64(fan_out.row[e]) * channels
            whole = length - length % WIDTH
            for c in range(0, whole, WIDTH):
                more = spread(change) * load(rows, row + c)
                store(scatter.before, target + c, load(scatter.before, target + c) + more)
            flat = rows.reshape(-1)
            for c in range(whole, length):
                scatter.before[target + c] += change * flat[row + c]


@inlined
def _clear_changes(begin: int, end: int, fan_out: FanOut, scatter: Scatter) -> None:
    """Take back what ``_scatter_changes`` did."""
    channels = fan_out.rows.shape[1]
    for k in range(begin, end):
        source = scatter.neuron[k]
        for e in range(fan_out.first[source], fan_out.first[source + 1]):
            base = fan_out.position[e] * channels
            part = scatter.before[base : base + fan_out.length[e] * channels]
            part[:] = scatter.before.dtype.type(0)


@inlined
def _drive_one(
    base: int, change: Any, number: int, fan_out: FanOut, golden: GoldenByStep,
    found: ReachedCells, now: Array,
) -> None:  # fmt: skip
    """Currents of all cells under the change of one input neuron.

    ``base``: where the step begins in the flat golden currents of cells.
    """
    cell_rows, rows = fan_out.cell_rows, fan_out.reach_rows
    width, channels, padded = cell_rows.shape[1], golden.before.shape[4], rows.shape[1]
    by = spread(change)
    for position in range(number):
        cell, e = found.cell[position], np.uint64(found.entry[position])
        begin = (base + cell * channels) * width
        for c in range(0, channels, WIDTH):
            row = np.int64(cell_rows[e, 0]) * padded + c
            highest = load_first(golden.before, begin + c, channels - c) + by * load(rows, row)
            for place in range(1, width):
                row = np.int64(cell_rows[e, place]) * padded + c
                line = load_first(golden.before, begin + place * channels + c, channels - c)
                line = line + by * load(rows, row)
                highest = select(line > highest, line, highest)
            store(now, cell * padded + c, highest)


@inlined
def _drive_golden(base: int, number: int, golden: GoldenByStep, vectors: Vectors, now: Array) -> None:
    """Golden currents of all cells; ``base`` as in ``_drive_one``."""
    channels = golden.currents.shape[3]
    for v in range(number * ((channels + WIDTH - 1) // WIDTH)):
        current = load_first(golden.currents, base + vectors.place[v], vectors.real[v])
        store(now, vectors.lane[v], current)


@inlined
def _drive_hit(
    base: int, plain: bool, number: int, fan_out: FanOut, found: ReachedCells, scatter: Scatter,
    before: Array, padded: int, now: Array,
) -> None:  # fmt: skip
    """Currents of the cells that are hit, with what is scattered; takes back that they are.

    ``plain``: all changes and golden currents are finite. ``before``: flat.
    """
    windows, change = fan_out.windows, scatter.before
    width, channels = windows.shape[1], fan_out.rows.shape[1]
    for position in range(number):
        cell = found.cell[position]
        if not found.hit[cell]:
            continue
        found.hit[cell] = 0
        start = (base + cell * channels) * width
        target = now[cell * padded : cell * padded + channels]
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
def _fire(
    base: int, count: int, adds: bool, golden: GoldenByStep, lanes: Lanes, vectors: Vectors,
    synaptic: bool, reset: int,
) -> None:  # fmt: skip
    """One step of ``count`` vectors; fills in ``differs`` and ``golden``.

    ``adds``: whether ``now`` is what the golden currents change by, which is taken back.
    """
    for v in range(count):
        lane, place, real = vectors.lane[v], base + vectors.place[v], vectors.real[v]
        threshold, m, now = load(lanes.threshold, lane), load(lanes.mem, lane), load(lanes.now, lane)
        if adds:
            now = load_first(golden.currents, place, real) + now
            store(lanes.now, lane, zeros_like(now))
        s = load(lanes.syn, lane) if synaptic else m
        a = load(lanes.alpha, lane) if synaptic else m
        s, m = vector_step(s, m, now, a, load(lanes.beta, lane), threshold, synaptic, reset)
        store(lanes.mem, lane, m)
        if synaptic:
            store(lanes.syn, lane, s)
        spiking = bits(nonzero(load_first(golden.spikes, place, real)))
        vectors.golden[v] = spiking
        vectors.differs[v] = bits(m > threshold) ^ spiking


@inlined
def _list_differing(
    t: int, count: int, cells: int, vectors: Vectors, out: PairList, entries: int
) -> int:
    """List the spikes of a step, of ``count`` vectors, that differ: the number of entries.

    ``cells``: from the number of a neuron to that of the next in a vector.
    """
    for v in range(count, count + -count % _BY_FOUR):
        vectors.differs[v] = 0
    for word in range((count + _BY_FOUR - 1) // _BY_FOUR):
        left, spiking = vectors.differs_by_four[word], vectors.golden_by_four[word]
        while left != 0:
            bit = count_trailing_zeros(left)
            was = np.int32((spiking >> np.uint64(bit)) & np.uint64(1))
            neuron = vectors.neuron[np.uint64(word * _BY_FOUR + bit // WIDTH)]
            neuron += np.int32(bit % WIDTH * cells)
            entries = put_entry(out, entries, t, neuron, np.int32(1) - np.int32(2) * was)
            left &= left - np.uint64(1)
    return entries


@compiled
def _new_vectors(cells: int, channels: int) -> Vectors:
    """Room for all vectors of a stage."""
    room = cells * ((channels + WIDTH - 1) // WIDTH) + _BY_FOUR
    room += -room % _BY_FOUR
    differs = np.zeros(room, np.uint16)
    golden = np.zeros(room, np.uint16)
    return Vectors(
        np.zeros(room, np.int64),
        np.zeros(room, np.int64),
        np.zeros(room, np.int64),
        np.zeros(room, np.int32),
        differs,
        golden,
        differs.view(np.uint64),
        golden.view(np.uint64),
    )


@compiled
def _new_lanes(neurons: NeuronConstants) -> Lanes:
    """Room for all neurons of a stage."""
    cells, channels = neurons.beta.shape
    padded, like = channels + -channels % WIDTH, neurons.beta
    size = cells * padded
    lanes = Lanes(
        aligned_zeros(size, like),
        aligned_zeros(size, like),
        aligned_zeros(size, like),
        aligned_zeros(size, like),
        aligned_zeros(size, like),
        aligned_zeros(size, like),
    )
    lanes.alpha.reshape(cells, padded)[:, :channels] = neurons.alpha
    lanes.beta.reshape(cells, padded)[:, :channels] = neurons.beta
    lanes.threshold.reshape(cells, padded)[:, :channels] = neurons.threshold
    return lanes


@compiled
def _new_scatter(pairs: PairList, fan_out: FanOut, golden: GoldenByStep) -> Scatter:
    """Room for the longest pair."""
    longest, last_end = np.int64(0), np.int64(0)
    for end in pairs.end:
        longest, last_end = max(longest, end - last_end), end
    channels, dtype = golden.before.shape[4], golden.before.dtype
    return Scatter(
        np.empty(golden.before.shape[1], np.int64),
        np.empty(longest, np.int32),
        np.empty(longest, dtype),
        np.zeros(fan_out.positions * channels, dtype),
    )


@compiled
def propagate_conv(
    pairs: PairList, order: Array, fan_out: FanOut, golden: GoldenByStep, neurons: NeuronConstants,
    bound: ResponseBound,
) -> PairList:  # fmt: skip
    """Carry differences of the stage below through a stage that is not the last.

    A cell is simulated from the first step on in which a difference reaches it, its channels side
    by side. Pairs are taken in ``order int64 [pairs]``: sample by sample, so that the golden trace
    of one stays in the cache. Where one input neuron differs, cells that a bound decides are left
    out; else what the differences of a step change is gathered first. The constants of neurons are
    ``f [cells, channels]``. Returns the pairs that still differ.
    """
    steps, cells, width = golden.before.shape[1], golden.before.shape[2], golden.before.shape[3]
    channels, padded = golden.before.shape[4], fan_out.reach_rows.shape[1]
    synaptic, reset = neurons.synaptic, neurons.reset
    one = golden.before.dtype.type(1)
    out = new_pairs(len(pairs.fault), golden.before)
    listed = entries = 0
    scatter, lanes = _new_scatter(pairs, fan_out, golden), _new_lanes(neurons)
    vectors = _new_vectors(cells, channels)
    found = ReachedCells(
        np.empty(cells, np.int64),
        np.empty(cells, np.int64),
        np.zeros(cells, np.uint8),
        np.zeros(cells, np.uint8),
    )
    size, by_cell = cells * channels, padded // WIDTH
    out = grow_entries(out, 0, 2 * len(pairs.step) + size * steps)
    before = golden.before.reshape(-1)
    for pair in order:
        first = pairs.end[pair - 1] if pair > 0 else np.int64(0)
        end = pairs.end[pair]
        sample = np.int64(pairs.sample[pair])
        source = find_only_source(pairs, first, end) if golden.regular else NO_SOURCE
        plain = adds = False
        number = 0
        if source >= 0:
            rising = _find_peak_response(pairs, first, end, one, bound, steps)
            falling = _find_peak_response(pairs, first, end, -one, bound, steps)
            number = _find_undecided_cells(source, rising, falling, sample, fan_out, golden, found)
            if number == 0:
                continue
            start = np.int64(pairs.step[first])
            base = (sample * steps + start - 1) * size if start > 0 else -1
            for position in range(number):
                cell = found.cell[position]
                _begin_cell(cell, position, base, golden, synaptic, found, lanes, vectors)
        else:
            plain = _sort_by_step(pairs, first, end, scatter) and golden.regular
            adds = plain and width == 1
            start = np.int64(0)
            while scatter.end[start] == 0:
                start += 1
        if entries + size * (steps - start) > len(out.step):
            out = grow_entries(out, entries, entries + size * (steps - start))
        pair_start = entries
        k, done = first, np.int64(0)
        for t in range(start, steps):
            base = (sample * steps + t) * size
            earlier = base - size if t > 0 else -1
            if source >= 0:
                if k < end and pairs.step[k] == t:
                    _drive_one(base, pairs.change[k], number, fan_out, golden, found, lanes.now)
                    k += 1
                else:
                    _drive_golden(base, number, golden, vectors, lanes.now)
            elif adds:
                due = scatter.end[t]
                number = _add_changes(
                    done, due, number, earlier, fan_out, golden, synaptic, scatter, found, lanes,
                    vectors,
                )  # fmt: skip
                done = due
            else:
                due = scatter.end[t]
                number = _begin_hit(
                    done, due, number, earlier, fan_out, golden, synaptic, scatter, found, lanes,
                    vectors,
                )  # fmt: skip
                _scatter_changes(done, due, fan_out, scatter)
                _drive_golden(base, number, golden, vectors, lanes.now)
                _drive_hit(base, plain, number, fan_out, found, scatter, before, padded, lanes.now)
                _clear_changes(done, due, fan_out, scatter)
                done = due
            count = number * by_cell
            _fire(base, count, adds, golden, lanes, vectors, synaptic, reset)
            entries = _list_differing(t, count, cells, vectors, out, entries)
        for position in range(number):
            cell = found.cell[position]
            found.begun[cell] = 0
            if not adds:
                lanes.now[cell * padded : (cell + 1) * padded] = 0
        if entries > pair_start:
            listed = put_pair(out, listed, pairs.fault[pair], sample, entries)
    return cut_pairs(out, listed, entries)
