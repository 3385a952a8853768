"""The fast path of the differential engine: compiled kernels on all cores of a CPU."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch

from fi.engine.compiled.golden_trace import Trace, gather_prefix, pad, trace_stages
from fi.engine.compiled.kernels.arrays import Array
from fi.engine.compiled.kernels.simd import WIDTH
from fi.engine.compiled.output_layer import GoldenLayer, LastLayer
from fi.engine.compiled.planner import Need, Part, Plan, Planner
from fi.engine.compiled.proof_margins import ProvedStage
from fi.engine.compiled.stage_constants import StageModel, stage_model, why_not_fast
from fi.engine.compiled.stage_graph import StageGraph
from fi.engine.compiled.stage_runner import StageRunner
from fi.engine.compiled.torch_stages import TorchStages
from fi.engine.generic.path import GenericPath
from fi.engine.tally import Tally
from fi.engine.work_sharing import share_work
from fi.faults.fault import Fault
from fi.metrics.pairs import Pairs
from fi.network.readouts import MaxMembrane, SpikeCount
from fi.network.stages import EVENTS, SpikingNetwork, Stage, StageActivity, find_sources

#: Pairs that are scored at a time.
PORTION = 1 << 16
#: Fault, sample and statistic of pairs, and what ``Pairs.spikes`` is where that is asked for.
Scorable = tuple[Array, ...]


class FastPath:
    """Runs faults of a graph of stages on compiled kernels, what these do not know in torch.

    A ``planner`` resolves the faults, ``trace`` lays out the golden run, a ``runner`` runs them.

    Args:
        network: the network, on a CPU.
        activities: golden activity of every stage of any one batch; it gives the shapes.
        memory: budget in bytes for the differences of all threads.
        threads: number of threads.

    Attributes:
        reasons: why a stage has no kernel, by number.
        models: of the stages, ``None`` where there is no kernel.
        sources: numbers of the stages that feed each.
    """

    def __init__(
        self,
        network: SpikingNetwork,
        activities: Sequence[StageActivity],
        memory: int,
        threads: int | None = None,
    ) -> None:
        self.network, self.memory = network, memory
        self.reasons = find_reasons(network, activities)
        self.sources = find_sources(network.stages())
        stages = enumerate(zip(network.stages(), activities, self.sources, strict=True))
        self.models = [
            None if number in self.reasons else stage_model(stage, activity, own == (EVENTS,))
            for number, (stage, activity, own) in stages
        ]
        self.threads = threads or torch.get_num_threads()
        self.maximum = _reads_maximum(network)
        last = self.models[-1]
        self.last_layer = LastLayer(last) if self.maximum and last is not None else None
        frame = tuple(activities[0].inputs.shape[2:])
        steps = len(activities[0].inputs)
        self.planner = Planner(network, self.models, steps, frame, self.last_layer)
        budget = memory // self.threads
        graph = StageGraph.of(network.stages(), activities)
        self.runner = StageRunner(self.models, graph, self.last_layer, budget, self.threads)
        self.generic = GenericPath(network, budget)
        self.tally = Tally()
        self.sample_bytes = sum(
            _count_trace_bytes(model, activity)
            for model, activity in zip(self.models, activities, strict=True)
        )

    @staticmethod
    def why_not(network: SpikingNetwork, activities: Sequence[StageActivity]) -> str | None:
        """Why the kernels can take no stage of this network; ``None`` where they take any."""
        if activities[0].inputs.device.type != "cpu":
            return f"the kernels run on a CPU, not on {activities[0].inputs.device.type}"
        reasons = find_reasons(network, activities)
        return describe_reasons(reasons) if len(reasons) == len(activities) else None

    def describe_torch(self) -> str:
        """Which stages take torch, and why, in a line; empty where none does."""
        passed = "what reaches a recurrence from below takes torch"
        known = [n for n in range(len(self.models)) if n not in self.reasons]
        found = {n: passed for n in known if self.runner.runs_in_torch(n)}
        return describe_reasons(dict(sorted({**self.reasons, **found}.items())))

    @property
    def is_plain_chain(self) -> bool:
        """Whether each stage feeds the next one only, all have kernels, and no pool is at one's
        entry."""
        chain = [(number - 1,) for number in range(len(self.models))]
        pools = any(model.entry is not None for model in self.models if model is not None)
        return self.sources == chain and not self.reasons and not pools

    def can_finish(self, number: int) -> bool:
        """Whether differences behind a stage, or in the events, can be carried on from there."""
        fed = [n for n, sources in enumerate(self.sources) if number in sources]
        models = [self.models[n] for n in fed]
        return number != EVENTS or not any(
            model is not None
            and (model.feedback is not None or (model.entry and not model.entry.windows))
            for model in models
        )

    def takes(self, fault: Fault) -> bool:
        """Whether the kernels know the word that is hit."""
        return self.planner.takes(fault)

    def plan(self, faults: Sequence[Fault], positions: Array) -> Plan:
        """Resolve faults; ``positions`` are their places in the group."""
        return self.planner.plan(faults, positions)

    def trace(
        self, needs: frozenset[Need], activities: Sequence[StageActivity], kept: Trace | None = None
    ) -> Trace:
        """The golden trace of one batch, in the layouts that faults need, and those of ``kept``."""
        needs = needs if kept is None else needs | kept.serves
        stages = [
            None if model is None else ProvedStage(model, model.see(activity))
            for model, activity in zip(self.models, activities, strict=True)
        ]
        faulty, passed = trace_stages(stages, needs, kept)
        steps, batch = activities[-1].spikes.shape[:2]
        prefix = np.zeros((batch, steps + 1, 0), _dtype_of(activities))
        if self.models[-1] is not None:
            prefix = gather_prefix(self.network.readout, activities[-1])
        layer = None
        if self.last_layer is not None:
            seen = self.last_layer.find_seen(self.last_layer.model.see(activities[-1]))
            layer = GoldenLayer(seen.contiguous(), activities[-1].currents.contiguous())
        events = np.zeros((0, 0, 0), prefix.dtype)
        if any(need == Need(EVENTS, Part.NEURONS) for need in needs):
            lines = activities[0].inputs.flatten(2).permute(2, 1, 0)
            events = np.ascontiguousarray(lines.cpu().numpy())
        torch_stages = None
        if any(self.runner.runs_in_torch(number) for number in range(len(self.models))):
            propagation = self.generic.make_propagation(activities, slice(None))
            torch_stages = TorchStages(propagation, self.runner.memory)
        return Trace(
            faulty,
            passed,
            prefix,
            pad(prefix),
            layer,
            events,
            torch_stages,
            self._trace_entries(passed, activities),
            needs,
        )

    def _trace_entries(
        self, passed: Iterable[int], activities: Sequence[StageActivity]
    ) -> dict[int, Array]:
        """What comes into the stages with a pool at their entry, ``f [B, T, lines]`` each."""
        entries: dict[int, Array] = {}
        for number in passed:
            model = self.models[number]
            if model is not None and model.entry and model.entry.windows:
                lines = activities[number].inputs.flatten(2).transpose(0, 1)
                entries[number] = np.ascontiguousarray(lines.numpy())
        return entries

    @property
    def tells_spikes(self) -> bool:
        """Whether it can tell which spikes of the last stage differ."""
        return self.models[-1] is not None and not self.maximum

    def pairs(self, plan: Plan, trace: Trace, spikes: bool = False) -> Iterator[Pairs]:
        """The pairs of one batch whose statistic, or one of whose ``spikes``, is not golden."""
        tasks = [
            task for number, faults in plan.tasks for task in self.runner.cut(number, faults, trace)
        ]
        waiting = [*self._run_rows(plan, trace)]
        run = partial(self.runner.run, trace=trace, spikes=spikes)
        for found in share_work(run, tasks, self.threads):
            self.tally.simulated += found.simulated
            self.tally.diverged += found.diverged
            self.tally.computed += len(found.fault)
            if len(found.fault):
                marks = () if found.spikes is None else (found.spikes,)
                waiting.append((found.fault, found.sample, found.statistic, *marks))
            if sum(len(part[0]) for part in waiting) > PORTION:
                yield self.score(waiting)
                waiting = []
        if waiting:
            yield self.score(waiting)
        self.tally.pairs += len(trace.prefix) * sum(len(faults) for _, faults in plan.tasks)

    def _run_rows(self, plan: Plan, trace: Trace) -> Iterator[Scorable]:
        """The pairs of the faults of the last layer that PyTorch computes."""
        golden = trace.prefix[:, -1]
        for faults in plan.rows:
            assert self.last_layer is not None
            assert trace.layer is not None
            for part, largest in self.last_layer.run_faults(trace.layer, faults):
                sample, row = (largest != golden[:, part.channel]).nonzero()
                statistic = golden[sample].copy()
                statistic[np.arange(len(sample)), part.channel[row]] = largest[sample, row]
                self.tally.diverged += len(row)
                self.tally.computed += len(row)
                yield part.fault[row].astype(np.int64), sample, statistic
            self.tally.pairs += len(faults) * len(golden)
            self.tally.simulated += len(faults) * len(golden)

    def score(self, parts: Sequence[Scorable]) -> Pairs:
        """The scores of pairs, all parts in one."""
        fault, sample, statistic, *marks = (
            torch.from_numpy(np.concatenate(arrays)) for arrays in zip(*parts, strict=True)
        )
        return Pairs(fault, sample, self.network.readout.scores(statistic), *marks)


def find_reasons(network: SpikingNetwork, activities: Sequence[StageActivity]) -> dict[int, str]:
    """Why stages have no kernel, by number."""
    reasons: dict[int, str] = {}
    sources = find_sources(network.stages())
    for number, (stage, activity) in enumerate(zip(network.stages(), activities, strict=True)):
        reason = why_not_fast(stage, activity, sources[number] == (EVENTS,))
        if reason is None and number == len(activities) - 1:
            reason = _why_not_read(network, stage, activity, sources[number] == (EVENTS,))
        if reason:
            reasons[number] = reason
    return reasons


def describe_reasons(reasons: dict[int, str]) -> str:
    """Why stages have no kernel, in a line."""
    return "; ".join(f"stage {number + 1}: {reason}" for number, reason in reasons.items())


def _why_not_read(
    network: SpikingNetwork, stage: Stage, activity: StageActivity, of_events: bool
) -> str | None:
    """Why the kernels cannot read out the last stage, whose neurons they know."""
    readout = network.readout
    if type(readout).accumulate not in (SpikeCount.accumulate, MaxMembrane.accumulate):
        return f"the readout {type(readout).__name__} has no kernel"
    if stage.recurrent is not None:
        return "a recurrence in the last stage has no kernel"
    last = stage_model(stage, activity, of_events)
    if not last.has_one_cell:
        return "the last stage is not a linear one"
    if _reads_maximum(network) and not LastLayer.fits(last):
        return "a largest membrane behind a norm or a pool has no kernel"
    return None


def _reads_maximum(network: SpikingNetwork) -> bool:
    return type(network.readout).accumulate is MaxMembrane.accumulate


def _dtype_of(activities: Sequence[StageActivity]) -> np.dtype[Any]:
    return np.dtype(str(activities[-1].currents.dtype).removeprefix("torch."))


def _count_trace_bytes(model: StageModel | None, activity: StageActivity) -> int:
    """About what a stage's trace takes of a sample: both layouts, or in torch the golden run."""
    if model is None:
        states = sum(state[0].nbytes for state in activity.states[0].values())
        return activity.currents[:, 0].nbytes * 2 + len(activity.inputs) * states
    steps, inputs = len(activity.inputs), activity.inputs[0, 0].numel()
    states = 2 + model.constants.synaptic
    padded = model.synapse.cells * (-(-model.synapse.channels // WIDTH) * WIDTH)
    values = inputs + (model.neurons + padded) * (model.taps.shape[2] + states)
    levels = len(model.decays) * len(model.windows)
    return int(model.dtype.itemsize * (steps * values + levels))
