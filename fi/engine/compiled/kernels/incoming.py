"""What comes into a stage of differences elsewhere: sums of several sources, pools of one."""

from __future__ import annotations

import numpy as np

from fi.engine.compiled.kernels.arrays import Array, EntryWindows, PairList
from fi.engine.compiled.kernels.compiling import compiled
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
def add_pairs(
    one: PairList, other: PairList, order_one: Array, order_other: Array, lines: int
) -> PairList:
    """The differences of both by fault and sample; at one step and line they add up.

    Args:
        one, other: entries of a pair are in the order of time.
        order_one, order_other: ``int64 [pairs]``, the pairs by fault, then by sample.
        lines: how many there are.
    """
    out = new_pairs(len(order_one) + len(order_other), one.change)
    stamp = np.full(lines, -1, np.int64)
    place = np.zeros(lines, np.int64)
    pairs = entries = i = k = 0
    run = np.int64(0)
    while i < len(order_one) or k < len(order_other):
        first, second = -1, -1
        if i < len(order_one):
            first = order_one[i]
        if k < len(order_other):
            second = order_other[k]
        if first >= 0 and second >= 0:
            before = one.fault[first], one.sample[first]
            behind = other.fault[second], other.sample[second]
            if before < behind:
                second = -1
            elif behind < before:
                first = -1
        a = a_end = b = b_end = 0
        fault = sample = 0
        if first >= 0:
            a, a_end = one.end[first - 1] if first > 0 else 0, one.end[first]
            fault, sample = one.fault[first], one.sample[first]
            i += 1
        if second >= 0:
            b, b_end = other.end[second - 1] if second > 0 else 0, other.end[second]
            fault, sample = other.fault[second], other.sample[second]
            k += 1
        start = entries
        more = a_end - a + b_end - b
        if entries + more > len(out.step):
            out = grow_entries(out, entries, entries + more)
        while a < a_end or b < b_end:
            if b >= b_end or (a < a_end and one.step[a] <= other.step[b]):
                step = one.step[a]
            else:
                step = other.step[b]
            begin = entries
            while a < a_end and one.step[a] == step:
                line = one.neuron[a]
                stamp[line], place[line] = run, entries
                entries = put_entry(out, entries, step, line, one.change[a])
                a += 1
            while b < b_end and other.step[b] == step:
                line = other.neuron[b]
                if stamp[line] == run:
                    out.change[place[line]] += other.change[b]
                else:
                    entries = put_entry(out, entries, step, line, other.change[b])
                b += 1
            run += 1
            kept = begin
            for entry in range(begin, entries):
                if out.change[entry] != 0:
                    kept = put_entry(out, kept, step, out.neuron[entry], out.change[entry])
            entries = kept
        if entries > start:
            pairs = put_pair(out, pairs, fault, sample, entries)
    return cut_pairs(out, pairs, entries)


@compiled
def pool_pairs(given: PairList, pool: EntryWindows, golden: Array) -> PairList:
    """What differs behind a pool of what comes in.

    Args:
        given: what differs before it, entries in the order of time.
        pool: its windows.
        golden: ``f [B, T, lines]``, what comes in without a fault.
    """
    first, windows_of, windows, mean = pool
    width = windows.shape[1]
    out = new_pairs(len(given.fault), given.change)
    line_stamp = np.full(golden.shape[2], -1, np.int64)
    line_entry = np.zeros(golden.shape[2], np.int64)
    window_stamp = np.full(len(windows), -1, np.int64)
    pairs = entries = 0
    run = np.int64(0)
    for pair in range(len(given.fault)):
        start = entries
        sample = given.sample[pair]
        entry, end = given.end[pair - 1] if pair > 0 else 0, given.end[pair]
        while entry < end:
            step = given.step[entry]
            stop = entry
            reached = 0
            while stop < end and given.step[stop] == step:
                line = given.neuron[stop]
                line_stamp[line], line_entry[line] = run, stop
                reached += first[line + 1] - first[line]
                stop += 1
            if entries + reached > len(out.step):
                out = grow_entries(out, entries, entries + reached)
            for changed in range(entry, stop):
                line = given.neuron[changed]
                for at in range(first[line], first[line + 1]):
                    window = windows_of[at]
                    if window_stamp[window] == run:
                        continue
                    window_stamp[window] = run
                    total = before = golden[sample, step, windows[window, 0]] * 0
                    for position in range(width):
                        source = windows[window, position]
                        if source < 0:
                            continue
                        value = golden[sample, step, source]
                        faulty = value
                        if line_stamp[source] == run:
                            faulty = value + given.change[line_entry[source]]
                        if mean:
                            before, total = before + value, total + faulty
                        elif position == 0:
                            before, total = value, faulty
                        else:
                            before = value if value > before or value != value else before
                            total = faulty if faulty > total or faulty != faulty else total
                    change = total - before
                    if mean:
                        change = total / width - before / width
                    if change != 0:
                        entries = put_entry(out, entries, step, window, change)
            run += 1
            entry = stop
        if entries > start:
            pairs = put_pair(out, pairs, given.fault[pair], sample, entries)
    return cut_pairs(out, pairs, entries)
