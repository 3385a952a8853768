"""Binomial numbers and random subsets as arrays, the same on every platform."""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray

#: Seeds of trials are below this: they fit a field of a results file.
SEEDS = 10**18


def derive_seed(*parts: object) -> int:
    """A seed that follows from ``parts`` and from nothing else.

    >>> derive_seed(51196, "network", "1e-05", 0)
    530725597549848762
    """
    digest = hashlib.sha256("/".join(map(str, parts)).encode()).digest()
    return int.from_bytes(digest[:8], "big") % SEEDS


class HitDraw:
    """Draws from PCG64's raw words, a stream that numpy promises never to change (NEP 19).

    Args:
        seed: of the stream.
    """

    def __init__(self, seed: int) -> None:
        self._words = np.random.PCG64(seed)

    def binomial(self, number: int, rate: float) -> int:
        """How many of ``number`` bits are hit, each with probability ``rate`` (inverted CDF)."""
        uniform = ((int(self._words.random_raw()) >> 11) + 0.5) / 2**53
        from scipy.stats import binom  # takes a second: not to read options

        return int(binom.ppf(uniform, number, rate))

    def below(self, bound: int, size: int) -> NDArray[np.int64]:
        """``size`` uniform integers from 0 to ``bound - 1``, int64 ``[size]``."""
        shift = np.uint64(64 - max(1, (bound - 1).bit_length()))
        kept: list[NDArray[np.int64]] = []
        left = size
        while left:
            words = np.asarray(self._words.random_raw(left), np.uint64) >> shift
            found = words[words < bound].astype(np.int64)
            kept.append(found)
            left -= len(found)
        return np.concatenate(kept) if kept else np.zeros(0, np.int64)

    def subset(self, population: int, size: int) -> NDArray[np.int64]:
        """``size`` different integers below ``population``, ascending; every subset is as likely.

        Integers are drawn until so many different ones have come; of more than a half of all, the
        others are drawn instead.
        """
        if not 0 <= size <= population:
            raise ValueError(f"size is {size}; allowed: 0 to {population}")
        if 2 * size > population:
            left_out = self.subset(population, population - size)
            mask = np.ones(population, bool)
            mask[left_out] = False
            return np.flatnonzero(mask)
        chosen = np.zeros(0, np.int64)
        while len(chosen) < size:
            drawn = self.below(population, size - len(chosen))
            chosen = np.unique(np.concatenate([chosen, drawn]))
        return chosen
