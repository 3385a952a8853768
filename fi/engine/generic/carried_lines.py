"""Faults of how lines carry spikes, many at a time: what each line was given is golden.

A neuron resets by its membrane and not by what arrives of its spike, so that nothing in the fault's
own stage is to be simulated.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from fi.engine.generic.affected_stage import ScoredPairs
from fi.engine.generic.eligible import steps_apart
from fi.engine.generic.fault_batch import first_step
from fi.engine.generic.fault_groups import find_stage
from fi.engine.generic.golden_stage import GoldenStage
from fi.engine.generic.propagation import Propagation
from fi.engine.generic.spike_differences import SpikeDifferences
from fi.engine.generic.stage_changes import flatten_index
from fi.engine.tally import Tally
from fi.faults.family_names import layer_of
from fi.faults.fault import Fault
from fi.faults.fault_sites import INPUT
from fi.faults.formats.state_formats import SPIKE, output_format_of
from fi.faults.lines.faulty_lines import carry_each
from fi.faults.lines.seeded_numbers import SamplePositions
from fi.faults.word_formats import FLOAT32, WordFormat
from fi.network.stages import EVENTS, SpikingNetwork

#: Pairs whose lines are followed through time at once: their numbers of a step stay in the cache.
_TOGETHER = 1 << 16


@dataclass(frozen=True)
class CarriedLines:
    """Faults of one family and one model.

    Attributes:
        stage: number of the stage whose outputs the lines carry; ``EVENTS`` for input lines.
        faults: one a trial.
        position: of each in its group, int64 ``[faults]``.
        form: of the words that the lines carry.
    """

    stage: int
    faults: tuple[Fault, ...]
    position: Tensor
    form: WordFormat

    def score(
        self, propagation: Propagation, first: int, elements: int, tally: Tally
    ) -> Iterator[ScoredPairs]:
        """Position of the fault, sample and scores of the pairs computed to the readout.

        Args:
            propagation: through the stages behind.
            first: position in the test set of the first sample.
            elements: that may be in memory for each step.
            tally: counts the pairs.
        """
        before = propagation.golden(self.stage)
        batch = before.spikes.shape[1]
        portion = max(1, elements // propagation.footprint(self.stage))
        samples = SamplePositions(torch.arange(first, first + batch))
        size = max(1, min(elements // 4, _TOGETHER) // batch)
        index = torch.tensor([fault.index for fault in self.faults], device=before.device)
        every = flatten_index(index, before.shape)
        for start in range(0, len(self.faults), size):
            chunk = slice(start, start + size)
            lines, position = every[chunk], self.position[chunk]
            given = before.spikes[:, :, lines].transpose(1, 2).contiguous()
            arrived = carry_each(given, self.faults[chunk], samples, self.form)
            differs = (arrived != given).any(0)
            tally.simulated += differs.numel()
            tally.diverged += int(differs.sum())
            sample, row = differs.T.nonzero().unbind(1)
            if isinstance(before, GoldenStage) and before.is_last:
                yield self._read_out(propagation, lines, position, arrived)
                continue
            for pairs in torch.arange(len(row), device=row.device).split(portion):
                where = slice(None), row[pairs], sample[pairs]
                spikes = SpikeDifferences.compare(
                    sample[pairs],
                    arrived[where].unsqueeze(2),
                    given[where].unsqueeze(2),
                    lines[row[pairs]].unsqueeze(1),
                )
                left, scores = propagation.propagate(self.stage, 0, spikes)
                yield position[row[pairs[left]]], sample[pairs[left]], scores

    def _read_out(
        self, propagation: Propagation, lines: Tensor, position: Tensor, arrived: Tensor
    ) -> ScoredPairs:
        """The pairs whose statistic differs, of lines that leave the last stage.

        ``arrived``: ``[time, faults, batch]``.
        """
        readout, last = propagation.readout, propagation.goldens[propagation.last]
        steps = (
            (spikes.T, last.membranes_after(step)[:, lines]) for step, spikes in enumerate(arrived)
        )
        statistic = readout.fold(readout.statistics[0][:, lines], steps)
        sample, row = (statistic != readout.statistics[-1][:, lines]).nonzero().unbind(1)
        pair = torch.arange(len(row), device=row.device)
        full = readout.replace(sample, pair, lines[row], statistic[sample, row])
        return position[row], sample, readout.scores(full)


def can_carry(network: SpikingNetwork, layer: str) -> bool:
    """Whether faults of how the lines of a family carry spikes can be ``CarriedLines``.

    Not where the neuron that gives them hears them again, or does more than snnTorch's own does,
    nor at the output where the readout looks at all neurons together.
    """
    if layer == INPUT:
        return True
    stages = network.stages()
    stage = stages[find_stage(stages, network.get_submodule(layer_of(layer)))]
    if stage.recurrent is not None or not steps_apart(stage):
        return False
    return stage is not stages[-1] or network.readout.is_by_neuron


def group_carried(
    network: SpikingNetwork, faults: Sequence[Fault], positions: Tensor, steps: int
) -> list[CarriedLines]:
    """Faults of lines by family and model, without those that come after the last of ``steps``.

    ``positions``: of each in its group, int64 ``[faults]``.
    """
    rows: dict[tuple[str, str], list[int]] = defaultdict(list)
    for row, fault in enumerate(faults):
        if first_step(fault) < steps:
            rows[fault.layer, fault.model].append(row)
    input_form: WordFormat = FLOAT32
    groups = []
    for (layer, _), chosen in rows.items():
        number, form = EVENTS, input_form
        if layer != INPUT:
            module = network.get_submodule(layer_of(layer))
            number, form = find_stage(network.stages(), module), output_format_of(module, SPIKE)
        position = positions[torch.tensor(chosen, device=positions.device)]
        groups.append(CarriedLines(number, tuple(faults[row] for row in chosen), position, form))
    return groups
