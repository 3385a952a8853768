"""Trials of several faults on the compiled kernels.

Faults of one stage that strike different neurons do not meet there: each is run on its own, and
what differs is put together. It flows on as one fault's differences do. Where it reaches a stage
that the trial strikes too, the two meet: those samples start late, in torch.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch

from fi.engine.base import Pairs
from fi.engine.fast import (
    EVENTS,
    Differences,
    FastPath,
    Need,
    Strikes,
    Trace,
    _replaced,
)
from fi.engine.late_start import LateStart
from fi.engine.routing import on_kernels
from fi.engine.stage_model import Array
from fi.engine.strikes import PARAMETERS
from fi.engine.tally import Tally
from fi.faults import Fault, Trial
from fi.network import StageActivity
from fi.sites import INPUT

#: Trials that are run at a time at most, by one thread.
CHUNK = 256
#: Trial, sample and statistic of pairs.
Found = tuple[Array, Array, Array]


@dataclass(frozen=True)
class Chunk:
    """Some trials: their strikes by stage, with ``fault`` the row of the trial in the chunk."""

    trials: Sequence[Trial]
    positions: Array
    strikes: dict[int, list[Strikes]]


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

    def takes(self, trials: Sequence[Trial]) -> Array:
        """Which trials it can run, bool ``[trials]``: all faults known, no two in one neuron."""
        if self.fast.maximum or any(model.feedback is not None for model in self.fast.models):
            return np.zeros(len(trials), bool)
        known = on_kernels(self.fast, [fault for trial in trials for fault in trial])
        starts = np.cumsum([0, *map(len, trials)])[:-1]
        all_known: Array = np.logical_and.reduceat(known, starts) if len(trials) else known
        for row in np.flatnonzero(all_known).tolist():
            all_known[row] = self._are_apart(trials[row])
        return all_known

    def _are_apart(self, trial: Trial) -> bool:
        met: set[tuple[int, int]] = set()
        for fault in trial:
            reach = self._reach(fault)
            if not met.isdisjoint(reach):
                return False
            met |= reach
        return True

    def _reach(self, fault: Fault) -> set[tuple[int, int]]:
        """Stage and number of the neurons, or input lines, that a fault strikes."""
        if fault.layer == INPUT:
            return {(EVENTS, int(np.ravel_multi_index(fault.index, self.fast.frame)))}
        module, attribute = self.fast._module(fault.layer)
        for number, model in enumerate(self.fast.models):
            if module is model.stage.neuron:
                if attribute in PARAMETERS:
                    shape = tuple(getattr(module, attribute).shape)
                    words = np.arange(int(np.prod(shape))).reshape(shape)
                    seen = np.broadcast_to(words, model.shape).ravel()
                    neurons = np.flatnonzero(seen == words[fault.index]).tolist()
                else:
                    neurons = [int(np.ravel_multi_index(fault.index, model.shape))]
                return {(number, neuron) for neuron in neurons}
            if module is model.synapse.weights:
                cells = model.synapse.cells
                return {(number, fault.index[0] * cells + cell) for cell in range(cells)}
        raise ValueError(f"{fault} is in no stage")

    def plan(self, trials: Sequence[Trial], positions: Array) -> TogetherPlan:
        """Resolve trials; ``positions`` are their places in the group."""
        chunks, needs = [], set[Need]()
        for start in range(0, len(trials), CHUNK):
            part = trials[start : start + CHUNK]
            owner = np.repeat(np.arange(len(part)), [len(trial) for trial in part])
            faults = [fault for trial in part for fault in trial]
            strikes: dict[int, list[Strikes]] = {}
            plan = self.fast.plan(faults, owner)
            needs |= plan.needs
            for number, found in plan.tasks:
                strikes.setdefault(number, []).append(found)
            chunks.append(Chunk(part, positions[start : start + CHUNK], strikes))
        return TogetherPlan(chunks, frozenset(needs))

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
            struck = self.chunk.strikes.get(number, [])
            hit = np.zeros(len(self.chunk.trials), bool)
            for strikes in struck:
                hit[strikes.fault] = True
            meeting, flowing = _split(flowing, hit[flowing.strike])
            if len(meeting.strike):
                self.gone[meeting.strike, meeting.sample] = True
                meetings.append(Meeting(number, meeting))
            own = self._struck(number, struck)
            if number == self.last:
                return self._read_out(flowing, own), meetings
            if number != EVENTS and len(flowing.strike):
                flowing = self.fast._flow(number, flowing, self.trace)
            flowing = _merged([flowing, own], self.batch)
        raise AssertionError("the last stage reads out")

    def _struck(self, number: int, struck: Sequence[Strikes]) -> Differences:
        """What the strikes of a stage change, by trial, where nothing has met them."""
        parts = [_none(self.trace)]
        for strikes in struck:
            for task in self.fast._cut(number, strikes, self.trace):
                found = self.fast._strike(task, self.trace)
                owner = task.strikes.fault[found.strike].astype(np.int32)
                parts.append(found._replace(strike=owner))
        own = _merged(parts, self.batch)
        return _split(own, self.gone[own.strike, own.sample])[1]

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
