"""Several faults, and differences from below, in one linear stage."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from fi.engine.compiled.kernels.arrays import (
    AFTER_ALL,
    ALPHA,
    BETA,
    SPIKE,
    SYN,
    Array,
    GoldenByStep,
    LinearFanOut,
    NeuronConstants,
    PairList,
    TrialFaults,
)
from fi.engine.compiled.kernels.building.compiling import compiled, inlined
from fi.engine.compiled.kernels.neuron_step import corrupt, is_parameter, vector_step
from fi.engine.compiled.kernels.pair_lists import (
    cut_pairs,
    grow_entries,
    new_pairs,
    put_entry,
    put_pair,
)
from fi.engine.compiled.kernels.propagate_linear import (
    SpikeBits,
    list_block,
    new_spike_bits,
)
from fi.engine.compiled.kernels.read_out import drive_all, find_first_step
from fi.engine.compiled.kernels.simd import WIDTH, bits, load, nonzero, spread, store


class Neurons(NamedTuple):
    """All neurons of the stage: ``f [padded]`` each but for the first two.

    Attributes:
        drive: ``f [T * padded]``, their currents.
        seen: ``f [T]``, what a faulty weight sees.
        syn, mem: states.
        alpha, beta, threshold: as the faults of a step make them.
        statistic: what the readout gathers.
    """

    drive: Array
    seen: Array
    syn: Array
    mem: Array
    alpha: Array
    beta: Array
    threshold: Array
    statistic: Array


@compiled
def _new_neurons(constants: NeuronConstants, steps: int) -> Neurons:
    padded, dtype = len(constants.alpha), constants.alpha.dtype
    return Neurons(
        np.empty(steps * padded, dtype),
        np.empty(steps, dtype),
        np.empty(padded, dtype),
        np.empty(padded, dtype),
        constants.alpha.copy(),
        constants.beta.copy(),
        constants.threshold.copy(),
        np.empty(padded, dtype),
    )


@inlined
def _find_start(trial: int, faults: TrialFaults, start: Any) -> Any:
    """The first step of any fault of a trial, or ``start`` where that is earlier."""
    for k in range(faults.weight_first[trial], faults.weight_first[trial + 1]):
        start = min(start, np.int64(faults.weights.since[faults.weight_order[k]]))
    for k in range(faults.neuron_first[trial], faults.neuron_first[trial + 1]):
        start = min(start, np.int64(faults.neurons.since[faults.neuron_order[k]]))
    return start


@inlined
def _add_weight_faults(
    stage: Neurons, trial: int, sample: int, faults: TrialFaults, inputs: Array, pairs: PairList,
    first: int, end: int,
) -> None:  # fmt: skip
    """Add what the faulty weights and biases of a trial change to ``drive``."""
    steps, padded = len(stage.seen), len(stage.mem)
    unit = stage.seen.dtype.type(1)
    weights = faults.weights
    for k in range(faults.weight_first[trial], faults.weight_first[trial + 1]):
        fault = faults.weight_order[k]
        source, affected = np.int64(faults.line[fault]), np.int64(weights.channel[fault])
        since = np.int64(weights.since[fault])
        last: Any = min(np.int64(weights.until[fault]) + 1, steps)
        for t in range(since, last):
            stage.seen[t] = inputs[source, sample, t] if source >= 0 else unit
        if source >= 0:
            for d in range(first, end):
                if pairs.neuron[d] == source:
                    stage.seen[pairs.step[d]] += pairs.change[d]
        for t in range(since, last):  # of a huge weight nothing is left where nothing is seen
            stage.drive[t * padded + affected] += weights.change[fault] * stage.seen[t]


@inlined
def _start_from_golden(
    stage: Neurons, base: int, start: int, golden: GoldenByStep, prefix_at: int, prefix: Array
) -> None:
    """States, and what the readout has gathered, before the step ``start``.

    ``base``: where the sample begins in the golden trace; ``prefix_at`` where its step is in
    ``prefix``, negative where it is not of this stage.
    """
    padded = len(stage.mem)
    zero = spread(stage.mem.dtype.type(0))
    for c in range(0, padded, WIDTH):
        before = base + (start - 1) * padded + c
        store(stage.syn, c, load(golden.syn, before) if start > 0 else zero)
        store(stage.mem, c, load(golden.mem, before) if start > 0 else zero)
        if prefix_at >= 0:
            store(stage.statistic, c, load(prefix, prefix_at + c))


@inlined
def _set_parameters(
    stage: Neurons, t: int, always: bool, trial: int, faults: TrialFaults, neurons: NeuronConstants
) -> None:
    """Bring the parameters to what a trial's faults make of them in step ``t``."""
    at = faults.neurons
    for k in range(faults.neuron_first[trial], faults.neuron_first[trial + 1]):
        fault = faults.neuron_order[k]
        word, value = at.word[fault], at.value[fault]
        since, until = np.int64(at.since[fault]), np.int64(at.until[fault])
        if not is_parameter(word) or not (always or t == since or t == until + 1):
            continue
        active = since <= t <= until
        for position in range(at.first[fault], at.first[fault + 1]):
            c = at.neuron[position]
            if word == ALPHA:
                stage.alpha[c] = value if active else neurons.alpha[c]
            elif word == BETA:
                stage.beta[c] = value if active else neurons.beta[c]
            else:
                stage.threshold[c] = value if active else neurons.threshold[c]


@inlined
def _step_blocks(
    stage: Neurons, t: int, base: int, trains: SpikeBits, spikes: Array, synaptic: bool, reset: int
) -> None:
    """One step of all neurons."""
    padded = len(stage.mem)
    for block in range(padded // WIDTH):
        c = block * WIDTH
        top = load(stage.threshold, c)
        s, m = vector_step(
            load(stage.syn, c), load(stage.mem, c), load(stage.drive, t * padded + c),
            load(stage.alpha, c), load(stage.beta, c), top, synaptic, reset,
        )  # fmt: skip
        store(stage.mem, c, m)
        store(stage.syn, c, s)
        spiking = bits(nonzero(load(spikes, base + t * padded + c)))
        trains.golden[block * trains.room + t] = spiking
        trains.differs[block * trains.room + t] = bits(m > top) ^ spiking


@inlined
def _corrupt_neurons(
    stage: Neurons, t: int, trial: int, faults: TrialFaults, trains: SpikeBits, is_last: bool,
    out: PairList, entries: int,
) -> int:  # fmt: skip
    """Faults of states and outputs in a step: the number of entries.

    A faulty output is listed here, and taken out of ``trains``; in the last stage it is added to
    the statistic instead.
    """
    one, zero = stage.mem.dtype.type(1), stage.mem.dtype.type(0)
    at = faults.neurons
    for k in range(faults.neuron_first[trial], faults.neuron_first[trial + 1]):
        fault = faults.neuron_order[k]
        word, affected = at.word[fault], np.int64(at.neuron[at.first[fault]])
        if is_parameter(word) or not at.since[fault] <= t <= at.until[fault]:
            continue
        if word != SPIKE:  # the spikes of this step are out before the state is stored
            keep, force, flip = at.keep[fault], at.force[fault], at.flip[fault]
            if word == SYN:
                stage.syn[affected] = corrupt(stage.syn[affected], keep, force, flip)
            else:
                stage.mem[affected] = corrupt(stage.mem[affected], keep, force, flip)
            continue
        place = affected // WIDTH * trains.room + t
        bit = np.uint16(1 << (affected % WIDTH))
        usual = one if trains.golden[place] & bit else zero
        fired = (trains.golden[place] ^ trains.differs[place]) & bit
        faulty = at.high[fault] if fired else at.low[fault]
        trains.differs[place] &= ~bit
        if is_last:
            trains.golden[place] &= ~bit  # taken as silent below, so that just this is added
            stage.statistic[affected] += faulty
        elif faulty != usual:
            entries = put_entry(out, entries, t, affected, faulty - usual)
    return entries


@inlined
def _count_spikes(stage: Neurons, t: int, trains: SpikeBits) -> None:
    """Add a step's spikes to the statistic."""
    one = stage.mem.dtype.type(1)
    for c in range(len(stage.mem)):
        place, bit = c // WIDTH * trains.room + t, np.uint16(1 << (c % WIDTH))
        if (trains.golden[place] ^ trains.differs[place]) & bit:
            stage.statistic[c] += one


@compiled
def run_multi_fault_stage(
    pairs: PairList, fan_out: LinearFanOut, inputs: Array, golden: GoldenByStep, prefix: Array,
    neurons: NeuronConstants, faults: TrialFaults, is_last: bool,
) -> PairList:  # fmt: skip
    """All neurons of a linear stage, under every fault of a trial and with what differs below.

    A pair, of a trial and a sample, has any number of differences, none as well. Neurons are padded
    to whole vectors; ``inputs f [lines, B, T]``; ``prefix f [B, T + 1, padded]`` as in
    ``read_out``, of the last stage. The readout counts spikes.
    """
    steps, padded = golden.currents.shape[1], golden.currents.shape[3]
    synaptic, reset = neurons.synaptic, neurons.reset
    out = new_pairs(len(pairs.fault), golden.currents)
    listed = entries = 0
    stage = _new_neurons(neurons, steps)
    blocks = padded // WIDTH
    trains = new_spike_bits(blocks, steps)
    for pair in range(len(pairs.fault)):
        first = pairs.end[pair - 1] if pair > 0 else np.int64(0)
        end = pairs.end[pair]
        trial, sample = np.int64(pairs.fault[pair]), np.int64(pairs.sample[pair])
        start = _find_start(trial, faults, find_first_step(pairs, first, end, steps))
        base = sample * steps * padded
        drive_all(stage.drive, start, base, pairs, first, end, fan_out, golden)
        _add_weight_faults(stage, trial, sample, faults, inputs, pairs, first, end)
        prefix_at = base + (sample + start) * padded if is_last else np.int64(-1)
        _start_from_golden(stage, base, start, golden, prefix_at, prefix)
        _set_parameters(stage, start, True, trial, faults, neurons)
        pair_start = entries
        if entries + padded * (steps - start) > len(out.step):
            out = grow_entries(out, entries, entries + padded * (steps - start))
        for t in range(start, steps):
            if t > start:
                _set_parameters(stage, t, False, trial, faults, neurons)
            _step_blocks(stage, t, base, trains, golden.spikes, synaptic, reset)
            entries = _corrupt_neurons(stage, t, trial, faults, trains, is_last, out, entries)
            if is_last:
                _count_spikes(stage, t, trains)
        _set_parameters(stage, AFTER_ALL, True, trial, faults, neurons)
        if is_last:
            for c in range(fan_out.neurons):
                if stage.statistic[c] != prefix[sample, steps, c]:
                    entries = put_entry(out, entries, 0, c, stage.statistic[c])
            trains.differs[:] = 0
        else:
            for block in range(blocks):
                entries = list_block(out, entries, trains, block, start, block * WIDTH)
        if entries > pair_start:
            listed = put_pair(out, listed, trial, sample, entries)
    return cut_pairs(out, listed, entries)
