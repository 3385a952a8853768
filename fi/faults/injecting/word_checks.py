"""Stored words as a campaign can strike them: float32, each with memory of its own."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from fi.faults.fault_sites import named_words
from fi.faults.word_formats import forget_formats
from fi.network.trial.same_words import check_layout, find_same_words, is_expanded


def prepare_words(network: nn.Module) -> None:
    """Make expanded tensors whole, and forget what an earlier campaign noted of the words.

    Raises:
        ValueError: the words of a tensor are not float32, or it is sparse or quantised, or it is
            expanded from words of another.
    """
    forget_formats(network)
    words = named_words(network)
    for name, tensor in words.items():
        check_layout(name, tensor)
        _check_type(name, tensor)
        if is_expanded(tensor):
            others = {other: words[other] for other in words if other != name}
            source = find_same_words(name, tensor, others)
            if source is not None:
                raise ValueError(f"{name} is expanded from {source}: give it words of its own")
            tensor.data = tensor.data.clone(memory_format=torch.contiguous_format)


def _check_type(name: str, tensor: Tensor) -> None:
    """Raise ``ValueError`` unless the words are float32."""
    if tensor.dtype != torch.float32:
        kind = str(tensor.dtype).removeprefix("torch.")
        helps = (
            "--precision 64-true computes in float64"
            if tensor.dtype == torch.float64
            else f"--format {kind} strikes words of that format"
        )
        raise ValueError(
            f"{name} is {kind}, and words that are struck are float32: call .float() on the "
            f"network; {helps}"
        )
