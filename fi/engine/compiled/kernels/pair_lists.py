"""The list of pairs that a kernel makes, which grows while it is made.

A kernel knows how many pairs there can be, but not how many of their spikes differ: the arrays of
pairs have their length from the start, those of entries grow. It writes

    out = new_pairs(room, like)
    ...
    if entries + more > len(out.step):
        out = grow_entries(out, entries, entries + more)
    entries = put_entry(out, entries, step, neuron, change)
    pairs = put_pair(out, pairs, fault, sample, entries)
    ...
    return cut_pairs(out, pairs, entries)

What allocates is a call of its own; what writes is inlined, and counts no references.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from fi.engine.compiled.kernels.arrays import Array, PairList
from fi.engine.compiled.kernels.building.compiling import compiled, inlined

#: Entries that a list has room for at first.
_ENTRIES = 4096


@compiled
def new_pairs(room: int, like: Array) -> PairList:
    """An empty list with room for so many pairs, whose changes are of the type of ``like``."""
    return PairList(
        np.empty(room, np.int32),
        np.empty(room, np.int32),
        np.empty(room, np.int64),
        np.empty(_ENTRIES, np.int32),
        np.empty(_ENTRIES, np.int32),
        np.empty(_ENTRIES, like.dtype),
    )


@compiled
def grow_entries(out: PairList, used: int, wanted: int) -> PairList:
    """A list with room for ``wanted`` entries, and twice as many at least."""
    room = 2 * len(out.step)
    while room < wanted:
        room *= 2
    step, neuron = np.empty(room, np.int32), np.empty(room, np.int32)
    change = np.empty(room, out.change.dtype)
    step[:used] = out.step[:used]
    neuron[:used] = out.neuron[:used]
    change[:used] = out.change[:used]
    return PairList(out.fault, out.sample, out.end, step, neuron, change)


@inlined
def put_entry(out: PairList, entries: int, step: int, neuron: int, change: Any) -> int:
    """Write one entry behind ``entries`` of them: how many there are now."""
    place = np.uint64(entries)  # unsigned: no check for negative numbers
    out.step[place] = step
    out.neuron[place] = neuron
    out.change[place] = change
    return entries + 1


@inlined
def put_pair(out: PairList, pairs: int, fault: int, sample: int, entries: int) -> int:
    """Write a pair, whose entries are the last ones: how many there are now."""
    out.fault[pairs] = fault
    out.sample[pairs] = sample
    out.end[pairs] = entries
    return pairs + 1


@compiled
def cut_pairs(out: PairList, pairs: int, entries: int) -> PairList:
    """The list without what was not used."""
    return PairList(
        out.fault[:pairs],
        out.sample[:pairs],
        out.end[:pairs],
        out.step[:entries],
        out.neuron[:entries],
        out.change[:entries],
    )


def choose_pairs(pairs: PairList, chosen: Array) -> PairList:
    """Some of the pairs, bool ``[pairs]``."""
    sizes = np.diff(pairs.end, prepend=0)
    entries = np.repeat(chosen, sizes)
    return PairList(
        pairs.fault[chosen],
        pairs.sample[chosen],
        np.cumsum(sizes[chosen]),
        pairs.step[entries],
        pairs.neuron[entries],
        pairs.change[entries],
    )


def join_pairs(parts: Sequence[PairList]) -> PairList:
    """The pairs of each, one behind the other."""
    if len(parts) == 1:
        return parts[0]
    starts = np.cumsum([0, *(len(part.step) for part in parts)])
    shifted = [
        part._replace(end=part.end + start) for part, start in zip(parts, starts, strict=False)
    ]
    return PairList(*(np.concatenate(arrays) for arrays in zip(*shifted, strict=True)))
