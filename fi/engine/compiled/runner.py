"""The fast path of the differential engine: compiled kernels on all cores of a CPU."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from enum import Enum
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn

from fi.engine.compiled import kernels
from fi.engine.compiled.fault_arrays import (
    CurrentStrikes,
    InputStrikes,
    JointStrikes,
    NeuronStrikes,
    Strikes,
    current_strikes,
    fast_word,
    input_strikes,
    neuron_strikes,
)
from fi.engine.compiled.golden_trace import (
    FlowTrace,
    Recorded,
    StrikeTrace,
    flow_trace,
    impulse,
    padded,
    readout_prefix,
    slack,
    strike_trace,
    takes_maximum,
)
from fi.engine.compiled.kernels.simd import WIDTH
from fi.engine.compiled.output_layer import GoldenLayer, LastLayer, RowStrikes, row_strikes
from fi.engine.compiled.stage_constants import Array, StageModel, stage_model, why_not_fast
from fi.engine.generic.fault_batch import first_step
from fi.engine.tally import Tally
from fi.faults.fault import Fault
from fi.faults.fault_sites import INPUT
from fi.metrics.pairs import Pairs
from fi.network.readouts import MaxMembrane, SpikeCount
from fi.network.stages import SpikingNetwork, StageActivity

#: Bytes of one difference: step, neuron, change.
_ENTRY = 16
#: Pairs that are scored at a time.
PORTION = 1 << 16
#: Steps of neurons that are worth a task of their own.
_WORTH = 1 << 19
#: The input lines count as a stage before the first one.
EVENTS = -1


class Differences(NamedTuple):
    """Pairs whose spikes differ after a stage, and where: see ``fi.engine.kernels``."""

    strike: Array
    sample: Array
    ends: Array
    step: Array
    neuron: Array
    change: Array
    undecided: int


@dataclass(frozen=True)
class Task:
    """Some strikes of one kind in one stage: what a thread does at a time."""

    stage: int
    strikes: Strikes


class Part(Enum):
    """Of a stage's golden trace: for its neurons alone, for its currents, for what flows in."""

    NEURONS = 0
    CURRENTS = 1
    FLOW = 2


class Need(NamedTuple):
    """What faults need of a golden trace."""

    stage: int
    part: Part


def _needs(tasks: Iterable[tuple[int, Strikes]]) -> frozenset[Need]:
    """What strikes, each with its stage, need of a trace; one for currents serves neurons, too."""
    found = {
        Need(number, Part.NEURONS if isinstance(strikes, NeuronStrikes) else Part.CURRENTS)
        for number, strikes in tasks
    }
    return frozenset(found | {Need(number, Part.NEURONS) for number, _ in found})


@dataclass(frozen=True)
class Plan:
    """A group of faults, resolved."""

    tasks: list[tuple[int, Strikes]]
    needs: frozenset[Need]
    rows: tuple[RowStrikes, ...] = ()

    @property
    def empty(self) -> bool:
        """Whether there is nothing to do."""
        return not self.tasks and not self.rows


@dataclass(frozen=True)
class Trace:
    """The golden trace of one batch: by stage, in the layouts that the plan needs.

    ``events``: what the first stage sees, ``f [lines, B, T]``; empty without faults there.
    ``serves``: the needs of faults that it meets.
    """

    strikes: dict[int, StrikeTrace]
    flows: dict[int, FlowTrace]
    prefix: Array
    padded: Array
    layer: GoldenLayer | None
    events: Array
    serves: frozenset[Need]

    @property
    def bytes(self) -> int:
        """What it takes in memory; arrays that stand in two places count once."""
        parts = [*self.strikes.values(), *self.flows.values()]
        arrays = {
            id(a): a.nbytes for part in parts for a in vars(part).values() if hasattr(a, "nbytes")
        }
        layer = 0 if self.layer is None else self.layer.seen.nbytes + self.layer.currents.nbytes
        return sum(arrays.values()) + self.prefix.nbytes + self.events.nbytes + layer


class FastPath:
    """Runs faults of a chain of Leaky and Synaptic stages on compiled kernels.

    Args:
        network: the network, on a CPU.
        activities: golden activity of every stage of any one batch; it gives the shapes.
        memory: budget in bytes for the differences of all threads.
        threads: number of threads.
    """

    def __init__(
        self,
        network: SpikingNetwork,
        activities: Sequence[StageActivity],
        memory: int,
        threads: int | None = None,
    ) -> None:
        pairs = zip(network.stages(), activities, strict=True)
        self.network = network
        self.steps = len(activities[0].inputs)
        self.frame = tuple(activities[0].inputs.shape[2:])
        self.models = [stage_model(stage, activity) for stage, activity in pairs]
        self.padded = {
            number: _Padded.of(model)
            for number, model in enumerate(self.models)
            if model.is_dense or number == len(self.models) - 1
        }
        self.threads = threads or torch.get_num_threads()
        self.memory = memory // self.threads
        self.maximum = takes_maximum(network.readout)
        reads_rows = self.maximum and LastLayer.fits(self.models[-1])
        self.last_layer = LastLayer(self.models[-1]) if reads_rows else None
        self.tally = Tally()

        self.sample_bytes = sum(
            _trace_bytes(model, activity)
            for model, activity in zip(self.models, activities, strict=True)
        )

    @staticmethod
    def why_not(network: SpikingNetwork, activities: Sequence[StageActivity]) -> str | None:
        """Why the kernels cannot take this network; ``None`` where they can."""
        if type(network.readout) not in (SpikeCount, MaxMembrane):
            return f"the readout {type(network.readout).__name__} has no kernel"
        if activities[0].inputs.device.type != "cpu":
            return f"the kernels run on a CPU, not on {activities[0].inputs.device.type}"
        for number, (stage, activity) in enumerate(zip(network.stages(), activities, strict=True)):
            reason = why_not_fast(stage, activity)
            if reason is None and number > 0 and stage.recurrent is not None:
                reason = "a recurrence above the first stage has no kernel"
            if reason:
                return f"stage {number + 1}: {reason}"
        if network.stages()[-1].recurrent is not None:
            return "a recurrence in the last stage has no kernel"
        last = stage_model(network.stages()[-1], activities[-1])
        if not last.has_one_cell:
            return "the last stage is not a linear one"
        return None

    def takes(self, fault: Fault) -> bool:
        """Whether the kernels know the word that is hit."""
        if fault.layer == INPUT:
            return self.models[0].feedback is None
        module, attribute = self._module(fault.layer)
        return any(fast_word(model, module, attribute) for model in self.models)

    def meets(self, number: int) -> bool:
        """Whether a kernel runs faults of this stage that meet."""
        return number != EVENTS and self.models[number].is_dense

    def plan(self, faults: Sequence[Fault], positions: Array) -> Plan:
        """Resolve faults; ``positions`` are their places in the group."""
        families: dict[str, list[int]] = {}
        for place, fault in enumerate(faults):
            if first_step(fault) < self.steps:
                families.setdefault(fault.layer, []).append(place)
        tasks: list[tuple[int, Strikes]] = []
        rows: list[RowStrikes] = []
        for layer, places in families.items():
            if layer == INPUT:
                chosen = [faults[place] for place in places]
                tasks.append((EVENTS, input_strikes(self.frame, chosen, positions[places])))
                continue
            module, attribute = self._module(layer)
            number = next(k for k, m in enumerate(self.models) if fast_word(m, module, attribute))
            chosen = [faults[place] for place in places]
            if self.last_layer and module is self.models[-1].synapse.weights:
                rows.append(row_strikes(self.models[-1], attribute, chosen, positions[places]))
                continue
            strikes = _resolved(self.models[number], module, attribute, chosen, positions[places])
            if len(strikes):
                tasks.append((number, strikes))
        tasks = _joined(tasks)
        return Plan(tasks, _needs(tasks), tuple(filter(len, rows)))

    def trace(self, plan: Plan, activities: Sequence[StageActivity]) -> Trace:
        """The golden trace of one batch, in the layouts that ``plan`` needs."""
        struck = {need.stage for need in plan.needs}
        lowest = min(struck, default=len(self.models))
        last = len(self.models) - 1
        stages = [Recorded(*pair) for pair in zip(self.models, activities, strict=True)]
        strikes = {
            k: strike_trace(stages[k], Need(k, Part.CURRENTS) in plan.needs)
            for k in sorted(struck - {EVENTS})
        }
        flows = {
            k: flow_trace(stages[k], WIDTH if k in self.padded else 1, proofs=k < last)
            for k in range(max(lowest, 0), last + 1)
            if k > lowest or self.models[k].feedback is not None or Need(k, Part.FLOW) in plan.needs
        }
        prefix = readout_prefix(self.network.readout, activities[-1])
        layer = None
        if self.last_layer is not None:
            layer = GoldenLayer(self.last_layer.seen(activities[-1]), activities[-1].currents)
        events = np.zeros((0, 0, 0), prefix.dtype)
        if EVENTS in struck:
            lines = activities[0].inputs.flatten(2).permute(2, 1, 0)
            events = np.ascontiguousarray(lines.cpu().numpy())
        return Trace(strikes, flows, prefix, _pad(prefix), layer, events, plan.needs)

    def pairs(self, plan: Plan, trace: Trace) -> Iterator[Pairs]:
        """The pairs of one batch whose statistic differs from the golden one."""
        batch = len(trace.prefix)
        tasks = [
            task for number, strikes in plan.tasks for task in self._cut(number, strikes, trace)
        ]
        waiting = [*self._rows(plan, trace)]
        with ThreadPoolExecutor(self.threads) as pool:
            for found in pool.map(lambda task: self._run(task, trace), tasks):
                fault, sample, statistic, simulated, diverged = found
                self.tally.simulated += simulated
                self.tally.diverged += diverged
                self.tally.computed += len(fault)
                waiting.append((fault, sample, statistic))
                if sum(len(part[0]) for part in waiting) > PORTION:
                    yield self._scored(waiting)
                    waiting = []
        if waiting:
            yield self._scored(waiting)
        self.tally.pairs += batch * sum(len(strikes) for _, strikes in plan.tasks)

    def _rows(self, plan: Plan, trace: Trace) -> Iterator[tuple[Array, Array, Array]]:
        """Fault, sample and statistic of the faults of the last layer, where these differ."""
        golden = trace.prefix[:, -1]
        for strikes in plan.rows:
            assert self.last_layer is not None
            assert trace.layer is not None
            for part, largest in self.last_layer.statistics(trace.layer, strikes):
                sample, strike = (largest != golden[:, part.channel]).nonzero()
                statistic = golden[sample].copy()
                statistic[np.arange(len(sample)), part.channel[strike]] = largest[sample, strike]
                self.tally.diverged += len(strike)
                self.tally.computed += len(strike)
                yield part.fault[strike].astype(np.int64), sample, statistic
            self.tally.pairs += len(strikes) * len(golden)
            self.tally.simulated += len(strikes) * len(golden)

    def _scored(self, waiting: Sequence[tuple[Array, Array, Array]]) -> Pairs:
        fault, sample, statistic = (
            torch.from_numpy(np.concatenate(parts)) for parts in zip(*waiting, strict=True)
        )
        return Pairs(fault, sample, self.network.readout.scores(statistic))

    def _module(self, layer: str) -> tuple[nn.Module, str]:
        name, _, attribute = layer.rpartition(".")
        return self.network.get_submodule(name), attribute

    def _cut(self, number: int, strikes: Strikes, trace: Trace) -> Iterator[Task]:
        """Portions whose differences fit the budget, and small enough for all threads."""
        batch, steps = trace.prefix.shape[0], trace.prefix.shape[1] - 1
        cone = self.models[number].synapse.cells if number != EVENTS else 1
        if number != EVENTS and self.models[number].feedback is not None:
            cone = self.models[number].neurons
        elif isinstance(strikes, NeuronStrikes):
            cone = int(np.diff(strikes.first).max())
        fit = self.memory // max(1, _ENTRY * cone * batch * steps)
        even = -(-len(strikes) // (4 * self.threads))
        worth = -(-_WORTH // (cone * batch * steps))
        size = int(max(1, min(fit, max(even, worth))))
        for start in range(0, len(strikes), size):
            yield Task(number, strikes.part(slice(start, start + size)))

    def _run(self, task: Task, trace: Trace) -> tuple[Array, Array, Array, int, int]:
        found = self._strike(task, trace)
        if task.stage != EVENTS and self.models[task.stage].feedback is not None:
            found = self._close(task, found, trace)
        simulated, diverged = found.undecided, len(found.strike)
        if task.stage == len(self.models) - 1:
            strike, sample, statistic = _replaced(found, trace.prefix[:, -1])
        else:
            for number in range(task.stage + 1, len(self.models) - 1):
                found = self._flow(number, found, trace)
            strike, sample, statistic = self._finish(found, trace)
        fault = task.strikes.fault[strike].astype(np.int64)
        return fault, sample.astype(np.int64), statistic, simulated, diverged

    def _strike(self, task: Task, trace: Trace) -> Differences:
        s = task.strikes
        if isinstance(s, InputStrikes):
            strike, sample, ends, step, line, change = kernels.struck_lines(
                s.line, s.keep, s.force, s.flip, s.since, s.until, trace.events
            )
            return Differences(strike, sample, ends, step, line, change, len(strike))
        model, golden = self.models[task.stage], trace.strikes[task.stage]
        steps = golden.mem.shape[2]
        is_last = task.stage == len(self.models) - 1
        last = trace.prefix[:, -1] if is_last else trace.prefix[:0, -1]
        neuron = (model.alpha, model.beta, model.threshold, model.synaptic, model.reset)
        readout = (self.maximum, np.ascontiguousarray(last))
        if isinstance(s, CurrentStrikes):
            factor = 1 + slack(model, steps)
            if (s.since == s.until).any():  # the kernel's bound is the current of that step
                factor *= impulse(model, steps)
            taps, windows, inputs, peak = model.taps, model.window_of, golden.inputs, golden.peak
            if s.recurrent:
                taps = np.arange(model.neurons, dtype=np.int32)[:, None, None]
                windows, inputs, peak = taps[:, :, 0].copy(), golden.fed, golden.fed_peak
            return Differences(
                *kernels.strike_currents(
                    s.row, s.channel, s.change, s.since, s.until, factor, taps, windows,
                    model.level, inputs, golden.currents, golden.packed, golden.up, golden.down,
                    peak, golden.bias_peak, golden.negative and not s.recurrent, *neuron, *readout,
                )
            )  # fmt: skip
        return Differences(
            *kernels.strike_neurons(
                s.word, s.value, s.keep, s.force, s.flip, s.low, s.high, s.since, s.until, s.first,
                s.cone, golden.currents, golden.syn, golden.mem, golden.spikes, golden.packed,
                *neuron, *readout,
            )
        )  # fmt: skip

    def _close(self, task: Task, found: Differences, trace: Trace) -> Differences:
        """Run the pairs that differ again, with what differs fed back into their stage."""
        model, golden = self.models[task.stage], trace.strikes[task.stage]
        flow, s = trace.flows[task.stage], task.strikes
        assert model.feedback is not None
        assert not isinstance(s, InputStrikes)
        strike, sample, ends, step, neuron, change = kernels.close_loop(
            np.argsort(found.sample, kind="stable"), found.strike, found.sample, found.ends,
            found.step, *_loop_strikes(s, model.beta.dtype), golden.inputs,
            np.ascontiguousarray(model.taps[:, 0, 0]), golden.fed, golden.currents, model.feedback,
            flow.currents[:, :, 0], flow.syn[:, :, 0], flow.mem[:, :, 0], flow.spikes[:, :, 0],
            model.alpha, model.beta, model.threshold, model.synaptic, model.reset,
        )  # fmt: skip
        return Differences(strike, sample, ends, step, neuron, change, found.undecided)

    def _flow(self, number: int, found: Differences, trace: Trace) -> Differences:
        model, golden = self.models[number], trace.flows[number]
        cells, runs = model.synapse.cells, model.runs
        factor = model.beta.dtype.type(1 + slack(model, golden.before.shape[1]))
        if number in self.padded:
            constants = self.padded[number]
            return Differences(
                *kernels.flow_dense(
                    np.argsort(found.sample, kind="stable"), *found[:-1], runs.first, runs.row,
                    constants.rows, golden.currents[:, :, 0], golden.syn[:, :, 0],
                    golden.mem[:, :, 0], golden.spikes[:, :, 0], golden.up[:, 0], golden.down[:, 0],
                    constants.alpha, constants.beta, constants.threshold, model.neurons,
                    model.alpha.max(), model.beta.max(), factor, golden.regular, model.synaptic,
                    model.reset,
                )
            )  # fmt: skip
        by_cell = [
            np.ascontiguousarray(values.reshape(-1, cells).T)
            for values in (model.alpha, model.beta, model.threshold)
        ]
        return Differences(
            *kernels.flow(
                np.argsort(found.sample, kind="stable"), *found[:-1], runs.first, runs.position,
                runs.row, runs.length, runs.cells_first, runs.cells, runs.cell_rows,
                runs.reach_rows, model.rows, runs.positions, runs.windows, runs.paired,
                golden.regular, golden.before, golden.currents, golden.syn, golden.mem,
                golden.spikes, golden.up, golden.down, *by_cell, model.alpha.max(),
                model.beta.max(), factor, model.synaptic, model.reset,
            )
        )  # fmt: skip

    def _meet(
        self, number: int, strikes: JointStrikes, pairs: Differences, trace: Trace
    ) -> Differences:
        """What differs behind a linear stage of pairs whose faults, and differences, meet in it.

        In the last stage the entries are classes and their new statistic, as those of ``_strike``.
        """
        model, golden, c, n = (
            self.models[number],
            trace.flows[number],
            strikes.currents,
            strikes.neurons,
        )
        constants, runs = self.padded[number], model.runs
        inputs = trace.strikes[number].inputs if len(c) else np.zeros((0, 0, 0), model.beta.dtype)
        return Differences(
            *kernels.meet(
                *pairs[:-1], runs.first, runs.row, constants.rows, inputs,
                golden.currents[:, :, 0], golden.syn[:, :, 0], golden.mem[:, :, 0],
                golden.spikes[:, :, 0], trace.padded, constants.alpha, constants.beta,
                constants.threshold, strikes.current_first, strikes.current_order, strikes.source,
                c.channel, c.change, c.since, c.until, strikes.neuron_first, strikes.neuron_order,
                n.word, n.value, n.keep, n.force, n.flip, n.low, n.high, n.since, n.until, n.first,
                n.cone, model.neurons, model.synaptic, model.reset, number == len(self.models) - 1,
            )
        )  # fmt: skip

    def _finish(self, found: Differences, trace: Trace) -> tuple[Array, Array, Array]:
        model, golden = self.models[-1], trace.flows[len(self.models) - 1]
        constants = self.padded[len(self.models) - 1]
        return kernels.finish(
            *found[:-1], model.runs.first, model.runs.row, constants.rows, golden.currents[:, :, 0],
            golden.syn[:, :, 0], golden.mem[:, :, 0], trace.padded, constants.alpha, constants.beta,
            constants.threshold, model.neurons, model.synaptic, model.reset, self.maximum,
        )  # fmt: skip


def _resolved(
    model: StageModel, module: nn.Module, attribute: str, faults: list[Fault], positions: Array
) -> CurrentStrikes | NeuronStrikes:
    if module is model.stage.neuron:
        return neuron_strikes(model, attribute, faults, positions)
    recurrent = module is model.stage.recurrent
    return current_strikes(model, attribute, faults, positions, recurrent)


def _joined(tasks: Sequence[tuple[int, Strikes]]) -> list[tuple[int, Strikes]]:
    """The strikes that one call of a kernel can take in one: few calls cost less than many."""
    found: dict[tuple[int, type, bool], Strikes] = {}
    for number, strikes in tasks:
        key = (number, type(strikes), getattr(strikes, "recurrent", False))
        found[key] = found[key].joined(strikes) if key in found else strikes  # type: ignore[arg-type]
    return [(number, strikes) for (number, *_), strikes in found.items()]


def _loop_strikes(s: CurrentStrikes | NeuronStrikes, dtype: np.dtype[Any]) -> tuple[Array, ...]:
    """Either kind of strikes in the fields that ``kernels.close_loop`` takes."""
    count = len(s)
    if isinstance(s, NeuronStrikes):
        none = np.zeros(count, np.int32)
        fields = (none, np.zeros(count, dtype), s.value, s.keep, s.force, s.flip, s.low, s.high)
        return (s.word, *fields, s.since, s.until, s.first, s.cone)
    kind = np.full(count, kernels.FED if s.recurrent else kernels.CONDUCTED, np.int32)
    value, mask = np.zeros(count, dtype), np.zeros(count, np.uint32)
    fields = (s.row, s.change, value, mask, mask, mask, value, value)
    return (kind, *fields, s.since, s.until, np.arange(count + 1), s.channel)


def _trace_bytes(model: StageModel, activity: StageActivity) -> int:
    """About what the trace of one sample of a stage takes, both layouts."""
    steps, inputs = len(activity.inputs), activity.inputs[0, 0].numel()
    values = inputs + model.neurons * (2 * model.taps.shape[2] + 4 + 2 * model.synaptic)
    levels = len(model.decays) * len(model.windows)
    return int(model.beta.itemsize * (steps * values + levels))


@dataclass(frozen=True)
class _Padded:
    """Constants of a dense or the last stage, its neurons padded to whole vectors."""

    rows: Array
    alpha: Array
    beta: Array
    threshold: Array

    @classmethod
    def of(cls, model: StageModel) -> _Padded:
        return cls(*(_pad(a) for a in (model.rows, model.alpha, model.beta, model.threshold)))


def _pad(array: Array) -> Array:
    return padded(array, WIDTH)


def _replaced(found: Differences, golden: Array) -> tuple[Array, Array, Array]:
    """Statistics ``[pairs, classes]`` with the classes that a fault in the last stage changed."""
    statistic = kernels.replaced(found.sample, found.ends, found.neuron, found.change, golden)
    return found.strike, found.sample, statistic
