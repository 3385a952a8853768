"""Random numbers that a forward draws: the same in every inference."""

from __future__ import annotations

import pickle
import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch


@contextmanager
def seeded(seed: int | None) -> Iterator[None]:
    """Within, random numbers of torch, NumPy and Python are those of ``seed``; ``None``: as before.

    Afterwards all three go on as if nothing had been drawn.

    Example:
        >>> with seeded(3):
        ...     first = torch.rand(2)
        >>> with seeded(3):
        ...     torch.equal(torch.rand(2), first)
        True
    """
    if seed is None:
        yield
        return
    with keep_generators():
        torch.manual_seed(seed)
        np.random.seed(seed % 2**32)  # the generator that a forward may draw from
        random.seed(seed)
        yield


@contextmanager
def keep_generators() -> Iterator[None]:
    """Afterwards random numbers go on as if nothing had been drawn within."""
    numbers, pythons = np.random.get_state(), random.getstate()
    on_gpu = torch.cuda.is_available() and torch.cuda.is_initialized()
    with torch.random.fork_rng(devices=None if on_gpu else []):
        try:
            yield
        finally:
            np.random.set_state(numbers)
            random.setstate(pythons)


def read_generators() -> dict[str, int]:
    """A number for the state of each generator; it changes when something is drawn."""
    return {
        "torch": hash(torch.get_rng_state().numpy().tobytes()),
        "numpy": hash(pickle.dumps(np.random.get_state())),
        "random": hash(random.getstate()),
    }
