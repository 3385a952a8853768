"""Faults of a stage that cannot be cut, and trials of several in one: it is run under each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from fi.engine.generic.affected_stage import ScoredPairs
from fi.engine.generic.propagation import Propagation
from fi.engine.generic.spike_differences import SpikeDifferences
from fi.faults.family_names import attribute_of
from fi.faults.fault import Fault, Trial
from fi.faults.formats.state_formats import SPIKE, output_format_of
from fi.faults.injection import StageRun, injected
from fi.faults.lines.faulty_lines import apply_line_faults
from fi.faults.lines.seeded_numbers import SamplePositions
from fi.network.stages import SpikingNetwork, Stage, StageActivity


def run_under(
    network: SpikingNetwork,
    stage: Stage,
    faults: Sequence[Fault],
    inputs: Tensor,
    samples: SamplePositions | None = None,
) -> StageActivity:
    """One stage under faults in it, on ``inputs`` ``[time, samples, ...]``."""
    run = StageRun(stage)
    with injected(network, *faults, root=run, samples=samples):
        activity: StageActivity = run(inputs)
    return activity


class FaultyRuns:
    """Some trials in one stage, each of which runs that stage on all samples of the block.

    Args:
        network: that has the faults.
        trials: of faults of the stage.
        number: of the stage.
        propagation: through the stages that follow.
        first: position in the test set of the first sample of the block.

    Attributes:
        diverged: the number of pairs whose spikes differ in this stage, counted as they are scored.
    """

    def __init__(
        self,
        network: SpikingNetwork,
        trials: Sequence[Trial],
        number: int,
        propagation: Propagation,
        first: int = 0,
    ) -> None:
        self.network, self.trials, self.number, self.first = network, trials, number, first
        self.propagation, self.golden = propagation, propagation.goldens[number]
        self.diverged = 0

    def score_pairs(self) -> Iterator[ScoredPairs]:
        """The pairs whose scores may differ."""
        if self.golden.is_last:
            yield from self._read_out()
            return
        spikes, owner = self._find_differences()
        self.diverged = len(spikes.sample)
        if self.diverged:
            pairs, scores = self.propagation.propagate(self.number, 0, spikes)
            yield owner[pairs], spikes.sample[pairs], scores

    def _run(self, row: int) -> StageActivity:
        """The stage under one trial; where only its outputs are wrong, it need not be run."""
        golden, faults = self.golden, self.trials[row]
        first = self.first + (golden.samples.start or 0)
        samples = SamplePositions(torch.arange(first, first + golden.batch))
        outputs = all(attribute_of(fault.layer) == "spike" for fault in faults)
        if outputs and golden.stage.recurrent is None and golden.steps_apart:
            activity, form = golden.activity, output_format_of(golden.stage.neuron, SPIKE)
            spikes = apply_line_faults(activity.spikes, faults, samples, form)
            return replace(activity, spikes=spikes)
        return run_under(self.network, golden.stage, faults, golden.inputs, samples)

    def _find_differences(self) -> tuple[SpikeDifferences, Tensor]:
        """The spikes that differ, and the trial of each pair."""
        kept, owners, samples = [], [], []
        for row in range(len(self.trials)):
            faulty = self._run(row).spikes.flatten(2)
            differs = (faulty != self.golden.spikes).any(2).any(0)
            sample = differs.nonzero().squeeze(1)
            kept.append(faulty[:, sample])
            samples.append(sample)
            owners.append(torch.full_like(sample, row))
        sample, spikes = torch.cat(samples), torch.cat(kept, dim=1)
        found = SpikeDifferences.compare(sample, spikes, self.golden.spikes[:, sample])
        return found, torch.cat(owners)

    def _read_out(self) -> Iterator[ScoredPairs]:
        """Last stage: all samples of a trial."""
        readout, samples = self.propagation.readout, torch.arange(self.golden.batch)
        samples = samples.to(self.golden.device)
        for row in range(len(self.trials)):
            activity = self._run(row)
            steps = zip(activity.spikes, (s["mem"] for s in activity.states), strict=True)
            flat = ((spikes.flatten(1), membrane.flatten(1)) for spikes, membrane in steps)
            scores = readout.scores(readout.gather(0, samples, flat))
            self.diverged += len(samples)
            yield torch.full_like(samples, row), samples, scores
