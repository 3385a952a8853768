"""Runs faults, and what differs, through one stage after another on the compiled kernels."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from fi.engine.compiled import kernels
from fi.engine.compiled.fault_arrays import (
    FaultArrays,
    InputFaultArrays,
    NeuronFaultArrays,
    WeightFaultArrays,
    to_recurrent,
)
from fi.engine.compiled.golden_trace import Trace, pad
from fi.engine.compiled.kernels.arrays import (
    Array,
    LinearFanOut,
    NeuronConstants,
    PairList,
    ResponseBound,
    Statistic,
    TrialFaults,
)
from fi.engine.compiled.kernels.pair_lists import choose_pairs
from fi.engine.compiled.kernels.read_out import Statistics
from fi.engine.compiled.kernels.simd import begin_at_line
from fi.engine.compiled.output_layer import LastLayer
from fi.engine.compiled.proof_margins import find_impulse_response, find_slack
from fi.engine.compiled.stage_constants import StageModel
from fi.engine.compiled.stage_graph import StageGraph, find_line_sums
from fi.metrics.pairs import HIDDEN, OUTPUT
from fi.network.stages import EVENTS

#: Bytes of one entry of a pair list: step, neuron, change.
_ENTRY = 16
#: Steps of neurons that are worth a task of their own.
_WORTH = 1 << 19


@dataclass(frozen=True)
class Task:
    """Some faults of one kind in one stage: what a thread does at a time."""

    stage: int
    faults: FaultArrays


class Finished(NamedTuple):
    """A task, done.

    Attributes:
        fault: ``int64 [pairs]``, position in the group.
        sample: ``int64 [pairs]``.
        statistic: ``f [pairs, classes]``, another than the golden one.
        simulated: pairs that no proof decided.
        diverged: pairs whose spikes differ in the faults' own stage.
        spikes: as in ``Pairs``, uint8 ``[pairs]``; ``None`` where nobody asked.
    """

    fault: Array
    sample: Array
    statistic: Array
    simulated: int
    diverged: int
    spikes: Array | None


class StageRunner:
    """Runs faults of a graph of stages, each call on the golden trace of one batch.

    A call holds no lock: threads may run tasks at the same time.

    Args:
        models: of the stages; ``None`` where there is no kernel.
        graph: which stages feed a stage.
        last_layer: reads out the largest membrane; ``None`` where spikes are counted.
        memory: budget in bytes for the differences of one thread.
        threads: number of threads that share the work.
    """

    def __init__(
        self,
        models: Sequence[StageModel | None],
        graph: StageGraph,
        last_layer: LastLayer | None,
        memory: int,
        threads: int,
    ) -> None:
        self.models, self.graph, self.last_layer = models, graph, last_layer
        self.maximum = last_layer is not None
        self.memory, self.threads = memory, threads
        self.last = len(models) - 1
        self.linear = {
            number: _PaddedStage.of(model)
            for number, model in enumerate(models)
            if model is not None and (model.is_dense or number == self.last)
        }
        self.sums = {
            number: find_line_sums(model, graph.lines[number])
            for number, model in enumerate(models)
            if model is not None
        }
        self.by_cell = {
            number: arrange_by_cell(model)
            for number, model in enumerate(models)
            if model is not None and number not in self.linear
        }
        self.recurrent = {
            number: pad_constants(model.constants)
            for number, model in enumerate(models)
            if model is not None and model.feedback is not None
        }

    def model(self, number: int) -> StageModel:
        """Of a stage that has a kernel."""
        model = self.models[number]
        assert model is not None
        return model

    def runs_in_torch(self, number: int) -> bool:
        """Whether differences from other stages pass this one in torch."""
        model = self.models[number]
        if model is None:
            return True
        return model.feedback is not None and self.graph.sources[number] != (EVENTS,)

    def runs_multi_faults(self, number: int) -> bool:
        """Whether a kernel runs faults of this stage that overlap, or that differences reach."""
        return number != EVENTS and self.model(number).is_dense

    def cut(self, number: int, faults: FaultArrays, trace: Trace) -> Iterator[Task]:
        """Portions whose differences fit the budget, and small enough for all threads."""
        batch, steps = trace.prefix.shape[0], trace.prefix.shape[1] - 1
        reach = self._count_reach(number, faults)
        fit = self.memory // max(1, _ENTRY * reach * batch * steps)
        even = -(-len(faults) // (4 * self.threads))
        worth = -(-_WORTH // (reach * batch * steps))
        size = int(max(1, min(fit, max(even, worth))))
        for start in range(0, len(faults), size):
            yield Task(number, faults.part(slice(start, start + size)))

    def _count_reach(self, number: int, faults: FaultArrays) -> int:
        """How many neurons a fault affects in its stage at most."""
        if number == EVENTS:
            return 1
        model = self.model(number)
        if model.feedback is not None:
            return model.neurons
        if isinstance(faults, NeuronFaultArrays):
            return int(np.diff(faults.arrays.first).max())
        return model.synapse.cells

    def run(self, task: Task, trace: Trace, spikes: bool = False) -> Finished:
        """A task from its faults to the readout; pairs in which a ``spike`` differs, too."""
        pairs, simulated = self.simulate(task, trace)
        if task.stage != EVENTS and self.model(task.stage).feedback is not None:
            pairs = self.run_recurrent(task, pairs, trace)
        diverged = len(pairs.fault)
        marks = None
        if spikes:
            found, marks = self._mark_spikes(task, pairs, trace)
        elif task.stage == self.last:
            found = self.replace_classes(pairs, trace)
        else:
            found = self.finish(task.stage, pairs, trace)
        fault = task.faults.fault[found.fault].astype(np.int64)
        sample = found.sample.astype(np.int64)
        return Finished(fault, sample, found.statistic, simulated, diverged, marks)

    def _mark_spikes(self, task: Task, pairs: PairList, trace: Trace) -> tuple[Statistics, Array]:
        """The pairs in which the statistic or a spike differs, and which spikes do."""
        if task.stage == self.last:
            found = self.replace_classes(pairs, trace)
            fired, _ = self.simulate(task, trace, as_hidden=True)
            return self._join_marks(found, np.zeros(len(found.fault), bool), [], [fired], trace)
        differing = self._carry(task.stage, pairs, trace)
        incoming = self.graph.find_incoming(self.last, differing)
        found, output = self._count_spikes(self._merge_last(incoming, trace), trace, compare=True)
        hidden = [part for number, part in differing.items() if number != EVENTS]
        return self._join_marks(found, output != 0, hidden, [], trace)

    def _join_marks(
        self,
        found: Statistics,
        output: Array,
        hidden: Sequence[PairList],
        fired: Sequence[PairList],
        trace: Trace,
    ) -> tuple[Statistics, Array]:
        """All pairs of ``found``, ``hidden`` and ``fired``, and what differs in each.

        Args:
            found: pairs with their statistic; any other has the golden one.
            output: whether a spike of the last stage differs in them.
            hidden: pairs in which one of a hidden stage does.
            fired: further pairs in which one of the last stage does.
            trace: of the batch.
        """
        batch, own = trace.batch, _find_keys(found, trace.batch)
        keys = {
            bit: np.concatenate([np.zeros(0, np.int64), *(_find_keys(p, batch) for p in parts)])
            for bit, parts in ((HIDDEN, hidden), (OUTPUT, fired))
        }
        every = np.unique(np.concatenate([own, *keys.values()]))
        marks = np.zeros(len(every), np.uint8)
        for bit, some in {**keys, OUTPUT: np.concatenate([keys[OUTPUT], own[output]])}.items():
            marks[np.searchsorted(every, np.unique(some))] |= bit
        fault, sample = np.divmod(every, batch)
        statistic = trace.prefix[:, -1][sample]
        statistic[np.searchsorted(every, own)] = found.statistic
        return Statistics(fault, sample, statistic), marks

    def simulate(self, task: Task, trace: Trace, as_hidden: bool = False) -> tuple[PairList, int]:
        """What faults change in their own stage, without recurrence; pairs that no proof decided.

        In the last stage the entries are classes and their new statistic, unless it is taken
        ``as_hidden``: then they are spikes, as in any other.
        """
        faults = task.faults
        if isinstance(faults, InputFaultArrays):
            pairs = kernels.simulate_input_faults(faults.arrays, trace.events)
            return pairs, len(pairs.fault)
        golden = trace.faulty[task.stage].golden
        constants = self.model(task.stage).constants
        is_last = task.stage == self.last and not as_hidden
        final = trace.prefix[:, -1] if is_last else trace.prefix[:0, -1]
        statistic = Statistic(np.ascontiguousarray(final), self.maximum)
        if isinstance(faults, WeightFaultArrays):
            return self._simulate_weights(task.stage, faults, statistic, trace)
        pairs = kernels.simulate_neuron_faults(faults.arrays, golden, constants, statistic)
        return pairs, len(faults) * golden.mem.shape[1]

    def _simulate_weights(
        self, number: int, faults: WeightFaultArrays, statistic: Statistic, trace: Trace
    ) -> tuple[PairList, int]:
        model, own = self.model(number), trace.faulty[number]
        seen, margins, arrays = own.seen, own.margins, faults.arrays
        if faults.recurrent and own.feedback is not None:
            seen = own.feedback.seen
        assert seen is not None
        assert margins is not None
        if (arrays.since == arrays.until).any():  # the kernel's bound is the current of that step
            impulse = find_impulse_response(model, own.golden.mem.shape[2])
            margins = margins._replace(factor=margins.factor * impulse)
        return kernels.simulate_weight_faults(
            arrays, seen, own.golden, margins, model.constants, statistic
        )

    def run_recurrent(self, task: Task, pairs: PairList, trace: Trace) -> PairList:
        """Run the pairs that differ again, with what differs fed back into their stage."""
        model, own = self.model(task.stage), trace.faulty[task.stage]
        assert own.seen is not None
        assert own.feedback is not None
        assert not isinstance(task.faults, InputFaultArrays)
        return kernels.run_recurrent(
            pairs,
            _order_by_sample(pairs),
            to_recurrent(task.faults, model.dtype),
            own.seen,
            own.feedback.recurrence,
            trace.passed[task.stage],
            self.recurrent[task.stage],
        )

    def finish(self, number: int, pairs: PairList, trace: Trace) -> Statistics:
        """Carry what differs behind a stage to the readout: the pairs whose statistic is another.

        The stages without a kernel, where the readout is one of them, may give golden ones, too.
        """
        differing = self._carry(number, pairs, trace)
        incoming = self.graph.find_incoming(self.last, differing)
        if self.models[self.last] is not None:
            return self.read_out(self._merge_last(incoming, trace), trace)
        if not incoming:
            nothing = np.zeros(0, np.int32)
            return Statistics(nothing, nothing, np.zeros((0, 0), trace.prefix.dtype))
        assert trace.torch is not None
        return trace.torch.read_out(incoming)

    def _carry(self, number: int, pairs: PairList, trace: Trace) -> dict[int, PairList]:
        """What differs behind a stage, or the events, and behind all hidden ones that follow."""
        differing = {number: pairs}
        for behind in range(number + 1, self.last):
            incoming = self.graph.find_incoming(behind, differing)
            if incoming:
                differing[behind] = self._pass(behind, incoming, trace)
        return differing

    def _merge_last(self, incoming: Mapping[int, PairList], trace: Trace) -> PairList:
        """What differs in front of the weights of the last stage."""
        return self._merge(self.last, incoming, trace) if incoming else list_nothing(trace)

    def _pass(self, number: int, incoming: Mapping[int, PairList], trace: Trace) -> PairList:
        """What differs behind a stage that is not the last, of what differs in its sources."""
        if self.runs_in_torch(number):
            assert trace.torch is not None
            return trace.torch.fire(number, incoming)
        return self.propagate(number, self._merge(number, incoming, trace), trace)

    def _merge(self, number: int, incoming: Mapping[int, PairList], trace: Trace) -> PairList:
        """What differs in front of the weights of a stage."""
        entry, into = self.model(number).entry, self.sums[number]
        if entry is None or not into.plain:
            return self.graph.merge(number, incoming, into)
        assert entry.windows is not None
        maxima = entry.windows, trace.entries[number]
        return self.graph.merge(number, incoming, into, maxima)

    def propagate(self, number: int, pairs: PairList, trace: Trace) -> PairList:
        """Carry differences through a stage that is not the last: the pairs that still differ."""
        model, golden, order = self.model(number), trace.passed[number], _order_by_sample(pairs)
        constants = model.constants
        factor = model.dtype.type(1 + find_slack(model, golden.before.shape[1]))
        bound = ResponseBound(constants.alpha.max(), constants.beta.max(), factor)
        if number in self.linear:
            stage = self.linear[number]
            return kernels.propagate_linear(
                pairs, order, stage.fan_out, golden, stage.constants, bound
            )
        return kernels.propagate_conv(
            pairs, order, model.fan_out, golden, self.by_cell[number], bound
        )

    def run_multi_faults(
        self, number: int, faults: TrialFaults, pairs: PairList, trace: Trace
    ) -> PairList:
        """What differs behind a linear stage of trials, under all their faults in it.

        In the last stage the entries are classes and their new statistic, as those of ``simulate``.

        Args:
            number: of the stage.
            faults: of the trials.
            pairs: trials and samples, with what differs below, if anything.
            trace: of the batch.
        """
        stage, model = self.linear[number], self.model(number)
        inputs = np.zeros((0, 0, 0), model.dtype)
        if len(faults.line):
            seen = trace.faulty[number].seen
            assert seen is not None
            inputs = seen.inputs
        return kernels.run_multi_fault_stage(
            pairs,
            stage.fan_out,
            inputs,
            trace.passed[number],
            trace.padded_prefix,
            stage.constants,
            faults,
            number == self.last,
        )

    def read_out(self, pairs: PairList, trace: Trace) -> Statistics:
        """Carry differences through the last stage: the pairs whose statistic is another."""
        if self.last_layer is not None:
            return self._read_maxima(self.last_layer, pairs, trace)
        return self._count_spikes(pairs, trace, compare=False)[0]

    def _read_maxima(self, layer: LastLayer, pairs: PairList, trace: Trace) -> Statistics:
        """What differences leave open is multiplied by PyTorch."""
        stage, golden = self.linear[self.last], trace.passed[self.last]
        certain, left_open = kernels.read_out_maxima(
            pairs, stage.fan_out, golden, trace.padded_prefix, stage.constants
        )
        if not left_open.any():
            return certain
        assert trace.layer is not None
        exact = layer.read_out(trace.layer, choose_pairs(pairs, left_open), trace.prefix[:, -1])
        return Statistics(*map(np.concatenate, zip(certain, exact, strict=True)))

    def _count_spikes(
        self, pairs: PairList, trace: Trace, compare: bool
    ) -> tuple[Statistics, Array]:
        """``kernels.read_out``."""
        stage, golden = self.linear[self.last], trace.passed[self.last]
        return kernels.read_out(
            pairs, stage.fan_out, golden, trace.padded_prefix, stage.constants, compare
        )

    def replace_classes(self, pairs: PairList, trace: Trace) -> Statistics:
        """Statistics of pairs that list classes of the last stage."""
        golden = trace.prefix[:, -1]
        return Statistics(pairs.fault, pairs.sample, kernels.replace_classes(pairs, golden))


@dataclass(frozen=True)
class _PaddedStage:
    """A dense or the last stage, its neurons padded to whole vectors."""

    fan_out: LinearFanOut
    constants: NeuronConstants

    @classmethod
    def of(cls, model: StageModel) -> _PaddedStage:
        fan_out = model.fan_out
        rows = begin_at_line(pad(fan_out.rows))
        lines = LinearFanOut(fan_out.first, fan_out.row, rows, model.neurons)
        return cls(lines, pad_constants(model.constants))


def pad_constants(constants: NeuronConstants) -> NeuronConstants:
    """Those of as many neurons as whole vectors have."""
    return constants._replace(
        alpha=pad(constants.alpha),
        beta=pad(constants.beta),
        threshold=pad(constants.threshold),
    )


def arrange_by_cell(model: StageModel) -> NeuronConstants:
    """The constants of a stage's neurons, ``f [cells, padded]``; one row where all are the same."""
    constants, cells = model.constants, model.synapse.cells
    named = {name: getattr(constants, name) for name in ("alpha", "beta", "threshold")}
    rows = {name: values.reshape(-1, cells).T for name, values in named.items()}
    if all((values == values[:1]).all() for values in rows.values()):
        rows = {name: values[:1] for name, values in rows.items()}
    return constants._replace(
        alpha=begin_at_line(pad(rows["alpha"])),
        beta=begin_at_line(pad(rows["beta"])),
        threshold=begin_at_line(pad(rows["threshold"])),
    )


def list_nothing(trace: Trace) -> PairList:
    """No pairs."""
    whole, change = np.zeros(0, np.int32), np.zeros(0, trace.prefix.dtype)
    return PairList(whole, whole, np.zeros(0, np.int64), whole, whole, change)


def _find_keys(pairs: PairList | Statistics, batch: int) -> Array:
    """One number for fault and sample of each pair, int64 ``[pairs]``."""
    return pairs.fault.astype(np.int64) * batch + pairs.sample


def _order_by_sample(pairs: PairList) -> Array:
    return np.argsort(pairs.sample, kind="stable")
