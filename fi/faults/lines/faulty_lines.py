"""Lines with faults, step by step: bits of what they carry, or what they lose, add and delay."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from fi.faults.fault import Fault
from fi.faults.formats.clamped_format import ClampedFormat
from fi.faults.formats.state_faults import corrupt_states, state_masks
from fi.faults.groups.alike import gather_alike, words_of
from fi.faults.lines.seeded_numbers import (
    SamplePositions,
    UniformNumbers,
    draw_uniform,
    seed_of,
)
from fi.faults.modelling.line_models import LineModel, Uniform
from fi.faults.models import fault_model
from fi.faults.word_formats import FLOAT32, WordFormat


def find_line_models(faults: Iterable[Fault]) -> frozenset[str]:
    """The models of these faults that are of how a line carries spikes, not of the bits of each."""
    models = {fault.model for fault in faults}
    return frozenset(name for name in models if isinstance(fault_model(name), LineModel))


class FaultyLines:
    """Some lines under faults that do the same to each.

    Args:
        faults: of different lines of one family.
        samples: which samples the rows of a batch are.
        form: of the words that the lines carry, or that a state is.
    """

    def __init__(
        self, faults: Sequence[Fault], samples: SamplePositions, form: WordFormat = FLOAT32
    ) -> None:
        self.fault, self.words, self.samples = faults[0], words_of(faults), samples
        model = fault_model(self.fault.model)
        self.model = model if isinstance(model, LineModel) else None
        seeds = [seed_of(fault) for fault in faults] if self.model else [0]
        self.seeds = torch.tensor(seeds) if len(faults) > 1 else torch.tensor(seeds[0])
        self.form = form
        self.past: list[Tensor] = []

    def forget(self) -> None:
        """Begin an inference."""
        self.past = []

    def carry(self, values: Tensor, active: bool) -> None:
        """Change ``values`` ``[batch, ...]`` of a step in place, all lines, where it is active."""
        by_word = values.movedim(0, -1)
        given = by_word[self.words]  # [batch] or [lines, batch]
        if self.model is None:
            if active:
                masks = state_masks(self.fault.model, self.fault.bits, self.form)
                by_word[self.words] = corrupt_states(given, masks, self.form)
            return
        self.past.append(given.clone())
        if active:
            numbers = self.samples.of(len(values), values.device)
            seeds = self.seeds.to(values.device)
            arrives = _arrive(
                self.model, self.past, lambda step: draw_uniform(seeds, numbers, step), self.form
            )
            by_word[self.words] = arrives.to(values.dtype)


def carry_each(
    given: Tensor, faults: Sequence[Fault], samples: SamplePositions, form: WordFormat
) -> Tensor:
    """What arrives of lines of which each has a fault of its own, ``[time, faults, batch]``.

    Args:
        given: what they were given, of the same shape.
        faults: all of one model, of how a line carries spikes.
        samples: which samples those of the batch are.
        form: of the words that the lines carry.
    """
    model = fault_model(faults[0].model)
    assert isinstance(model, LineModel)
    seeds = torch.tensor([seed_of(fault) for fault in faults], device=given.device)
    uniform = UniformNumbers(seeds, samples.of(given.shape[2], given.device))
    steps = [fault.steps or range(len(given)) for fault in faults]
    since, until = torch.tensor([(own[0], own[-1]) for own in steps]).T
    arrived, past = given.clone(), list[Tensor]()
    for step, values in enumerate(given):
        past.append(values.clone())
        active = (since <= step) & (step <= until)
        if active.any():
            arrives = _arrive(model, past, uniform, form).to(values.dtype)
            where = active.unsqueeze(1).to(values.device)
            arrived[step] = torch.where(where, arrives, values)
    return arrived


def _arrive(model: LineModel, past: Sequence[Tensor], uniform: Uniform, form: WordFormat) -> Tensor:
    """What a model makes of what lines were given, within the bounds of their words."""
    arrives = model.carry(past, uniform)
    return form.clamp(arrives) if isinstance(form, ClampedFormat) else arrives


def apply_line_faults(
    signal: Tensor,
    faults: Sequence[Fault],
    samples: SamplePositions | None = None,
    form: WordFormat = FLOAT32,
) -> Tensor:
    """``signal [time, batch, ...]`` under faults of its lines; the given one stays as it is.

    ``form`` is that of the words that the lines carry.
    """
    signal = signal.clone()
    for alike in gather_alike(faults):
        lines = FaultyLines(alike, samples or SamplePositions(), form)
        for step, values in enumerate(signal):
            lines.carry(values, lines.fault.active(step))
    return signal
