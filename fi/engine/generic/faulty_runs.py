"""Faults of a stage that cannot be cut into neurons: the stage is run under each of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from fi.engine.generic.affected_stage import ScoredPairs
from fi.engine.generic.fault_batch import FaultBatch
from fi.engine.generic.propagation import Propagation
from fi.engine.generic.spike_differences import SpikeDifferences
from fi.faults.fault import Fault
from fi.faults.injection import StageRun, injected
from fi.network.stages import SpikingNetwork, Stage, StageActivity


def run_under(
    network: SpikingNetwork, stage: Stage, faults: Sequence[Fault], inputs: Tensor
) -> StageActivity:
    """One stage under faults in it, on ``inputs`` ``[time, samples, ...]``."""
    run = StageRun(stage)
    with injected(network, *faults, root=run):
        activity: StageActivity = run(inputs)
    return activity


class FaultyRuns:
    """One chunk of faults of one family, each of which runs its stage on all samples of the block.

    Args:
        network: that has the faults.
        faults: of the stage.
        number: of the stage.
        propagation: through the stages that follow.

    Attributes:
        diverged: the number of pairs whose spikes differ in this stage, counted as they are scored.
    """

    def __init__(
        self, network: SpikingNetwork, faults: FaultBatch, number: int, propagation: Propagation
    ) -> None:
        self.network, self.faults, self.number = network, faults, number
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
        """The stage under one fault."""
        faults = [self.faults.listed[row]]
        return run_under(self.network, self.golden.stage, faults, self.golden.inputs)

    def _find_differences(self) -> tuple[SpikeDifferences, Tensor]:
        """The spikes that differ, and the fault of each pair."""
        kept, owners, samples = [], [], []
        for row in range(len(self.faults)):
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
        """Last stage: all samples of a fault."""
        readout, samples = self.propagation.readout, torch.arange(self.golden.batch)
        samples = samples.to(self.golden.device)
        for row in range(len(self.faults)):
            activity = self._run(row)
            steps = zip(activity.spikes, (s["mem"] for s in activity.states), strict=True)
            flat = ((spikes.flatten(1), membrane.flatten(1)) for spikes, membrane in steps)
            scores = readout.scores(readout.gather(0, samples, flat))
            self.diverged += len(samples)
            yield torch.full_like(samples, row), samples, scores
