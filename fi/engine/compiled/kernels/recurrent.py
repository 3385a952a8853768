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
from fi.engine.compiled.kernels.cell_blocks import BY_FOUR
from fi.engine.compiled.kernels.neuron_step import (
    corrupt,
    is_parameter,
    is_state,
    next_step,
    vector_step,
)
from fi.engine.compiled.kernels.pair_lists import (
    cut_pairs,
    grow_entries,
    new_pairs,
    put_entry,
    put_pair,
)
from fi.engine.compiled.kernels.read_out import find_first_step
from fi.engine.compiled.kernels.simd import (
    WIDTH,
    aligned_zeros,
    bits,
    count_trailing_zeros,
    differing,
    load,
    nonzero,
    spread,
    store,
    zeros_like,
)


class Neurons(NamedTuple):
    """All neurons of the stage, up to whole vectors: ``[padded]`` each.

    Attributes:
        now, syn, mem: ``f``, currents of a step and states.
        alpha, beta, threshold: ``f``, as a fault makes them.
        differs: ``uint16 [padded / WIDTH]``, up to whole words of 64 bits: whether a spike differs,
            a bit for each neuron.
        differs_by_four: ``uint64``, the same memory, four blocks of neurons in a word.
    """

    now: Array
    syn: Array
    mem: Array
    alpha: Array
    beta: Array
    threshold: Array
    differs: Array
    differs_by_four: Array


@compiled
def _new_neurons(constants: NeuronConstants) -> Neurons:
    count, like = len(constants.alpha), constants.alpha
    blocks = count // WIDTH
    differs = np.zeros(blocks + -blocks % BY_FOUR, np.uint16)
    stage = Neurons(
        aligned_zeros(count, like), aligned_zeros(count, like), aligned_zeros(count, like),
        aligned_zeros(count, like), aligned_zeros(count, like), aligned_zeros(count, like),
        differs, differs.view(np.uint64),
    )  # fmt: skip
    stage.alpha[:], stage.beta[:] = constants.alpha, constants.beta
    stage.threshold[:] = constants.threshold
    return stage


@inlined
def _start_from_golden(stage: Neurons, sample: int, start: int, golden: GoldenByStep) -> None:
    """States of all neurons before the step ``start``."""
    steps, padded = golden.mem.shape[1], golden.mem.shape[3]
    base = (sample * steps + start - 1) * padded
    nothing = zeros_like(load(stage.mem, 0))
    for c in range(0, padded, WIDTH):
        store(stage.syn, c, load(golden.syn, base + c) if start > 0 else nothing)
        store(stage.mem, c, load(golden.mem, base + c) if start > 0 else nothing)


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
    stage: Neurons, base: int, golden: GoldenByStep, weights: Array, out: PairList, first: int,
    entries: int,
) -> None:  # fmt: skip
    """Currents of the step that begins at ``base``: golden ones, and what the entries feed back.

    These, ``first`` to before ``entries``, are those of the step before.
    """
    padded = weights.shape[1]
    for c in range(0, padded, WIDTH):
        now = load(golden.currents, base + c)
        for k in range(first, entries):
            row = np.int64(out.neuron[np.uint64(k)]) * padded
            now = now + spread(out.change[np.uint64(k)]) * load(weights, row + c)
        store(stage.now, c, now)


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
def _step_neurons(stage: Neurons, base: int, spikes: Array, synaptic: bool, reset: int) -> None:
    """The step of all neurons that begins at ``base``: their spikes that differ."""
    for c in range(0, len(stage.mem), WIDTH):
        syn, mem = load(stage.syn, c), load(stage.mem, c)
        limit = load(stage.threshold, c)
        syn, mem = vector_step(
            syn, mem, load(stage.now, c), load(stage.alpha, c), load(stage.beta, c), limit,
            synaptic, reset,
        )  # fmt: skip
        store(stage.syn, c, syn)
        store(stage.mem, c, mem)
        spiking = bits(nonzero(load(spikes, base + c)))
        stage.differs[np.uint64(c // WIDTH)] = bits(mem > limit) ^ spiking


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
    block, bit = neuron // WIDTH, np.uint16(1) << np.uint16(neuron % WIDTH)
    fired = (stage.differs[block] & bit != 0) != (golden != 0)
    stage.differs[block] &= ~bit
    difference = (at.high[fault] if fired else at.low[fault]) - (one if golden else zero)
    if difference != 0:
        entries = put_entry(out, entries, t, neuron, difference)
    return entries


@inlined
def _list_spikes(
    out: PairList, entries: int, t: int, base: int, spikes: Array, stage: Neurons
) -> int:
    """List the spikes of the step that begins at ``base`` that differ: the number of entries."""
    flat = spikes.reshape(-1)
    for word in range(len(stage.differs_by_four)):
        left = stage.differs_by_four[np.uint64(word)]
        while left != 0:
            c = np.int32(word * 64 + count_trailing_zeros(left))
            change = np.int32(1) - np.int32(2) * np.int32(flat[np.uint64(base + c)])
            entries = put_entry(out, entries, t, c, change)
            left &= left - np.uint64(1)
    return entries


@inlined
def _is_golden(stage: Neurons, base: int, golden: GoldenByStep, synaptic: bool) -> bool:
    """Whether all neurons are back in the golden states of the step that begins at ``base``."""
    apart = np.uint32(0)
    for c in range(0, len(stage.mem), WIDTH):
        apart |= np.uint32(bits(differing(load(stage.mem, c), load(golden.mem, base + c))))
        if synaptic:
            apart |= np.uint32(bits(differing(load(stage.syn, c), load(golden.syn, base + c))))
    return bool(apart == 0)


@compiled
def run_recurrent(
    pairs: PairList, order: Array, faults: RecurrentFaults, seen: SeenInputs,
    recurrence: Recurrence, golden: GoldenByStep, neurons: NeuronConstants,
) -> PairList:  # fmt: skip
    """Faults in a stage with recurrence: simulate all of its neurons, differences fed back.

    The pairs are those whose spikes differ without the feedback, at their entries' first step; no
    other pair can, and none before. They are taken in ``order``: sample by sample, so that the
    golden trace of one stays in the cache. ``golden`` has the golden feedback in its currents; its
    neurons, the constants and the columns of the recurrent weights are padded to whole vectors.
    """
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
            active, base = t <= until, (sample * steps + t) * count
            _feed_back(stage, base, golden, recurrence.weights, out, previous, entries)
            if active and word >= SYNAPSE:
                signal = _find_signal(
                    word, source, sample, t, seen, recurrence, out, (previous, entries)
                )
                stage.now[affected] += faults.change[fault] * signal
            elif is_parameter(word) and (t == start or t == until + 1):
                _set_parameters(stage, at, fault, active, neurons)
            previous = entries
            _step_neurons(stage, base, golden.spikes, synaptic, reset)
            if active and is_state(word):
                _corrupt_state(stage, at, fault, affected)
            if active and word == SPIKE:
                usual = golden.spikes[sample, t, 0, affected]
                entries = _list_output(out, entries, t, affected, usual, stage, at, fault)
            entries = _list_spikes(out, entries, t, base, golden.spikes, stage)
            if t >= until and entries == previous and _is_golden(stage, base, golden, synaptic):
                break
        _set_parameters(stage, at, fault, False, neurons)
        if entries > pair_start:
            listed = put_pair(out, listed, fault, sample, entries)
    return cut_pairs(out, listed, entries)
