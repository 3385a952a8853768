"""A stage with recurrence, fed with what differs in it."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from fi.engine.compiled.kernels.arrays import (
    ALPHA,
    BETA,
    RECURRENCE,
    SPIKE,
    SYN,
    SYNAPSE,
    THRESHOLD,
    Array,
    GoldenByStep,
    NeuronConstants,
    NeuronFaults,
    PairList,
    Recurrence,
    RecurrentFaults,
    SeenInputs,
)
from fi.engine.compiled.kernels.building.compiling import compiled, inlined
from fi.engine.compiled.kernels.neuron_step import corrupt, is_parameter, is_state, next_step
from fi.engine.compiled.kernels.pair_lists import (
    cut_pairs,
    grow_entries,
    new_pairs,
    put_entry,
    put_pair,
)
from fi.engine.compiled.kernels.read_out import find_first_step
from fi.engine.compiled.kernels.simd import count_trailing_zeros

#: What gathers the lowest bits of eight bytes in the highest byte.
_EIGHT_TO_BITS = np.uint64(0x0102040810204080)
#: Neurons whose flags are gathered in one word.
_FLAGS = 64


class Neurons(NamedTuple):
    """All neurons of the stage: ``[N]`` each.

    Attributes:
        now, syn, mem: ``f``, currents of a step and states.
        alpha, beta, threshold: ``f``, as a fault makes them.
        flags: ``uint8``, up to whole words of 64: whether a spike differs.
        flag_words: ``uint64``, the memory of ``flags``, eight in a word.
    """

    now: Array
    syn: Array
    mem: Array
    alpha: Array
    beta: Array
    threshold: Array
    flags: Array
    flag_words: Array


@compiled
def _new_neurons(constants: NeuronConstants) -> Neurons:
    count, dtype = len(constants.alpha), constants.alpha.dtype
    flags = np.zeros(count + _FLAGS - count % _FLAGS, np.uint8)
    return Neurons(
        np.empty(count, dtype),
        np.empty(count, dtype),
        np.empty(count, dtype),
        constants.alpha.copy(),
        constants.beta.copy(),
        constants.threshold.copy(),
        flags,
        flags.view(np.uint64),
    )


@inlined
def _start_from_golden(stage: Neurons, sample: int, start: int, golden: GoldenByStep) -> None:
    """States of all neurons before the step ``start``."""
    nothing = stage.mem.dtype.type(0)
    for c in range(len(stage.mem)):
        stage.syn[c] = golden.syn[sample, start - 1, 0, c] if start > 0 else nothing
        stage.mem[c] = golden.mem[sample, start - 1, 0, c] if start > 0 else nothing


@inlined
def _run_isolated(
    stage: Neurons, c: int, start: int, sample: int, faults: RecurrentFaults, fault: int,
    seen: SeenInputs, recurrence: Recurrence, golden: GoldenByStep, neurons: NeuronConstants,
) -> None:  # fmt: skip
    """A faulty neuron from its fault to before ``start``: no spike differs, no feedback either."""
    at, source = faults.at, faults.row[fault]
    word, begin, until = at.word[fault], at.since[fault], at.until[fault]
    keep, force, flip, value = at.keep[fault], at.force[fault], at.flip[fault], at.value[fault]
    one, nothing = stage.mem.dtype.type(1), stage.mem.dtype.type(0)
    line = recurrence.currents[c, 0, sample]
    signals = line
    if word == SYNAPSE and source >= 0:
        signals = seen.inputs[seen.taps[source, 0, 0], sample]
    elif word == RECURRENCE and source >= 0:
        signals = recurrence.fed[source, sample]
    s = golden.syn[sample, begin - 1, 0, c] if begin > 0 else nothing
    m = golden.mem[sample, begin - 1, 0, c] if begin > 0 else nothing
    for t in range(begin, start):
        active = t <= until
        now = line[t]
        if active and word >= SYNAPSE:
            now += faults.change[fault] * (signals[t] if source >= 0 else one)
        a = value if active and word == ALPHA else neurons.alpha[c]
        b = value if active and word == BETA else neurons.beta[c]
        limit = value if active and word == THRESHOLD else neurons.threshold[c]
        s, m = next_step(s, m, now, a, b, limit, neurons.synaptic, neurons.reset)
        if active and is_state(word):
            if word == SYN:
                s = corrupt(s, keep, force, flip)
            else:
                m = corrupt(m, keep, force, flip)
    stage.syn[c], stage.mem[c] = s, m


@inlined
def _feed_back(
    stage: Neurons, sample: int, t: int, golden: GoldenByStep, weights: Array, out: PairList,
    first: int, entries: int,
) -> None:  # fmt: skip
    """Currents of a step: golden ones, and the entries of the step before, fed back."""
    now, currents, neuron, change = stage.now, golden.currents, out.neuron, out.change
    count = len(now)
    k = first
    if entries - k >= 4:  # four rows at a time: fewer loads and stores, the same order
        d0, d1, d2, d3 = change[k], change[k + 1], change[k + 2], change[k + 3]
        n0, n1, n2, n3 = neuron[k], neuron[k + 1], neuron[k + 2], neuron[k + 3]
        for c in range(count):
            v = currents[sample, t, 0, c] + d0 * weights[n0, c]
            v = (v + d1 * weights[n1, c]) + d2 * weights[n2, c]
            now[c] = v + d3 * weights[n3, c]
        k += 4
    else:
        for c in range(count):
            now[c] = currents[sample, t, 0, c]
    while entries - k >= 4:
        d0, d1, d2, d3 = change[k], change[k + 1], change[k + 2], change[k + 3]
        n0, n1, n2, n3 = neuron[k], neuron[k + 1], neuron[k + 2], neuron[k + 3]
        for c in range(count):
            v = (now[c] + d0 * weights[n0, c]) + d1 * weights[n1, c]
            now[c] = (v + d2 * weights[n2, c]) + d3 * weights[n3, c]
        k += 4
    while k < entries:
        d0, n0 = change[k], neuron[k]
        for c in range(count):
            now[c] += d0 * weights[n0, c]
        k += 1


@inlined
def _find_signal(
    word: int, source: int, sample: int, t: int, seen: SeenInputs, recurrence: Recurrence,
    out: PairList, span: tuple[int, int],
) -> Any:  # fmt: skip
    """What a faulty weight sees in a step; the entries ``span`` differ in the step before."""
    signal = out.change.dtype.type(1)
    if source >= 0 and word == SYNAPSE:
        signal = seen.inputs[seen.taps[source, 0, 0], sample, t]
    elif source >= 0:
        signal = recurrence.fed[source, sample, t]
    if word == RECURRENCE:
        for k in range(span[0], span[1]):
            if out.neuron[k] == source:  # it spikes otherwise than in the golden run
                signal += out.change[k]
    return signal


@inlined
def _set_parameters(
    stage: Neurons, at: NeuronFaults, fault: int, active: bool, neurons: NeuronConstants
) -> None:
    """What a fault of a parameter makes of its neurons, where it is ``active``."""
    word, value = at.word[fault], at.value[fault]
    for position in range(at.first[fault], at.first[fault + 1]):
        c = at.neuron[position]
        stage.alpha[c] = value if active and word == ALPHA else neurons.alpha[c]
        stage.beta[c] = value if active and word == BETA else neurons.beta[c]
        stage.threshold[c] = value if active and word == THRESHOLD else neurons.threshold[c]


@inlined
def _step_neurons(
    stage: Neurons, sample: int, t: int, spikes: Array, synaptic: bool, reset: int
) -> None:
    """One step of all neurons, whose spikes that differ into ``flags``."""
    for c in range(len(stage.mem)):
        s, m = next_step(
            stage.syn[c], stage.mem[c], stage.now[c], stage.alpha[c], stage.beta[c],
            stage.threshold[c], synaptic, reset,
        )  # fmt: skip
        stage.syn[c], stage.mem[c] = s, m
        stage.flags[c] = np.uint8(m - stage.threshold[c] > 0) ^ spikes[sample, t, 0, c]


@inlined
def _corrupt_state(stage: Neurons, at: NeuronFaults, fault: int, neuron: int) -> None:
    """What a fault of a state makes of it."""
    keep, force, flip = at.keep[fault], at.force[fault], at.flip[fault]
    if at.word[fault] == SYN:
        stage.syn[neuron] = corrupt(stage.syn[neuron], keep, force, flip)
    else:
        stage.mem[neuron] = corrupt(stage.mem[neuron], keep, force, flip)


@inlined
def _list_output(
    out: PairList, entries: int, t: int, neuron: int, golden: int, stage: Neurons,
    at: NeuronFaults, fault: int,
) -> int:  # fmt: skip
    """List a faulty output if it is not the golden one: the number of entries."""
    one, zero = out.change.dtype.type(1), out.change.dtype.type(0)
    fired = stage.flags[neuron] != golden
    stage.flags[neuron] = 0
    difference = (at.high[fault] if fired else at.low[fault]) - (one if golden else zero)
    if difference != 0:
        entries = put_entry(out, entries, t, neuron, difference)
    return entries


@inlined
def _list_flags(
    out: PairList, entries: int, t: int, sample: int, spikes: Array, stage: Neurons
) -> int:
    """List the spikes of a step that differ: the number of entries."""
    for block in range(0, len(stage.flag_words), 8):
        flagged = np.uint64(0)
        for word in range(8):
            eight = stage.flag_words[block + word] * _EIGHT_TO_BITS >> np.uint64(56)
            flagged |= eight << np.uint64(8 * word)
        while flagged != 0:
            c = 8 * block + count_trailing_zeros(flagged)
            change = 1 - 2 * np.int32(spikes[sample, t, 0, c])
            entries = put_entry(out, entries, t, c, change)
            flagged &= flagged - np.uint64(1)
    return entries


@inlined
def _is_golden(stage: Neurons, sample: int, t: int, golden: GoldenByStep, synaptic: bool) -> bool:
    """Whether all neurons are back in their golden states."""
    back = True
    for c in range(len(stage.mem)):
        back &= stage.mem[c] == golden.mem[sample, t, 0, c]
        back &= stage.syn[c] == golden.syn[sample, t, 0, c] or not synaptic
    return back


@compiled
def run_recurrent(
    pairs: PairList, order: Array, faults: RecurrentFaults, seen: SeenInputs,
    recurrence: Recurrence, golden: GoldenByStep, neurons: NeuronConstants,
) -> PairList:  # fmt: skip
    """Faults in a stage with recurrence: simulate all of its neurons, differences fed back.

    The pairs are those whose spikes differ without the feedback, at their entries' first step; no
    other pair can, and none before. They are taken in ``order``: sample by sample, so that the
    golden trace of one stays in the cache. ``golden`` has the golden feedback in its currents.
    """
    # No array is sliced or named anew within the loop over steps: numba would count references
    # there, which took a third of the time.
    steps, count = golden.currents.shape[1], golden.currents.shape[3]
    synaptic, reset, at = neurons.synaptic, neurons.reset, faults.at
    out = new_pairs(len(pairs.fault), golden.currents)
    stage = _new_neurons(neurons)
    listed = entries = 0
    for pair in order:
        fault, sample = pairs.fault[pair], pairs.sample[pair]
        word, source = at.word[fault], faults.row[fault]
        begin, until = at.since[fault], at.until[fault]
        affected = at.neuron[at.first[fault]]
        before = pairs.end[pair - 1] if pair > 0 else np.int64(0)
        start = find_first_step(pairs, before, pairs.end[pair], steps)
        _start_from_golden(stage, sample, start, golden)
        if word != SPIKE and begin < start:
            for position in range(at.first[fault], at.first[fault + 1]):
                _run_isolated(
                    stage, at.neuron[position], start, sample, faults, fault, seen, recurrence,
                    golden, neurons,
                )  # fmt: skip
        if entries + count * (steps - start) > len(out.step):
            out = grow_entries(out, entries, entries + count * (steps - start))
        pair_start = previous = entries
        for t in range(start, steps):
            active = t <= until
            _feed_back(stage, sample, t, golden, recurrence.weights, out, previous, entries)
            if active and word >= SYNAPSE:
                signal = _find_signal(
                    word, source, sample, t, seen, recurrence, out, (previous, entries)
                )
                stage.now[affected] += faults.change[fault] * signal
            elif is_parameter(word):
                _set_parameters(stage, at, fault, active, neurons)
            previous = entries
            _step_neurons(stage, sample, t, golden.spikes, synaptic, reset)
            if active and is_state(word):
                _corrupt_state(stage, at, fault, affected)
            if active and word == SPIKE:
                usual = golden.spikes[sample, t, 0, affected]
                entries = _list_output(out, entries, t, affected, usual, stage, at, fault)
            entries = _list_flags(out, entries, t, sample, golden.spikes, stage)
            if (
                t >= until
                and entries == previous
                and _is_golden(stage, sample, t, golden, synaptic)
            ):
                break
        _set_parameters(stage, at, fault, False, neurons)
        if entries > pair_start:
            listed = put_pair(out, listed, fault, sample, entries)
    return cut_pairs(out, listed, entries)
