"""Pairs whose spikes differ, propagated through the stages behind the fault and read out."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from itertools import chain
from typing import Protocol

import torch
from torch import Tensor

from fi.engine.generic.golden_stage import GoldenStage, InputEvents
from fi.engine.generic.partial_neurons import select_neurons, simulate_neurons
from fi.engine.generic.spike_differences import Columns, Frames, Incoming, SpikeDifferences
from fi.network.neurons import reset_neurons
from fi.network.readouts import Readout
from fi.network.stages import EVENTS, StageActivity

#: Spikes and membrane of a step.
Step = tuple[Tensor, Tensor]
#: Held while a stage's own neuron, which keeps its states, is called.
_OWN_NEURONS = threading.Lock()


class GoldenReadout:
    """The readout of the last stage, and what it gathered in the golden run."""

    def __init__(self, readout: Readout, last: GoldenStage) -> None:
        self.readout, self.last = readout, last

    @property
    def is_elementwise(self) -> bool:
        """Whether the fold treats each neuron on its own."""
        return self.readout.is_by_neuron

    @cached_property
    def statistics(self) -> list[Tensor]:
        """The golden statistic before each step and after the last one, ``[batch, neurons]``.

        Only where it is elementwise.
        """
        statistic = self.readout.initial(self._shape(self.last.membranes_after(0)))
        gathered = [statistic]
        for spikes, membrane in self._golden_steps(self.last.steps):
            statistic = self.readout.accumulate(statistic, spikes, membrane)
            gathered.append(statistic)
        return [statistic.flatten(1) for statistic in gathered]

    def gather(self, start: int, sample: Tensor, steps: Iterable[Step]) -> Tensor:
        """The statistic ``[pairs, ...]`` of pairs that are golden before ``start``."""
        faulty = ((self._shape(spikes), self._shape(membrane)) for spikes, membrane in steps)
        if not self.is_elementwise:
            return self.readout.gather(chain(self._golden_steps(start, sample), faulty))
        statistic = self._shape(self.statistics[start][sample])
        for spikes, membrane in faulty:
            statistic = self.readout.accumulate(statistic, spikes, membrane)
        return statistic

    def fold(self, statistic: Tensor, steps: Iterable[Step]) -> Tensor:
        """``statistic`` of some neurons, of any shape, after ``steps``; only where elementwise."""
        for spikes, membrane in steps:
            statistic = self.readout.accumulate(statistic, spikes, membrane)
        return statistic

    def scores(self, statistic: Tensor) -> Tensor:
        """Scores ``[pairs, classes]`` of a statistic ``[pairs, ...]``."""
        return self.readout.scores(statistic)

    @cached_property
    def golden_scores(self) -> Tensor:
        """``[batch, classes]``."""
        return self.scores(self.readout.gather(self._golden_steps(self.last.steps)))

    def replace(self, sample: Tensor, row: Tensor, neuron: Tensor, values: Tensor) -> Tensor:
        """The golden statistics of ``sample`` ``[pairs]`` with other values of some neurons."""
        statistic = self.statistics[-1][sample]
        statistic[row, neuron] = values
        return self._shape(statistic)

    def _golden_steps(self, stop: int, sample: Tensor | slice = slice(None)) -> Iterator[Step]:
        """What the last stage did before step ``stop``, in its own shape."""
        for step in range(stop):
            spikes, membrane = self.last.spikes[step], self.last.membranes_after(step)
            yield self._shape(spikes[sample]), self._shape(membrane[sample])

    def _shape(self, values: Tensor) -> Tensor:
        """``[batch, neurons]`` in the shape of the last stage, ``[batch, ...]``."""
        return torch.unflatten(values, 1, self.last.shape)


def find_differing(faulty: Tensor, golden: Tensor) -> Tensor:
    """Which of ``[time, ..., neurons]`` differ anywhere, bool ``[...]``; NaN differs from all."""
    return (faulty != golden).any(-1).any(0)


class Tail(Protocol):
    """What carries differences to the readout in place of torch: the compiled kernels."""

    def takes(self, number: int) -> bool:
        """Whether it can take over behind a stage, or the events."""

    def finish(
        self, propagation: Propagation, number: int, start: int, spikes: SpikeDifferences
    ) -> tuple[Tensor, Tensor]:
        """As ``Propagation.propagate``."""


class Propagation:
    """The stages of a network, and how spikes that differ pass them.

    Args:
        goldens: all stages, for one block of samples.
        readout: of the network.
        tail: what takes the stages behind a fault; ``None`` where torch does.
    """

    def __init__(
        self, goldens: Sequence[GoldenStage], readout: Readout, tail: Tail | None = None
    ) -> None:
        self.goldens, self.tail = goldens, tail
        self.last = len(goldens) - 1
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

    def golden(self, number: int) -> GoldenStage | InputEvents:
        """A stage, or the events."""
        return self.events if number == EVENTS else self.goldens[number]

    @torch.no_grad()
    def propagate(self, number: int, start: int, spikes: SpikeDifferences) -> tuple[Tensor, Tensor]:
        """The pairs that still differ at the readout, and their scores ``[pairs, classes]``.

        Args:
            number: of the stage that fired; not the last one; ``EVENTS`` for the input.
            start: before this step all is golden.
            spikes: that differ.
        """
        if self.tail is not None and self.tail.takes(number):
            return self.tail.finish(self, number, start, spikes)
        differing = {number: spikes.drop_equal_pairs()}
        for behind in range(number + 1, self.last):
            incoming = self.join(behind, differing)
            if incoming is not None:
                differing[behind] = self.fire(behind, start, incoming)
        incoming = self.join(self.last, differing)
        if incoming is None:
            return spikes.origin[:0], self.readout.golden_scores[:0]
        pairs, statistic = self.read_out(start, incoming)
        return pairs, self.readout.scores(statistic)

    def join(self, number: int, differing: Mapping[int, SpikeDifferences]) -> Incoming | None:
        """What differs in the sources of a stage; ``None`` where nothing does."""
        sources = dict.fromkeys(self.goldens[number].sources)
        found = {n: differing[n] for n in sources if n in differing and len(differing[n].sample)}
        return Incoming.join(found) if found else None

    def fire(self, number: int, start: int, incoming: Incoming) -> SpikeDifferences:
        """The spikes of a stage that differ under what comes in; pairs without any are left out."""
        golden = self.goldens[number]
        frames = self._conduct(golden, start, incoming)
        if not golden.steps_apart:
            spikes = self._fire_whole(golden, start, incoming, frames)
        elif golden.stage.recurrent is not None:
            spikes = self._fire_pairs(golden, start, incoming, frames)
        else:
            spikes = self._fire_columns(golden, start, incoming, frames)
        return spikes.drop_equal_pairs()

    def read_out(self, start: int, incoming: Incoming) -> tuple[Tensor, Tensor]:
        """The pairs whose scores may differ, and their statistic ``[pairs, ...]``."""
        golden = self.goldens[-1]
        frames = self._conduct(golden, start, incoming)
        sample = incoming.sample
        if golden.steps_apart and golden.stage.recurrent is None and self.readout.is_elementwise:
            left, statistic = self._read_columns(start, sample, frames)
            return incoming.origin[left], statistic
        currents = frames.fill_in(golden, start, sample)
        if golden.steps_apart:
            steps = run_pairs(golden, start, sample, currents)
            return incoming.origin, self.readout.gather(start, sample, steps)
        currents = torch.cat([golden.currents[:start, sample], currents])
        activity = run_whole(golden, sample, currents)
        steps = (
            (spikes.flatten(1), state["mem"].flatten(1))
            for spikes, state in zip(activity.spikes, activity.states, strict=True)
        )
        return incoming.origin, self.readout.gather(0, sample, steps)

    def _conduct(self, golden: GoldenStage, start: int, incoming: Incoming) -> Frames:
        befores = {source: self.golden(source) for source in golden.sources}
        return Frames.conduct(befores, golden, start, incoming)

    def _fire_columns(
        self, golden: GoldenStage, start: int, incoming: Incoming, frames: Frames
    ) -> SpikeDifferences:
        """The spikes that differ: only neurons whose current does can fire differently."""
        columns = Columns.select(golden, start, incoming.sample, frames)
        spikes = torch.stack([spikes for spikes, _ in run_columns(golden, start, columns)])
        before = golden.spikes[start:, columns.sample, columns.neuron]
        step, column = (spikes != before).nonzero().unbind(1)
        pair, neuron = columns.pair[column], columns.neuron[column]
        value = spikes[step, column]
        return SpikeDifferences(incoming.origin, incoming.sample, step, pair, neuron, value)

    def _fire_pairs(
        self, golden: GoldenStage, start: int, incoming: Incoming, frames: Frames
    ) -> SpikeDifferences:
        """The same for a recurrent stage, whose neurons depend on each other."""
        sample = incoming.sample
        currents = frames.fill_in(golden, start, sample)
        spikes = torch.stack([spikes for spikes, _ in run_pairs(golden, start, sample, currents)])
        before = golden.spikes[start:, sample]
        return SpikeDifferences.compare(sample, spikes, before, origin=incoming.origin)

    def _fire_whole(
        self, golden: GoldenStage, start: int, incoming: Incoming, frames: Frames
    ) -> SpikeDifferences:
        """The same by calling the stage's own neuron, from the first step on."""
        sample = incoming.sample
        currents = frames.fill_in(golden, start, sample)
        activity = run_whole(golden, sample, torch.cat([golden.currents[:start, sample], currents]))
        spikes, before = activity.spikes[start:].flatten(2), golden.spikes[start:, sample]
        return SpikeDifferences.compare(sample, spikes, before, origin=incoming.origin)

    def _read_columns(self, start: int, sample: Tensor, frames: Frames) -> tuple[Tensor, Tensor]:
        """The pairs whose statistic differs, and that statistic."""
        last, readout = self.goldens[-1], self.readout
        columns = Columns.select(last, start, sample, frames)
        where = columns.sample, columns.neuron
        steps = run_columns(last, start, columns)
        statistic = readout.fold(readout.statistics[start][where], steps)
        differs = statistic != readout.statistics[-1][where]
        left = torch.zeros(len(sample), dtype=torch.bool, device=sample.device)
        left[columns.pair[differs]] = True
        row = (left.cumsum(0) - 1)[columns.pair[differs]]
        pairs = left.nonzero().squeeze(1)
        neuron, values = columns.neuron[differs], statistic[differs]
        return pairs, readout.replace(sample[pairs], row, neuron, values)


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


def run_whole(golden: GoldenStage, sample: Tensor, currents: Tensor) -> StageActivity:
    """A stage's own neuron on ``currents`` ``[time, pairs, neurons]`` from the first step on."""
    stage = golden.stage
    with _OWN_NEURONS:
        reset_neurons(stage.neuron)
        shaped = torch.unflatten(currents, 2, golden.current_shape)
        activity = stage.integrate(golden.inputs[:, sample[:0]], shaped)
        reset_neurons(stage.neuron)
    return activity
