"""What kernels and those who call them agree on: numbers, and groups of arrays that go together.

``f`` is float32 or float64, that of the run. ``B`` samples, ``T`` steps, ``N = channels * cells``
neurons of a stage, neuron = channel * cells + cell, ``K`` positions in the window of a pool.
``padded`` is the number of neurons of a linear stage, filled up to whole vectors. All arrays are
contiguous. numba takes a ``NamedTuple`` as it is: a kernel unpacks it in its first lines.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

#: Words of a neuron that a fault can be in. The parameters come first, then the states.
ALPHA, BETA, THRESHOLD = 0, 1, 2
SYN, POTENTIAL = 3, 4
SPIKE = 5
#: Words beyond those of a neuron: weights and biases of the synapse, and of the recurrence.
SYNAPSE, RECURRENCE = 6, 7

#: Reset mechanisms by snnTorch's own numbers.
SUBTRACT, ZERO, NO_RESET = 0, 1, 2

#: Row of a bias among the rows of weights, line of a bias among the input lines.
NO_ROW = -1

#: Steps of spikes in one word of a bit-packed spike train.
PACKED = 32

#: The last step of a permanent fault, and a step after that.
FOREVER = int(np.iinfo(np.int32).max)
AFTER_ALL = np.int64(1 << 40)


class PairList(NamedTuple):
    """Pairs (fault, sample), and in each the spikes that differ from the golden ones.

    Pair ``k`` owns the entries from ``end[k - 1]`` to ``end[k]``; an entry is one spike, and a pair
    has a neuron at most once a step. In the last stage an entry is a class instead, ``step`` is 0
    and ``change`` its new statistic.

    Attributes:
        fault: ``int32 [pairs]``, row of the fault among those of the call.
        sample: ``int32 [pairs]``, row of the sample in the batch.
        end: ``int64 [pairs]``, where the entries of a pair end.
        step: ``int32 [entries]``.
        neuron: ``int32 [entries]``, or the input line.
        change: ``f [entries]``, faulty less golden output.
    """

    fault: Array
    sample: Array
    end: Array
    step: Array
    neuron: Array
    change: Array


class NeuronConstants(NamedTuple):
    """What a stage's neurons are.

    Attributes:
        alpha, beta, threshold: ``f [N]`` or ``f [padded]``, in a stage with cells that differences
            go through ``f [cells, padded]``, or ``f [1, padded]`` where all cells have the same.
            ``alpha`` is 0 for a Leaky.
        synaptic: whether they are Synaptic (second order), else Leaky.
        reset: SUBTRACT, ZERO or NO_RESET.
    """

    alpha: Array
    beta: Array
    threshold: Array
    synaptic: bool
    reset: int


class GoldenByNeuron(NamedTuple):
    """Golden trace of a stage as the faults in it see it: time is innermost.

    Attributes:
        currents: ``f [N, K, B, T]``, before a maximum pool over ``K`` positions.
        syn, mem: ``f [N, B, T]``, states after each step; of a Leaky both are ``mem``.
        spikes: ``uint8 [N, B, T]``.
        packed: ``uint32 [N, B, words]``, the spikes: bit ``t % 32`` of word ``t // 32`` is step t.
    """

    currents: Array
    syn: Array
    mem: Array
    spikes: Array
    packed: Array


class GoldenByStep(NamedTuple):
    """Golden trace of a stage as differences from below see it: channels are innermost.

    Channels are padded to whole vectors; a linear stage has one cell.

    Attributes:
        before: ``f [B, T, cells, K, padded]``, currents before a maximum pool.
        currents: ``f [B, T, cells, padded]``.
        syn, mem: ``f [B, T, cells, padded]``, states after each step; of a Leaky both ``mem``.
        spikes: ``uint8 [B, T, cells, padded]``.
        up, down: ``f [B, cells, padded]``, margins as in ``Margins``, infinite where no neuron is;
            empty in the last stage.
        regular: whether no weight and no membrane is infinite or NaN.
    """

    before: Array
    currents: Array
    syn: Array
    mem: Array
    spikes: Array
    up: Array
    down: Array
    regular: bool


class SeenInputs(NamedTuple):
    """What the weights of a stage see in the golden run.

    Attributes:
        inputs: ``f [inputs, B, T]``; behind a mean pool an input is the mean of a window.
        taps: ``int32 [rows, cells, K]``, the input that meets a row of weights in each position of
            a cell's window, -1 for none.
        window_of: ``int32 [rows, cells]``, which of the distinct windows that is.
        peak: ``f [levels, windows, B]``, the largest response of a membrane to a window.
        negative: whether an input may be negative: then both margins count.
    """

    inputs: Array
    taps: Array
    window_of: Array
    peak: Array
    negative: bool


class Margins(NamedTuple):
    """What proves that a change of a current changes no spike.

    Attributes:
        up, down: ``f [N, B]``: a rise of the membrane below ``up`` makes no spike more, a fall
            below ``down`` none less; rounding is taken off already.
        bias_peak: ``f [N]``, the largest response of a membrane to a constant current of 1.
        level: ``int32 [N]``, each neuron's level of decay.
        factor: how much larger than computed a response may be.
    """

    up: Array
    down: Array
    bias_peak: Array
    level: Array
    factor: float


class Statistic(NamedTuple):
    """What the readout gathers in the last stage.

    Attributes:
        golden: ``f [B, classes]``, in the end of the golden run; empty in any other stage.
        maximum: whether it is the largest membrane, else the number of spikes.
    """

    golden: Array
    maximum: bool


class FanOut(NamedTuple):
    """Which neurons of a stage an input line reaches, and through which weights.

    Input ``i`` owns the runs ``first[i]`` to ``first[i + 1]``. A run adds the rows ``row, row + 1,
    ...`` to the positions ``position, position + 1, ...``, ``length`` of them: in a convolution
    neighbours meet neighbouring weights, in reversed order.

    Attributes:
        first: ``int32 [inputs + 1]``.
        position, row, length: ``int32 [runs]``; a position is a cell where a mean pool follows.
        cells_first, cells: ``int32 [inputs + 1]`` and ``int32 [reached]``; input ``i`` reaches
            ``cells[cells_first[i]:cells_first[i + 1]]``.
        place: ``int32 [inputs]``; inputs of one place reach the same cells.
        cell_rows: ``int32 [reached, K]``, where the row of ``reach_rows`` begins, taken flat, that
            it meets in each place.
        reach_rows: ``f [reach rows, padded]``: the rows and one of zeros, for places that it does
            not reach; behind a mean pool the sums of the rows that reach a cell. Channels are
            filled up to whole vectors.
        rows: ``f [rows, padded]``, the weights.
        positions: how many positions there are.
        windows: ``int32 [cells, K]``, positions of a cell, -1 outside.
        paired: whether each window is two runs of two neighbouring positions, as 2x2 pools have.
    """

    first: Array
    position: Array
    row: Array
    length: Array
    cells_first: Array
    cells: Array
    place: Array
    cell_rows: Array
    reach_rows: Array
    rows: Array
    positions: int
    windows: Array
    paired: bool


class EntryWindows(NamedTuple):
    """A pool in front of a stage's weights, which see what it makes of the input lines.

    Padding is no line: the windows of a maximum pool leave it out.

    Attributes:
        first: ``int32 [lines + 1]``; line ``i`` is in ``windows_of[first[i]:first[i + 1]]``.
        windows_of: ``int32 [memberships]``.
        windows: ``int32 [windows, width]``, the lines of each; -1 behind them.
        mean: whether it takes the mean, else the largest.
    """

    first: Array
    windows_of: Array
    windows: Array
    mean: bool


class LineSums(NamedTuple):
    """What the lines that come into a stage add up to: lines again, or means of them.

    Attributes:
        first: ``int32 [lines + 1]``; line ``i`` adds to ``slot_of[first[i]:first[i + 1]]``.
        slot_of: ``int32 [memberships]``.
        line_of: ``int32 [slots]``, the line that the stage sees a sum as; those that reach the same
            neurons stand side by side.
        share: of a line in each of its sums.
        plain: whether each line is a sum of its own.
    """

    first: Array
    slot_of: Array
    line_of: Array
    share: float
    plain: bool


class LinearFanOut(NamedTuple):
    """``FanOut`` of a linear stage, neurons padded.

    Attributes:
        first: ``int32 [inputs + 1]``, runs of each input: one, in the last stage any number.
        row: ``int32 [runs]``.
        rows: ``f [rows, padded]``.
        neurons: how many of the padded ones there are.
    """

    first: Array
    row: Array
    rows: Array
    neurons: int


class ResponseBound(NamedTuple):
    """How a membrane responds at most: ``f`` each, the largest decays of a stage and a factor.

    Attributes:
        alpha, beta: the largest of the stage.
        factor: how much larger than computed a response may be.
    """

    alpha: Any
    beta: Any
    factor: Any


class Recurrence(NamedTuple):
    """How a stage feeds itself.

    Attributes:
        weights: ``f [N, padded]``, a row for each neuron that spikes, up to whole vectors.
        fed: ``f [N, B, T]``, the golden spikes of the step before.
        currents: ``f [N, 1, B, T]``, golden currents with the feedback in them.
    """

    weights: Array
    fed: Array
    currents: Array


class WeightFaults(NamedTuple):
    """Faults of weights and biases, active from step ``since`` to ``until``, both included.

    Attributes:
        row: ``int32 [faults]``, the row of weights, NO_ROW for a bias.
        channel: ``int32 [faults]``.
        change: ``f [faults]``, of the value as it reaches a neuron.
        since, until: ``int32 [faults]``.
    """

    row: Array
    channel: Array
    change: Array
    since: Array
    until: Array


class NeuronFaults(NamedTuple):
    """Faults of parameters, states and outputs of neurons, as ``WeightFaults`` in time.

    Attributes:
        word: ``int32 [faults]``, ALPHA to SPIKE.
        value: ``f [faults]``, the faulty parameter.
        keep, force, flip: ``uint32 [faults]``, masks of a state's word.
        low, high: ``f [faults]``, what a silent and a spiking output become.
        since, until: ``int32 [faults]``.
        first: ``int64 [faults + 1]``; fault ``i`` is in ``neuron[first[i]:first[i + 1]]``.
        neuron: ``int32 [affected neurons]``.
    """

    word: Array
    value: Array
    keep: Array
    force: Array
    flip: Array
    low: Array
    high: Array
    since: Array
    until: Array
    first: Array
    neuron: Array


class InputFaults(NamedTuple):
    """Faults of input lines, as ``WeightFaults`` in time.

    Attributes:
        line: ``int64 [faults]``.
        keep, force, flip: ``uint32 [faults]``, masks of the word that is read.
        since, until: ``int32 [faults]``.
    """

    line: Array
    keep: Array
    force: Array
    flip: Array
    since: Array
    until: Array


class RecurrentFaults(NamedTuple):
    """Faults of one kind in a stage with recurrence.

    Attributes:
        row: ``int32 [faults]``, of a weight, NO_ROW for any other.
        change: ``f [faults]``, of a weight or bias.
        at: in which neurons, and all else; ``word`` may be SYNAPSE or RECURRENCE as well.
    """

    row: Array
    change: Array
    at: NeuronFaults


class TrialFaults(NamedTuple):
    """All faults of trials in one linear stage, by trial.

    Trial ``k`` owns the weight faults ``weight_order[weight_first[k]:weight_first[k + 1]]``; the
    same for those of neurons. No two are in one word.

    Attributes:
        weight_first: ``int64 [trials + 1]``.
        weight_order: ``int64 [weight faults]``.
        line: ``int32 [weight faults]``, the input line of a weight, NO_ROW for a bias.
        weights: the faults.
        neuron_first: ``int64 [trials + 1]``.
        neuron_order: ``int64 [neuron faults]``.
        neurons: the faults.
    """

    weight_first: Array
    weight_order: Array
    line: Array
    weights: WeightFaults
    neuron_first: Array
    neuron_order: Array
    neurons: NeuronFaults
