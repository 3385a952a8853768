"""Trials of several faults on the kernels: every fault's differences, and what overlaps.

Faults of a trial that affect different neurons, and that no difference of an earlier fault reaches,
are isolated: each is simulated on its own, and their differences flow on together. Where they
overlap, a linear stage is simulated with all faults of the trial in it at once; other stages leave
the samples concerned to ``LateStart``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from fi.engine.compiled.fast_path import FastPath, Scorable
from fi.engine.compiled.fault_arrays import (
    PARAMETERS,
    FaultArrays,
    find_affected,
    find_parameter_values,
    join_trials,
)
from fi.engine.compiled.golden_trace import Trace
from fi.engine.compiled.kernels.arrays import Array, PairList, TrialFaults
from fi.engine.compiled.kernels.pair_lists import choose_pairs, join_pairs
from fi.engine.compiled.planner import Need, Part
from fi.engine.compiled.stage_runner import StageRunner, list_nothing
from fi.engine.compiled.synapse_matrix import Ints
from fi.engine.differential.late_start import LateStart
from fi.engine.differential.path_choice import EVEN_MODELS, HUGE, LARGE, choose_kernels
from fi.engine.tally import Tally
from fi.engine.work_sharing import share_work
from fi.faults.family_names import attribute_of
from fi.faults.fault import Fault, Trial
from fi.faults.fault_sites import INPUT
from fi.metrics.pairs import Pairs
from fi.network.stages import EVENTS, StageActivity

#: Trials that are run at a time at most, by one thread.
CHUNK = 256


@dataclass(frozen=True)
class Chunk:
    """Some trials; a trial's row in the chunk stands for it in all that follows.

    Attributes:
        trials: the faults of each.
        positions: of the trials in the group.
        affected: by stage which trials have a fault there, bool ``[trials]``.
        overlapping: by stage which have two faults in one neuron, bool ``[trials]``.
        isolated: by stage the faults of all other trials.
        joint: by linear stage all faults, as the kernel for those that overlap takes them.
    """

    trials: Sequence[Trial]
    positions: Array
    affected: dict[int, Array]
    overlapping: dict[int, Array]
    isolated: dict[int, list[FaultArrays]]
    joint: dict[int, TrialFaults]


@dataclass(frozen=True)
class MultiFaultPlan:
    """Trials of a group, resolved."""

    chunks: list[Chunk]
    needs: frozenset[Need]


class MultiFaultPath:
    """Runs trials of a network that the fast path takes, without recurrence.

    Args:
        fast: the fast path.
        late: for the samples in which faults of two stages overlap.
    """

    def __init__(self, fast: FastPath, late: LateStart) -> None:
        self.fast, self.late = fast, late
        self.models = [model for model in fast.models if model is not None]
        self.tally = Tally()
        self._reaches: dict[str, tuple[int, tuple[int, ...], Sequence[Ints] | Array]] = {}

    @property
    def takes_network(self) -> bool:
        """Whether it can run trials of this network at all."""
        has_feedback = any(model.feedback is not None for model in self.models)
        return not self.fast.maximum and self.fast.is_plain_chain and not has_feedback

    def runs_overlaps(self, layer: str) -> bool:
        """Whether a kernel runs faults of this site family that overlap with others."""
        if not self.takes_network or layer == INPUT:
            return False
        try:
            number, _, _ = self._find_reaches(layer)
        except ValueError:  # a word that no kernel knows
            return False
        return self.fast.runner.runs_multi_faults(number)

    def takes(self, trials: Sequence[Trial]) -> Array:
        """Which trials it can run, bool ``[trials]``.

        All faults are known, no two are in one word, and where two are in one neuron its stage is a
        linear one; nothing large is rounded in one order of summation only.
        """
        if not self.takes_network:
            return np.zeros(len(trials), bool)
        known = choose_kernels(self.fast, [fault for trial in trials for fault in trial])
        starts = np.cumsum([0, *map(len, trials)])[:-1]
        taken: Array = np.logical_and.reduceat(known, starts) if len(trials) else known
        runs = self.fast.runner.runs_multi_faults
        for row in np.flatnonzero(taken).tolist():
            words = {(fault.layer, fault.index) for fault in trials[row]}
            linear = all(runs(stage) for stage in self._find_overlaps(trials[row]))
            taken[row] = len(words) == len(trials[row]) and linear
        taken[self._find_rounding(trials)] = False
        return taken

    def _find_rounding(self, trials: Sequence[Trial]) -> list[int]:
        """The trials in which something large is rounded, so that the order of sums matters.

        Two huge weights, or two large ones of opposite signs, or such a weight and a bias, of one
        channel; or a large weight behind a spike that is neither 0 nor 1: a difference to 1 rounds
        away what such a weight would make much of.
        """
        layers: dict[str, list[tuple[int, Fault]]] = {}
        uneven: set[tuple[int, int]] = set()
        for row, trial in enumerate(trials):
            for fault in trial:
                layers.setdefault(fault.layer, []).append((row, fault))
                is_line = fault.layer == INPUT or attribute_of(fault.layer) == "spike"
                if is_line and fault.model not in EVEN_MODELS:
                    uneven.add((row, self._find_reaches(fault.layer)[0]))
        found: set[int] = set()
        for (row, stage, _), values in self._find_large_weights(layers).items():
            huge = sum(not abs(value) < HUGE for value in values)
            signs = {value < 0 for value in values}
            if huge > 1 or len(signs) > 1 or (row, stage - 1) in uneven:
                found.add(row)
        return sorted(found)

    def _find_large_weights(
        self, layers: Mapping[str, Sequence[tuple[int, Fault]]]
    ) -> dict[tuple[int, int, int], list[float]]:
        """By trial, stage and channel the faulty weights and biases that are large."""
        found: dict[tuple[int, int, int], list[float]] = {}
        for layer, listed in layers.items():
            module, attribute = self.fast.planner.find_module(layer)
            stages = [n for n, model in enumerate(self.models) if module is model.synapse.weights]
            if not stages:
                continue
            faults = [fault for _, fault in listed]
            _, faulty, _ = find_parameter_values(module, attribute, faults)
            usual = max(1.0, float(getattr(module, attribute).detach().abs().max()))
            for place in np.flatnonzero(~(np.abs(faulty) <= LARGE * usual)).tolist():
                row, fault = listed[place]
                values = found.setdefault((row, stages[0], fault.index[0]), [])
                values.append(float(faulty[place]))
        return found

    def _find_overlaps(self, trial: Trial) -> set[int]:
        """The stages in which two faults are in one neuron."""
        seen: set[tuple[int, int]] = set()
        found: set[int] = set()
        for fault in trial:
            reach = self._find_reach(fault)
            found |= {stage for stage, _ in seen & reach}
            seen |= reach
        return found

    def _find_reach(self, fault: Fault) -> set[tuple[int, int]]:
        """Stage and number of the neurons, or input lines, that a fault affects."""
        if fault.layer not in self._reaches:
            self._reaches[fault.layer] = self._find_reaches(fault.layer)
        number, shape, affected = self._reaches[fault.layer]
        index = fault.index[: len(shape)]
        place = int(np.ravel_multi_index(index, shape)) if shape else 0
        return {(number, int(neuron)) for neuron in affected[place]}

    def _find_reaches(self, layer: str) -> tuple[int, tuple[int, ...], Sequence[Ints] | Array]:
        """The stage of a family, a shape, and the neurons that a word with this index affects."""
        planner = self.fast.planner
        if layer == INPUT:
            return EVENTS, planner.frame, np.arange(np.prod(planner.frame))[:, None]
        module, attribute = planner.find_module(layer)
        for number, model in enumerate(self.models):
            if module is model.stage.neuron:
                is_parameter = attribute in PARAMETERS
                shape = tuple(getattr(module, attribute).shape) if is_parameter else model.shape
                return number, shape, find_affected(shape, model.shape)
            if module is model.synapse.weights:
                maps = np.arange(model.neurons).reshape(-1, model.synapse.cells)
                return number, (len(maps),), maps
        raise ValueError(f"{layer} is in no stage")

    def plan(self, trials: Sequence[Trial], positions: Array) -> MultiFaultPlan:
        """Resolve trials; ``positions`` are their places in the group."""
        chunks, needs = [], set[Need]()
        for start in range(0, len(trials), CHUNK):
            part = trials[start : start + CHUNK]
            owner = np.repeat(np.arange(len(part)), [len(trial) for trial in part])
            plan = self.fast.plan([fault for trial in part for fault in trial], owner)
            needs |= plan.needs
            faults: dict[int, list[FaultArrays]] = {}
            for number, found in plan.tasks:
                faults.setdefault(number, []).append(found)
            chunk = self._make_chunk(part, positions[start : start + CHUNK], faults)
            needs |= {Need(number, Part.FLOW) for number in chunk.joint}
            chunks.append(chunk)
        return MultiFaultPlan(chunks, frozenset(needs))

    def _make_chunk(
        self, trials: Sequence[Trial], positions: Array, faults: dict[int, list[FaultArrays]]
    ) -> Chunk:
        affected = {number: np.zeros(len(trials), bool) for number in faults}
        overlapping = {number: np.zeros(len(trials), bool) for number in faults}
        for number, parts in faults.items():
            for part in parts:
                affected[number][part.fault] = True
        for row, trial in enumerate(trials):
            for number in self._find_overlaps(trial) & faults.keys():
                overlapping[number][row] = True
        isolated = {
            number: [part.part(~overlapping[number][part.fault]) for part in parts]
            for number, parts in faults.items()
        }
        joint = {
            number: join_trials(self.models[number], parts, len(trials))
            for number, parts in faults.items()
            if self.fast.runner.runs_multi_faults(number)
        }
        return Chunk(trials, positions, affected, overlapping, isolated, joint)

    def pairs(
        self, plan: MultiFaultPlan, trace: Trace, activities: Sequence[StageActivity]
    ) -> Iterator[Pairs]:
        """The pairs of one batch whose statistic may differ from the golden one."""

        def run(chunk: Chunk) -> tuple[list[Scorable], list[Overlap]]:
            return _ChunkRun(self.fast.runner, chunk, trace).run()

        runs = share_work(run, plan.chunks, self.fast.threads)
        for chunk, (found, overlaps) in zip(plan.chunks, runs, strict=True):
            pairs = len(chunk.trials) * len(trace.prefix)
            left = sum(len(row) for row, *_ in found)
            self.tally += Tally(pairs, pairs, left, left)
            if found:
                yield self.fast.score(
                    [(chunk.positions[row], sample, stat) for row, sample, stat in found]
                )
            for overlap in overlaps:
                count = len(overlap.pairs.fault)
                self.tally += Tally(0, 0, count, count)
                yield from self._start_late(chunk, overlap, activities)

    def _start_late(
        self, chunk: Chunk, overlap: Overlap, activities: Sequence[StageActivity]
    ) -> Iterator[Pairs]:
        """The samples of each trial in which differences reach another of its faults."""
        pairs, number = overlap.pairs, overlap.stage
        starts = np.concatenate([[0], pairs.end[:-1]])
        for row in np.unique(pairs.fault):
            own = np.flatnonzero(pairs.fault == row)
            sample = torch.from_numpy(pairs.sample[own].astype(np.int64))
            inputs = activities[number].inputs[:, sample]
            flat = inputs.flatten(2)
            sizes = pairs.end[own] - starts[own]
            offsets = np.repeat(starts[own] - np.cumsum(sizes) + sizes, sizes)
            entries = torch.from_numpy(offsets + np.arange(sizes.sum()))
            place = torch.from_numpy(np.repeat(np.arange(len(own)), sizes))
            step, neuron, change = (
                torch.from_numpy(np.ascontiguousarray(values))[entries]
                for values in (pairs.step, pairs.neuron, pairs.change)
            )
            flat[step.long(), place, neuron.long()] += change
            seen = flat.unflatten(2, inputs.shape[2:])
            found, scores = self.late.run(activities, chunk.trials[row], number, sample, seen)
            fault = torch.full_like(found, int(chunk.positions[row]))
            yield Pairs(fault, found, scores)


@dataclass(frozen=True)
class Overlap:
    """Pairs, of trials, whose differences reach a stage in which the trial has another fault."""

    stage: int
    pairs: PairList


class _ChunkRun:
    """One chunk of trials on one batch."""

    def __init__(self, runner: StageRunner, chunk: Chunk, trace: Trace) -> None:
        self.runner, self.last = runner, runner.last
        self.chunk, self.trace = chunk, trace
        self.batch = len(trace.prefix)
        self.gone = np.zeros((len(chunk.trials), self.batch), bool)

    def run(self) -> tuple[list[Scorable], list[Overlap]]:
        """Pairs of the last stage, and those that have to start late."""
        flowing = list_nothing(self.trace)
        late: list[Overlap] = []
        for number in range(EVENTS, self.last + 1):
            affected = self.chunk.affected.get(number, np.zeros(len(self.chunk.trials), bool))
            reaching, flowing = _split(flowing, affected[flowing.fault])
            own = self._run_own(number, reaching, late)
            if number == self.last:
                return self._read_out(flowing, own), late
            if number != EVENTS and len(flowing.fault):
                flowing = self.runner.propagate(number, flowing, self.trace)
            flowing = _merge([flowing, own], self.batch)
        raise AssertionError("the last stage reads out")

    def _run_own(self, number: int, reaching: PairList, late: list[Overlap]) -> PairList:
        """What the faults of a stage change, and the differences ``reaching`` them.

        Those that have to start late join ``late`` instead.
        """
        if number not in self.chunk.affected:
            return list_nothing(self.trace)
        if number not in self.chunk.joint:
            if len(reaching.fault):
                self.gone[reaching.fault, reaching.sample] = True
                late.append(Overlap(number, reaching))
            return self._simulate_isolated(number, ~self.gone)
        left = ~self.gone
        pairs = self._add_overlapping(number, reaching)
        left[pairs.fault, pairs.sample] = False
        joint = self.runner.run_multi_faults(number, self.chunk.joint[number], pairs, self.trace)
        return _merge([joint, self._simulate_isolated(number, left)], self.batch)

    def _add_overlapping(self, number: int, reaching: PairList) -> PairList:
        """These, and all samples of the trials with two faults in a neuron, differences or none."""
        overlapping = self.chunk.overlapping[number]
        chosen = np.repeat(overlapping[:, None], self.batch, axis=1) & ~self.gone
        chosen[reaching.fault, reaching.sample] = False
        fault, sample = (found.astype(np.int32) for found in chosen.nonzero())
        nothing = list_nothing(self.trace)._replace(
            fault=fault, sample=sample, end=np.zeros(len(fault), np.int64)
        )
        return join_pairs([nothing, reaching])

    def _simulate_isolated(self, number: int, left: Array) -> PairList:
        """What isolated faults change in the pairs ``left``, bool ``[trials, samples]``."""
        parts = [list_nothing(self.trace)]
        for faults in filter(len, self.chunk.isolated[number]):
            for task in self.runner.cut(number, faults, self.trace):
                found, _ = self.runner.simulate(task, self.trace)
                owner = task.faults.fault[found.fault].astype(np.int32)
                parts.append(found._replace(fault=owner))
        own = _merge(parts, self.batch)
        return _split(own, left[own.fault, own.sample])[0]

    def _read_out(self, flowing: PairList, own: PairList) -> list[Scorable]:
        found = []
        if len(own.fault):
            found.append(self.runner.replace_classes(own, self.trace))
        if len(flowing.fault):
            found.append(self.runner.read_out(flowing, self.trace))
        return [
            (part.fault.astype(np.int64), part.sample.astype(np.int64), part.statistic)
            for part in found
        ]


def _split(pairs: PairList, chosen: Array) -> tuple[PairList, PairList]:
    """The chosen pairs, bool ``[pairs]``, and the others."""
    return choose_pairs(pairs, chosen), choose_pairs(pairs, ~chosen)


def _merge(parts: Sequence[PairList], batch: int) -> PairList:
    """All differences by fault and sample, the entries of each pair in the order of time."""
    keys = [part.fault.astype(np.int64) * batch + part.sample for part in parts]
    sizes = [np.diff(part.end, prepend=0) for part in parts]
    key = np.concatenate([np.repeat(k, size) for k, size in zip(keys, sizes, strict=True)])
    step = np.concatenate([part.step for part in parts])
    order = np.lexsort((step, key))
    key = key[order]
    last = np.flatnonzero(np.diff(key, append=-1) != 0)
    return PairList(
        (key[last] // batch).astype(np.int32),
        (key[last] % batch).astype(np.int32),
        last + 1,
        step[order],
        np.concatenate([part.neuron for part in parts])[order],
        np.concatenate([part.change for part in parts])[order],
    )
