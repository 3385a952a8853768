"""Training under faults: in each step other bits of the learnt words are wrong."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from fi.base.errors import UserError, report_errors
from fi.faults.fault_sites import SiteFamily, named_words, stored_families
from fi.faults.fault_space import FaultSpace
from fi.faults.formats.clamps import Clamps, clamp_network
from fi.faults.hits.held_words import HitWords
from fi.faults.hits.hit_space import HitSpace
from fi.faults.hits.random_numbers import HitDraw, derive_seed
from fi.training.fault_schedule import FaultSchedule

#: Gradients of a faulty network are cut to this norm: a word of 1e38 would drown all others.
LARGEST_NORM = 1.0


class FaultyWords(pl.Callback):
    """Writes faulty words before each training step, and the stored ones after its gradients.

    What a word reads is what a campaign of rates makes of it (``HitWords``), clamps included.
    Gradients are those at the faulty words, and change the stored ones (straight through). A
    gradient that is not finite changes nothing; the others are cut to ``LARGEST_NORM``.

    Args:
        network: that is trained.
        schedule: which bits are wrong.
        clamps: bounds of words, which the stored ones keep to after each step.

    Attributes:
        steps, skipped: training steps, and those of them that changed nothing.

    Raises:
        UserError: no learnt word fits the schedule, or membranes are to be clamped.
    """

    def __init__(
        self, network: nn.Module, schedule: FaultSchedule, clamps: Clamps | None = None
    ) -> None:
        self.network, self.schedule = network, schedule
        self.steps = self.skipped = 0
        self._held: list[HitWords] = []
        self._bounds = [] if clamps is None else clamp_training(network, clamps)
        learnt = {id(parameter) for parameter in network.parameters() if parameter.requires_grad}
        words = named_words(network)
        families = [f for f in stored_families(network) if id(words[f.name]) in learnt]
        self.space = _make_space(families, schedule)

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Draw the faults of this step, and write what the words read."""
        step, steps = trainer.global_step, int(trainer.estimated_stepping_batches)
        rate = self.schedule.rate_at(step, steps)
        draw = HitDraw(derive_seed(self.schedule.seed, "training", step))
        self._held = [HitWords(self.network, hits, None) for hits in self.space.draw(rate, draw)]
        self.steps += 1
        for words in self._held:
            words.write(words.value_at(0))

    def on_after_backward(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Store the words again, and keep the gradients usable."""
        self._restore()
        gradients = [p.grad for p in self.network.parameters() if p.grad is not None]
        if all(bool(gradient.isfinite().all()) for gradient in gradients):
            nn.utils.clip_grad_norm_(self.network.parameters(), LARGEST_NORM)
            return
        self.skipped += 1
        for parameter in self.network.parameters():
            parameter.grad = None

    def on_train_batch_end(self, *args: Any) -> None:
        """Keep the stored words within their bounds; of a step without a loss, store them again."""
        if self._held:  # the loss was not finite: there was no backward
            self.skipped += 1
            self._restore()
        with torch.no_grad():
            for tensor, low, high in self._bounds:
                tensor.clamp_(low, high)

    def on_exception(self, *args: Any) -> None:
        """Store the words again."""
        self._restore()

    def _restore(self) -> None:
        for words in self._held:
            words.restore()
        self._held = []

    def describe(self) -> str:
        """What was trained under, in a line."""
        rates = ", ".join(f"{rate:g}" for rate in self.schedule.rates)
        return (
            f"Trained under faults of {self.space.size:,} bits at rates {rates}; "
            f"{self.skipped} of {self.steps} steps had no finite gradient and changed nothing"
        )


def _make_space(families: Sequence[SiteFamily], schedule: FaultSchedule) -> HitSpace:
    fitting = tuple(
        f for f in families if any(fnmatchcase(f.name, pattern) for pattern in schedule.sites)
    )
    if not fitting:
        there = ", ".join(family.name for family in families)
        raise UserError(f"--faults.layers {','.join(schedule.sites)}: learnt words are {there}")
    with report_errors(ValueError, prefix="--faults: "):
        return HitSpace(FaultSpace(fitting, schedule.models, schedule.bits))


def clamp_training(network: nn.Module, clamps: Clamps) -> list[tuple[Tensor, Tensor, Tensor]]:
    """Clamp the words of a network that is to be trained; each tensor with its bounds.

    Raises:
        UserError: the bounds do not fit, or are of membranes.
    """
    if clamps.clamps_states:
        raise UserError("--clamp of membranes: not in a training; allowed: clamps of words")
    with report_errors(ValueError, prefix="--clamp: "):
        clamp_network(network, clamps)
    words, found = named_words(network), []
    for name, clamp in clamps.by_family.items():
        low, high = clamp.tensors()
        shape = (-1, *[1] * (words[name].ndim - 1)) if low.ndim else ()
        found.append((words[name].data, low.reshape(shape), high.reshape(shape)))
    return found
