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
from fi.engine.compiled.kernels.building.compiling import compiled, inlined
from fi.engine.compiled.kernels.cell_blocks import (
    BLOCK,
    NOW,
    Blocks,
    begin_cell,
    drive_golden,
    end_cells,
    fire,
    list_differing,
    new_blocks,
)
from fi.engine.compiled.kernels.pair_lists import cut_pairs, grow_entries, new_pairs, put_pair
from fi.engine.compiled.kernels.simd import (
    WIDTH,
    bits,
    larger,
    load,
    select,
    spread,
    store,
    zeros_like,
)

#: Where more than one input neuron differs.
NO_SOURCE = np.int64(-1)
#: ``bits`` of a comparison that holds everywhere.
ALL_LANES = np.uint32((1 << WIDTH) - 1)
#: Changes larger than this may sum up to infinity in one order and not in another.
_LARGE = 2.0**64


class ReachedCells(NamedTuple):
    """Cells that one input neuron reaches and no bound decides: both ``int64 [cells]``.

    Attributes:
        cell: their numbers.
        entry: where they are among the cells that it reaches.
    """

    cell: Array
    entry: Array


class Scatter(NamedTuple):
    """What the differences of many input neurons change, by step.

    Attributes:
        end: ``int64 [T]``, where those of a step end.
        neuron: ``int32 [longest pair]``, input neurons that differ, sorted by step.
        change: ``f [longest pair]``, by how much they differ.
        before: ``f [positions * padded]``, what currents before a pool change by in a step.
        seen: ``int64 [places]``, by place of a ``FanOut``: the last pair that differed there.
        hit: ``uint8 [cells]``, whether a difference of this step reaches a cell.
    """

    end: Array
    neuron: Array
    change: Array
    before: Array
    seen: Array
    hit: Array


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
    width, padded = cell_rows.shape[1], golden.up.shape[2]
    highest, lowest = spread(rising), spread(falling)
    zero = zeros_like(highest)
    base = sample * golden.up.shape[1] * padded
    number = 0
    for e in range(fan_out.cells_first[source], fan_out.cells_first[source + 1]):
        cell = np.int64(fan_out.cells[e])
        proved = True
        for c in range(0, padded, WIDTH):
            high = low = zero
            for place in range(width):
                weight = load(rows, np.int64(cell_rows[e, place]) + c)
                high, low = select(weight > high, weight, high), select(weight < low, weight, low)
            low = zero - low
            at = base + cell * padded + c
            rise = highest * high + lowest * low < load(golden.up, at)
            fall = highest * low + lowest * high < load(golden.down, at)
            proved &= (bits(rise) & bits(fall)) == ALL_LANES
        if not proved:
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
        step = np.uint64(pairs.step[k])
        place = np.uint64(ends[step])
        scatter.neuron[place], scatter.change[place] = pairs.neuron[k], pairs.change[k]
        ends[step] += 1
    return plain


@inlined
def _begin_hit(
    begin: int, end: int, number: int, base: int, fan_out: FanOut, golden: GoldenByStep,
    neurons: NeuronConstants, scatter: Scatter, blocks: Blocks,
) -> int:  # fmt: skip
    """Mark the cells that the differences of a step hit: the number of cells begun."""
    place = np.int32(-1)
    for k in range(begin, end):
        source = np.uint64(scatter.neuron[k])
        if fan_out.place[source] == place:
            continue
        place = fan_out.place[source]
        for e in range(fan_out.cells_first[source], fan_out.cells_first[source + np.uint64(1)]):
            cell = np.uint64(fan_out.cells[np.uint64(e)])
            scatter.hit[cell] = 1
            if blocks.slot[cell] < 0:
                number = begin_cell(np.int64(cell), number, base, golden, neurons, blocks)
    return number


@inlined
def _add_changes(
    begin: int, end: int, number: int, base: int, fan_out: FanOut, golden: GoldenByStep,
    neurons: NeuronConstants, scatter: Scatter, stamp: int, blocks: Blocks,
) -> int:  # fmt: skip
    """Add what the differences of a step, sorted entries ``begin`` to ``end``, change, by cell.

    Where no pool takes a maximum, and all is finite. Two neighbours in the list that reach the same
    cells are added at once; one alone with a second change of 0, as a loop of two lengths would be
    guessed wrongly too often. Returns the number of cells begun, as ``_begin_hit``; ``stamp`` is
    another one for each pair.
    """
    rows, cell_rows, values = fan_out.reach_rows, fan_out.cell_rows, blocks.values
    padded = rows.shape[1]
    k = begin
    while k < end:
        source = np.uint64(scatter.neuron[k])
        place, first = fan_out.place[source], np.int64(fan_out.cells_first[source])
        reached = fan_out.cells_first[source + np.uint64(1)] - first
        change, other, ahead = scatter.change[k], values.dtype.type(0), np.int64(0)
        k += 1
        if k < end and fan_out.place[np.uint64(scatter.neuron[k])] == place:
            ahead = fan_out.cells_first[np.uint64(scatter.neuron[k])] - first
            other = scatter.change[k]
            k += 1
        if scatter.seen[np.uint64(place)] != stamp:
            scatter.seen[np.uint64(place)] = stamp
            for e in range(first, first + reached):
                cell = np.int64(fan_out.cells[np.uint64(e)])
                if blocks.slot[np.uint64(cell)] < 0:
                    number = begin_cell(cell, number, base, golden, neurons, blocks)
        by, by_other = spread(change), spread(other)
        for e in range(first, first + reached):
            at = blocks.slot[np.uint64(fan_out.cells[np.uint64(e)])] + NOW
            row = np.int64(cell_rows[np.uint64(e), np.uint64(0)])
            more = np.int64(cell_rows[np.uint64(e + ahead), np.uint64(0)])
            c = np.int64(0)
            while c + WIDTH < padded:
                one = by * load(rows, row + c) + by_other * load(rows, more + c)
                two = by * load(rows, row + c + WIDTH) + by_other * load(rows, more + c + WIDTH)
                store(values, at, load(values, at) + one)
                store(values, at + BLOCK, load(values, at + BLOCK) + two)
                at += 2 * BLOCK
                c += 2 * WIDTH
            if c < padded:
                one = by * load(rows, row + c) + by_other * load(rows, more + c)
                store(values, at, load(values, at) + one)
    return number


@inlined
def _scatter_changes(begin: int, end: int, fan_out: FanOut, scatter: Scatter) -> None:
    """Add what the differences of a step, sorted entries ``begin`` to ``end``, change."""
    rows = fan_out.rows
    padded = rows.shape[1]
    for k in range(begin, end):
        source, change = scatter.neuron[k], spread(scatter.change[k])
        for e in range(fan_out.first[source], fan_out.first[source + 1]):
            length = fan_out.length[e] * padded
            target, row = fan_out.position[e] * padded, np.int64(fan_out.row[e]) * padded
            for c in range(0, length, WIDTH):
                more = change * load(rows, row + c)
                store(scatter.before, target + c, load(scatter.before, target + c) + more)


@inlined
def _clear_changes(begin: int, end: int, fan_out: FanOut, scatter: Scatter) -> None:
    """Take back what ``_scatter_changes`` did."""
    padded, nothing = fan_out.rows.shape[1], spread(scatter.before.dtype.type(0))
    for k in range(begin, end):
        source = scatter.neuron[k]
        for e in range(fan_out.first[source], fan_out.first[source + 1]):
            base = fan_out.position[e] * padded
            for c in range(base, base + fan_out.length[e] * padded, WIDTH):
                store(scatter.before, c, nothing)


@inlined
def _drive_one(
    base: int, change: Any, number: int, fan_out: FanOut, golden: GoldenByStep,
    found: ReachedCells, blocks: Blocks,
) -> None:  # fmt: skip
    """Currents of all cells under the change of one input neuron.

    ``base``: where the step begins in the flat golden currents of cells.
    """
    cell_rows, rows, before = fan_out.cell_rows, fan_out.reach_rows, golden.before
    width, padded = cell_rows.shape[1], before.shape[4]
    by = spread(change)
    at = NOW
    for position in range(number):
        e = np.uint64(found.entry[position])
        begin = (base + found.cell[position] * padded) * width
        for c in range(0, padded, WIDTH):
            row = np.int64(cell_rows[e, 0]) + c
            highest = load(before, begin + c) + by * load(rows, row)
            for place in range(1, width):
                row = np.int64(cell_rows[e, place]) + c
                line = load(before, begin + place * padded + c) + by * load(rows, row)
                highest = select(line > highest, line, highest)
            store(blocks.values, at, highest)
            at += BLOCK


@inlined
def _drive_hit(
    base: int, number: int, fan_out: FanOut, golden: GoldenByStep, scatter: Scatter, blocks: Blocks
) -> None:
    """Currents of the cells that are hit, with what is scattered; takes back that they are."""
    windows, before, change = fan_out.windows, golden.before, scatter.before
    width, padded = windows.shape[1], before.shape[4]
    at = NOW
    for slot in range(number):
        cell = blocks.cell[slot]
        begin, hit = (base + cell * padded) * width, scatter.hit[cell] != 0
        scatter.hit[cell] = 0
        for c in range(0, padded, WIDTH):
            if hit:
                highest = load(before, begin + c)
                for place in range(width):
                    where = np.int64(windows[cell, place])
                    if where < 0:
                        continue  # outside the image: -inf, never the largest
                    line = load(before, begin + place * padded + c)
                    line = line + load(change, where * padded + c)
                    highest = line if place == 0 else larger(line, highest)
                store(blocks.values, at, highest)
            at += BLOCK


@compiled
def _new_scatter(pairs: PairList, fan_out: FanOut, golden: GoldenByStep) -> Scatter:
    """Room for the longest pair."""
    longest, last_end = np.int64(0), np.int64(0)
    for end in pairs.end:
        longest, last_end = max(longest, end - last_end), end
    padded, dtype = golden.before.shape[4], golden.before.dtype
    return Scatter(
        np.empty(golden.before.shape[1], np.int64),
        np.empty(longest, np.int32),
        np.empty(longest, dtype),
        np.zeros(fan_out.positions * padded, dtype),
        np.full(len(fan_out.place), -1, np.int64),
        np.zeros(golden.before.shape[2], np.uint8),
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
    ``f [cells, padded]``, or ``[1, padded]`` where all cells have the same. Returns the pairs that
    still differ.
    """
    steps, cells, width = golden.before.shape[1], golden.before.shape[2], golden.before.shape[3]
    padded = golden.before.shape[4]
    size, by_cell = cells * padded, padded // WIDTH
    one = golden.before.dtype.type(1)
    out = new_pairs(len(pairs.fault), golden.before)
    out = grow_entries(out, 0, 2 * len(pairs.step) + size * steps)
    listed = entries = 0
    scatter, blocks = (
        _new_scatter(pairs, fan_out, golden),
        new_blocks(cells, padded, neurons.beta),
    )
    found = ReachedCells(np.empty(cells, np.int64), np.empty(cells, np.int64))
    for pair in order:
        first = pairs.end[pair - 1] if pair > 0 else np.int64(0)
        end = pairs.end[pair]
        sample = np.int64(pairs.sample[pair])
        source = find_only_source(pairs, first, end) if golden.regular else NO_SOURCE
        adds = False
        number, start = 0, np.int64(0)
        if source >= 0:
            rising = _find_peak_response(pairs, first, end, one, bound, steps)
            falling = _find_peak_response(pairs, first, end, -one, bound, steps)
            reached = _find_undecided_cells(source, rising, falling, sample, fan_out, golden, found)
            start = np.int64(pairs.step[first])
            base = (sample * steps + start - 1) * size if start > 0 else -1
            for k in range(reached):
                number = begin_cell(found.cell[k], number, base, golden, neurons, blocks)
            if number == 0:
                continue
        else:
            adds = _sort_by_step(pairs, first, end, scatter) and golden.regular and width == 1
            while scatter.end[start] == 0:
                start += 1
        if entries + size * (steps - start) > len(out.step):
            out = grow_entries(out, entries, entries + size * (steps - start))
        pair_start = entries
        change, done = first, np.int64(0)
        for t in range(start, steps):
            base = (sample * steps + t) * size
            earlier = base - size if t > 0 else -1
            if source >= 0:
                if change < end and pairs.step[change] == t:
                    _drive_one(base, pairs.change[change], number, fan_out, golden, found, blocks)
                    change += 1
                else:
                    drive_golden(base, number * by_cell, golden, blocks)
            else:
                due = scatter.end[t]
                if adds:
                    number = _add_changes(
                        done, due, number, earlier, fan_out, golden, neurons, scatter, pair, blocks
                    )
                else:
                    number = _begin_hit(
                        done, due, number, earlier, fan_out, golden, neurons, scatter, blocks
                    )
                    _scatter_changes(done, due, fan_out, scatter)
                    drive_golden(base, number * by_cell, golden, blocks)
                    _drive_hit(base, number, fan_out, golden, scatter, blocks)
                    _clear_changes(done, due, fan_out, scatter)
                done = due
            fire(base, number * by_cell, adds, golden, neurons, blocks)
            entries = list_differing(t, number * by_cell, cells, blocks, out, entries)
        end_cells(number, blocks)
        if entries > pair_start:
            listed = put_pair(out, listed, pairs.fault[pair], sample, entries)
    return cut_pairs(out, listed, entries)
