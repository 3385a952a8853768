"""Faults of input lines."""

from __future__ import annotations

import numpy as np

from fi.engine.compiled.kernels.arrays import Array, InputFaults, PairList
from fi.engine.compiled.kernels.building.compiling import compiled
from fi.engine.compiled.kernels.neuron_step import value_of, word_of
from fi.engine.compiled.kernels.pair_lists import (
    cut_pairs,
    grow_entries,
    new_pairs,
    put_entry,
    put_pair,
)

_MAGNITUDE = np.uint32(0x7FFFFFFF)


@compiled
def simulate_input_faults(faults: InputFaults, inputs: Array) -> PairList:
    """Where inputs ``f [lines, B, T]`` read otherwise under each fault."""
    line, keep, force, flip, since, until = faults
    batch, steps = inputs.shape[1], inputs.shape[2]
    out = new_pairs(len(line) * batch, inputs)
    pairs = entries = 0
    for fault in range(len(line)):
        source = line[fault]
        first, end = np.int64(since[fault]), min(np.int64(until[fault]) + 1, steps)
        for sample in range(batch):
            start = entries
            if entries + steps > len(out.step):
                out = grow_entries(out, entries, entries + steps)
            for t in range(first, end):
                golden = inputs[source, sample, t]
                before = word_of(golden)
                faulty = ((before & keep[fault]) | force[fault]) ^ flip[fault]
                if faulty == before:
                    continue
                if (before | faulty) & _MAGNITUDE == 0:  # 0.0 and -0.0
                    continue
                value = value_of(faulty, golden)
                # most lines are silent, and subtracting from a subnormal number is slow
                change = value - golden if golden != 0 else value
                entries = put_entry(out, entries, t, source, change)
            if entries > start:
                pairs = put_pair(out, pairs, fault, sample, entries)
    return cut_pairs(out, pairs, entries)
