"""Random orders and random subsets of whole numbers, the same on every platform."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import numpy as np


def random_words(seed: int, at_once: int = 4096) -> Iterator[int]:
    """The 64-bit words of PCG64, a stream that numpy promises never to change (NEP 19)."""
    generator = np.random.PCG64(seed)
    while True:
        yield from generator.random_raw(at_once).tolist()


def _draw_below(words: Iterator[int], bound: int) -> int:
    """A uniform integer from 0 to ``bound - 1``, of any magnitude."""
    bits = (bound - 1).bit_length()
    while True:
        number = 0
        for _ in range(-(-bits // 64)):
            number = number << 64 | next(words)
        number >>= -bits % 64
        if number < bound:
            return number


def draw_distinct(words: Iterator[int], population: int, size: int) -> list[int]:
    """``size`` different integers below ``population``, in random order."""
    return Shuffle(words, population).take(size)


class Shuffle:
    """The integers below ``population`` in random order, made only as far as they are taken.

    A Fisher-Yates shuffle that holds only the moved entries.

    Args:
        words: random, of 64 bits.
        population: of any magnitude.

    Attributes:
        taken: how many were taken so far.

    >>> order = Shuffle(random_words(seed=1), population=5)
    >>> order.take(3), order.take(2)
    ([4, 0, 2], [1, 3])
    """

    def __init__(self, words: Iterator[int], population: int) -> None:
        self._words = words
        self._population = population
        self._moved: dict[int, int] = {}
        self.taken = 0

    @classmethod
    def seeded(cls, seed: int, name: str, population: int) -> Shuffle:
        """The order of one part of a draw, which depends on the seed and the part's name only."""
        digest = hashlib.sha256(f"{seed} {name}".encode()).digest()
        return cls(random_words(int.from_bytes(digest[:16], "big"), at_once=256), population)

    def take(self, size: int) -> list[int]:
        """The next ``size`` integers; together with the earlier ones at most all there are."""
        drawn, moved = [], self._moved
        for first in range(self.taken, self.taken + size):
            other = first + _draw_below(self._words, self._population - first)
            drawn.append(moved.get(other, other))
            moved[other] = moved.pop(first, first)
        self.taken += size
        return drawn
