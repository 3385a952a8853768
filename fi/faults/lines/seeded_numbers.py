"""Random numbers that hang on a fault, a sample, a line and a step, and on nothing else.

They are hashes of these: the same on any engine, in any batch, on any number of processes.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from functools import lru_cache

import torch
from torch import Tensor

from fi.base.errors import UserError
from fi.faults.bits import as_signed_64
from fi.faults.fault import Fault

#: The constants of SplitMix64 (Steele, Lea and Flood, OOPSLA 2014).
_GOLDEN_GAMMA, _FIRST, _SECOND = (
    as_signed_64(word) for word in (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB)
)


@dataclass
class SamplePositions:
    """Which samples of the test set the rows of the running batch are.

    Attributes:
        numbers: positions in the test set, int64 ``[batch]``; ``None`` is 0, 1, 2, ...
    """

    numbers: Tensor | None = field(default=None)

    def of(self, batch: int, device: torch.device) -> Tensor:
        """The positions of a batch of so many rows.

        Raises:
            UserError: the batch has another number of samples.
        """
        if self.numbers is None:
            return torch.arange(batch, device=device)
        if len(self.numbers) != batch:
            raise UserError(f"a line carries {batch} samples at once, not {len(self.numbers)}")
        return self.numbers.to(device)


@lru_cache(maxsize=65536)
def seed_of(fault: Fault) -> int:
    """What seeds a fault: its number in the list, its line and its model; not when it is active."""
    text = f"{fault.injection}|{fault.layer}|{fault.index}|{fault.model}"
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little", signed=True)


class UniformNumbers:
    """``draw_uniform`` of some lines and samples, that of each step once.

    Args:
        seeds: of the lines, int64 ``[...]``.
        samples: positions in the test set, int64 ``[batch]``.
    """

    def __init__(self, seeds: Tensor, samples: Tensor) -> None:
        self._word = _mix(_mix(seeds + _GOLDEN_GAMMA).unsqueeze(-1) + samples * _GOLDEN_GAMMA)
        self._drawn: dict[int, Tensor] = {}

    def __call__(self, step: int) -> Tensor:
        """Numbers from 0 to 1, 1 not included, float64 ``[..., batch]``, of a step."""
        if step not in self._drawn:
            word = _mix(self._word + as_signed_64((step + 1) * _GOLDEN_GAMMA % (1 << 64)))
            self._drawn[step] = ((word >> 11) & ((1 << 53) - 1)).double() * 2.0**-53
        return self._drawn[step]


def draw_uniform(seeds: Tensor, samples: Tensor, step: int) -> Tensor:
    """Numbers from 0 to 1, 1 not included, float64 ``[..., batch]``.

    Args:
        seeds: of the lines, int64 ``[...]``.
        samples: positions in the test set, int64 ``[batch]``.
        step: of the inference.
    """
    return UniformNumbers(seeds, samples)(step)


def _mix(word: Tensor) -> Tensor:
    """The output function of SplitMix64, modulo 2**64."""
    word = (word ^ _shift(word, 30)) * _FIRST
    word = (word ^ _shift(word, 27)) * _SECOND
    return word ^ _shift(word, 31)


def _shift(word: Tensor, places: int) -> Tensor:
    """To the right, zeros from the left."""
    return (word >> places) & ((1 << (64 - places)) - 1)
