"""Trials of several faults on the compiled kernels.

Faults of one stage that strike different neurons do not meet there: each is run on its own, and
what differs is put together. It flows on as one fault's differences do. Faults meet where they
strike one neuron, or where differences reach a stage that the trial strikes too. In a linear stage
a kernel then runs all of its neurons; in another, those samples start late, in torch.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch

from fi.engine.compiled.fault_arrays import PARAMETERS, JointStrikes, Strikes, cones_of
from fi.engine.compiled.runner import (
    EVENTS,
    Differences,
    FastPath,
    Need,
    Part,
    Trace,
    _replaced,
)
from fi.engine.compiled.stage_constants import Array
from fi.engine.compiled.synapse_matrix import Ints
from fi.engine.differential.late_start import LateStart
from fi.engine.differential.path_choice import on_kernels
from fi.engine.tally import Tally
from fi.faults.fault import Fault, Trial
from fi.faults.fault_sites import INPUT
from fi.metrics.pairs import Pairs
from fi.network.stages import StageActivity

#: Trials that are run at a time at most, by one thread.
CHUNK = 256
#: Trial, sample and statistic of pairs.
Found = tuple[Array, Array, Array]


@dataclass(frozen=True)
class Chunk:
    """Some trials; a trial's row in the chunk stands for it in all that follows, by stage.

    ``hit``: bool ``[trials]``, which have a fault there; ``close``: bool ``[trials]``, which strike
    one neuron twice; ``alone``: the strikes of all others; ``joint``: all strikes of a linear
    stage, as the kernel for faults that meet takes them.
    """

    trials: Sequence[Trial]
    positions: Array
    hit: dict[int, Array]
    close: dict[int, Array]
    alone: dict[int, list[Strikes]]
    joint: dict[int, JointStrikes]


@dataclass(frozen=True)
class TogetherPlan:
    """Trials of a group, resolved."""

    chunks: list[Chunk]
    needs: frozenset[Need]


class Together:
    """Runs trials of a network that the fast path takes, without recurrence.

    Args:
        fast: the fast path.
        late: for the samples in which faults of two stages meet.
    """

    def __init__(self, fast: FastPath, late: LateStart) -> None:
        self.fast, self.late = fast, late
        self.last = len(fast.models) - 1
        self.tally = Tally()
        self._cones: dict[str, tuple[int, tuple[int, ...], Sequence[Ints] | Array]] = {}

    def takes(self, trials: Sequence[Trial]) -> Array:
        """Which trials it can run, bool ``[trials]``.

        All faults are known, no two hit one word, and where two strike one neuron its stage is a
        dense one.
        """
        if self.fast.maximum or any(model.feedback is not None for model in self.fast.models):
            return np.zeros(len(trials), bool)
        known = on_kernels(self.fast, [fault for trial in trials for fault in trial])
        starts = np.cumsum([0, *map(len, trials)])[:-1]
        all_known: Array = np.logical_and.reduceat(known, starts) if len(trials) else known
        for row in np.flatnonzero(all_known).tolist():
            words = {(fault.layer, fault.index) for fault in trials[row]}
            dense = all(self.fast.meets(stage) for stage in self._close(trials[row]))
            all_known[row] = len(words) == len(trials[row]) and dense
        return all_known

    def _close(self, trial: Trial) -> set[int]:
        """The stages in which two faults strike one neuron."""
        met: set[tuple[int, int]] = set()
        close: set[int] = set()
        for fault in trial:
            reach = self._reach(fault)
            close |= {stage for stage, _ in met & reach}
            met |= reach
        return close

    def _reach(self, fault: Fault) -> set[tuple[int, int]]:
        """Stage and number of the neurons, or input lines, that a fault strikes."""
        if fault.layer not in self._cones:
            self._cones[fault.layer] = self._cones_of(fault.layer)
        number, shape, cones = self._cones[fault.layer]
        index = fault.index[: len(shape)]
        place = int(np.ravel_multi_index(index, shape)) if shape else 0
        return {(number, int(neuron)) for neuron in cones[place]}

    def _cones_of(self, layer: str) -> tuple[int, tuple[int, ...], Sequence[Ints] | Array]:
        """The stage of a family, a shape, and the neurons that a word with this index strikes."""
        if layer == INPUT:
            return EVENTS, self.fast.frame, np.arange(np.prod(self.fast.frame))[:, None]
        module, attribute = self.fast._module(layer)
        for number, model in enumerate(self.fast.models):
            if module is model.stage.neuron:
                is_parameter = attribute in PARAMETERS
                shape = tuple(getattr(module, attribute).shape) if is_parameter else model.shape
                return number, shape, cones_of(shape, model.shape)
            if module is model.synapse.weights:
                maps = np.arange(model.neurons).reshape(-1, model.synapse.cells)
                return number, (len(maps),), maps
        raise ValueError(f"{layer} is in no stage")

    def plan(self, trials: Sequence[Trial], positions: Array) -> TogetherPlan:
        """Resolve trials; ``positions`` are their places in the group."""
        chunks, needs = [], set[Need]()
        for start in range(0, len(trials), CHUNK):
            part = trials[start : start + CHUNK]
            owner = np.repeat(np.arange(len(part)), [len(trial) for trial in part])
            plan = self.fast.plan([fault for trial in part for fault in trial], owner)
            needs |= plan.needs
            strikes: dict[int, list[Strikes]] = {}
            for number, found in plan.tasks:
                strikes.setdefault(number, []).append(found)
            chunk = self._chunk(part, positions[start : start + CHUNK], strikes)
            needs |= {Need(number, Part.FLOW) for number in chunk.joint}
            chunks.append(chunk)
        return TogetherPlan(chunks, frozenset(needs))

    def _chunk(
        self, trials: Sequence[Trial], positions: Array, strikes: dict[int, list[Strikes]]
    ) -> Chunk:
        hit = {number: np.zeros(len(trials), bool) for number in strikes}
        close = {number: np.zeros(len(trials), bool) for number in strikes}
        for number, parts in strikes.items():
            for part in parts:
                hit[number][part.fault] = True
        for row, trial in enumerate(trials):
            for number in self._close(trial) & strikes.keys():
                close[number][row] = True
        alone = {
            number: [part.part(~close[number][part.fault]) for part in parts]
            for number, parts in strikes.items()
        }
        joint = {
            number: JointStrikes.of(self.fast.models[number], parts, len(trials))
            for number, parts in strikes.items()
            if self.fast.meets(number)
        }
        return Chunk(trials, positions, hit, close, alone, joint)

    def pairs(
        self, plan: TogetherPlan, trace: Trace, activities: Sequence[StageActivity]
    ) -> Iterator[Pairs]:
        """The pairs of one batch whose statistic may differ from the golden one."""
        with ThreadPoolExecutor(self.fast.threads) as pool:
            runs = pool.map(lambda chunk: _Run(self, chunk, trace).found(), plan.chunks)
            for chunk, (found, meetings) in zip(plan.chunks, runs, strict=True):
                pairs = len(chunk.trials) * len(trace.prefix)
                left = sum(len(row) for row, _, _ in found)
                self.tally += Tally(pairs, pairs, left, left)
                if found:
                    yield self.fast._scored(
                        [(chunk.positions[row], sample, stat) for row, sample, stat in found]
                    )
                for meeting in meetings:
                    met = len(meeting.differences.strike)
                    self.tally += Tally(0, 0, met, met)
                    yield from self._met(chunk, meeting, activities)

    def _met(
        self, chunk: Chunk, meeting: Meeting, activities: Sequence[StageActivity]
    ) -> Iterator[Pairs]:
        """The samples of each trial in which differences reach a struck stage."""
        met, number = meeting.differences, meeting.stage
        starts = np.concatenate([[0], met.ends[:-1]])
        for row in np.unique(met.strike):
            pairs = np.flatnonzero(met.strike == row)
            sample = torch.from_numpy(met.sample[pairs].astype(np.int64))
            inputs = activities[number].inputs[:, sample]
            flat = inputs.flatten(2)
            sizes = met.ends[pairs] - starts[pairs]
            offsets = np.repeat(starts[pairs] - np.cumsum(sizes) + sizes, sizes)
            entries = torch.from_numpy(offsets + np.arange(sizes.sum()))
            place = torch.from_numpy(np.repeat(np.arange(len(pairs)), sizes))
            step, neuron, change = (
                torch.from_numpy(np.ascontiguousarray(values))[entries]
                for values in (met.step, met.neuron, met.change)
            )
            flat[step.long(), place, neuron.long()] += change
            seen = flat.unflatten(2, inputs.shape[2:])
            found, scores = self.late.run(activities, chunk.trials[row], number, sample, seen)
            fault = torch.full_like(found, int(chunk.positions[row]))
            yield Pairs(fault, found, scores)


@dataclass(frozen=True)
class Meeting:
    """Differences, by trial, that reach a stage which the trial strikes."""

    stage: int
    differences: Differences


class _Run:
    """One chunk of trials on one batch."""

    def __init__(self, path: Together, chunk: Chunk, trace: Trace) -> None:
        self.fast, self.last = path.fast, path.last
        self.chunk, self.trace = chunk, trace
        self.batch = len(trace.prefix)
        self.gone = np.zeros((len(chunk.trials), self.batch), bool)

    def found(self) -> tuple[list[Found], list[Meeting]]:
        """Pairs of the last stage, and those that have to start late."""
        flowing = _none(self.trace)
        meetings: list[Meeting] = []
        for number in range(EVENTS, self.last + 1):
            hit = self.chunk.hit.get(number, np.zeros(len(self.chunk.trials), bool))
            meeting, flowing = _split(flowing, hit[flowing.strike])
            own = self._own(number, meeting, meetings)
            if number == self.last:
                return self._read_out(flowing, own), meetings
            if number != EVENTS and len(flowing.strike):
                flowing = self.fast._flow(number, flowing, self.trace)
            flowing = _merged([flowing, own], self.batch)
        raise AssertionError("the last stage reads out")

    def _own(self, number: int, meeting: Differences, late: list[Meeting]) -> Differences:
        """What the faults of a stage change, and the differences ``meeting`` them.

        Those that have to start late join ``late`` instead.
        """
        if number not in self.chunk.hit:
            return _none(self.trace)
        if number not in self.chunk.joint:
            if len(meeting.strike):
                self.gone[meeting.strike, meeting.sample] = True
                late.append(Meeting(number, meeting))
            return self._struck(number, ~self.gone)
        left = ~self.gone
        pairs = self._meeting_pairs(number, meeting)
        left[pairs.strike, pairs.sample] = False
        joint = self.fast._meet(number, self.chunk.joint[number], pairs, self.trace)
        return _merged([joint, self._struck(number, left)], self.batch)

    def _meeting_pairs(self, number: int, meeting: Differences) -> Differences:
        """These, and all samples of the trials that strike a neuron twice, differences or none."""
        close = np.repeat(self.chunk.close[number][:, None], self.batch, axis=1) & ~self.gone
        close[meeting.strike, meeting.sample] = False
        strike, sample = (found.astype(np.int32) for found in close.nonzero())
        nothing = _none(self.trace)._replace(
            strike=strike, sample=sample, ends=np.zeros(len(strike), np.int64)
        )
        return _joined([nothing, meeting])

    def _struck(self, number: int, left: Array) -> Differences:
        """What strikes change that no others meet, in the pairs ``left [trials, samples]``."""
        parts = [_none(self.trace)]
        for strikes in filter(len, self.chunk.alone[number]):
            for task in self.fast._cut(number, strikes, self.trace):
                found = self.fast._strike(task, self.trace)
                owner = task.strikes.fault[found.strike].astype(np.int32)
                parts.append(found._replace(strike=owner))
        own = _merged(parts, self.batch)
        return _split(own, left[own.strike, own.sample])[0]

    def _read_out(self, flowing: Differences, own: Differences) -> list[Found]:
        found = [_replaced(own, self.trace.prefix[:, -1])] if len(own.strike) else []
        if len(flowing.strike):
            found.append(self.fast._finish(flowing, self.trace))
        return [
            (row.astype(np.int64), sample.astype(np.int64), statistic)
            for row, sample, statistic in found
        ]


def _none(trace: Trace) -> Differences:
    """No differences."""
    whole, change = np.zeros(0, np.int32), np.zeros(0, trace.prefix.dtype)
    return Differences(whole, whole, np.zeros(0, np.int64), whole, whole, change, 0)


def _split(found: Differences, chosen: Array) -> tuple[Differences, Differences]:
    """The chosen pairs, bool ``[pairs]``, and the others."""
    sizes = np.diff(found.ends, prepend=0)
    parts = []
    for pairs in (chosen, ~chosen):
        entries = np.repeat(pairs, sizes)
        parts.append(
            Differences(
                found.strike[pairs],
                found.sample[pairs],
                np.cumsum(sizes[pairs]),
                found.step[entries],
                found.neuron[entries],
                found.change[entries],
                0,
            )
        )
    return parts[0], parts[1]


def _joined(parts: Sequence[Differences]) -> Differences:
    """The pairs of each, one behind the other."""
    starts = np.cumsum([0, *(len(part.step) for part in parts)])
    shifted = [
        part._replace(ends=part.ends + start) for part, start in zip(parts, starts, strict=False)
    ]
    strike, sample, ends, step, neuron, change = (
        np.concatenate(arrays) for arrays in zip(*(part[:-1] for part in shifted), strict=True)
    )
    return Differences(strike, sample, ends, step, neuron, change, 0)


def _merged(parts: Sequence[Differences], batch: int) -> Differences:
    """All differences by strike and sample, the entries of each pair in the order of time."""
    keys = [part.strike.astype(np.int64) * batch + part.sample for part in parts]
    sizes = [np.diff(part.ends, prepend=0) for part in parts]
    key = np.concatenate([np.repeat(k, size) for k, size in zip(keys, sizes, strict=True)])
    step = np.concatenate([part.step for part in parts])
    order = np.lexsort((step, key))
    key = key[order]
    last = np.flatnonzero(np.diff(key, append=-1) != 0)
    return Differences(
        (key[last] // batch).astype(np.int32),
        (key[last] % batch).astype(np.int32),
        last + 1,
        step[order],
        np.concatenate([part.neuron for part in parts])[order],
        np.concatenate([part.change for part in parts])[order],
        0,
    )
