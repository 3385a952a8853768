"""Words under a plan by hand: three copies that vote, cells that do not flip, whole code words."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from oracle import change_bits
from oracle_codes import MatrixCode
from oracle_formulas import Oracle
from torch import Tensor, nn

from fi.faults.fault import Fault


@dataclass(frozen=True)
class Guard:
    """A rule: bits of the words of a family, of those at ``words`` or of all, and a scheme."""

    family: str
    scheme: str
    bits: tuple[int, ...]
    words: tuple[tuple[int, ...], ...] | None = None


def to_pattern(value: float) -> int:
    return int(struct.unpack("<I", struct.pack("<f", value))[0])


def to_value(pattern: int) -> float:
    return float(struct.unpack("<f", struct.pack("<I", pattern))[0])


def read_guarded(
    golden: int,
    faults: Sequence[Fault],
    guards: Sequence[Guard],
    copies: Sequence[Sequence[Fault]] = ((), ()),
) -> tuple[bool, int]:
    """Whether an error is reported, and the word that is read; ``copies``: faults of two more."""
    hard = [bit for guard in guards if guard.scheme == "hardened-cell" for bit in guard.bits]
    hit = golden
    for fault in faults:
        bits = [b for b in fault.bits if not (fault.model == "bit-flip" and b in hard)]
        hit = change_bits(hit, bits, fault.model)
    two, three = golden, golden
    for fault in copies[0]:
        two = change_bits(two, fault.bits, fault.model)
    for fault in copies[1]:
        three = change_bits(three, fault.bits, fault.model)
    reported, read = False, hit
    for guard in guards:
        mask = sum(1 << bit for bit in guard.bits)
        if guard.scheme == "tmr":
            voted = hit & two | two & three | hit & three
            read = read & ~mask | voted & mask
        elif guard.scheme in ("parity", "secded"):
            code = MatrixCode(guard.scheme, len(guard.bits))
            before = np.array([golden >> bit & 1 for bit in guard.bits], np.int64)
            after = np.array([hit >> bit & 1 for bit in guard.bits], np.int64)
            if (before != after).any():
                seen, data = code.read(before, after)
                reported |= seen
                for bit, value in zip(guard.bits, data.tolist(), strict=True):
                    read = read & ~(1 << bit) | value << bit
    return reported, read


class GuardedOracle(Oracle):
    """An inference by hand under a plan; ``reported`` says whether a code saw an error.

    ``copies`` are faults of the second and of the third copy of all words.
    """

    def __init__(
        self,
        network: nn.Module,
        guards: Sequence[Guard],
        *faults: Fault,
        copies: Sequence[Sequence[Fault]] = ((), ()),
    ) -> None:
        super().__init__(network, *faults)
        self.guards, self.reported = guards, False
        self.copies = [Oracle(network, *copy) for copy in copies]

    def read(self, name: str, index: tuple[int, ...], value: float, step: int) -> float:
        """A word with golden ``value`` as it is read at ``step``."""
        faults = [fault for fault in self.at(name, step) if fault.index == index]
        guards = [g for g in self.guards if g.family == name]
        guards = [g for g in guards if g.words is None or index in g.words]
        golden = to_pattern(value)
        copies = [[f for f in copy.at(name, step) if f.index == index] for copy in self.copies]
        reported, read = read_guarded(golden, faults, guards, copies)
        self.reported |= reported
        return value if read == golden else to_value(read)

    def hit(self, name: str, step: int) -> set[tuple[int, ...]]:
        """The words of which a copy has a fault now."""
        copies = (self, *self.copies)
        return {fault.index for copy in copies for fault in copy.at(name, step)}

    def word(self, name: str, step: int) -> Tensor:
        words = self.words[name].clone()
        for index in self.hit(name, step):
            words[index] = self.read(name, index, float(words[index]), step)
        return words

    def strike(self, name: str, values: Tensor, step: int) -> Tensor:
        values = values.clone() if self.hit(name, step) else values
        for index in self.hit(name, step):
            for sample in range(len(values)):
                place = (sample, *index)
                values[place] = torch.tensor(self.read(name, index, float(values[place]), step))
        return values
