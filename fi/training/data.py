"""The batches that a datamodule gives for training, against the network."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from fi.base.errors import UserError, first_line
from fi.network.batches import Batches
from fi.training.module import Training


def check_fit(module: Training, train: Iterable[Any], source: str) -> None:
    """Raise ``UserError`` where the first batch is malformed or does not suit the network."""
    name = type(module.network).__name__
    if not any(parameter.requires_grad for parameter in module.network.parameters()):
        raise UserError(f"{name} has no learnable parameter: there is nothing to train")
    events, labels = Batches(train, source).first()
    try:
        logits = module.logits(events[:, :1])
    except (RuntimeError, ValueError, IndexError, TypeError) as error:
        raise UserError(
            f"{name} cannot take the events of {source}, [time, batch, ...] = "
            f"{list(events.shape)}: {first_line(error)}"
        ) from error
    if logits.ndim != 2 or not logits.requires_grad:
        raise UserError(
            f"{name} must give scores [batch, classes] that depend on what it learns: "
            f"it gave {list(logits.shape)}; see --readout and --time-axis"
        )
    if not 0 <= int(labels.min()) <= int(labels.max()) < logits.shape[1]:
        raise UserError(
            f"{name} has {logits.shape[1]} classes, but the labels of {source} lie in "
            f"{int(labels.min())}..{int(labels.max())}"
        )
