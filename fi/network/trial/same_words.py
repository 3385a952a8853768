"""Which tensors are the same words of memory."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from fi.network.trial.word_access import extent_of, overlaps


def check_layout(name: str, tensor: Tensor) -> None:
    """Raise ``ValueError`` for a tensor that is no plain array of words."""
    if tensor.layout != torch.strided or tensor.is_quantized:
        kind = "quantised" if tensor.is_quantized else str(tensor.layout).removeprefix("torch.")
        raise ValueError(f"{name} is {kind}: its words cannot be struck; convert it to a plain one")


def find_same_words(name: str, tensor: Tensor, others: Mapping[str, Tensor]) -> str | None:
    """Which of the tensors ``others`` has all words of ``tensor``; ``None``: it has its own.

    >>> weight = torch.zeros(3, 4)
    >>> find_same_words("fc2.weight", weight.t(), {"fc1.weight": weight})
    'fc1.weight'

    Raises:
        ValueError: it has some of them only.
    """
    if not tensor.numel():
        return None
    extent = extent_of(tensor)
    for other, words in others.items():
        if words.numel() and overlaps(extent, extent_of(words)):
            own, theirs = _addresses(tensor), _addresses(words)
            if bool(torch.isin(own, theirs).all()):
                return other
            if bool(torch.isin(own, theirs).any()):
                raise ValueError(
                    f"some words of {name} are words of {other}: give each tensor its own memory"
                )
    return None


def _addresses(tensor: Tensor) -> Tensor:
    """Where each element lies, in bytes, int64 ``[elements]``."""
    place = torch.zeros((), dtype=torch.int64)
    for size, stride in zip(tensor.shape, tensor.stride(), strict=True):
        place = place[..., None] + torch.arange(size) * int(stride)
    return (place.flatten() + int(tensor.storage_offset())) * tensor.element_size()


def is_expanded(tensor: Tensor) -> bool:
    """Whether several elements of a tensor are one word of memory."""
    return bool(tensor.numel()) and len(_addresses(tensor).unique()) < tensor.numel()
