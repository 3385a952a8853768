"""Pairs whose spikes differ, carried through the stages after the fault and read out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property

import torch
from torch import Tensor

from fi.engine.generic.golden_stage import Events, Golden
from fi.engine.generic.partial_neurons import cut, simulate
from fi.engine.generic.spike_differences import Columns, Differences, Frames
from fi.network.readouts import MaxMembrane, Readout, SpikeCount

#: Spikes and membrane of a step.
Step = tuple[Tensor, Tensor]


class GoldenReadout:
    """The readout of the last stage, and what it gathered in the golden run."""

    def __init__(self, readout: Readout, last: Golden) -> None:
        self.readout, self.last = readout, last

    @property
    def is_elementwise(self) -> bool:
        """Whether the fold treats each neuron on its own."""
        return type(self.readout).accumulate in (SpikeCount.accumulate, MaxMembrane.accumulate)

    @cached_property
    def statistics(self) -> list[Tensor]:
        """The golden statistic before each step and after the last one, ``[batch, neurons]``."""
        last = self.last
        statistic = self.readout.initial(last.membranes(0).unflatten(1, last.shape))
        gathered = [statistic]
        for step in range(last.steps):
            spikes = last.spikes[step].unflatten(1, last.shape)
            membrane = last.membranes(step).unflatten(1, last.shape)
            statistic = self.readout.accumulate(statistic, spikes, membrane)
            gathered.append(statistic)
        return [statistic.flatten(1) for statistic in gathered]

    def gather(self, start: int, sample: Tensor, steps: Iterable[Step]) -> Tensor:
        """The statistic ``[pairs, neurons]`` of pairs that are golden before ``start``."""
        shape = self.last.shape
        statistic = self.statistics[start][sample].unflatten(1, shape)
        for spikes, membrane in steps:
            spikes, membrane = spikes.unflatten(1, shape), membrane.unflatten(1, shape)
            statistic = self.readout.accumulate(statistic, spikes, membrane)
        return statistic.flatten(1)

    def fold(self, statistic: Tensor, steps: Iterable[Step]) -> Tensor:
        """``statistic`` of some neurons, of any shape, after ``steps``; only where elementwise."""
        for spikes, membrane in steps:
            statistic = self.readout.accumulate(statistic, spikes, membrane)
        return statistic

    def scores(self, statistic: Tensor) -> Tensor:
        """Scores ``[pairs, classes]`` of a statistic ``[pairs, neurons]``."""
        return self.readout.scores(statistic.unflatten(1, self.last.shape))


def differing(faulty: Tensor, golden: Tensor) -> Tensor:
    """Which of ``[time, ..., neurons]`` differ anywhere, ``[...]``; NaN differs from all."""
    return (faulty != golden).any(-1).any(0)


class Onward:
    """The stages of a network, and how spikes that differ pass them.

    Args:
        goldens: of all stages, for one block of samples.
        readout: of the network.
    """

    def __init__(self, goldens: Sequence[Golden], readout: Readout) -> None:
        self.goldens = goldens
        self.readout = GoldenReadout(readout, goldens[-1])

    def footprint(self, number: int) -> int:
        """Elements that a pair needs per step from the spikes of stage ``number`` on."""
        widths = [golden.footprint for golden in self.goldens[number + 1 :]]
        own = self.goldens[number].neurons if number >= 0 else self.events.shape.numel()
        return max([6 * own, *widths])

    @cached_property
    def events(self) -> Events:
        """What the first stage sees."""
        inputs = self.goldens[0].inputs
        return Events(inputs.flatten(2), inputs.shape[2:])

    def scores(self, number: int, start: int, spikes: Differences) -> tuple[Tensor, Tensor]:
        """The pairs that still differ at the readout, and their scores ``[pairs, classes]``.

        Args:
            number: of the stage that fired; not the last one; -1 for the events.
            start: before this step all is golden.
            spikes: that differ.
        """
        pairs = torch.arange(len(spikes.sample), device=spikes.sample.device)
        chain: list[Golden | Events] = [self.events]
        befores = [*chain, *self.goldens][number + 1 :]
        for before, golden in zip(befores, self.goldens[number + 1 :], strict=False):
            frames = Frames.of(before, golden, start, spikes)
            by_neuron = golden.stage.recurrent is None
            if golden.is_last:
                alone = by_neuron and self.readout.is_elementwise
                read = self._read_columns if alone else self._read_pairs
                left, scores = read(start, spikes.sample, frames)
                return pairs[left], scores
            fire = self._fire_columns if by_neuron else self._fire_pairs
            left, spikes = fire(golden, start, spikes.sample, frames).compressed()
            pairs = pairs[left]
            if not len(pairs):
                break
        return pairs, self.readout.scores(self.readout.statistics[-1][spikes.sample])

    def _fire_columns(
        self, golden: Golden, start: int, sample: Tensor, frames: Frames
    ) -> Differences:
        """The spikes that differ: only neurons whose current does can fire differently."""
        columns = Columns.of(golden, start, sample, frames)
        spikes = torch.stack([spikes for spikes, _ in run_columns(golden, start, columns)])
        before = golden.spikes[start:, columns.sample, columns.neuron]
        step, column = (spikes != before).nonzero().unbind(1)
        pair, neuron = columns.pair[column], columns.neuron[column]
        return Differences(sample, step, pair, neuron, spikes[step, column])

    def _fire_pairs(
        self, golden: Golden, start: int, sample: Tensor, frames: Frames
    ) -> Differences:
        """The same for a recurrent stage, whose neurons depend on each other."""
        currents = frames.dense(golden, start, sample)
        spikes = torch.stack([spikes for spikes, _ in run_pairs(golden, start, sample, currents)])
        return Differences.between(sample, spikes, golden.spikes[start:, sample])

    def _read_columns(self, start: int, sample: Tensor, frames: Frames) -> tuple[Tensor, Tensor]:
        """The pairs whose statistic differs, and their scores."""
        last, readout = self.goldens[-1], self.readout
        columns = Columns.of(last, start, sample, frames)
        where = columns.sample, columns.neuron
        steps = run_columns(last, start, columns)
        statistic = readout.fold(readout.statistics[start][where], steps)
        differs = statistic != readout.statistics[-1][where]
        full = readout.statistics[-1][sample]
        full[columns.pair[differs], columns.neuron[differs]] = statistic[differs]
        left = torch.zeros(len(sample), dtype=torch.bool, device=sample.device)
        left[columns.pair[differs]] = True
        pairs = left.nonzero().squeeze(1)
        return pairs, readout.scores(full[pairs])

    def _read_pairs(self, start: int, sample: Tensor, frames: Frames) -> tuple[Tensor, Tensor]:
        """All pairs and their scores."""
        last = self.goldens[-1]
        currents = frames.dense(last, start, sample)
        statistic = self.readout.gather(start, sample, run_pairs(last, start, sample, currents))
        return torch.arange(len(sample), device=sample.device), self.readout.scores(statistic)


def run_columns(golden: Golden, start: int, columns: Columns) -> Iterator[Step]:
    """Single neurons of a fault-free stage, ``[columns]`` a step."""
    dtype = columns.currents.dtype
    neuron = cut(golden.stage.neuron, golden.shape, columns.neuron, dtype, None)
    for name, state in golden.states(start).items():
        setattr(neuron, name, state[columns.sample, columns.neuron])
    return simulate(neuron, columns.currents, start)


def run_pairs(golden: Golden, start: int, sample: Tensor, currents: Tensor) -> Iterator[Step]:
    """A fault-free stage on ``currents`` ``[time, pairs, neurons]``, all neurons of each pair."""
    everything = torch.arange(golden.neurons, device=golden.device)
    neuron = cut(golden.stage.neuron, golden.shape, everything, currents.dtype, None)
    for name, state in golden.states(start).items():
        setattr(neuron, name, state[sample])
    recurrent = golden.stage.recurrent
    if recurrent is None:
        return simulate(neuron, currents, start)
    previous = golden.fed_back[start, sample]
    return simulate(
        neuron, currents, start, None, lambda _, spikes: golden.recur(recurrent, spikes), previous
    )
