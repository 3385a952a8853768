"""A stage that runs all its steps at once, some words of which change from step to step."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from fi.faults.stored_words import StoredWord
from fi.network.stages import Stage, StageActivity


def run_stage_with(stage: Stage, inputs: Tensor, words: Sequence[StoredWord]) -> StageActivity:
    """What ``stage`` does on ``inputs`` ``[time, batch, ...]`` while the words change.

    The synapse computes all steps once for every value of the words, by the same calls as without
    faults, and each step takes the currents of its own; then the neurons run step by step.
    """
    currents = _splice_currents(stage, inputs, words)

    def write(step: int) -> None:
        for word in words:
            word.write(word.value_at(step))

    try:
        return stage.integrate(inputs, currents, write)
    finally:
        for word in words:
            word.restore()


def _splice_currents(stage: Stage, inputs: Tensor, words: Sequence[StoredWord]) -> Tensor:
    """Currents ``[time, batch, ...]``, each step under the words as they read then."""
    currents = stage.currents(inputs)
    starts = sorted({step for word in words for step in word.starts if step < len(inputs)})
    for first, end in zip(starts, [*starts[1:], len(inputs)], strict=True):
        changed = [word for word in words if word.differs_at(first)]
        if any(stage.may_read(word.tensor) for word in changed):
            try:
                for word in changed:
                    word.write(word.value_at(first))
                faulty = stage.currents(inputs)
                for word in changed:
                    word.check(word.value_at(first))
            finally:
                for word in changed:
                    word.restore()
            currents[first:end] = faulty[first:end]
    return torch.as_tensor(currents)
