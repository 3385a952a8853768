"""Words that are whole numbers times a scale: of a tensor, of each channel, or a power of two."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

#: The most bits of a fixed-point word: each of its values is a float32.
WIDEST_FIXED = 24


@dataclass(frozen=True)
class Integers:
    """Two's complement of ``bits`` bits times ``scale``.

    Symmetric: golden words of 8 bits are -127 to 127; a fault may make -128.

    Attributes:
        scale: of all words, or of each: a tensor that broadcasts to them.
    """

    scale: float | Tensor
    name: ClassVar[str]
    bits: ClassVar[int]

    @classmethod
    def largest(cls) -> int:
        """The largest golden word."""
        return int(2 ** (cls.bits - 1)) - 1

    def encode(self, values: Tensor) -> Tensor:
        # by a number CUDA would multiply with its reciprocal, which rounds otherwise
        scale = torch.as_tensor(self.scale, dtype=values.dtype, device=values.device)
        steps = (values / scale).nan_to_num(0.0).round()
        return _keep(steps.clamp(-self.largest(), self.largest()), self.bits)

    def decode(self, words: Tensor) -> Tensor:
        scale = self.scale.to(words.device) if isinstance(self.scale, Tensor) else self.scale
        return extend_sign(words, self.bits) * scale

    def select(self, channel: Tensor) -> Integers:
        return self


class Int8(Integers):
    """Integers of 8 bits, of one scale a tensor."""

    name = "int8"
    bits = 8

    @classmethod
    def of(cls, tensor: Tensor) -> Int8:
        """The format in which the largest magnitude of ``tensor`` is 127."""
        return cls(find_scale(tensor, cls.largest()))


class Int4(Integers):
    """Integers of 4 bits, of one scale a tensor."""

    name = "int4"
    bits = 4

    @classmethod
    def of(cls, tensor: Tensor) -> Int4:
        """The format in which the largest magnitude of ``tensor`` is 7."""
        return cls(find_scale(tensor, cls.largest()))


@dataclass(frozen=True)
class ByChannel:
    """Integers with a scale for each place of the first axis; words are read through ``select``.

    Attributes:
        kind: of the integers.
        scales: float32 ``[channels]``.
    """

    kind: type[Integers]
    scales: Tensor

    @classmethod
    def of(cls, tensor: Tensor, kind: type[Int8 | Int4]) -> ByChannel | Integers:
        """The format of ``tensor``; of a vector or a number, one scale."""
        if tensor.ndim < 2:
            return kind.of(tensor)
        scales = [find_scale(channel, kind.largest()) for channel in tensor]
        return cls(kind, torch.tensor(scales, device=tensor.device))

    @property
    def name(self) -> str:
        """As on the command line."""
        return f"{self.kind.name}-channel"

    @property
    def bits(self) -> int:
        """Bits of a word."""
        return self.kind.bits

    def select(self, channel: Tensor) -> Integers:
        """The words of these channels, int64 of any shape."""
        return self.kind(self.scales[channel.to(self.scales.device)])

    def encode(self, values: Tensor) -> Tensor:
        raise TypeError("words of a channel are read through select")

    def decode(self, words: Tensor) -> Tensor:
        raise TypeError("words of a channel are read through select")


@dataclass(frozen=True)
class Fixed:
    """Fixed point: two's complement of I + F bits, F of them behind the point; it saturates.

    Attributes:
        whole: I, the sign among them.
        fraction: F.
    """

    whole: int
    fraction: int

    @classmethod
    def parse(cls, name: str) -> Fixed | None:
        """The format of ``fixed:4.4``; ``None`` for any other name, or one of too many bits."""
        found = re.fullmatch(r"fixed:([0-9]{1,2})\.([0-9]{1,2})", name)
        form = cls(*map(int, found.groups())) if found else None
        fits = form is not None and form.whole > 0 and 2 <= form.bits <= WIDEST_FIXED
        return form if fits else None

    @property
    def name(self) -> str:
        """As on the command line."""
        return f"fixed:{self.whole}.{self.fraction}"

    @property
    def bits(self) -> int:
        """Bits of a word."""
        return self.whole + self.fraction

    def encode(self, values: Tensor) -> Tensor:
        end = 2.0 ** (self.bits - 1)
        steps = (values * 2.0**self.fraction).nan_to_num(0.0).round().clamp(-end, end - 1)
        return _keep(steps, self.bits)

    def decode(self, words: Tensor) -> Tensor:
        return extend_sign(words, self.bits) * 2.0**-self.fraction

    def select(self, channel: Tensor) -> Fixed:
        return self


def find_scale(tensor: Tensor, largest: int) -> float:
    """The scale at which the largest magnitude of ``tensor`` is the word ``largest``.

    Raises:
        ValueError: a value is infinite or NaN.
    """
    if not bool(tensor.isfinite().all()):
        raise ValueError("a tensor with infinite or NaN values has no int8 words, nor int4")
    magnitude = float(tensor.abs().max()) if tensor.numel() else 0.0
    return float(torch.tensor(magnitude) / largest) or 1.0


def extend_sign(words: Tensor, bits: int) -> Tensor:
    """The float32 value of the lowest ``bits`` bits as two's complement."""
    sign = 1 << (bits - 1)
    return (((words & (2 * sign - 1)) ^ sign) - sign).to(torch.float32)


def _keep(steps: Tensor, bits: int) -> Tensor:
    return steps.to(torch.int32) & ((1 << bits) - 1)
