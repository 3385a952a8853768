"""Pairs whose spikes differ, propagated through the stages behind the fault and read out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property

import torch
from torch import Tensor

from fi.engine.generic.golden_stage import GoldenStage, InputEvents
from fi.engine.generic.partial_neurons import select_neurons, simulate_neurons
from fi.engine.generic.spike_differences import Columns, Frames, SpikeDifferences
from fi.network.readouts import MaxMembrane, Readout, SpikeCount

#: The input events count as a stage before the first one.
EVENTS = -1
#: Spikes and membrane of a step.
Step = tuple[Tensor, Tensor]


class GoldenReadout:
    """The readout of the last stage, and what it gathered in the golden run."""

    def __init__(self, readout: Readout, last: GoldenStage) -> None:
        self.readout, self.last = readout, last

    @property
    def is_elementwise(self) -> bool:
        """Whether the fold treats each neuron on its own."""
        return type(self.readout).accumulate in (SpikeCount.accumulate, MaxMembrane.accumulate)

    @cached_property
    def statistics(self) -> list[Tensor]:
        """The golden statistic before each step and after the last one, ``[batch, neurons]``."""
        last = self.last
        statistic = self.readout.initial(self._shape(last.membranes_after(0)))
        gathered = [statistic]
        for step in range(last.steps):
            spikes, membrane = last.spikes[step], last.membranes_after(step)
            statistic = self.readout.accumulate(
                statistic, self._shape(spikes), self._shape(membrane)
            )
            gathered.append(statistic)
        return [statistic.flatten(1) for statistic in gathered]

    def gather(self, start: int, sample: Tensor, steps: Iterable[Step]) -> Tensor:
        """The statistic ``[pairs, neurons]`` of pairs that are golden before ``start``."""
        statistic = self._shape(self.statistics[start][sample])
        for spikes, membrane in steps:
            statistic = self.readout.accumulate(
                statistic, self._shape(spikes), self._shape(membrane)
            )
        return statistic.flatten(1)

    def fold(self, statistic: Tensor, steps: Iterable[Step]) -> Tensor:
        """``statistic`` of some neurons, of any shape, after ``steps``; only where elementwise."""
        for spikes, membrane in steps:
            statistic = self.readout.accumulate(statistic, spikes, membrane)
        return statistic

    def scores(self, statistic: Tensor) -> Tensor:
        """Scores ``[pairs, classes]`` of a statistic ``[pairs, neurons]``."""
        return self.readout.scores(self._shape(statistic))

    def _shape(self, values: Tensor) -> Tensor:
        """``[batch, neurons]`` in the shape of the last stage, ``[batch, ...]``."""
        return torch.unflatten(values, 1, self.last.shape)


def find_differing(faulty: Tensor, golden: Tensor) -> Tensor:
    """Which of ``[time, ..., neurons]`` differ anywhere, bool ``[...]``; NaN differs from all."""
    return (faulty != golden).any(-1).any(0)


class Propagation:
    """The stages of a network, and how spikes that differ pass them.

    Args:
        goldens: all stages, for one block of samples.
        readout: of the network.
    """

    def __init__(self, goldens: Sequence[GoldenStage], readout: Readout) -> None:
        self.goldens = goldens
        self.readout = GoldenReadout(readout, goldens[-1])

    def footprint(self, number: int) -> int:
        """Elements that a pair needs per step from the spikes of stage ``number`` on."""
        widths = [golden.footprint for golden in self.goldens[number + 1 :]]
        own = self.goldens[number].neurons if number != EVENTS else self.events.shape.numel()
        return max([6 * own, *widths])

    @cached_property
    def events(self) -> InputEvents:
        """What the first stage sees."""
        inputs = self.goldens[0].inputs
        return InputEvents(inputs.flatten(2), inputs.shape[2:])

    def propagate(self, number: int, start: int, spikes: SpikeDifferences) -> tuple[Tensor, Tensor]:
        """The pairs that still differ at the readout, and their scores ``[pairs, classes]``.

        Args:
            number: of the stage that fired; not the last one; ``EVENTS`` for the input.
            start: before this step all is golden.
            spikes: that differ.
        """
        pairs = torch.arange(len(spikes.sample), device=spikes.sample.device)
        inputs: list[GoldenStage | InputEvents] = [self.events]
        befores = [*inputs, *self.goldens][number + 1 :]
        for before, golden in zip(befores, self.goldens[number + 1 :], strict=False):
            frames = Frames.conduct(before, golden, start, spikes)
            is_chain = golden.stage.recurrent is None
            if golden.is_last:
                by_neuron = is_chain and self.readout.is_elementwise
                read = self._read_columns if by_neuron else self._read_pairs
                left, scores = read(start, spikes.sample, frames)
                return pairs[left], scores
            fire = self._fire_columns if is_chain else self._fire_pairs
            left, spikes = fire(golden, start, spikes.sample, frames).drop_equal_pairs()
            pairs = pairs[left]
            if not len(pairs):
                break
        return pairs, self.readout.scores(self.readout.statistics[-1][spikes.sample])

    def _fire_columns(
        self, golden: GoldenStage, start: int, sample: Tensor, frames: Frames
    ) -> SpikeDifferences:
        """The spikes that differ: only neurons whose current does can fire differently."""
        columns = Columns.select(golden, start, sample, frames)
        spikes = torch.stack([spikes for spikes, _ in run_columns(golden, start, columns)])
        before = golden.spikes[start:, columns.sample, columns.neuron]
        step, column = (spikes != before).nonzero().unbind(1)
        pair, neuron = columns.pair[column], columns.neuron[column]
        return SpikeDifferences(sample, step, pair, neuron, spikes[step, column])

    def _fire_pairs(
        self, golden: GoldenStage, start: int, sample: Tensor, frames: Frames
    ) -> SpikeDifferences:
        """The same for a recurrent stage, whose neurons depend on each other."""
        currents = frames.fill_in(golden, start, sample)
        spikes = torch.stack([spikes for spikes, _ in run_pairs(golden, start, sample, currents)])
        return SpikeDifferences.compare(sample, spikes, golden.spikes[start:, sample])

    def _read_columns(self, start: int, sample: Tensor, frames: Frames) -> tuple[Tensor, Tensor]:
        """The pairs whose statistic differs, and their scores."""
        last, readout = self.goldens[-1], self.readout
        columns = Columns.select(last, start, sample, frames)
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
        currents = frames.fill_in(last, start, sample)
        statistic = self.readout.gather(start, sample, run_pairs(last, start, sample, currents))
        return torch.arange(len(sample), device=sample.device), self.readout.scores(statistic)


def run_columns(golden: GoldenStage, start: int, columns: Columns) -> Iterator[Step]:
    """Single neurons of a fault-free stage, ``[columns]`` a step."""
    dtype = columns.currents.dtype
    neuron = select_neurons(golden.stage.neuron, golden.shape, columns.neuron, dtype)
    for name, state in golden.states_before(start).items():
        setattr(neuron, name, state[columns.sample, columns.neuron])
    return simulate_neurons(neuron, columns.currents, start)


def run_pairs(golden: GoldenStage, start: int, sample: Tensor, currents: Tensor) -> Iterator[Step]:
    """A fault-free stage on ``currents`` ``[time, pairs, neurons]``, all neurons of each pair."""
    everything = torch.arange(golden.neurons, device=golden.device)
    neuron = select_neurons(golden.stage.neuron, golden.shape, everything, currents.dtype)
    for name, state in golden.states_before(start).items():
        setattr(neuron, name, state[sample])
    recurrent = golden.stage.recurrent
    if recurrent is None:
        return simulate_neurons(neuron, currents, start)
    return simulate_neurons(
        neuron,
        currents,
        start,
        feedback=lambda _, spikes: golden.feed_back(recurrent, spikes),
        previous=golden.previous_spikes[start, sample],
    )
