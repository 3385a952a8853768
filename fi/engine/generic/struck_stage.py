"""The stage that faults strike: their cones through time, and the pairs that diverge."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from fi.engine.generic.golden_stage import Golden
from fi.engine.generic.partial_neurons import cut, simulate
from fi.engine.generic.propagation import Onward, Step, differing
from fi.engine.generic.spike_differences import Differences
from fi.engine.generic.stage_changes import Change

#: Row of the fault in its chunk ``[pairs]``, sample ``[pairs]``, scores ``[pairs, classes]``.
Scored = tuple[Tensor, Tensor, Tensor]


class Cone:
    """One chunk of faults of one family, and all samples of the block.

    Args:
        change: what the faults do.
        number: of their stage.
        onward: the stages that follow.

    Attributes:
        diverged: the number of pairs whose spikes differ in this stage, once they are ``scored``.
    """

    diverged = 0

    def __init__(self, change: Change, number: int, onward: Onward) -> None:
        self.change, self.number, self.onward = change, number, onward
        self.golden: Golden = change.golden
        self.start = change.start
        self.neurons = change.cone()
        self.currents = change.currents()

    def scored(self, portion: int) -> Iterator[Scored]:
        """The pairs whose scores may differ, at most ``portion`` at a time."""
        if self._reads_out_alone():
            yield self._read_out()
            return
        differing = self._run().nonzero()
        self.diverged = len(differing)
        for pairs in differing.split(portion):
            if len(pairs):
                yield self._carry_on(pairs[:, 1], pairs[:, 0])

    def _reads_out_alone(self) -> bool:
        is_chain = self.golden.stage.recurrent is None
        return self.golden.is_last and is_chain and self.onward.readout.is_elementwise

    def _steps(self) -> Iterator[Step]:
        """The cones, their recurrence fed with golden spikes; ``[batch, faults, cone]`` each."""
        currents = self.currents
        if self.golden.stage.recurrent is not None:
            currents = currents + self.change.open_feedback()
        strike = self.change.strike
        neuron = cut(
            self.golden.stage.neuron,
            self.golden.shape,
            self.neurons,
            currents.dtype,
            strike.attribute if strike else None,
        )
        for name, state in self.golden.states(self.start).items():
            setattr(neuron, name, state[:, self.neurons])
        return simulate(neuron, currents, self.start, strike)

    def _read_out(self) -> Scored:
        """Last stage: the pairs whose statistic differs."""
        readout = self.onward.readout
        start = readout.statistics[self.start][:, self.neurons]
        statistic = readout.fold(start, self._steps())
        golden = readout.statistics[-1]
        differs = (statistic != golden[:, self.neurons]).any(-1)
        sample, fault = differs.nonzero().T
        self.diverged = len(fault)
        full = golden[sample].scatter(1, self.neurons[fault], statistic[sample, fault])
        return fault, sample, readout.scores(full)

    def _run(self) -> Tensor:
        """Run the cones, and say which pairs differ, bool ``[batch, faults]``."""
        if self.change.diverges:
            shape = (self.golden.batch, len(self.neurons))
            return torch.ones(shape, dtype=torch.bool, device=self.golden.device)
        spikes, membranes = [], []
        for fired, membrane in self._steps():
            spikes.append(fired)
            membranes.append(membrane)
        self.spikes = torch.stack(spikes)
        differs = differing(self.spikes, self.golden.spikes[self.start :, :, self.neurons])
        if self.golden.is_last:
            self.membranes = torch.stack(membranes)
            golden = [self.golden.membranes(t) for t in range(self.start, self.golden.steps)]
            differs |= differing(self.membranes, torch.stack(golden)[:, :, self.neurons])
        return differs

    def _carry_on(self, fault: Tensor, sample: Tensor) -> Scored:
        """The pairs ``fault`` and ``sample`` ``[pairs]`` to the readout."""
        readout = self.onward.readout
        if self.golden.is_last:
            statistic = readout.gather(self.start, sample, self._whole_stage(fault, sample))
            return fault, sample, readout.scores(statistic)
        spikes = self._differences(fault, sample)
        pairs, scores = self.onward.scores(self.number, self.start, spikes)
        return fault[pairs], sample[pairs], scores

    def _differences(self, fault: Tensor, sample: Tensor) -> Differences:
        """The spikes of the pairs that differ."""
        golden = self.golden.spikes[self.start :, sample]
        if self.golden.stage.recurrent is None:
            neurons, spikes = self.neurons[fault], self.spikes[:, sample, fault]
            golden = golden.gather(2, neurons.expand(spikes.shape))
            return Differences.between(sample, spikes, golden, neurons)
        spikes = torch.stack([spikes for spikes, _ in self._closed_loop(fault, sample)])
        return Differences.between(sample, spikes, golden)

    def _whole_stage(self, fault: Tensor, sample: Tensor) -> Iterator[Step]:
        """All neurons of the last stage, ``[pairs, neurons]`` a step."""
        if self.golden.stage.recurrent is not None:
            yield from self._closed_loop(fault, sample)
            return
        neurons, chosen = self.neurons[fault], (sample, fault)
        for step in range(self.start, self.golden.steps):
            spikes = self.golden.spikes[step, sample]
            membrane = self.golden.membranes(step)[sample]
            fired, changed = self.spikes[step - self.start], self.membranes[step - self.start]
            yield (
                spikes.scatter(1, neurons, fired[chosen]),
                membrane.scatter(1, neurons, changed[chosen]),
            )

    def _closed_loop(self, fault: Tensor, sample: Tensor) -> Iterator[Step]:
        """The same where the difference runs through the stage's own recurrence."""
        golden, change, neurons = self.golden, self.change, self.neurons[fault]
        struck = self.currents[:, sample, fault]
        currents = golden.currents[self.start :, sample]
        currents = currents.scatter(2, neurons.expand(struck.shape), struck)
        everything = torch.arange(golden.neurons, device=golden.device)
        strike, attribute = change.strike, None
        if strike is not None:
            attribute = strike.attribute
            hit = torch.zeros_like(currents[0], dtype=torch.bool).scatter(1, neurons, True)
            strike = strike.of_pairs(fault, hit)
        neuron = cut(golden.stage.neuron, golden.shape, everything, currents.dtype, attribute)
        for name, state in golden.states(self.start).items():
            setattr(neuron, name, state[sample])
        previous = golden.fed_back[self.start, sample]
        return simulate(neuron, currents, self.start, strike, change.feedback(fault), previous)
