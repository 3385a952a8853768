"""Training of a spiking network with surrogate gradients, as a Lightning module."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.nn import functional

from fi.base.errors import UserError
from fi.network.foreign import Adapter
from fi.network.neurons import neuron_words, spiking_neurons
from fi.network.stages import SpikingNetwork
from fi.training.firing import mean_rates, record_spikes
from fi.training.recipe import Recipe

#: Where training keeps what a neuron learns: name of the parameter -> (lowest, highest).
BOUNDS = {"beta": (0.01, 0.99), "alpha": (0.01, 0.99), "threshold": (0.1, float("inf"))}


class Training(pl.LightningModule):
    """Cross-entropy of what the readout gathers, for a ``SpikingNetwork``, else of the scores.

    Args:
        network: any module with snnTorch neurons.
        recipe: how to train it.
        readout, time_axis: for a network that is no ``SpikingNetwork``, see ``Adapter``.
        under_faults: a loss that is not finite is a fault's, and ends nothing.
    """

    def __init__(
        self,
        network: nn.Module,
        recipe: Recipe,
        readout: str = "auto",
        time_axis: int | str = "auto",
        under_faults: bool = False,
    ) -> None:
        super().__init__()
        self.network, self.under_faults = network, under_faults
        self.recipe = recipe
        self.logits: Callable[[Tensor], Tensor] = (
            network.statistic
            if isinstance(network, SpikingNetwork)
            else Adapter(network, readout, time_axis)
        )

    def loss(self, events: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Mean loss and accuracy of events ``[time, batch, ...]`` with labels ``[batch]``."""
        logits = self.logits(convert_to_float(events))
        correct = (logits.argmax(dim=-1) == labels).float().mean()
        return functional.cross_entropy(logits / self.recipe.temperature, labels.long()), correct

    def training_step(self, batch: Any, number: int) -> Tensor | None:
        """Loss of one batch; ``UserError`` where it is not finite, ``None`` under faults."""
        events, labels = batch
        with record_spikes(self.network) as spikes:
            loss, accuracy = self.loss(
                shift_frames(convert_to_float(events), self.recipe.shift), labels
            )
        if self.recipe.rate_penalty:
            squares = [rate.square().mean() for rate in mean_rates(spikes).values()]
            loss = loss + self.recipe.rate_penalty * torch.stack(squares).sum()
        if self.under_faults and not loss.isfinite():
            return None
        if not loss.isfinite():
            raise UserError(
                f"training diverged: the loss is {loss.item()} in epoch {self.current_epoch}, "
                f"batch {number}; a smaller --lr may help"
            )
        self._log_means("train", loss, accuracy, len(labels))
        return loss

    def validation_step(self, batch: Any, number: int) -> None:
        """Log loss and accuracy of one batch."""
        self._log_means("val", *self.loss(*batch), len(batch[1]))

    def _log_means(self, split: str, loss: Tensor, accuracy: Tensor, samples: int) -> None:
        """Log means over an epoch of the samples of ``train`` or ``val``."""
        for name, value in ((f"{split}_loss", loss), (f"{split}_accuracy", accuracy)):
            shown = name in ("train_loss", "val_accuracy")
            self.log(
                name, value, shown, on_step=False, on_epoch=True, batch_size=samples, sync_dist=True
            )

    def on_train_batch_end(self, *args: Any) -> None:
        """Keep the neurons physical."""
        keep_in_bounds(self.network)

    def configure_optimizers(self) -> Any:
        """Adam with a learning rate of its own for neurons, both falling as half a cosine."""
        lr, recipe = self.recipe.lr, self.recipe
        own, synaptic = split_parameters(self.network)
        groups = [{"params": synaptic, "lr": lr}, {"params": own, "lr": lr * recipe.neuron_lr}]
        optimizer = torch.optim.Adam([group for group in groups if group["params"]])
        steps = int(self.trainer.estimated_stepping_batches)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, max(1, steps))
        return [optimizer], [{"scheduler": schedule, "interval": "step"}]


def split_parameters(network: nn.Module) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """The learnable parameters of the neurons, and all others."""
    own = {
        id(parameter)
        for neuron in spiking_neurons(network).values()
        for parameter in neuron.parameters(recurse=False)
    }
    learnable = [parameter for parameter in network.parameters() if parameter.requires_grad]
    neurons = [parameter for parameter in learnable if id(parameter) in own]
    return neurons, [parameter for parameter in learnable if id(parameter) not in own]


@torch.no_grad()
def keep_in_bounds(network: nn.Module) -> None:
    """Clamp what the neurons learn to ``BOUNDS``, in place; what they do not learn stays."""
    for neuron in spiking_neurons(network).values():
        for name in neuron_words(neuron):
            parameter = getattr(neuron, name)
            if name in BOUNDS and parameter.requires_grad:
                parameter.clamp_(*BOUNDS[name])


def convert_to_float(events: Tensor) -> Tensor:
    """Integer counts as floats of the default type."""
    return events if events.is_floating_point() else events.to(torch.get_default_dtype())


def shift_frames(events: Tensor, largest: int) -> Tensor:
    """Frames ``[time, batch, channels, height, width]``, each sample moved by a random offset.

    The offset is up to ``largest`` pixels in both directions; what leaves the frame is lost,
    what comes in is empty.

    Raises:
        UserError: the events are no frames.
    """
    if not largest:
        return events
    if events.ndim != 5:
        raise UserError(
            f"--shift {largest}: only frames [time, batch, channels, height, width] can be moved, "
            f"the events are {list(events.shape)}"
        )
    height, width = events.shape[-2:]
    padded = functional.pad(events, (largest,) * 4)
    offsets = torch.randint(2 * largest + 1, (events.shape[1], 2)).tolist()
    moved = [
        padded[:, sample, :, down : down + height, right : right + width]
        for sample, (down, right) in enumerate(offsets)
    ]
    return torch.stack(moved, dim=1)
