"""Bit operations on the words that hardware stores, as pure tensor functions.

A fault on a stored word of 32 bits is three masks: the faulty word is
``((word & keep) | force) ^ flip``. Bit 0 is the least significant one; for float32 (IEEE 754
binary32) bit 31 is the sign, 23 to 30 are the exponent and 0 to 22 the fraction.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

WORD_BITS = 32
_FULL = (1 << WORD_BITS) - 1


def float_pattern(value: float) -> int:
    """The bit pattern of the float32 nearest to ``value``."""
    return int(torch.tensor(value, dtype=torch.float32).view(torch.int32)) & _FULL


def as_signed(pattern: int) -> int:
    """The int32 that has the bit pattern of the unsigned ``pattern`` (0 to 2**32 - 1)."""
    return pattern - (1 << WORD_BITS) if pattern >> (WORD_BITS - 1) else pattern


def as_signed_64(pattern: int) -> int:
    """The int64 that has the bit pattern of the unsigned ``pattern`` (0 to 2**64 - 1)."""
    return pattern - (1 << 64) if pattern >> 63 else pattern


@dataclass(frozen=True, slots=True)
class WordMasks:
    """What a fault does to a 32-bit word: ``((word & keep) | force) ^ flip``, unsigned patterns."""

    keep: int = _FULL
    force: int = 0
    flip: int = 0

    @classmethod
    def flipping(cls, pattern: int) -> WordMasks:
        """Invert the bits that are set in ``pattern``."""
        return cls(flip=pattern)

    @classmethod
    def setting(cls, pattern: int) -> WordMasks:
        """Hold the bits that are set in ``pattern`` at 1."""
        return cls(force=pattern)

    @classmethod
    def clearing(cls, pattern: int) -> WordMasks:
        """Hold the bits that are set in ``pattern`` at 0."""
        return cls(keep=_FULL & ~pattern)

    @classmethod
    def holding(cls, pattern: int) -> WordMasks:
        """Hold the whole word at ``pattern``."""
        return cls(keep=0, force=pattern)

    def signed(self) -> tuple[int, int, int]:
        """``keep, force, flip`` as int32 values, the type that tensors hold words in."""
        return as_signed(self.keep), as_signed(self.force), as_signed(self.flip)


def to_words(values: Tensor) -> Tensor:
    """The stored words, int32 of the shape of ``values``; float64 values are rounded to float32."""
    return values.to(torch.float32).contiguous().view(torch.int32)


def from_words(words: Tensor) -> Tensor:
    """The float32 values of int32 ``words``."""
    return words.contiguous().view(torch.float32)


def apply_masks(
    words: Tensor, keep: Tensor | int, force: Tensor | int, flip: Tensor | int
) -> Tensor:
    """Int32 ``words`` of any width under masks that broadcast against them."""
    return ((words & keep) | force) ^ flip


def corrupt(values: Tensor, keep: Tensor | int, force: Tensor | int, flip: Tensor | int) -> Tensor:
    """``values`` as they read after the fault, in their own dtype.

    The masks are int32 patterns that broadcast against ``values``. Where the stored word does not
    change, the value is left as it is: a float64 value is not rounded there.

    >>> corrupt(torch.tensor([1.0, 2.0]), keep=-1, force=0, flip=1 << 23)
    tensor([0.5000, 4.0000])
    """
    stored = to_words(values)
    faulty = apply_masks(stored, keep, force, flip)
    return torch.where(faulty == stored, values, from_words(faulty).to(values.dtype))


def are_same_words(left: Tensor, right: Tensor) -> bool:
    """Whether both hold the same float32 words: NaN equals itself, 0.0 and -0.0 differ."""
    return bool(torch.equal(to_words(left), to_words(right)))
