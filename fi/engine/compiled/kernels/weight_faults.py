"""Faults of weights and biases."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from fi.engine.compiled.kernels.arrays import (
    PACKED,
    Array,
    GoldenByNeuron,
    Margins,
    NeuronConstants,
    PairList,
    SeenInputs,
    Statistic,
    WeightFaults,
)
from fi.engine.compiled.kernels.building.compiling import compiled, inlined
from fi.engine.compiled.kernels.neuron_step import vector_step
from fi.engine.compiled.kernels.pair_lists import (
    cut_pairs,
    grow_entries,
    new_pairs,
    put_entry,
    put_pair,
)
from fi.engine.compiled.kernels.simd import (
    WIDTH,
    count_trailing_zeros,
    larger,
    load,
    ones_like,
    select,
    spread,
    store,
    zeros_like,
)

#: Neurons that are simulated side by side. A call with arrays costs as much as a step of them all.
LANES = 64
#: What a simulation gathers: spike trains, numbers of spikes, largest membranes.
_TRAINS, _NUMBERS, _MAXIMUM = 0, 1, 2


class Candidates(NamedTuple):
    """Neurons and samples of one fault that no proof decides.

    Attributes:
        cell, sample: ``int32``, with room for one more than there can be.
        per_sample: ``int64 [B]``, how many there are of each sample.
    """

    cell: Array
    sample: Array
    per_sample: Array


class Queue(NamedTuple):
    """Neurons that wait to be simulated: ``int32`` each, with room for ``LANES`` more than a fault.

    Attributes:
        fault, cell, sample: of which fault, in which cell, on which sample.
    """

    fault: Array
    cell: Array
    sample: Array


class Lanes(NamedTuple):
    """Neurons that are simulated side by side, from rest.

    Attributes:
        drive: ``f [T * LANES]``, their currents.
        line: ``f [T]``, working space.
        alpha, beta, threshold: ``f [LANES]``.
        statistic: ``f [LANES]``, what the readout gathers.
        trains: ``uint32 [words * LANES]``, their spikes.
    """

    drive: Array
    line: Array
    alpha: Array
    beta: Array
    threshold: Array
    statistic: Array
    trains: Array


@inlined
def _bound_response(
    row: int, cell: int, neuron: int, sample: int, since: int, until: int, seen: SeenInputs,
    margins: Margins,
) -> Any:  # fmt: skip
    """The largest response of the membrane to a change of 1 in this weight or bias."""
    if until > since:  # no window has a larger one than the whole run
        if row < 0:
            return margins.bias_peak[neuron]
        return seen.peak[margins.level[neuron], seen.window_of[row, cell], sample]
    if row < 0:
        return seen.inputs.dtype.type(1)
    largest = seen.inputs.dtype.type(0)
    for place in range(seen.taps.shape[2]):
        source = seen.taps[row, cell, place]
        if source >= 0:
            largest = max(largest, abs(seen.inputs[source, sample, since]))
    return largest


@inlined
def _find_candidates(
    faults: WeightFaults, fault: int, seen: SeenInputs, margins: Margins, found: Candidates
) -> int:
    """Neurons and samples for which no proof says that all spikes stay: their number.

    Cell by cell. NaN margins prove nothing.
    """
    row, channel, change = faults.row[fault], faults.channel[fault], faults.change[fault]
    since, until = faults.since[fault], faults.until[fault]
    up, down = margins.up, margins.down
    cells, batch = seen.taps.shape[1], up.shape[1]
    number = 0
    found.per_sample[:] = 0
    finite = np.isfinite(change)
    size = up.dtype.type(abs(change) * margins.factor)
    for cell in range(cells):
        neuron = channel * cells + cell
        margin = up[neuron] if change > 0 else down[neuron]
        if finite and row >= 0 and until > since and not seen.negative:
            response = seen.peak[margins.level[neuron], seen.window_of[row, cell]]
            undecided = np.int32(0)  # as wide as the numbers that are compared
            for sample in range(batch):
                undecided += np.int32(not (size * response[sample] < margin[sample]))
            if undecided:
                start = number
                for sample in range(batch):  # without a branch: nearly all are proved
                    found.cell[number], found.sample[number] = cell, sample
                    number += not (size * response[sample] < margin[sample])
                for k in range(start, number):
                    found.per_sample[found.sample[k]] += 1
            continue
        for sample in range(batch):
            bound = size * _bound_response(row, cell, neuron, sample, since, until, seen, margins)
            proved = finite and bound < margin[sample]
            if seen.negative:
                proved = proved and bound < up[neuron, sample] and bound < down[neuron, sample]
            if not proved:
                found.cell[number] = cell
                found.sample[number] = sample
                found.per_sample[sample] += 1
                number += 1
    return number


@inlined
def _queue_by_sample(found: Candidates, number: int, fault: int, queue: Queue, queued: int) -> int:
    """Put candidates into the queue behind ``queued``, by sample: the number of different samples.

    A counting sort, stable.
    """
    start = different = 0
    for sample in range(len(found.per_sample)):
        count = found.per_sample[sample]
        found.per_sample[sample] = queued + start
        start += count
        different += count > 0
    for k in range(number):
        sample = found.sample[k]
        place = found.per_sample[sample]
        queue.cell[place], queue.sample[place] = found.cell[k], sample
        queue.fault[place] = fault
        found.per_sample[sample] = place + 1
    return different


@inlined
def _queue_all(batch: int, fault: int, queue: Queue, queued: int) -> None:
    """Put all samples of a fault into the queue, of a stage of one cell."""
    for sample in range(batch):
        queue.fault[queued + sample] = fault
        queue.cell[queued + sample], queue.sample[queued + sample] = 0, sample


@inlined
def _move_to_front(queue: Queue, head: int, queued: int) -> int:
    """Take the first ``head`` out of the queue: how many are left."""
    for k in range(head, queued):
        queue.fault[k - head], queue.cell[k - head] = queue.fault[k], queue.cell[k]
        queue.sample[k - head] = queue.sample[k]
    return queued - head


@inlined
def _add_position(
    line: Array, place: int, faults: WeightFaults, fault: int, signal: Array, golden: Array,
    reached: bool,
) -> None:  # fmt: skip
    """Take one position of the window into ``line f [T]``, the largest current so far.

    ``signal, golden``: ``f [T]``, what the weight sees, and the golden current of the position.
    ``reached``: whether the fault changes this position at all.
    """
    row, change = faults.row[fault], faults.change[fault]
    since, until = np.int64(faults.since[fault]), np.int64(faults.until[fault])
    steps = len(line)
    if since > 0 or until < steps - 1 or not reached:  # rare, or outside the image
        for t in range(steps):
            value = golden[t]
            if reached and since <= t <= until:
                value = value + (change * signal[t] if row >= 0 else change)
            old = line[t]
            line[t] = value if (place == 0 or value > old or value != value) else old
    elif row < 0:
        for t in range(steps):
            value, old = golden[t] + change, line[t]
            line[t] = value if (place == 0 or value > old or value != value) else old
    elif place == 0:
        for t in range(steps):
            line[t] = golden[t] + change * signal[t]
    elif np.isfinite(change):  # then no NaN can come up in the window
        for t in range(steps):
            value, old = golden[t] + change * signal[t], line[t]
            line[t] = value if value > old else old
    else:
        for t in range(steps):
            value, old = golden[t] + change * signal[t], line[t]
            line[t] = value if (value > old or value != value) else old


@inlined
def _fill_lane(
    lanes: Lanes, lane: int, queue: Queue, k: int, faults: WeightFaults, seen: SeenInputs,
    currents: Array, neurons: NeuronConstants,
) -> None:  # fmt: skip
    """Fill a lane with the neuron ``k`` of the queue: its constants and its faulty currents.

    The current is the largest of its window.
    """
    fault, cell, sample = queue.fault[k], np.int64(queue.cell[k]), np.int64(queue.sample[k])
    row, change = np.int64(faults.row[fault]), faults.change[fault]
    cells, width, steps = seen.taps.shape[1], seen.taps.shape[2], len(lanes.line)
    neuron = np.int64(faults.channel[fault]) * cells + cell
    lanes.alpha[lane], lanes.beta[lane] = neurons.alpha[neuron], neurons.beta[neuron]
    lanes.threshold[lane] = neurons.threshold[neuron]
    permanent = faults.since[fault] <= 0 and faults.until[fault] >= steps - 1
    if permanent and width == 1 and row >= 0 and seen.taps[row, cell, 0] >= 0:
        golden, signal = currents[neuron, 0, sample], seen.inputs[seen.taps[row, cell, 0], sample]
        for t in range(steps):  # unsigned: no check for negative numbers
            current = golden[t] + change * signal[t]
            lanes.drive[np.uint64(t * LANES + lane)] = current
        return
    for place in range(width):
        source = np.int64(seen.taps[row, cell, place]) if row >= 0 else np.int64(-1)
        signal = seen.inputs[source if source >= 0 else 0, sample]
        _add_position(
            lanes.line, place, faults, fault, signal, currents[neuron, place, sample],
            source >= 0 or row < 0,
        )  # fmt: skip
    for t in range(steps):
        lanes.drive[np.uint64(t * LANES + lane)] = lanes.line[t]


@inlined
def _simulate_lanes(lanes: Lanes, steps: int, gather: int, synaptic: bool, reset: int) -> None:
    """All steps of all lanes: ``gather`` says what of, into ``trains`` or ``statistic``."""
    nothing = spread(np.uint32(0))
    for place in range(0, LANES, WIDTH):
        a, b, limit = (
            load(lanes.alpha, place),
            load(lanes.beta, place),
            load(lanes.threshold, place),
        )
        gathered, train = load(lanes.statistic, place), nothing
        zero, one = zeros_like(gathered), ones_like(gathered)
        syn = mem = zero
        for t in range(steps):
            now = load(lanes.drive, t * LANES + place)
            syn, mem = vector_step(syn, mem, now, a, b, limit, synaptic, reset)
            if gather == _TRAINS:
                bit = spread(np.uint32(1 << (t & (PACKED - 1))))
                train = train | select(mem > limit, bit, nothing)
                if t & (PACKED - 1) == PACKED - 1 or t == steps - 1:
                    store(lanes.trains, (t // PACKED) * LANES + place, train)
                    train = nothing
            elif gather == _NUMBERS:
                gathered = gathered + select(mem > limit, one, zero)
            else:
                gathered = larger(mem, gathered)
        store(lanes.statistic, place, gathered)


@inlined
def _list_train(
    out: PairList, entries: int, lanes: Lanes, lane: int, neuron: int, sample: int, packed: Array
) -> int:
    """List the spikes of a lane that differ: the number of entries."""
    one = out.change.dtype.type(1)
    for word in range(packed.shape[2]):
        train = lanes.trains[word * LANES + lane]
        other = train ^ packed[neuron, sample, word]
        while other != 0:
            step = count_trailing_zeros(other)
            change = one if train >> np.uint32(step) & 1 else -one
            entries = put_entry(out, entries, word * PACKED + step, neuron, change)
            other &= other - np.uint32(1)
    return entries


@compiled
def _new_candidates(cells: int, batch: int) -> Candidates:
    room = cells * batch + 1
    return Candidates(np.empty(room, np.int32), np.empty(room, np.int32), np.zeros(batch, np.int64))


@compiled
def _new_queue(cells: int, batch: int) -> Queue:
    room = cells * batch + LANES
    return Queue(np.empty(room, np.int32), np.empty(room, np.int32), np.empty(room, np.int32))


@compiled
def _new_lanes(steps: int, words: int, like: Array) -> Lanes:
    dtype = like.dtype
    return Lanes(
        np.zeros(steps * LANES, dtype),
        np.empty(steps, dtype),
        np.zeros(LANES, dtype),
        np.zeros(LANES, dtype),
        np.zeros(LANES, dtype),
        np.empty(LANES, dtype),
        np.zeros(words * LANES, np.uint32),
    )


@compiled
def simulate_weight_faults(
    faults: WeightFaults, seen: SeenInputs, golden: GoldenByNeuron, margins: Margins,
    neurons: NeuronConstants, statistic: Statistic,
) -> tuple[PairList, int]:  # fmt: skip
    """Faults of weights and biases: prove, simulate what is left, list what differs.

    In a stage that is not the last, pairs are those whose spikes differ, in the last those whose
    statistic does. The number counts the pairs that no proof decided.
    """
    batch, steps, cells = seen.inputs.shape[1], seen.inputs.shape[2], seen.taps.shape[1]
    synaptic, reset = neurons.synaptic, neurons.reset
    is_last, maximum = len(statistic.golden) > 0, statistic.maximum
    gather = _TRAINS if not is_last else (_MAXIMUM if maximum else _NUMBERS)
    count = len(faults.row)
    out = new_pairs(count * batch, seen.inputs)
    found, queue = _new_candidates(cells, batch), _new_queue(cells, batch)
    lanes = _new_lanes(steps, golden.packed.shape[2], seen.inputs)
    pairs = entries = undecided = queued = 0
    for fault in range(count + 1):
        if fault < count:  # queue what no proof decides
            if is_last and maximum:  # every membrane counts, spikes or not
                _queue_all(batch, fault, queue, queued)
                undecided += batch
                queued += batch
            else:
                number = _find_candidates(faults, fault, seen, margins, found)
                if number:
                    undecided += _queue_by_sample(found, number, fault, queue, queued)
                    queued += number
        head = 0
        while queued - head >= LANES or (fault == count and head < queued):
            taken = min(LANES, queued - head)
            if entries + taken * steps > len(out.step):
                out = grow_entries(out, entries, entries + taken * steps)
            for lane in range(taken):
                _fill_lane(lanes, lane, queue, head + lane, faults, seen, golden.currents, neurons)
            lanes.statistic[:] = -np.inf if maximum else 0
            _simulate_lanes(lanes, steps, gather, synaptic, reset)
            for lane in range(taken):
                k = head + lane
                affected, sample = queue.fault[k], queue.sample[k]
                neuron = faults.channel[affected] * cells + queue.cell[k]
                start = entries
                if is_last:
                    value = lanes.statistic[lane]
                    if value != statistic.golden[sample, neuron]:
                        entries = put_entry(out, entries, 0, neuron, value)
                else:
                    entries = _list_train(out, entries, lanes, lane, neuron, sample, golden.packed)
                if entries == start:
                    continue
                known = pairs > 0 and out.fault[pairs - 1] == affected
                if known and out.sample[pairs - 1] == sample:
                    out.end[pairs - 1] = entries
                else:
                    pairs = put_pair(out, pairs, affected, sample, entries)
            head += taken
        queued = _move_to_front(queue, head, queued)  # fewer than LANES wait for the next fault
    return cut_pairs(out, pairs, entries), undecided
