"""What comes into a stage of differences elsewhere: sums of several sources, pools of one."""

from __future__ import annotations

import numpy as np

from fi.engine.compiled.kernels.arrays import FOREVER, Array, EntryWindows, PairList
from fi.engine.compiled.kernels.building.compiling import compiled
from fi.engine.compiled.kernels.pair_lists import (
    cut_pairs,
    grow_entries,
    new_pairs,
    put_entry,
    put_pair,
)


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


@compiled
def add_pairs(given: PairList, begins: Array, order: Array, lines: int) -> PairList:
    """The differences of several lists by fault and sample; those of one step and line add up.

    Args:
        given: the lists one behind the other, the entries of each pair in the order of time.
        begins: ``int64 [pairs]``, where the entries of each begin.
        order: ``int64 [pairs]``, by fault, then by sample: the same pair of several lists in turn.
        lines: how many there are.
    """
    fault, sample, ends, step, neuron, change = given
    out = new_pairs(len(order), change)
    sums = np.zeros(lines, change.dtype)
    stamp = np.full(lines, -1, np.int64)
    touched = np.empty(lines, np.int64)
    at, until = np.empty(len(order), np.int64), np.empty(len(order), np.int64)
    pairs = entries = 0
    run = np.int64(0)
    place = 0
    while place < len(order):
        own = order[place]
        parts = 0
        room = entries
        while place < len(order):
            other = order[place]
            if fault[other] != fault[own] or sample[other] != sample[own]:
                break
            at[parts], until[parts] = begins[other], ends[other]
            room += ends[other] - begins[other]
            parts += 1
            place += 1
        if room > len(out.step):
            out = grow_entries(out, entries, room)
        start = entries
        while True:
            now = np.int64(FOREVER)
            for part in range(parts):
                if at[part] < until[part]:
                    now = min(now, np.int64(step[at[part]]))
            if now == FOREVER:
                break
            count = 0
            for part in range(parts):
                entry, end = at[part], until[part]
                while entry < end and step[entry] == now:
                    line = neuron[entry]
                    if stamp[line] == run:
                        sums[line] += change[entry]
                    else:
                        stamp[line] = run
                        sums[line] = change[entry]
                        touched[count] = line
                        count += 1
                    entry += 1
                at[part] = entry
            run += 1
            for number in range(count):
                value = sums[touched[number]]
                if value != 0:
                    entries = put_entry(out, entries, now, touched[number], value)
        if entries > start:
            pairs = put_pair(out, pairs, fault[own], sample[own], entries)
    return cut_pairs(out, pairs, entries)


@compiled
def pool_pairs(given: PairList, pool: EntryWindows, golden: Array) -> PairList:
    """What differs behind a pool of what comes in.

    Args:
        given: what differs before it, entries in the order of time.
        pool: its windows.
        golden: ``f [B, T, lines]``, what comes in without a fault; a mean pool needs none.
    """
    if pool.mean:
        return _pool_means(given, pool)
    return _pool_maxima(given, pool, golden)


@compiled
def _pool_means(given: PairList, pool: EntryWindows) -> PairList:
    """The mean of a window changes by the mean of the changes."""
    fault, sample, ends, step, neuron, change = given
    first, windows_of, windows, _ = pool
    part = change.dtype.type(1.0 / windows.shape[1])
    most = np.int64(0)
    for line in range(len(first) - 1):
        most = max(most, np.int64(first[line + 1] - first[line]))
    out = new_pairs(len(fault), change)
    sums = np.zeros(len(windows), change.dtype)
    stamp = np.full(len(windows), -1, np.int64)
    touched = np.empty(len(windows), np.int64)
    pairs = entries = 0
    run = np.int64(0)
    entry = np.int64(0)
    for pair in range(len(fault)):
        start, end = entries, ends[pair]
        room = entries + (end - entry) * most
        if room > len(out.step):
            out = grow_entries(out, entries, room)
        while entry < end:
            now, count = step[entry], 0
            while entry < end and step[entry] == now:
                line = neuron[entry]
                value = change[entry] * part
                for at in range(first[line], first[line + 1]):
                    window = windows_of[at]
                    if stamp[window] == run:
                        sums[window] += value
                    else:
                        stamp[window] = run
                        sums[window] = value
                        touched[count] = window
                        count += 1
                entry += 1
            run += 1
            for at in range(count):
                value = sums[touched[at]]
                if value != 0:
                    entries = put_entry(out, entries, now, touched[at], value)
        if entries > start:
            pairs = put_pair(out, pairs, fault[pair], sample[pair], entries)
    return cut_pairs(out, pairs, entries)


@compiled
def _pool_maxima(given: PairList, pool: EntryWindows, golden: Array) -> PairList:
    """The largest of each window that has a changed line, once more."""
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
