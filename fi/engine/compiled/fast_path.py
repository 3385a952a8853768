"""The fast path of the differential engine: compiled kernels on all cores of a CPU."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch

from fi.engine.compiled.golden_trace import Trace, gather_prefix, pad, trace_stages
from fi.engine.compiled.kernels.arrays import Array
from fi.engine.compiled.kernels.simd import WIDTH
from fi.engine.compiled.output_layer import GoldenLayer, LastLayer
from fi.engine.compiled.planner import Plan, Planner
from fi.engine.compiled.proof_margins import ProvedStage
from fi.engine.compiled.stage_constants import StageModel, stage_model, why_not_fast
from fi.engine.compiled.stage_runner import StageRunner
from fi.engine.tally import Tally
from fi.faults.fault import Fault
from fi.metrics.pairs import Pairs
from fi.network.readouts import MaxMembrane, SpikeCount
from fi.network.stages import EVENTS, SpikingNetwork, StageActivity, find_sources

#: Pairs that are scored at a time.
PORTION = 1 << 16
#: Fault, sample and statistic of pairs.
Scorable = tuple[Array, Array, Array]


class FastPath:
    """Runs faults of a chain of Leaky and Synaptic stages on compiled kernels.

    A ``planner`` resolves the faults, ``trace`` lays out the golden run, a ``runner`` runs them.

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
        pairs = [*zip(network.stages(), activities, strict=True)]
        self.network = network
        self.models = [stage_model(stage, activity) for stage, activity in pairs]
        self.threads = threads or torch.get_num_threads()
        self.maximum = type(network.readout) is MaxMembrane
        self.last_layer = LastLayer(self.models[-1]) if self.maximum else None
        frame = tuple(activities[0].inputs.shape[2:])
        steps = len(activities[0].inputs)
        self.planner = Planner(network, self.models, steps, frame, self.last_layer)
        budget = memory // self.threads
        self.runner = StageRunner(self.models, self.last_layer, budget, self.threads)
        self.tally = Tally()
        self.sample_bytes = sum(
            _count_trace_bytes(model, activity)
            for model, activity in zip(self.models, activities, strict=True)
        )

    @staticmethod
    def why_not(network: SpikingNetwork, activities: Sequence[StageActivity]) -> str | None:
        """Why the kernels cannot take this network; ``None`` where they can."""
        if type(network.readout) not in (SpikeCount, MaxMembrane):
            return f"the readout {type(network.readout).__name__} has no kernel"
        if activities[0].inputs.device.type != "cpu":
            return f"the kernels run on a CPU, not on {activities[0].inputs.device.type}"
        if find_sources(network.stages()) != [(n - 1,) for n in range(len(network.stages()))]:
            return "TEMPORARY: a graph"
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
        if type(network.readout) is MaxMembrane and not LastLayer.fits(last):
            return "a largest membrane behind a norm or a pool has no kernel"
        return None

    def takes(self, fault: Fault) -> bool:
        """Whether the kernels know the word that is hit."""
        return self.planner.takes(fault)

    def plan(self, faults: Sequence[Fault], positions: Array) -> Plan:
        """Resolve faults; ``positions`` are their places in the group."""
        return self.planner.plan(faults, positions)

    def trace(self, plan: Plan, activities: Sequence[StageActivity]) -> Trace:
        """The golden trace of one batch, in the layouts that ``plan`` needs."""
        stages = [ProvedStage(*pair) for pair in zip(self.models, activities, strict=True)]
        faulty, passed = trace_stages(stages, plan.needs, frozenset(self.runner.linear))
        prefix = gather_prefix(self.network.readout, activities[-1])
        layer = None
        if self.last_layer is not None:
            layer = GoldenLayer(self.last_layer.find_seen(activities[-1]), activities[-1].currents)
        events = np.zeros((0, 0, 0), prefix.dtype)
        if any(need.stage == EVENTS for need in plan.needs):
            lines = activities[0].inputs.flatten(2).permute(2, 1, 0)
            events = np.ascontiguousarray(lines.cpu().numpy())
        return Trace(faulty, passed, prefix, pad(prefix, WIDTH), layer, events, plan.needs)

    def pairs(self, plan: Plan, trace: Trace) -> Iterator[Pairs]:
        """The pairs of one batch whose statistic differs from the golden one."""
        tasks = [
            task for number, faults in plan.tasks for task in self.runner.cut(number, faults, trace)
        ]
        waiting = [*self._run_rows(plan, trace)]
        with ThreadPoolExecutor(self.threads) as pool:
            for found in pool.map(lambda task: self.runner.run(task, trace), tasks):
                self.tally.simulated += found.simulated
                self.tally.diverged += found.diverged
                self.tally.computed += len(found.fault)
                waiting.append((found.fault, found.sample, found.statistic))
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
        fault, sample, statistic = (
            torch.from_numpy(np.concatenate(arrays)) for arrays in zip(*parts, strict=True)
        )
        return Pairs(fault, sample, self.network.readout.scores(statistic))


def _count_trace_bytes(model: StageModel, activity: StageActivity) -> int:
    """About what the trace of one sample of a stage takes, both layouts."""
    steps, inputs = len(activity.inputs), activity.inputs[0, 0].numel()
    states = 4 + 2 * model.constants.synaptic
    values = inputs + model.neurons * (2 * model.taps.shape[2] + states)
    levels = len(model.decays) * len(model.windows)
    return int(model.dtype.itemsize * (steps * values + levels))
