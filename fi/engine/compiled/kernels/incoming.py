"""What comes into a stage of differences elsewhere: sums of several sources, pools of one."""

from __future__ import annotations

from typing import Any

import numpy as np

from fi.engine.compiled.kernels.arrays import (
    FOREVER,
    Array,
    EntryWindows,
    LineSums,
    PairList,
)
from fi.engine.compiled.kernels.building.compiling import compiled, inlined
from fi.engine.compiled.kernels.pair_lists import (
    cut_pairs,
    grow_entries,
    new_pairs,
    put_entry,
    put_pair,
)
from fi.engine.compiled.kernels.simd import count_trailing_zeros


@compiled
def order_by_time(given: PairList, steps: int) -> PairList:
    """The same differences, those of each pair in the order of time.

    Args:
        given: in which a pair's entries may stand neuron by neuron.
        steps: of an inference.
    """
    sorted_already = True
    begin = np.int64(0)
    for pair in range(len(given.end)):
        for entry in range(begin + 1, given.end[pair]):
            sorted_already &= given.step[entry - 1] <= given.step[entry]
        begin = given.end[pair]
    if sorted_already:
        return given
    step, neuron = np.empty_like(given.step), np.empty_like(given.neuron)
    change = np.empty_like(given.change)
    place = np.empty(steps + 1, np.int64)
    begin = np.int64(0)
    for pair in range(len(given.end)):
        end = given.end[pair]
        place[:] = 0
        for entry in range(begin, end):
            place[given.step[entry] + 1] += 1
        place[0] = begin
        for t in range(steps):
            place[t + 1] += place[t]
        for entry in range(begin, end):
            at = place[given.step[entry]]
            step[at], neuron[at], change[at] = (
                given.step[entry],
                given.neuron[entry],
                given.change[entry],
            )
            place[given.step[entry]] += 1
        begin = end
    return PairList(given.fault, given.sample, given.end, step, neuron, change)


@inlined
def _find_parts(
    place: int, order: Array, fault: Array, sample: Array, begins: Array, ends: Array, at: Array,
    until: Array,
) -> tuple[int, int, Any]:  # fmt: skip
    """The lists that have the pair at ``place`` of ``order``: where their entries are.

    Fills ``at`` and ``until``. Returns how many they are, the place behind them, and how many
    entries they have.
    """
    own, parts, room = order[place], 0, np.int64(0)
    while place < len(order):
        other = order[place]
        if fault[other] != fault[own] or sample[other] != sample[own]:
            break
        at[parts], until[parts] = begins[other], ends[other]
        room += ends[other] - begins[other]
        parts += 1
        place += 1
    return parts, place, room


@compiled
def add_pairs(given: PairList, begins: Array, order: Array, into: LineSums) -> PairList:
    """The differences of several lists by fault and sample; those of a step that meet add up.

    Args:
        given: the lists one behind the other, the entries of each pair in the order of time.
        begins: ``int64 [pairs]``, where the entries of each begin.
        order: ``int64 [pairs]``, by fault, then by sample: the same pair of several lists in turn.
        into: what the lines add up to.
    """
    fault, sample, ends, step, neuron, change = given
    first, slot_of, line_of, share, _ = into
    most = np.int64(0)
    for line in range(len(first) - 1):
        most = max(most, np.int64(first[line + 1] - first[line]))
    part_of = change.dtype.type(share)
    nothing = change.dtype.type(0)
    out = new_pairs(len(order), change)
    sums = np.zeros(len(line_of), change.dtype)
    touched = np.zeros((len(line_of) + 63) // 64, np.uint64)
    at, until = np.empty(len(order), np.int64), np.empty(len(order), np.int64)
    pairs = entries = 0
    place = 0
    while place < len(order):
        own = order[place]
        parts, place, room = _find_parts(place, order, fault, sample, begins, ends, at, until)
        if entries + room * most > len(out.step):
            out = grow_entries(out, entries, entries + room * most)
        start = entries
        while True:
            now = np.int64(FOREVER)
            for part in range(parts):
                if at[part] < until[part]:
                    now = min(now, np.int64(step[at[part]]))
            if now == FOREVER:
                break
            for part in range(parts):
                entry, end = at[part], until[part]
                while entry < end and step[entry] == now:
                    source, value = np.uint64(neuron[entry]), change[entry] * part_of
                    for reached in range(first[source], first[source + np.uint64(1)]):
                        slot = np.uint64(slot_of[np.uint64(reached)])
                        sums[slot] += value
                        touched[slot >> np.uint64(6)] |= np.uint64(1) << (slot & np.uint64(63))
                    entry += 1
                at[part] = entry
            for word in range(len(touched)):
                left = touched[np.uint64(word)]
                touched[np.uint64(word)] = np.uint64(0)
                while left != 0:
                    hit = np.uint64(64 * word + count_trailing_zeros(left))
                    value = sums[hit]
                    sums[hit] = nothing
                    if value != 0:
                        entries = put_entry(out, entries, now, line_of[hit], value)
                    left &= left - np.uint64(1)
        if entries > start:
            pairs = put_pair(out, pairs, fault[own], sample[own], entries)
    return cut_pairs(out, pairs, entries)


@compiled
def pool_maxima(given: PairList, pool: EntryWindows, golden: Array) -> PairList:
    """What differs behind a pool of maxima: those of windows with a changed line, once more.

    Args:
        given: what differs before it, entries in the order of time.
        pool: its windows.
        golden: ``f [B, T, lines]``, what comes in without a fault.
    """
    fault, samples, ends, steps, neuron, changes = given
    first, windows_of, windows, _ = pool
    width = windows.shape[1]
    most = np.int64(0)
    for line in range(len(first) - 1):
        most = max(most, np.int64(first[line + 1] - first[line]))
    out = new_pairs(len(fault), changes)
    line_stamp = np.full(golden.shape[2], -1, np.int64)
    line_entry = np.zeros(golden.shape[2], np.int64)
    window_stamp = np.full(len(windows), -1, np.int64)
    pairs = entries = 0
    run = np.int64(0)
    entry = np.int64(0)
    for pair in range(len(fault)):
        start, end, sample = entries, ends[pair], samples[pair]
        room = entries + (end - entry) * most
        if room > len(out.step):
            out = grow_entries(out, entries, room)
        while entry < end:
            now, stop = steps[entry], entry
            while stop < end and steps[stop] == now:
                line = neuron[stop]
                line_stamp[line], line_entry[line] = run, stop
                stop += 1
            for changed in range(entry, stop):
                line = neuron[changed]
                for at in range(first[line], first[line + 1]):
                    window = windows_of[at]
                    if window_stamp[window] == run:
                        continue
                    window_stamp[window] = run
                    largest = before = golden[sample, now, windows[window, 0]]
                    for position in range(width):
                        source = windows[window, position]
                        if source < 0:
                            break
                        value = golden[sample, now, source]
                        faulty = value
                        if line_stamp[source] == run:
                            faulty = value + changes[line_entry[source]]
                        if position == 0:
                            before, largest = value, faulty
                        before = value if value > before or value != value else before
                        largest = faulty if faulty > largest or faulty != faulty else largest
                    if largest - before != 0:
                        entries = put_entry(out, entries, now, window, largest - before)
            run += 1
            entry = stop
        if entries > start:
            pairs = put_pair(out, pairs, fault[pair], sample, entries)
    return cut_pairs(out, pairs, entries)
