"""Faults of input lines."""

# mypy: disable-error-code="no-untyped-def"
from __future__ import annotations

import numpy as np

from fi.engine.compiled.kernels.compiling import compiled
from fi.engine.compiled.kernels.growing import grown

_MAGNITUDE = np.uint32(0x7FFFFFFF)


@compiled
def struck_lines(line, keep, force, flip, since, until, inputs):
    """Where inputs ``f [lines, B, T]`` read otherwise under each fault.

    Returns ``(strike, sample, ends, step, neuron, change)`` as the other kernels list differences.
    """
    batch, steps = inputs.shape[1], inputs.shape[2]
    room = len(line) * batch
    strikes, samples = np.empty(room, np.int32), np.empty(room, np.int32)
    ends = np.empty(room, np.int64)
    step, change = np.empty(1024, np.int32), np.empty(1024, inputs.dtype)
    neuron = np.empty(1024, np.int32)
    store = np.empty(1, np.float32)
    word = store.view(np.uint32)
    pairs = entries = 0
    for strike in range(len(line)):
        source = line[strike]
        first, end = np.int64(since[strike]), min(np.int64(until[strike]) + 1, steps)
        for sample in range(batch):
            start = entries
            while entries + steps > len(step):
                step, change = grown(step, entries), grown(change, entries)
                neuron = grown(neuron, entries)
            for t in range(first, end):
                golden = inputs[source, sample, t]
                store[0] = golden
                before = word[0]
                faulty = ((before & keep[strike]) | force[strike]) ^ flip[strike]
                if faulty == before:
                    continue
                if (before | faulty) & _MAGNITUDE == 0:  # 0.0 and -0.0
                    continue
                word[0] = faulty
                value = inputs.dtype.type(store[0])
                step[entries], neuron[entries] = t, source
                # most lines are silent, and subtracting from a subnormal number is slow
                change[entries] = value - golden if golden != 0 else value
                entries += 1
            if entries > start:
                strikes[pairs], samples[pairs], ends[pairs] = strike, sample, entries
                pairs += 1
    return (
        strikes[:pairs], samples[:pairs], ends[:pairs], step[:entries], neuron[:entries],
        change[:entries],
    )  # fmt: skip
