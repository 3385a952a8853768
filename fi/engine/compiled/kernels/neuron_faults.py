"""Faults of neurons."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from fi.engine.compiled.kernels.arrays import (
    ALPHA,
    BETA,
    PACKED,
    SPIKE,
    SYN,
    THRESHOLD,
    Array,
    GoldenByNeuron,
    NeuronConstants,
    NeuronFaults,
    PairList,
    Statistic,
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

#: Samples that are simulated side by side under one fault of a neuron.
SAMPLES = 16


class Lanes(NamedTuple):
    """One neuron on ``SAMPLES`` samples.

    Attributes:
        now, syn, mem: ``f [SAMPLES]``, its current and its states.
        alpha, beta, threshold: ``f [SAMPLES]``.
        statistic: ``f [SAMPLES]``, what the readout gathers.
        trains: ``uint32 [affected neurons, words, SAMPLES]``, spikes of all neurons of a fault.
        values: ``f [affected neurons, SAMPLES]``, their statistics.
    """

    now: Array
    syn: Array
    mem: Array
    alpha: Array
    beta: Array
    threshold: Array
    statistic: Array
    trains: Array
    values: Array


@compiled
def _new_lanes(neurons: int, words: int, like: Array) -> Lanes:
    dtype = like.dtype
    return Lanes(
        np.empty(SAMPLES, dtype),
        np.empty(SAMPLES, dtype),
        np.empty(SAMPLES, dtype),
        np.empty(SAMPLES, dtype),
        np.empty(SAMPLES, dtype),
        np.empty(SAMPLES, dtype),
        np.empty(SAMPLES, dtype),
        np.empty((neurons, words, SAMPLES), np.uint32),
        np.empty((neurons, SAMPLES), dtype),
    )


@inlined
def _start_from_golden(
    lanes: Lanes, position: int, neuron: int, block: int, begin: int, golden: GoldenByNeuron
) -> None:
    """States before the step ``begin``; steps that are not simulated spike as in the golden run."""
    last = golden.mem.shape[1] - 1
    nothing = lanes.mem.dtype.type(0)
    for w in range(golden.packed.shape[2]):
        for lane in range(SAMPLES):
            sample = min(block + lane, last)
            lanes.trains[position, w, lane] = golden.packed[neuron, sample, w]
    for lane in range(SAMPLES):
        sample = min(block + lane, last)
        lanes.syn[lane] = golden.syn[neuron, sample, begin - 1] if begin > 0 else nothing
        lanes.mem[lane] = golden.mem[neuron, sample, begin - 1] if begin > 0 else nothing


@inlined
def _set_parameters(
    lanes: Lanes, neuron: int, neurons: NeuronConstants, faults: NeuronFaults, fault: int,
    active: bool,
) -> None:  # fmt: skip
    """What a fault of a parameter makes of a neuron, where it is ``active``."""
    word, value = faults.word[fault], faults.value[fault]
    lanes.alpha[:] = value if active and word == ALPHA else neurons.alpha[neuron]
    lanes.beta[:] = value if active and word == BETA else neurons.beta[neuron]
    lanes.threshold[:] = value if active and word == THRESHOLD else neurons.threshold[neuron]


@inlined
def _take_currents(lanes: Lanes, neuron: int, block: int, t: int, currents: Array) -> None:
    """Golden currents of a step, the largest of the window."""
    width, last = currents.shape[1], currents.shape[2] - 1
    for place in range(width):
        for lane in range(SAMPLES):
            v = currents[neuron, place, min(block + lane, last), t]
            if place == 0 or v > lanes.now[lane] or v != v:
                lanes.now[lane] = v


@inlined
def _step_lanes(lanes: Lanes, position: int, t: int, synaptic: bool, reset: int) -> None:
    """One step, its spikes into ``trains``."""
    for lane in range(SAMPLES):
        lanes.syn[lane], lanes.mem[lane] = next_step(
            lanes.syn[lane], lanes.mem[lane], lanes.now[lane], lanes.alpha[lane], lanes.beta[lane],
            lanes.threshold[lane], synaptic, reset,
        )  # fmt: skip
    bit = np.uint32(1) << np.uint32(t & (PACKED - 1))
    train = lanes.trains[position, t // PACKED]
    for lane in range(SAMPLES):
        fired = lanes.mem[lane] - lanes.threshold[lane] > 0
        train[lane] = (train[lane] | bit) if fired else (train[lane] & ~bit)


@inlined
def _corrupt_state(lanes: Lanes, faults: NeuronFaults, fault: int) -> None:
    """What a fault of a state makes of it."""
    keep, force, flip = faults.keep[fault], faults.force[fault], faults.flip[fault]
    if faults.word[fault] == SYN:
        for lane in range(SAMPLES):
            lanes.syn[lane] = corrupt(lanes.syn[lane], keep, force, flip)
    else:
        for lane in range(SAMPLES):
            lanes.mem[lane] = corrupt(lanes.mem[lane], keep, force, flip)


@inlined
def _gather(
    lanes: Lanes, position: int, t: int, faults: NeuronFaults, fault: int, active: bool,
    maximum: bool,
) -> None:  # fmt: skip
    """What the readout gathers in a step."""
    one, zero = lanes.mem.dtype.type(1), lanes.mem.dtype.type(0)
    bit = np.uint32(1) << np.uint32(t & (PACKED - 1))
    train = lanes.trains[position, t // PACKED]
    for lane in range(SAMPLES):
        if maximum:
            m = lanes.mem[lane]
            larger = m > lanes.statistic[lane] or m != m
            lanes.statistic[lane] = m if larger else lanes.statistic[lane]
        else:
            fired = (train[lane] & bit) != 0
            if active and faults.word[fault] == SPIKE:
                lanes.statistic[lane] += faults.high[fault] if fired else faults.low[fault]
            else:
                lanes.statistic[lane] += one if fired else zero


@inlined
def _is_golden(
    lanes: Lanes, neuron: int, block: int, t: int, golden: GoldenByNeuron, synaptic: bool
) -> bool:
    """Whether all samples are back in their golden states."""
    back = True
    for lane in range(min(SAMPLES, golden.mem.shape[1] - block)):
        back &= lanes.mem[lane] == golden.mem[neuron, block + lane, t]
        back &= lanes.syn[lane] == golden.syn[neuron, block + lane, t] or not synaptic
    return back


@inlined
def _list_outputs(
    out: PairList, entries: int, neuron: int, sample: int, spikes: Array, faults: NeuronFaults,
    fault: int,
) -> int:  # fmt: skip
    """List what a fault of an output changes: the number of entries."""
    one, zero = out.change.dtype.type(1), out.change.dtype.type(0)
    for t in range(faults.since[fault], min(faults.until[fault] + 1, spikes.shape[2])):
        fired = spikes[neuron, sample, t] != 0
        golden = one if fired else zero
        faulty = faults.high[fault] if fired else faults.low[fault]
        if faulty != golden:
            entries = put_entry(out, entries, t, neuron, faulty - golden)
    return entries


@inlined
def _list_train(
    out: PairList, entries: int, lanes: Lanes, position: int, lane: int, neuron: int, sample: int,
    packed: Array,
) -> int:  # fmt: skip
    """List the spikes of a lane that differ: the number of entries."""
    one = out.change.dtype.type(1)
    for w in range(packed.shape[2]):
        train = lanes.trains[position, w, lane]
        other = train ^ packed[neuron, sample, w]
        t = w * PACKED
        while other != 0:
            if other & np.uint32(1):
                change = one if train & np.uint32(1) else -one
                entries = put_entry(out, entries, t, neuron, change)
            other >>= np.uint32(1)
            train >>= np.uint32(1)
            t += 1
    return entries


@compiled
def simulate_neuron_faults(
    faults: NeuronFaults, golden: GoldenByNeuron, neurons: NeuronConstants, statistic: Statistic
) -> PairList:
    """Faults of neuron parameters, states and outputs: simulate, list what differs.

    Pairs are those of ``simulate_weight_faults``. Samples are simulated side by side; a transient
    starts from the golden state before its step and ends where all of them are back in it.
    """
    batch, steps = golden.currents.shape[2], golden.currents.shape[3]
    synaptic, reset = neurons.synaptic, neurons.reset
    is_last, maximum = len(statistic.golden) > 0, statistic.maximum
    sizes = faults.first[1:] - faults.first[:-1]
    largest = np.max(sizes) if len(sizes) else 0
    out = new_pairs(len(faults.word) * batch, golden.mem)
    lanes = _new_lanes(largest, golden.packed.shape[2], golden.mem)
    pairs = entries = 0
    for fault in range(len(faults.word)):
        word, since, until = faults.word[fault], faults.since[fault], faults.until[fault]
        for block in range(0, batch, SAMPLES):
            for position in range(sizes[fault]):
                neuron = faults.neuron[faults.first[fault] + position]
                if word == SPIKE and not is_last:
                    continue
                begin = 0 if is_last else since
                _start_from_golden(lanes, position, neuron, block, begin, golden)
                lanes.statistic[:] = -np.inf if maximum else 0
                _set_parameters(lanes, neuron, neurons, faults, fault, False)
                for t in range(begin, steps):
                    active = since <= t <= until
                    if is_parameter(word) and (t == begin or t == since or t == until + 1):
                        _set_parameters(lanes, neuron, neurons, faults, fault, active)
                    _take_currents(lanes, neuron, block, t, golden.currents)
                    _step_lanes(lanes, position, t, synaptic, reset)
                    if active and is_state(word):  # the spikes of this step are out before
                        _corrupt_state(lanes, faults, fault)
                    if is_last:
                        _gather(lanes, position, t, faults, fault, active, maximum)
                    elif t >= until and _is_golden(lanes, neuron, block, t, golden, synaptic):
                        break
                for lane in range(SAMPLES):
                    lanes.values[position, lane] = lanes.statistic[lane]
            for lane in range(min(SAMPLES, batch - block)):
                sample = block + lane
                start = entries
                if entries + sizes[fault] * steps > len(out.step):
                    out = grow_entries(out, entries, entries + sizes[fault] * steps)
                for position in range(sizes[fault]):
                    neuron = faults.neuron[faults.first[fault] + position]
                    if is_last:
                        value = lanes.values[position, lane]
                        if value != statistic.golden[sample, neuron]:
                            entries = put_entry(out, entries, 0, neuron, value)
                    elif word == SPIKE:
                        entries = _list_outputs(
                            out, entries, neuron, sample, golden.spikes, faults, fault
                        )
                    else:
                        entries = _list_train(
                            out, entries, lanes, position, lane, neuron, sample, golden.packed
                        )
                if entries > start:
                    pairs = put_pair(out, pairs, fault, sample, entries)
    return cut_pairs(out, pairs, entries)
