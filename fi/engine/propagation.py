"""Pairs whose spikes differ, carried through the stages after the fault and read out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property

import torch
from torch import Tensor

from fi.engine.golden import Golden
from fi.engine.slices import simulate, twin
from fi.readout import MaxMembrane, Readout, SpikeCount

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

    def gather_cone(self, start: int, cone: Tensor, steps: Iterable[Step]) -> Tensor:
        """The statistic ``[batch, faults, cone]`` of some neurons; only where elementwise."""
        statistic = self.statistics[start][:, cone]
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
        return max([6 * self.goldens[number].neurons, *widths])

    def scores(
        self, number: int, start: int, sample: Tensor, spikes: Tensor
    ) -> tuple[Tensor, Tensor]:
        """The pairs that still differ at the readout, and their scores ``[pairs, classes]``.

        Args:
            number: of the stage that fired.
            start: before this step all is golden.
            sample: of each pair, int64 ``[pairs]``.
            spikes: ``[time, pairs, neurons]`` from ``start`` on; not the last stage's.
        """
        pairs = torch.arange(len(sample), device=sample.device)
        for before, golden in zip(self.goldens[number:], self.goldens[number + 1 :], strict=False):
            inputs = spikes.unflatten(2, before.shape)
            steps = run(golden, start, sample, inputs)
            if golden.is_last:
                return pairs, self.readout.scores(self.readout.gather(start, sample, steps))
            spikes = torch.stack([spikes for spikes, _ in steps])
            rows = differing(spikes, golden.spikes[start:, sample]).nonzero().squeeze(1)
            pairs, sample, spikes = pairs[rows], sample[rows], spikes[:, rows]
            if not len(pairs):
                break
        return pairs, self.readout.scores(self.readout.statistics[-1][sample])


def run(golden: Golden, start: int, sample: Tensor, inputs: Tensor) -> Iterator[Step]:
    """A fault-free stage on faulty ``inputs`` ``[time, pairs, ...]``, from step ``start`` on."""
    stage = golden.stage
    neuron = twin(stage.neuron, {})
    for name, state in golden.states(start).items():
        setattr(neuron, name, state[sample].unflatten(1, golden.shape))
    recurrent, feedback, previous = stage.recurrent, None, None
    if recurrent is not None:
        previous = golden.fed_back[start, sample].unflatten(1, golden.shape)

        def feedback(step: int, spikes: Tensor) -> Tensor:
            current: Tensor = recurrent(spikes)
            return current

    currents = stage.currents(inputs)
    for spikes, membrane in simulate(neuron, currents, start, None, feedback, previous):
        yield spikes.flatten(1), membrane.flatten(1)
