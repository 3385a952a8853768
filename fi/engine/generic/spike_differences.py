"""Spikes that differ from the golden ones, and the currents that they change."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from fi.engine.generic.golden_stage import GoldenStage, InputEvents

#: A product of fewer rows rounds otherwise than that of a whole batch.
FEWEST_ROWS = 64


@dataclass(frozen=True)
class SpikeDifferences:
    """The spikes of one stage that differ in some pairs; steps count from the chunk's start.

    Attributes:
        origin: which pair of those at the fault each is, int64 ``[pairs]``, in ascending order.
        sample: of each pair, int64 ``[pairs]``.
        step, pair, neuron: of each spike that differs, int64 ``[entries]``.
        value: what it is instead, ``[entries]``.
    """

    origin: Tensor
    sample: Tensor
    step: Tensor
    pair: Tensor
    neuron: Tensor
    value: Tensor

    @classmethod
    def compare(
        cls,
        sample: Tensor,
        faulty: Tensor,
        golden: Tensor,
        neurons: Tensor | None = None,
        origin: Tensor | None = None,
    ) -> SpikeDifferences:
        """Where spikes differ; NaN differs from all.

        Args:
            sample: of each pair, int64 ``[pairs]``.
            faulty, golden: spikes of some neurons, ``[time, pairs, some]``.
            neurons: which these are, int64 ``[pairs, some]``; ``None`` is all of the stage.
            origin: of each pair; ``None`` where the pairs begin here.
        """
        step, pair, column = (faulty != golden).nonzero().unbind(1)
        neuron = column if neurons is None else neurons[pair, column]
        if origin is None:
            origin = torch.arange(len(sample), device=sample.device)
        return cls(origin, sample, step, pair, neuron, faulty[step, pair, column])

    def drop_equal_pairs(self) -> SpikeDifferences:
        """The same with only the pairs that have an entry."""
        differs = torch.zeros(len(self.sample), dtype=torch.bool, device=self.sample.device)
        differs[self.pair] = True
        left = differs.nonzero().squeeze(1)
        pair = (differs.cumsum(0) - 1)[self.pair]
        return replace(self, origin=self.origin[left], sample=self.sample[left], pair=pair)


@dataclass(frozen=True)
class Incoming:
    """What differs in the sources of a stage, in pairs that all of them have in common.

    Attributes:
        origin, sample: of the pairs, as in ``SpikeDifferences``.
        by_source: the differences of each source that has any; their pairs are these.
    """

    origin: Tensor
    sample: Tensor
    by_source: Mapping[int, SpikeDifferences]

    @classmethod
    def join(cls, by_source: Mapping[int, SpikeDifferences]) -> Incoming:
        """The pairs of all sources, each pair once."""
        parts = list(by_source.values())
        if len(parts) == 1:
            return cls(parts[0].origin, parts[0].sample, by_source)
        origin = torch.cat([part.origin for part in parts]).unique()
        sample = torch.empty_like(origin)
        joined: dict[int, SpikeDifferences] = {}
        for source, part in by_source.items():
            place = torch.searchsorted(origin, part.origin)
            sample[place] = part.sample
            joined[source] = replace(part, pair=place[part.pair])
        return cls(origin, sample, joined)


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
        befores: Mapping[int, GoldenStage | InputEvents],
        after: GoldenStage,
        start: int,
        incoming: Incoming,
    ) -> Frames:
        """What the synapse of a stage makes of spikes that differ.

        Args:
            befores: the stages that feed it, by number.
            after: the stage that sees them.
            start: the step from which differences count.
            incoming: what differs.
        """
        sample = incoming.sample
        shape = after.steps - start, len(sample)
        number = torch.zeros(shape, dtype=torch.int64, device=sample.device)
        for spikes in incoming.by_source.values():
            number[spikes.step, spikes.pair] = 1
        step, pair = number.nonzero().unbind(1)
        number[step, pair] = torch.arange(len(step), device=sample.device)
        signals, golden = {}, {}
        for source, before in befores.items():
            signal = before.spikes[start + step, sample[pair]]
            if source in incoming.by_source:
                if not after.is_plain:
                    golden[source] = torch.unflatten(signal.clone(), 1, before.shape)
                spikes = incoming.by_source[source]
                signal[number[spikes.step, spikes.pair], spikes.neuron] = spikes.value
            signals[source] = torch.unflatten(signal, 1, before.shape)
        currents = _conduct_rows(after, signals)
        if not after.is_plain:  # its functions may round otherwise for other numbers of rows
            usual = _conduct_rows(after, signals | golden)
            known = after.currents[start + step, sample[pair]]
            currents = torch.where(currents == usual, known, currents)
        return cls(step, pair, currents)

    def fill_in(self, golden: GoldenStage, start: int, sample: Tensor) -> Tensor:
        """Currents ``[time, pairs, neurons]`` of whole pairs: the golden ones with the frames."""
        currents = golden.currents[start:, sample]
        currents[self.step, self.pair] = self.currents
        return currents


def _conduct_rows(after: GoldenStage, signals: Mapping[int, Tensor]) -> Tensor:
    """Currents ``[rows, neurons]`` of a stage, of the signals ``[rows, ...]`` of its sources."""
    inputs = after.stage.merge_sources([signals[source] for source in after.sources], 1)
    missing = max(0, FEWEST_ROWS - len(inputs))
    padded = torch.cat([inputs, inputs.new_zeros(missing, *inputs.shape[1:])])
    return after.stage.conduct(padded).flatten(1)[: len(inputs)]


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
