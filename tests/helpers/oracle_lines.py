"""A line that loses, adds or delays spikes, by hand: one line, one sample, in plain Python.

Nothing of the tool is imported. Random numbers are SplitMix64's, on Python's unbounded integers.
"""

from __future__ import annotations

import hashlib
from typing import Any

_WORD = (1 << 64) - 1
_GAMMA = 0x9E3779B97F4A7C15


def is_of_line(fault: Any) -> bool:
    return fault.model.partition(":")[0] in ("drop", "add", "delay", "jitter")


class Line:
    """What arrives of one line in one sample.

    Args:
        fault: of the line.
        sample: its position in the test set.
    """

    def __init__(self, fault: Any, sample: int) -> None:
        self.name, _, number = fault.model.partition(":")
        self.number, self.sample = float(number), sample
        text = f"{fault.injection}|{fault.layer}|{fault.index}|{fault.model}"
        self.seed = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little")
        self.given: list[float] = []

    def carry(self, value: float, active: bool) -> float:
        self.given.append(value)
        step = len(self.given) - 1
        if not active:
            return value
        if self.name == "drop":
            return 0.0 if self.uniform(step) < self.number else value
        if self.name == "add":
            return 1.0 if value == 0 and self.uniform(step) < self.number else value
        late = int(self.number)
        if self.name == "delay":
            return self.given[step - late] if step >= late else 0.0
        arriving = [
            given
            for sent, given in enumerate(self.given)
            if sent + int(self.uniform(sent) * (late + 1)) == step
        ]
        return max([0.0, *arriving])

    def uniform(self, step: int) -> float:
        word = mix((self.seed + _GAMMA) & _WORD) + self.sample * _GAMMA
        word = mix((mix(word & _WORD) + (step + 1) * _GAMMA) & _WORD)
        return (word >> 11) / 2**53


def mix(word: int) -> int:
    word = (word ^ word >> 30) * 0xBF58476D1CE4E5B9 & _WORD
    word = (word ^ word >> 27) * 0x94D049BB133111EB & _WORD
    return word ^ word >> 31
