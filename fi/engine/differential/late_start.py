"""Multi-fault trials in torch: from their first stage on, and only samples that still differ."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from fi.engine.generic.fault_groups import find_stage
from fi.engine.tally import Tally
from fi.faults.fault import Fault, Trial
from fi.faults.fault_sites import INPUT
from fi.faults.injecting.injection_hooks import apply_input_faults
from fi.faults.injection import StageRun, injected
from fi.metrics.pairs import Pairs
from fi.network.stages import SpikingNetwork, StageActivity


class LateStart:
    """Runs the stages from the first faulty one on, with the network's own arithmetic.

    After each stage a sample whose spikes are the golden ones is dropped until the next faulty
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
            trials: of one or several faults.
            positions: of each trial in its group, int64 ``[trials]``.
        """
        for trial, position in zip(trials, positions.tolist(), strict=True):
            sample, scores = self.run(activities, trial)
            self.tally += Tally(len(golden), len(golden), len(sample), len(sample))
            fault = torch.full_like(sample, position)
            yield Pairs(fault, sample, scores.to(golden.dtype))

    def _group_by_stage(self, trial: Trial) -> dict[int, list[Fault]]:
        """The faults of a trial by the number of their stage; inputs belong to the first."""
        faults: dict[int, list[Fault]] = {}
        for fault in trial:
            if fault.layer == INPUT:
                number = 0
            else:
                module = self.network.get_submodule(fault.layer.rpartition(".")[0])
                number = find_stage(self.stages, module)
            faults.setdefault(number, []).append(fault)
        return faults

    def run(
        self,
        activities: Sequence[StageActivity],
        trial: Trial,
        start: int | None = None,
        sample: Tensor | None = None,
        inputs: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Run one trial: the samples that may differ and their scores.

        Args:
            activities: golden activity of every stage.
            trial: the faults.
            start: the stage to begin with; the first one with a fault where not given.
            sample: the only samples to look at; all where not given.
            inputs: what that stage sees of them, ``[time, samples, ...]``, faults of input lines
                in it; golden if not given.

        Returns:
            Samples, int64 ``[pairs]``, and their scores ``[pairs, classes]``.
        """
        if inputs is not None:
            trial = tuple(fault for fault in trial if fault.layer != INPUT)
        faults = self._group_by_stage(trial)
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
                signal = _merge_inputs(golden.inputs, chosen, differing, signal)
            activity = self._run_stage(number, faults.get(number, []), signal)
            if number == len(self.stages) - 1:
                return chosen, self._read_out(activity)
            differs = (activity.spikes != golden.spikes[:, chosen]).flatten(2).any(2).any(0)
            differing, signal = chosen[differs], activity.spikes[:, differs]
        classes = activities[-1].spikes[0, 0].numel()
        return differing, activities[-1].spikes.new_zeros(0, classes)

    def _run_stage(self, number: int, faults: Sequence[Fault], signal: Tensor) -> StageActivity:
        """One stage under its faults, those of its inputs among them."""
        lines = [fault for fault in faults if fault.layer == INPUT]
        inside = [fault for fault in faults if fault.layer != INPUT]
        stage = StageRun(self.stages[number])
        with injected(self.network, *inside, root=stage):
            activity: StageActivity = stage(apply_input_faults(signal, lines) if lines else signal)
        return activity

    def _read_out(self, activity: StageActivity) -> Tensor:
        """Scores ``[pairs, classes]`` of the last stage."""
        membranes = (state["mem"] for state in activity.states)
        readout = self.network.readout
        return readout.scores(readout.gather(zip(activity.spikes, membranes, strict=True)))


def _merge_inputs(golden: Tensor, chosen: Tensor, differing: Tensor, signal: Tensor) -> Tensor:
    """The golden inputs of the samples ``chosen``, with ``signal`` for those that differ.

    Args:
        golden: of all samples, ``[time, batch, ...]``.
        chosen: samples in ascending order, int64 ``[chosen]``.
        differing: those among them that differ, int64 ``[differing]``.
        signal: what these see, ``[time, differing, ...]``.
    """
    inputs = golden[:, chosen]
    inputs[:, torch.searchsorted(chosen, differing)] = signal
    return inputs
