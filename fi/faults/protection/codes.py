"""Error-correcting and error-detecting codes of a memory, by the bits of a code word that flipped.

Codes are linear: what a decoder does follows from which bits flipped, whatever was stored. Check
bits are taken for fault-free.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import NamedTuple, Protocol

#: Data bits of a code word.
NARROWEST, WIDEST = 4, 1024
#: What ``--ecc`` takes.
CODES = "secded:W, parity:W"


class Decoded(NamedTuple):
    """What a decoder gives for a code word.

    Attributes:
        detected: whether it reports an error that it cannot correct.
        errors: data bits that are wrong behind it; meaningless where an error was detected.
    """

    detected: bool
    errors: frozenset[int]


class Code(Protocol):
    """A code of words of ``width`` data bits."""

    @property
    def name(self) -> str:
        """As on the command line."""

    @property
    def width(self) -> int:
        """Data bits of a code word."""

    @property
    def checks(self) -> int:
        """Check bits of a code word."""

    def decode(self, flipped: Collection[int]) -> Decoded:
        """What becomes of the data bits ``flipped``, each once, from 0 to ``width - 1``."""


class SecDed:
    """Hamming's code with an overall parity: corrects single errors, detects double ones.

    The positions of a code word are numbered from 1 on; powers of two are check bits, data bits
    take the others in their order, and check bit ``2**i`` makes the parity even over all positions
    that have bit ``i`` in their number. One more bit makes the parity of the whole word even. The
    syndrome is the exclusive or of the positions of all errors:

    - overall parity odd: taken for a single error. The bit at the syndrome is inverted; 0 is the
      overall parity bit, a power of two a check bit, and beyond the last position it is detected;
    - overall parity even, syndrome not 0: detected;
    - overall parity even, syndrome 0: taken for right.

    So three flips or more may be corrected wrongly, or not be seen. Source: R. W. Hamming, Error
    detecting and error correcting codes, Bell Syst. Tech. J. 29, 1950.

    >>> code = SecDed(32)
    >>> code.checks, code.decode({5}), code.decode({5, 6}).detected
    (7, Decoded(detected=False, errors=frozenset()), True)
    >>> sorted(SecDed(8).decode({0, 1, 3}).errors)  # positions 3, 5 and 7: the decoder flips 1
    [0, 1, 3]
    """

    def __init__(self, width: int) -> None:
        self.width, self.name = width, f"secded:{width}"
        powers = {1 << power for power in range(WIDEST.bit_length() + 1)}
        numbers = (number for number in range(1, 2 * width + 8) if number not in powers)
        self.positions = [number for _, number in zip(range(width), numbers, strict=False)]
        self._bits = {position: bit for bit, position in enumerate(self.positions)}
        check_bits = self.positions[-1].bit_length()
        self.checks = check_bits + 1
        self._checks = {0, *(1 << power for power in range(check_bits))}

    def decode(self, flipped: Collection[int]) -> Decoded:
        syndrome = 0
        for bit in flipped:
            syndrome ^= self.positions[bit]
        errors = frozenset(flipped)
        if len(errors) % 2 == 0:
            return Decoded(syndrome != 0, errors)
        if syndrome in self._checks:
            return Decoded(False, errors)
        if syndrome not in self._bits:
            return Decoded(True, errors)
        return Decoded(False, errors ^ {self._bits[syndrome]})


class Parity:
    """One bit that makes the parity of a code word even: an odd number of errors is detected.

    >>> Parity(32).decode({5}).detected, Parity(32).decode({5, 6}).detected
    (True, False)
    """

    checks = 1

    def __init__(self, width: int) -> None:
        self.width, self.name = width, f"parity:{width}"

    def decode(self, flipped: Collection[int]) -> Decoded:
        errors = frozenset(flipped)
        return Decoded(len(errors) % 2 == 1, errors)


def parse_code(text: str) -> Code:
    """The code of a name such as ``secded:32``; ``ValueError`` for what is none."""
    kind, _, width = text.partition(":")
    codes: dict[str, Callable[[int], Code]] = {"secded": SecDed, "parity": Parity}
    found = codes.get(kind)
    digits = width.isascii() and width.isdigit() and not width.startswith("0") and len(width) < 5
    if found is None or not digits or not NARROWEST <= int(width) <= WIDEST:
        raise ValueError(
            f"{text!r}; allowed: {CODES}, with W data bits a code word, {NARROWEST} to {WIDEST}"
        )
    return found(int(width))
