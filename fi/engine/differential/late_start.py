"""Multi-fault trials in torch: from their first stage on, and only samples that still differ."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from fi.engine.generic.fault_groups import find_stage
from fi.engine.generic.faulty_runs import run_under
from fi.engine.tally import Tally
from fi.faults.fault import Fault, Trial
from fi.faults.fault_sites import INPUT
from fi.faults.lines.faulty_lines import apply_line_faults
from fi.faults.lines.seeded_numbers import SamplePositions
from fi.metrics.pairs import HIDDEN, OUTPUT, Pairs
from fi.network.stages import EVENTS, SpikingNetwork, StageActivity, find_sources


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
        self.sources = find_sources(self.stages)
        self.tally = Tally()

    def pairs(
        self,
        activities: Sequence[StageActivity],
        golden: Tensor,
        trials: Sequence[Trial],
        positions: Tensor,
        first: int = 0,
        spikes: bool = False,
    ) -> Iterator[Pairs]:
        """The pairs that were computed to the readout.

        Args:
            activities: golden activity of every stage on one batch.
            golden: the golden scores ``[batch, classes]``.
            trials: of one or several faults.
            positions: of each trial in its group, int64 ``[trials]``.
            first: position in the test set of the first sample.
            spikes: list the pairs in which a spike differs, too.
        """
        for trial, position in zip(trials, positions.tolist(), strict=True):
            marks = golden.new_zeros(len(golden), dtype=torch.uint8) if spikes else None
            sample, scores = self.run(activities, trial, first=first, marks=marks)
            scores = scores.to(golden.dtype)
            self.tally += Tally(len(golden), len(golden), len(sample), len(sample))
            if marks is not None:
                every = golden.index_copy(0, sample, scores)
                sample = torch.cat([sample, marks.nonzero().squeeze(1)]).unique()
                scores, marks = every[sample], marks[sample]
            yield Pairs(torch.full_like(sample, position), sample, scores, marks)

    def _group_by_stage(self, listed: Sequence[Fault]) -> dict[int, list[Fault]]:
        """Faults by the number of their stage."""
        faults: dict[int, list[Fault]] = {}
        for fault in listed:
            module = self.network.get_submodule(fault.layer.rpartition(".")[0])
            faults.setdefault(find_stage(self.stages, module), []).append(fault)
        return faults

    def run(
        self,
        activities: Sequence[StageActivity],
        trial: Trial,
        start: int | None = None,
        sample: Tensor | None = None,
        inputs: Tensor | None = None,
        first: int = 0,
        marks: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Run one trial: the samples that may differ and their scores.

        Args:
            activities: golden activity of every stage.
            trial: the faults.
            start: the stage to begin with; the first one with a fault where not given.
            sample: the only samples to look at; all where not given.
            inputs: what that stage sees of them, ``[time, samples, ...]``, faults of input lines
                in it; golden if not given. Only in a chain of stages.
            first: position in the test set of the first sample.
            marks: takes ``HIDDEN`` and ``OUTPUT`` of each sample, uint8 ``[batch]``.

        Returns:
            Samples, int64 ``[pairs]``, and their scores ``[pairs, classes]``.
        """
        lines = [] if inputs is not None else [f for f in trial if f.layer == INPUT]
        faults = self._group_by_stage([fault for fault in trial if fault.layer != INPUT])
        everything = torch.arange(len(activities[0].inputs[0]), device=activities[0].inputs.device)
        considered = everything if sample is None else sample
        events = activities[0].inputs[:, considered]
        if lines:
            events = apply_line_faults(events, lines, SamplePositions(considered + first))
        changed: dict[int, _Changed] = {}
        if inputs is not None:
            assert start is not None
            changed[start - 1] = _Changed(considered, inputs)
        elif lines:
            changed[EVENTS] = _Changed(considered, events)
        for number in range(0 if start is None else start, len(self.stages)):
            reached = [changed[n] for n in self.sources[number] if n in changed]
            found = considered if number in faults else _join_samples(reached)
            if not len(found):
                continue
            signals = [
                _fill_in(changed.get(source), self._golden(activities, source), found)
                for source in self.sources[number]
            ]
            signal = self.stages[number].merge_sources(signals, 2)
            stage = self.stages[number]
            positions = SamplePositions(found + first)
            activity = run_under(self.network, stage, faults.get(number, []), signal, positions)
            differs = (activity.spikes != activities[number].spikes[:, found]).flatten(2)
            left = differs.any(2).any(0)
            is_last = number == len(self.stages) - 1
            if marks is not None:
                marks[found[left]] |= OUTPUT if is_last else HIDDEN
            if is_last:
                return found, self._read_out(activity)
            if left.any():
                changed[number] = _Changed(found[left], activity.spikes[:, left])
        return everything[:0], self._read_out(activities[-1])[:0]

    def _golden(self, activities: Sequence[StageActivity], number: int) -> Tensor:
        """What a stage, or the events, gave, ``[time, batch, ...]``."""
        return activities[0].inputs if number == EVENTS else activities[number].spikes

    def _read_out(self, activity: StageActivity) -> Tensor:
        """Scores ``[pairs, classes]`` of the last stage."""
        membranes = (state["mem"] for state in activity.states)
        readout = self.network.readout
        return readout.scores(readout.gather(zip(activity.spikes, membranes, strict=True)))


class _Changed(NamedTuple):
    """The samples in which a stage gives something else, ascending, and what it gives in them."""

    sample: Tensor
    signal: Tensor


def _join_samples(parts: Sequence[_Changed]) -> Tensor:
    """The samples of any, int64 in ascending order."""
    if not parts:
        return torch.zeros(0, dtype=torch.int64)
    samples: Tensor = torch.cat([part.sample for part in parts]).unique()
    return samples


def _fill_in(changed: _Changed | None, golden: Tensor, chosen: Tensor) -> Tensor:
    """What a source gives in the samples ``chosen``, ascending: golden but for those changed."""
    signal = golden[:, chosen]
    if changed is not None:
        kept = torch.isin(changed.sample, chosen)
        place = torch.searchsorted(chosen, changed.sample[kept])
        signal[:, place] = changed.signal[:, kept]
    return signal
