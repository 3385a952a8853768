"""What the batches of a test loader look like, and how they become events and labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import Enum
from typing import Any

import torch
from torch import Tensor

from fi.base.errors import UserError

#: What a dict calls the events, and the labels.
_EVENT_KEYS = (
    *("events", "event", "frames", "spikes", "data"),
    *("inputs", "input", "images", "image", "x"),
)
_LABEL_KEYS = ("labels", "label", "targets", "target", "classes", "y")


class Layout(Enum):
    """Where time and the samples are in the events that a loader gives."""

    TIME_FIRST = "[time, batch, ...]"
    BATCH_FIRST = "[batch, time, ...]"
    STATIC = "[batch, ...]"  # images; the forward makes the steps

    def arrange(self, events: Tensor) -> Tensor:
        """``events`` as ``[time, batch, ...]``; images are one step."""
        if self is Layout.BATCH_FIRST:
            return events.movedim(1, 0)
        return events[None] if self is Layout.STATIC else events


def find_layouts(events: Tensor, samples: int) -> list[Layout]:
    """The layouts that events of so many ``samples`` may have, the likeliest first.

    Example:
        >>> [layout.name for layout in find_layouts(torch.zeros(25, 8, 2, 4, 4), 8)]
        ['TIME_FIRST']
        >>> [layout.name for layout in find_layouts(torch.zeros(8, 1, 28, 28), 8)]
        ['BATCH_FIRST', 'STATIC']
    """
    found = []
    if events.ndim >= 3 and events.shape[1] == samples:
        found.append(Layout.TIME_FIRST)
    if events.ndim >= 3 and events.shape[0] == samples:
        found.append(Layout.BATCH_FIRST)
    if events.ndim >= 2 and events.shape[0] == samples:
        found.append(Layout.STATIC)
    return found


def split_batch(batch: Any, where: str) -> tuple[Tensor, Tensor, str]:
    """Events and labels of a batch in any of the usual forms, and what else is in it.

    Args:
        batch: ``(events, labels)``, a longer sequence that begins so, or a dict.
        where: what to call it in errors.

    Returns:
        The events as they are, labels ``[batch]`` of int64, and words for what is not used, empty
        where there is nothing.

    Raises:
        UserError: it is none of these; the message says what it is.
    """
    if isinstance(batch, Mapping):
        events, labels, rest = _split_dict(batch, where)
    elif isinstance(batch, (tuple, list)) and len(batch) >= 2:
        events, labels, *others = batch
        rest = ", ".join(map(describe, others))
    else:
        raise UserError(f"{where}: a batch must be (events, labels), not {describe(batch)}")
    events, labels = _to_tensor(events), _to_tensor(labels)
    if not isinstance(events, Tensor) or not isinstance(labels, Tensor):
        kinds = f"({describe(events)}, {describe(labels)})"
        raise UserError(f"{where}: a batch must be two tensors (events, labels), not {kinds}")
    return _make_strided(events, where), _number_labels(labels, where), rest


def _split_dict(batch: Mapping[Any, Any], where: str) -> tuple[Any, Any, str]:
    found = [[key for key in keys if key in batch] for keys in (_EVENT_KEYS, _LABEL_KEYS)]
    if any(len(keys) != 1 for keys in found):
        raise UserError(
            f"{where}: a dict must have one of {', '.join(_EVENT_KEYS)} and one of "
            f"{', '.join(_LABEL_KEYS)}; it has {', '.join(map(str, batch))}"
        )
    (events,), (labels,) = found
    rest = [str(key) for key in batch if key not in (events, labels)]
    return batch[events], batch[labels], ", ".join(rest)


def _to_tensor(value: Any) -> Any:
    """Numbers that are no tensor as one; anything else as it is."""
    if hasattr(value, "__array__") and not isinstance(value, Tensor):
        return torch.as_tensor(value)
    is_numbers = isinstance(value, Sequence) and all(type(v) in (int, bool) for v in value)
    return torch.tensor(value) if is_numbers and len(value) else value


def _make_strided(events: Tensor, where: str) -> Tensor:
    """Events as a plain tensor of real numbers."""
    if events.is_quantized:
        raise UserError(f"{where}: events are quantised ({events.dtype}): give them dequantised")
    if events.is_complex():
        raise UserError(f"{where}: events are complex ({events.dtype}); allowed are real numbers")
    return events if events.layout == torch.strided else events.to_dense()


def _number_labels(labels: Tensor, where: str) -> Tensor:
    """Labels as class numbers ``[batch]``, from these, ``[batch, 1]`` or one-hot ``[batch, K]``."""
    whole = not labels.is_complex() and bool((labels == labels.round()).all())
    one_hot = labels.ndim == 2 and labels.shape[1] > 1
    if one_hot and whole:
        one_hot = bool(((labels == 0) | (labels == 1)).all() and (labels.sum(1) == 1).all())
        labels = labels.argmax(dim=1) if one_hot else labels
    elif labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.ndim != 1 or not whole:
        raise UserError(
            f"{where}: labels must be class numbers [batch], the same as [batch, 1], or one-hot "
            f"[batch, classes], not {labels.dtype} {list(labels.shape)}"
        )
    return labels.to(torch.int64)


def describe(value: Any) -> str:
    """A value in words, its shape where it is a tensor."""
    if isinstance(value, Tensor):
        return f"{type(value).__name__} {list(value.shape)}"
    if isinstance(value, (tuple, list)):
        return f"a {type(value).__name__} of {len(value)}"
    return repr(type(value).__name__)
