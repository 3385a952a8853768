"""Trials of several faults: from the first stage that they strike, samples that still differ."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from fi.engine.generic.fault_groups import stage_of
from fi.engine.tally import Tally
from fi.faults.fault import Fault, Trial
from fi.faults.fault_sites import INPUT
from fi.faults.injection import StageRun, injected
from fi.faults.injection_hooks import apply_input_faults
from fi.metrics.pairs import Pairs
from fi.network.stages import SpikingNetwork, StageActivity


class LateStart:
    """Runs the stages from the first struck one on, with the network's own arithmetic.

    After each stage a sample whose spikes are the golden ones is dropped until the next struck
    stage, where it starts again from the golden input.

    Args:
        network: of stages, each of which computes samples on their own.
    """

    def __init__(self, network: SpikingNetwork) -> None:
        self.network = network
        self.stages = network.stages()
        self.tally = Tally()

    def pairs(
        self,
        activities: Sequence[StageActivity],
        golden: Tensor,
        trials: Sequence[Trial],
        positions: Tensor,
    ) -> Iterator[Pairs]:
        """The pairs that were computed to the readout.

        Args:
            activities: golden activity of every stage on one batch.
            golden: the golden scores ``[batch, classes]``.
            trials: faults that are in place together.
            positions: of each trial in its group, int64 ``[trials]``.
        """
        for trial, position in zip(trials, positions.tolist(), strict=True):
            sample, scores = self.run(activities, trial)
            self.tally += Tally(len(golden), len(golden), len(sample), len(sample))
            fault = torch.full_like(sample, position)
            yield Pairs(fault, sample, scores.to(golden.dtype))

    def by_stage(self, trial: Trial) -> dict[int, list[Fault]]:
        """The faults of a trial by the number of their stage; inputs belong to the first."""
        found: dict[int, list[Fault]] = {}
        for fault in trial:
            layer = fault.layer.rpartition(".")[0]
            inside = fault.layer != INPUT
            number = stage_of(self.stages, self.network.get_submodule(layer)) if inside else 0
            found.setdefault(number, []).append(fault)
        return dict(sorted(found.items()))

    def run(
        self,
        activities: Sequence[StageActivity],
        trial: Trial,
        start: int | None = None,
        sample: Tensor | None = None,
        inputs: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Samples, int64 ``[pairs]``, and their scores ``[pairs, classes]``.

        Args:
            activities: golden activity of every stage.
            trial: the faults.
            start: the stage to begin with; the first that is struck where not given.
            sample: the only samples to look at; all where not given.
            inputs: what that stage sees of them, ``[time, samples, ...]``, faults of input lines
                in it; golden if not given.
        """
        if inputs is not None:
            trial = tuple(fault for fault in trial if fault.layer != INPUT)
        faults = self.by_stage(trial)
        start = min(faults) if start is None else start
        everything = torch.arange(len(activities[0].inputs[0]), device=activities[0].inputs.device)
        considered = everything if sample is None else sample
        differing = considered[:0] if inputs is None else considered
        signal = inputs if inputs is not None else activities[start].inputs[:, :0]
        for number in range(start, len(self.stages)):
            golden = activities[number]
            chosen = considered if number in faults else differing
            if not len(chosen):
                signal, differing = golden.spikes[:, :0], chosen
                continue
            if len(chosen) != len(differing):
                signal = _among(golden.inputs, chosen, differing, signal)
            activity = self._stage(number, faults.get(number, []), signal)
            if number == len(self.stages) - 1:
                return chosen, self._scores(activity)
            differs = (activity.spikes != golden.spikes[:, chosen]).flatten(2).any(2).any(0)
            differing, signal = chosen[differs], activity.spikes[:, differs]
        return differing, activities[-1].spikes.new_zeros(0, self._classes(activities))

    def _stage(self, number: int, faults: Sequence[Fault], signal: Tensor) -> StageActivity:
        """One stage under its faults, its inputs among them."""
        lines = [fault for fault in faults if fault.layer == INPUT]
        inside = [fault for fault in faults if fault.layer != INPUT]
        stage = StageRun(self.stages[number])
        with injected(self.network, *inside, within=stage):
            return stage(apply_input_faults(signal, lines) if lines else signal)

    def _scores(self, activity: StageActivity) -> Tensor:
        membranes = (state["mem"] for state in activity.states)
        readout = self.network.readout
        return readout.scores(readout.gather(zip(activity.spikes, membranes, strict=True)))

    def _classes(self, activities: Sequence[StageActivity]) -> int:
        return activities[-1].spikes[0, 0].numel()


def _among(golden: Tensor, chosen: Tensor, differing: Tensor, signal: Tensor) -> Tensor:
    """The golden inputs of the samples ``chosen``, with ``signal`` for those that differ."""
    inputs = golden[:, chosen]
    place = torch.searchsorted(chosen, differing)
    inputs[:, place] = signal
    return inputs
