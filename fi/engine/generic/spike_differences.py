"""Spikes that differ from the golden ones, and the currents that they change."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from fi.engine.generic.golden_stage import Events, Golden


@dataclass(frozen=True)
class Differences:
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
    def between(
        cls, sample: Tensor, faulty: Tensor, golden: Tensor, neurons: Tensor | None = None
    ) -> Differences:
        """Where ``faulty`` and ``golden`` ``[time, pairs, some]`` differ; NaN differs from all.

        ``neurons`` ``[pairs, some]`` says which they are; ``None``: all of the stage.
        """
        step, pair, column = (faulty != golden).nonzero().unbind(1)
        neuron = column if neurons is None else neurons[pair, column]
        return cls(sample, step, pair, neuron, faulty[step, pair, column])

    def compressed(self) -> tuple[Tensor, Differences]:
        """The pairs that have an entry, int64 ``[left]``, and the same with only these."""
        met = torch.zeros(len(self.sample), dtype=torch.bool, device=self.sample.device)
        met[self.pair] = True
        left = met.nonzero().squeeze(1)
        number = met.cumsum(0) - 1
        pair = number[self.pair]
        return left, Differences(self.sample[left], self.step, pair, self.neuron, self.value)


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
    def of(cls, before: Golden | Events, after: Golden, start: int, spikes: Differences) -> Frames:
        """What ``after`` makes of ``spikes`` of the stage ``before`` it."""
        steps = before.steps - start
        number = torch.zeros(steps, len(spikes.sample), dtype=torch.int64, device=before.device)
        number[spikes.step, spikes.pair] = 1
        step, pair = number.nonzero().unbind(1)
        number[step, pair] = torch.arange(len(step), device=before.device)
        inputs = before.spikes[start + step, spikes.sample[pair]]
        inputs[number[spikes.step, spikes.pair], spikes.neuron] = spikes.value
        currents = after.stage.conduct(inputs.unflatten(1, before.shape)).flatten(1)
        return cls(step, pair, currents)

    def dense(self, golden: Golden, start: int, sample: Tensor) -> Tensor:
        """Currents ``[time, pairs, neurons]`` of whole pairs."""
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
    def of(cls, golden: Golden, start: int, sample: Tensor, frames: Frames) -> Columns:
        """Those that ``frames`` change, of pairs with ``sample`` ``[pairs]``."""
        before = golden.currents[start + frames.step, sample[frames.pair]]
        frame, neuron = (frames.currents != before).nonzero().unbind(1)
        where = frames.pair[frame], neuron
        number = torch.zeros(len(sample), golden.neurons, dtype=torch.int64, device=golden.device)
        number[where] = 1
        pair, touched = number.nonzero().unbind(1)
        number[pair, touched] = torch.arange(len(pair), device=golden.device)
        currents = golden.currents[start:, sample[pair], touched]
        currents[frames.step[frame], number[where]] = frames.currents[frame, neuron]
        return cls(pair, sample[pair], touched, currents)
