"""The stage that faults are in: its affected neurons through time, and the pairs that diverge."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property

import torch
from torch import Tensor

from fi.engine.generic.golden_stage import GoldenStage
from fi.engine.generic.partial_neurons import select_neurons, simulate_neurons
from fi.engine.generic.propagation import Propagation, Step, find_differing
from fi.engine.generic.spike_differences import SpikeDifferences
from fi.engine.generic.stage_changes import Change

#: Row of the fault in its chunk ``[pairs]``, sample ``[pairs]``, scores ``[pairs, classes]``.
ScoredPairs = tuple[Tensor, Tensor, Tensor]


class AffectedStage:
    """One chunk of faults of one family, and all samples of the block.

    Args:
        change: what the faults do.
        number: of their stage.
        propagation: through the stages that follow.

    Attributes:
        neurons: that are affected, int64 ``[faults, affected]``.
        currents: of these, ``[time, batch, faults, affected]``.
        diverged: the number of pairs whose spikes differ in this stage, counted as they are scored.
    """

    def __init__(self, change: Change, number: int, propagation: Propagation) -> None:
        self.change, self.number, self.propagation = change, number, propagation
        self.golden: GoldenStage = change.golden
        self.start = change.start
        self.neurons = change.affected_neurons()
        self.currents = change.compute_currents()
        self.diverged = 0

    def score_pairs(self, portion: int) -> Iterator[ScoredPairs]:
        """The pairs whose scores may differ, at most ``portion`` at a time."""
        if self._reads_out_by_neuron():
            yield self._read_out_neurons()
            return
        diverging = self._find_diverging().nonzero()
        self.diverged = len(diverging)
        for pairs in torch.split(diverging, portion):
            if len(pairs):
                yield self._score(fault=pairs[:, 1], sample=pairs[:, 0])

    def _reads_out_by_neuron(self) -> bool:
        """Whether each affected neuron becomes part of the scores on its own."""
        is_chain = self.golden.stage.recurrent is None
        return self.golden.is_last and is_chain and self.propagation.readout.is_elementwise

    def _read_out_neurons(self) -> ScoredPairs:
        """Last stage: the pairs whose statistic differs."""
        readout = self.propagation.readout
        start = readout.statistics[self.start][:, self.neurons]
        statistic = readout.fold(start, self._simulate_affected())
        golden = readout.statistics[-1]
        differs = (statistic != golden[:, self.neurons]).any(-1)
        sample, fault = differs.nonzero().T
        self.diverged = len(fault)
        row = torch.arange(len(fault), device=fault.device).unsqueeze(1)
        full = readout.replace(sample, row, self.neurons[fault], statistic[sample, fault])
        return fault, sample, readout.scores(full)

    def _simulate_affected(self) -> Iterator[Step]:
        """The affected neurons, their recurrence fed with golden spikes.

        Spikes and membranes are ``[batch, faults, affected]`` each.
        """
        currents = self.currents
        if self.golden.stage.recurrent is not None:
            currents = currents + self.change.compute_feedback()
        word_faults = self.change.word_faults
        neuron = select_neurons(
            self.golden.stage.neuron,
            self.golden.shape,
            self.neurons,
            currents.dtype,
            word_faults.attribute if word_faults else None,
        )
        for name, state in self.golden.states_before(self.start).items():
            setattr(neuron, name, state[:, self.neurons])
        return simulate_neurons(neuron, currents, self.start, word_faults)

    @cached_property
    def _affected_steps(self) -> tuple[Tensor, Tensor]:
        """Their spikes and membranes at all steps, ``[time, batch, faults, affected]`` each.

        The membranes are kept in the last stage only, which reads them out.
        """
        spikes, membranes = zip(*self._simulate_affected(), strict=True)
        kept = membranes if self.golden.is_last else membranes[-1:]
        return torch.stack(spikes), torch.stack(kept)

    def _find_diverging(self) -> Tensor:
        """Which pairs differ in this stage, bool ``[batch, faults]``."""
        if self.change.always_diverges:
            shape = (self.golden.batch, len(self.neurons))
            return torch.ones(shape, dtype=torch.bool, device=self.golden.device)
        differs = self._differing_spikes.any(-1).any(0)
        if self.golden.is_last:
            membranes = self._affected_steps[1]
            steps = range(self.start, self.golden.steps)
            golden = torch.stack([self.golden.membranes_after(step) for step in steps])
            differs |= find_differing(membranes, golden[:, :, self.neurons])
        return differs

    @cached_property
    def _differing_spikes(self) -> Tensor:
        """Which spikes of them are not golden, bool ``[time, batch, faults, affected]``."""
        golden = self.golden.spikes[self.start :, :, self.neurons]
        return self._affected_steps[0] != golden

    def _score(self, fault: Tensor, sample: Tensor) -> ScoredPairs:
        """Run the pairs ``fault`` and ``sample`` ``[pairs]`` to the readout."""
        readout = self.propagation.readout
        if self.golden.is_last:
            steps = self._simulate_whole_stage(fault, sample)
            return fault, sample, readout.scores(readout.gather(self.start, sample, steps))
        spikes = self._compare_spikes(fault, sample)
        pairs, scores = self.propagation.propagate(self.number, self.start, spikes)
        return fault[pairs], sample[pairs], scores

    def _compare_spikes(self, fault: Tensor, sample: Tensor) -> SpikeDifferences:
        """The spikes of the pairs that differ."""
        if self.golden.stage.recurrent is None:
            step, pair, column = self._differing_spikes[:, sample, fault].nonzero().unbind(1)
            row = fault[pair]
            value = self._affected_steps[0][step, sample[pair], row, column]
            origin = torch.arange(len(sample), device=sample.device)
            neuron = self.neurons[row, column]
            return SpikeDifferences(origin, sample, step, pair, neuron, value)
        golden = self.golden.spikes[self.start :, sample]
        spikes = torch.stack([spikes for spikes, _ in self._simulate_recurrent(fault, sample)])
        return SpikeDifferences.compare(sample, spikes, golden)

    def _simulate_whole_stage(self, fault: Tensor, sample: Tensor) -> Iterator[Step]:
        """All neurons of the last stage, ``[pairs, neurons]`` a step."""
        if self.golden.stage.recurrent is not None:
            yield from self._simulate_recurrent(fault, sample)
            return
        neurons, chosen = self.neurons[fault], (sample, fault)
        for step, (fired, changed) in enumerate(zip(*self._affected_steps, strict=True)):
            spikes = self.golden.spikes[self.start + step, sample]
            membrane = self.golden.membranes_after(self.start + step)[sample]
            yield (
                spikes.scatter(1, neurons, fired[chosen]),
                membrane.scatter(1, neurons, changed[chosen]),
            )

    def _simulate_recurrent(self, fault: Tensor, sample: Tensor) -> Iterator[Step]:
        """The same where the difference runs through the stage's own recurrence."""
        golden, change, neurons = self.golden, self.change, self.neurons[fault]
        affected = self.currents[:, sample, fault]
        currents = golden.currents[self.start :, sample]
        currents = currents.scatter(2, neurons.expand(affected.shape), affected)
        everything = torch.arange(golden.neurons, device=golden.device)
        word_faults, attribute = change.word_faults, None
        if word_faults is not None:
            attribute = word_faults.attribute
            corrupted = torch.zeros_like(currents[0], dtype=torch.bool).scatter(1, neurons, True)
            word_faults = word_faults.expand_to_pairs(fault, corrupted)
        neuron = select_neurons(
            golden.stage.neuron, golden.shape, everything, currents.dtype, attribute
        )
        for name, state in golden.states_before(self.start).items():
            setattr(neuron, name, state[sample])
        feedback, previous = change.make_feedback(fault), golden.previous_spikes[self.start, sample]
        return simulate_neurons(neuron, currents, self.start, word_faults, feedback, previous)
