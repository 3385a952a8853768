"""Spikes that differ from the golden ones, and the currents that they change."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from fi.engine.generic.golden_stage import GoldenStage, InputEvents

#: A product of fewer rows rounds otherwise than that of a whole batch.
FEWEST_ROWS = 64


@dataclass(frozen=True)
class SpikeDifferences:
    """The spikes of one stage that differ in some pairs; steps count from the chunk's start.

    Attributes:
        sample: of each pair, int64 ``[pairs]``.
        step, pair, neuron: of each spike that differs, int64 ``[entries]``.
        value: what it is instead, ``[entries]``.
    """

    sample: Tensor
    step: Tensor
    pair: Tensor
    neuron: Tensor
    value: Tensor

    @classmethod
    def compare(
        cls, sample: Tensor, faulty: Tensor, golden: Tensor, neurons: Tensor | None = None
    ) -> SpikeDifferences:
        """Where spikes differ; NaN differs from all.

        Args:
            sample: of each pair, int64 ``[pairs]``.
            faulty, golden: spikes of some neurons, ``[time, pairs, some]``.
            neurons: which these are, int64 ``[pairs, some]``; ``None`` is all of the stage.
        """
        step, pair, column = (faulty != golden).nonzero().unbind(1)
        neuron = column if neurons is None else neurons[pair, column]
        return cls(sample, step, pair, neuron, faulty[step, pair, column])

    def drop_equal_pairs(self) -> tuple[Tensor, SpikeDifferences]:
        """The pairs that have an entry, int64 ``[left]``, and the same with only these."""
        differs = torch.zeros(len(self.sample), dtype=torch.bool, device=self.sample.device)
        differs[self.pair] = True
        left = differs.nonzero().squeeze(1)
        number = differs.cumsum(0) - 1
        pair = number[self.pair]
        return left, SpikeDifferences(self.sample[left], self.step, pair, self.neuron, self.value)


@dataclass(frozen=True)
class Frames:
    """Currents of a stage at the steps of the pairs whose input differs.

    Attributes:
        step, pair: of each frame, int64 ``[frames]``.
        currents: ``[frames, neurons]``.
    """

    step: Tensor
    pair: Tensor
    currents: Tensor

    @classmethod
    def conduct(
        cls,
        before: GoldenStage | InputEvents,
        after: GoldenStage,
        start: int,
        spikes: SpikeDifferences,
    ) -> Frames:
        """What the synapse of a stage makes of spikes that differ.

        Args:
            before: the stage that fired them.
            after: the stage that sees them.
            start: the step from which ``spikes`` counts.
            spikes: that differ.
        """
        steps = before.steps - start
        number = torch.zeros(steps, len(spikes.sample), dtype=torch.int64, device=before.device)
        number[spikes.step, spikes.pair] = 1
        step, pair = number.nonzero().unbind(1)
        number[step, pair] = torch.arange(len(step), device=before.device)
        inputs = before.spikes[start + step, spikes.sample[pair]]
        inputs[number[spikes.step, spikes.pair], spikes.neuron] = spikes.value
        missing = max(0, FEWEST_ROWS - len(inputs))
        padded = torch.nn.functional.pad(inputs, (0, 0, 0, missing))
        currents = after.stage.conduct(torch.unflatten(padded, 1, before.shape)).flatten(1)
        return cls(step, pair, currents[: len(inputs)])

    def fill_in(self, golden: GoldenStage, start: int, sample: Tensor) -> Tensor:
        """Currents ``[time, pairs, neurons]`` of whole pairs: the golden ones with the frames."""
        currents = golden.currents[start:, sample]
        currents[self.step, self.pair] = self.currents
        return currents


@dataclass(frozen=True)
class Columns:
    """The neurons whose current differs from the golden one at any step.

    Attributes:
        pair, sample, neuron: of each, int64 ``[columns]``.
        currents: ``[time, columns]``.
    """

    pair: Tensor
    sample: Tensor
    neuron: Tensor
    currents: Tensor

    @classmethod
    def select(cls, golden: GoldenStage, start: int, sample: Tensor, frames: Frames) -> Columns:
        """Those that ``frames`` change, of pairs with ``sample`` ``[pairs]``."""
        before = golden.currents[start + frames.step, sample[frames.pair]]
        frame, neuron = (frames.currents != before).nonzero().unbind(1)
        where = frames.pair[frame], neuron
        number = torch.zeros(len(sample), golden.neurons, dtype=torch.int64, device=golden.device)
        number[where] = 1
        pair, changed = number.nonzero().unbind(1)
        number[pair, changed] = torch.arange(len(pair), device=golden.device)
        currents = golden.currents[start:, sample[pair], changed]
        currents[frames.step[frame], number[where]] = frames.currents[frame, neuron]
        return cls(pair, sample[pair], changed, currents)
