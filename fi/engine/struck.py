"""Faults of one site family, stacked into tensors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

from fi.faults import Fault, fault_model
from fi.words import corrupt, to_words


@cache
def _masks(model: str, bit: int) -> tuple[int, int, int]:
    return fault_model(model).masks(bit).signed()


@dataclass(frozen=True)
class Struck:
    """Faults of one site family, all permanent or all transient, the earliest first.

    Attributes:
        faults: as they stand in the fault list.
        position: of each fault in its group, int64 ``[faults]``.
        index: the words they strike, int64 ``[faults, dimensions]``.
        masks: what they do to them: keep, force and flip, int32 ``[3, faults]``.
        steps: when they are active, int64 ``[faults]``; ``None`` is permanent.
    """

    faults: tuple[Fault, ...]
    position: Tensor
    index: Tensor
    masks: Tensor
    steps: Tensor | None

    @classmethod
    def of(cls, faults: Sequence[Fault], position: Tensor) -> Struck:
        """``position`` ``[faults]`` says which device the tensors live on."""
        order = sorted(range(len(faults)), key=lambda row: faults[row].step or 0)
        rows = tuple(faults[row] for row in order)
        device = position.device
        index = torch.tensor([fault.index for fault in rows], dtype=torch.int64)
        masks = torch.tensor([_masks(fault.model, fault.bit) for fault in rows], dtype=torch.int32)
        transient = rows[0].step is not None
        return cls(
            rows,
            position[torch.tensor(order, device=device)],
            index.reshape(len(rows), -1).to(device),
            masks.T.contiguous().to(device),
            torch.tensor([fault.step for fault in rows], device=device) if transient else None,
        )

    def __len__(self) -> int:
        return len(self.faults)

    def __getitem__(self, rows: slice) -> Struck:
        steps = None if self.steps is None else self.steps[rows]
        masks = self.masks[:, rows]
        return Struck(self.faults[rows], self.position[rows], self.index[rows], masks, steps)

    def where(self, chosen: Tensor) -> Struck:
        """The faults that ``chosen``, bool ``[faults]``, marks."""
        rows = chosen.nonzero().squeeze(1)
        steps = None if self.steps is None else self.steps[rows]
        faults = tuple(self.faults[row] for row in rows.tolist())
        return Struck(faults, self.position[rows], self.index[rows], self.masks[:, rows], steps)

    @property
    def start(self) -> int:
        """The first step at which any of them is active."""
        return self.faults[0].step or 0

    def words(self, tensor: Tensor) -> tuple[Tensor, Tensor]:
        """The words of ``tensor`` before and after, ``[faults]`` each, in its dtype."""
        golden = tensor.detach()[tuple(self.index.T)] if tensor.ndim else tensor.detach().expand(1)
        golden = golden.expand(len(self))
        return golden, corrupt(golden, *self.masks)

    def changing(self, tensor: Tensor) -> Struck:
        """Those that change the stored word: a stuck-at on a bit of that value does not."""
        golden, faulty = self.words(tensor)
        return self.where(to_words(golden) != to_words(faulty))

    def active(self, start: int, stop: int) -> Tensor | None:
        """Whether a fault is active at each step, bool ``[time, faults]``; ``None``: always."""
        if self.steps is None:
            return None
        return torch.arange(start, stop, device=self.steps.device).unsqueeze(1) == self.steps
