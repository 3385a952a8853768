"""The batches that a datamodule gives for training, checked against the network."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from lightning_fabric.utilities.exceptions import MisconfigurationException

from fi.base.errors import UserError, first_line
from fi.network.batches import Batches
from fi.training.module import Training


def make_loaders(data: Any) -> tuple[Iterable[Any], Iterable[Any] | None]:
    """The batches of a datamodule to train on, and those to validate with if it has any.

    Raises:
        UserError: it has no batches to train on.
    """
    if hasattr(data, "prepare_data"):
        data.prepare_data()
    if hasattr(data, "setup"):
        data.setup("fit")
    train = make_loader(data, "train_dataloader")
    if train is None:
        raise UserError(f"{type(data).__name__} has no train_dataloader: it cannot be trained on")
    return train, make_loader(data, "val_dataloader")


def make_loader(data: Any, name: str) -> Iterable[Any] | None:
    """What ``data``'s method ``name`` gives, ``None`` where it has none or gives nothing.

    Raises:
        UserError: it gives several loaders.
    """
    try:
        made: Iterable[Any] | None = getattr(data, name)() if hasattr(data, name) else None
    except MisconfigurationException:  # Lightning's own method, which nobody has overridden
        return None
    if not isinstance(made, (list, tuple)):
        return made
    if len(made) > 1:
        raise UserError(f"{type(data).__name__}: {name} must give one loader, not {len(made)}")
    return made[0] if made else None


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
