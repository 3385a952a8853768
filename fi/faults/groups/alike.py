"""Faults of a trial that do the same to different words of one tensor, put in place at once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import torch
from torch import Tensor

from fi.faults.fault import Fault, Index

#: Where some words of a tensor are: for each axis int64 ``[words]``.
Words = tuple[Tensor, ...]


def gather_alike(faults: Sequence[Fault]) -> list[list[Fault]]:
    """Faults of one model, bits and time in one tensor together, in the order of the first of them.

    Those of a word that has several stay alone: they act on it in their order.

    >>> row = [Fault(0, "fc1.bias", (place,), 30) for place in (0, 1, 2)]
    >>> [len(part) for part in gather_alike([*row, Fault(0, "fc1.bias", (1,), 31)])]
    [2, 1, 1]
    """
    times = Counter((fault.layer, fault.index) for fault in faults)
    found: dict[tuple[object, ...], list[Fault]] = {}
    for number, fault in enumerate(faults):
        alone = number if times[fault.layer, fault.index] > 1 else None
        key = (fault.layer, fault.bits, fault.model, fault.steps, alone)
        found.setdefault(key, []).append(fault)
    return list(found.values())


def words_of(faults: Sequence[Fault]) -> Index | Words:
    """What a tensor is to be indexed with for the words of faults in it; of one, its own index."""
    if len(faults) == 1:
        return faults[0].index
    return torch.tensor([fault.index for fault in faults]).unbind(1)
