"""Faults of one site family, stacked into tensors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fi.faults.bits import corrupt, to_words
from fi.faults.fault import Fault, signed_masks


@dataclass(frozen=True)
class FaultBatch:
    """Faults of one site family, all permanent or all transient, the earliest first.

    Attributes:
        listed: the faults as they stand in the fault list.
        position: of each fault in its group, int64 ``[faults]``.
        index: the words that they corrupt, int64 ``[faults, dimensions]``.
        masks: what they do to them: keep, force and flip, int32 ``[3, faults]``.
        steps: first and last step of each, int64 ``[2, faults]``; ``None`` is permanent.
    """

    listed: tuple[Fault, ...]
    position: Tensor
    index: Tensor
    masks: Tensor
    steps: Tensor | None

    @classmethod
    def stack(cls, faults: Sequence[Fault], position: Tensor, masks: Tensor) -> FaultBatch:
        """Sort and stack ``faults`` of one family.

        Args:
            faults: in any order.
            position: of each in its group, int64 ``[faults]``, on the device of the run.
            masks: of each, int32 ``[faults, 3]``.
        """
        order = sorted(range(len(faults)), key=lambda row: first_step(faults[row]))
        rows = tuple(faults[row] for row in order)
        device = position.device
        index = torch.tensor([fault.index for fault in rows], dtype=torch.int64)
        windows = [(fault.steps[0], fault.steps[-1]) for fault in rows if fault.steps is not None]
        return cls(
            rows,
            position[torch.tensor(order, device=device)],
            index.reshape(len(rows), -1).to(device),
            masks[order].T.contiguous().to(device),
            torch.tensor(windows, device=device).T.contiguous() if windows else None,
        )

    def __len__(self) -> int:
        return len(self.listed)

    def __getitem__(self, rows: slice) -> FaultBatch:
        steps = None if self.steps is None else self.steps[:, rows]
        masks = self.masks[:, rows]
        return FaultBatch(self.listed[rows], self.position[rows], self.index[rows], masks, steps)

    def select(self, chosen: Tensor) -> FaultBatch:
        """The faults that ``chosen``, bool ``[faults]``, marks."""
        rows = chosen.nonzero().squeeze(1)
        steps = None if self.steps is None else self.steps[:, rows]
        listed = tuple(self.listed[row] for row in rows.tolist())
        return FaultBatch(listed, self.position[rows], self.index[rows], self.masks[:, rows], steps)

    def select_changing(self, tensor: Tensor) -> FaultBatch:
        """Those that change the stored word: a stuck-at on a bit of that value does not."""
        golden, faulty = self.corrupt_words(tensor)
        return self.select(to_words(golden) != to_words(faulty))

    @property
    def start(self) -> int:
        """The first step at which any of them is active."""
        return first_step(self.listed[0])

    def corrupt_words(self, tensor: Tensor) -> tuple[Tensor, Tensor]:
        """The words of ``tensor`` before and after the faults, ``[faults]`` each, in its dtype."""
        golden = tensor.detach()[tuple(self.index.T)] if tensor.ndim else tensor.detach().expand(1)
        golden = golden.expand(len(self))
        return golden, corrupt(golden, *self.masks)

    def corrupt_lines(self, signal: Tensor, shape: torch.Size) -> tuple[Tensor, Tensor]:
        """The input lines with a fault, after and before it, ``[time, batch, faults]`` each.

        Args:
            signal: all lines, ``[time, batch, lines]``.
            shape: of the lines of a frame.
        """
        frames = torch.unflatten(signal, 2, shape)
        golden = frames[(slice(None), slice(None), *self.index.T)]
        faulty = corrupt(golden, *self.masks)
        active = self.active_steps(0, len(signal))
        if active is not None:
            faulty = torch.where(active.unsqueeze(1), faulty, golden)
        return faulty, golden

    def active_steps(self, start: int, stop: int) -> Tensor | None:
        """Whether a fault is active at each step, bool ``[time, faults]``; ``None``: always."""
        if self.steps is None:
            return None
        now = torch.arange(start, stop, device=self.steps.device).unsqueeze(1)
        return (self.steps[0] <= now) & (now <= self.steps[1])


def stack_masks(faults: Sequence[Fault]) -> NDArray[np.int32]:
    """What each fault does to a word: keep, force and flip, ``[faults, 3]``."""
    hit = [(fault.model, fault.bits) for fault in faults]
    masks = {pair: signed_masks(*pair) for pair in set(hit)}
    return np.array([masks[pair] for pair in hit], np.int32).reshape(-1, 3)


def first_step(fault: Fault) -> int:
    """The first time step at which it is active."""
    return 0 if fault.steps is None else fault.steps[0]
