"""Training under faults: words are wrong in each step, and gradients change the stored ones."""

from __future__ import annotations

from contextlib import AbstractContextManager, ExitStack
from typing import Any, Protocol

import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from fi.base.errors import UserError, report_errors
from fi.faults.fault_sites import named_words
from fi.faults.formats.clamps import Clamps, clamp_network

#: Gradients of a faulty network are cut to this, each and their norm: a word of 1e38 would drown
#: all others.
LARGEST_NORM = 1.0


class TrainingFaults(Protocol):
    """What is wrong with the words of a network that is trained."""

    @property
    def key(self) -> str:
        """What tells them from others: a training that resumes must have the same."""

    def inject(self, step: int, steps: int) -> AbstractContextManager[None]:
        """The network with the faults of training step ``step`` of so many in place."""

    def inject_to_evaluate(self) -> AbstractContextManager[None]:
        """The network as it is judged."""

    def describe(self) -> str:
        """What was trained under, the begin of a line."""


class FaultyWords(pl.Callback):
    """Has faulty words in place in each training step, and the stored ones after its gradients.

    What a word reads is what a campaign makes of it, clamps included. Gradients are those at the
    faulty words, and change the stored ones (straight through). A word whose gradient is not finite
    is not changed; the others are cut to ``LARGEST_NORM``. Validation is that of the network as the
    faults have it judged.

    Args:
        network: that is trained.
        faults: of its words.
        clamps: bounds of words, which the stored ones keep to after each step.

    Attributes:
        steps, skipped: training steps, and those of them in which gradients were not finite.

    Raises:
        UserError: what is no word is to be clamped.
    """

    def __init__(
        self, network: nn.Module, faults: TrainingFaults, clamps: Clamps | None = None
    ) -> None:
        self.network, self.faults = network, faults
        self.steps = self.skipped = 0
        self._placed = ExitStack()
        self._in_step = False
        self._bounds = [] if clamps is None else clamp_training(network, clamps)

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint has of it."""
        return {"steps": self.steps, "skipped": self.skipped, "faults": self.faults.key}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on counting; ``UserError`` where the training that stopped had other faults."""
        if state_dict["faults"] != self.faults.key:
            raise UserError("--resume: the training that was interrupted had other faults")
        self.steps, self.skipped = state_dict["steps"], state_dict["skipped"]

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Put the faults of this step in place."""
        step, steps = trainer.global_step, int(trainer.estimated_stepping_batches)
        self.steps += 1
        self._in_step = True
        self._placed.enter_context(self.faults.inject(step, steps))

    def on_after_backward(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Store the words again, and keep the gradients usable."""
        self._restore()
        self.skipped += not tame_gradients(self.network)

    def on_train_batch_end(self, *args: Any) -> None:
        """Keep the stored words within their bounds; of a step without a loss, store them again."""
        if self._in_step:  # the loss was not finite: there was no backward
            self.skipped += 1
            self._restore()
        with torch.no_grad():
            for tensor, low, high in self._bounds:
                tensor.clamp_(low, high)

    def on_validation_epoch_start(self, *args: Any) -> None:
        """Put in place what the network is judged with."""
        self._placed.enter_context(self.faults.inject_to_evaluate())

    def on_validation_epoch_end(self, *args: Any) -> None:
        """Store the words again."""
        self._restore()

    def on_exception(self, *args: Any) -> None:
        """Store the words again."""
        self._restore()

    def _restore(self) -> None:
        self._in_step = False
        self._placed.close()

    def describe(self) -> str:
        """What was trained under, in a line."""
        return (
            f"{self.faults.describe()}; in {self.skipped} of {self.steps} steps gradients were "
            "not finite, and changed nothing"
        )


def tame_gradients(network: nn.Module) -> bool:
    """Make gradients of a faulty network usable, in place; whether all of them were finite."""
    gradients = [p.grad for p in network.parameters() if p.grad is not None]
    finite = all(bool(gradient.isfinite().all()) for gradient in gradients)
    for gradient in gradients:
        gradient.nan_to_num_(0.0, 0.0, 0.0).clamp_(-LARGEST_NORM, LARGEST_NORM)
    nn.utils.clip_grad_norm_(network.parameters(), LARGEST_NORM)
    return finite


def clamp_training(network: nn.Module, clamps: Clamps) -> list[tuple[Tensor, Tensor, Tensor]]:
    """Clamp the words of a network that is to be trained; each tensor with its bounds.

    Raises:
        UserError: the bounds do not fit, or are of no words.
    """
    others = clamps.names_beside_words(network)
    if others:
        raise UserError(f"--clamp of {', '.join(others)}: not in a training; allowed: of words")
    with report_errors(ValueError, prefix="--clamp: "):
        clamp_network(network, clamps)
    words, found = named_words(network), []
    for name, clamp in clamps.by_family.items():
        low, high = clamp.tensors()
        shape = (-1, *[1] * (words[name].ndim - 1)) if low.ndim else ()
        found.append((words[name].data, low.reshape(shape), high.reshape(shape)))
    return found
