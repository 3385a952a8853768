"""The batches that a datamodule gives for training."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from lightning_fabric.utilities.exceptions import MisconfigurationException

from fi.base.errors import UserError


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
