"""Codes of a memory by hand: whole code words, parity-check matrices, syndromes as vectors.

Nothing of the tool decides here: words are taken apart with ``struct``, encoded with their check
bits, hit, and decoded by a search for the column of the matrix that is the syndrome.
"""

from __future__ import annotations

import struct

import numpy as np
import torch
from numpy.typing import NDArray
from oracle import change_bits
from oracle_formulas import Oracle
from torch import Tensor, nn

from fi.faults.fault import Fault

Bits = NDArray[np.int64]


class MatrixCode:
    """``secded`` or ``parity`` of ``width`` data bits, as a parity-check matrix.

    Columns of ``secded``: positions 1, 2, 3, ... of Hamming's code, then the overall parity bit.
    """

    def __init__(self, kind: str, width: int) -> None:
        self.corrects = kind == "secded"
        rows = 0
        while self.corrects and 2**rows < width + rows + 1:
            rows += 1
        positions = range(1, width + rows + 1)
        hamming = [[position >> row & 1 for position in positions] + [0] for row in range(rows)]
        self.matrix = np.array([*hamming, [1] * (len(positions) + 1)], np.int64)
        checks = {2**row for row in range(rows)}
        self.data = [place for place, number in enumerate(positions) if number not in checks]
        self.check_places = [2**row - 1 for row in range(rows)] + [len(positions)]

    def encode(self, data: Bits) -> Bits:
        """The code word of these data bits."""
        word = np.zeros(self.matrix.shape[1], np.int64)
        word[self.data] = data
        for row, place in zip(self.matrix, self.check_places, strict=True):
            word[place] = row @ word % 2
        assert not (self.matrix @ word % 2).any()
        return word

    def decode(self, word: Bits) -> tuple[bool, Bits]:
        """Whether an error is reported, and the data bits."""
        word, syndrome = word.copy(), self.matrix @ word % 2
        if not syndrome.any():
            return False, word[self.data]
        (columns,) = (syndrome == self.matrix.T).all(axis=1).nonzero()
        if not self.corrects or not len(columns):
            return True, word[self.data]
        (column,) = columns.tolist()  # no two columns are the same
        word[column] ^= 1
        return False, word[self.data]

    def read(self, golden: Bits, faulty: Bits) -> tuple[bool, Bits]:
        """What is read where ``golden`` was stored and its data bits are ``faulty`` now."""
        word = self.encode(golden)
        word[self.data] = faulty
        return self.decode(word)


def to_bits(words: list[int], width: int, filled: int) -> Bits:
    """The bits of words behind one another, bit 0 first, up to a whole number of ``filled``."""
    bits = [word >> bit & 1 for word in words for bit in range(width)]
    return np.array(bits + [0] * (-len(bits) % filled), np.int64)


class ProtectedOracle(Oracle):
    """An inference by hand on a memory with a code; ``reported`` says whether it saw an error."""

    def __init__(self, network: nn.Module, code: MatrixCode, *faults: Fault) -> None:
        super().__init__(network, *faults)
        self.code, self.reported, self.differs = code, False, False

    def word(self, name: str, step: int) -> Tensor:
        faults = self.at(name, step)
        if not faults:
            return self.words[name]
        golden = self.words[name]
        words = [struct.unpack("<I", struct.pack("<f", v))[0] for v in golden.flatten().tolist()]
        faulty = list(words)
        for fault in faults:
            place = int(np.ravel_multi_index(fault.index, golden.shape)) if golden.ndim else 0
            faulty[place] = change_bits(faulty[place], fault.bits, fault.model)
        width = len(self.code.data)
        stored, found = to_bits(words, 32, width), to_bits(faulty, 32, width)
        for start in range(0, len(stored), width):
            part = slice(start, start + width)
            if (stored[part] != found[part]).any():
                self.differs = True
                reported, found[part] = self.code.read(stored[part], found[part])
                self.reported |= reported
        read = (found[: 32 * len(words)].reshape(-1, 32) << np.arange(32)).sum(axis=1)
        values = torch.from_numpy(read.astype(np.uint32).view(np.float32).copy())
        return values.view_as(golden)
