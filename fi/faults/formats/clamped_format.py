"""Words whose value is clamped when it is read: what is beyond its bounds reads a bound, or 0."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from fi.faults.word_formats import WordFormat

#: What a value beyond its bounds reads.
BEYOND = ("zero", "bound")


def clamp_values(values: Tensor, low: Tensor, high: Tensor, beyond: str) -> Tensor:
    """``values`` in their dtype; NaN, which no comparison places, reads 0 in any case.

    Args:
        values: of any shape.
        low, high: bounds that broadcast to them, finite, ``low <= high``.
        beyond: one of ``BEYOND``.

    >>> values, bounds = torch.tensor([0.5, -3.0, float("nan")]), torch.tensor([-1.0, 1.0])
    >>> clamp_values(values, *bounds, "bound"), clamp_values(values, *bounds, "zero")
    (tensor([ 0.5000, -1.0000,  0.0000]), tensor([0.5000, 0.0000, 0.0000]))
    """
    low, high = low.to(values), high.to(values)
    if beyond == "bound":
        return torch.where(values.isnan(), 0.0, values.clamp(low, high))
    return torch.where((values >= low) & (values <= high), values, torch.zeros_like(values))


@dataclass(frozen=True, eq=False)
class ClampedFormat:
    """A word format with a comparator behind the memory.

    A stored word keeps all of its bits, each of which may have a fault; what it reads is within the
    bounds. So a clamp is a map of the faulty value, whichever engine computes it.

    Attributes:
        form: of the words.
        low, high: bounds, float32, of all words, or ``[channels]`` of the first axis.
        beyond: one of ``BEYOND``.
    """

    form: WordFormat
    low: Tensor
    high: Tensor
    beyond: str

    @property
    def name(self) -> str:
        """As on the command line."""
        return self.form.name

    @property
    def bits(self) -> int:
        """Bits of a word."""
        return self.form.bits

    def encode(self, values: Tensor) -> Tensor:
        """As the format below."""
        return self.form.encode(values)

    def decode(self, words: Tensor) -> Tensor:
        """As the format below, clamped."""
        return self.clamp(self.form.decode(words))

    def select(self, channel: Tensor) -> ClampedFormat:
        """The words of these channels, int64 of any shape."""
        low, high = self.low, self.high
        if low.ndim:
            places = channel.to(low.device)
            low, high = low[places], high[places]
        return ClampedFormat(self.form.select(channel), low, high, self.beyond)

    def clamp(self, values: Tensor) -> Tensor:
        """Values within the bounds."""
        return clamp_values(values, self.low, self.high, self.beyond)
