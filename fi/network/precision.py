"""The floating-point type that a network computes in during a campaign."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain

import torch
from torch import nn

from fi.network.neurons import reset_neurons


@contextmanager
def computing_in(network: nn.Module, precision: str) -> Iterator[None]:
    """The network in float64 for ``64-true``; afterwards in the types that it had.

    Going to float64 and back loses nothing. Lightning would convert it too, and leave it so.

    Example:
        >>> network = nn.Linear(2, 2)
        >>> with computing_in(network, "64-true"):
        ...     network.weight.dtype
        torch.float64
        >>> network.weight.dtype
        torch.float32
    """
    before = {name: tensor.dtype for name, tensor in _named_words(network)}
    try:
        if precision == "64-true":
            network.double()
        yield
    finally:
        reset_neurons(network)
        for name, tensor in _named_words(network):
            tensor.data = tensor.data.to(before[name])


def _named_words(network: nn.Module) -> Iterator[tuple[str, torch.Tensor]]:
    return chain(network.named_parameters(), network.named_buffers())
