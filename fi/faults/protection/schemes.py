"""Ways to protect bits of words, and what they cost."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from fi.faults.protection.codes import Code, Parity, SecDed


@dataclass(frozen=True)
class Scheme:
    """One way to protect some bits of a word.

    Attributes:
        name: as in plans and on the command line.
        copies: bits that it adds for each protected bit; 0 for codes.
        make_code: the code of so many data bits, which one word's protected bits are; ``None``
            where each bit is protected on its own.
        keeps_stuck: whether bits that are stuck, not only those that flip, are corrected.
        source: of the cost.
    """

    name: str
    copies: float
    make_code: Callable[[int], Code] | None
    keeps_stuck: bool
    source: str

    def added_bits(self, bits: int, copies: float | None = None) -> float:
        """Bits that it adds to a word of which so many ``bits`` are protected; 0 for none.

        ``copies`` takes the place of the scheme's own.

        >>> [SCHEMES[name].added_bits(32) for name in SCHEMES]
        [64, 32, 1, 7]
        """
        if not bits:
            return 0
        if self.make_code is not None:
            return self.make_code(bits).checks
        return bits * (self.copies if copies is None else copies)


#: Every scheme by name.
SCHEMES: Mapping[str, Scheme] = {
    scheme.name: scheme
    for scheme in (
        Scheme(
            "tmr",
            2,
            None,
            True,
            "two more copies and a vote by majority; the voter is not counted (Lyons and "
            "Vanderkulk, IBM J. Res. Dev. 6, 1962)",
        ),
        Scheme(
            "hardened-cell",
            1,
            None,
            False,
            "a DICE cell has 12 transistors where a plain one has 6, as one more bit (Calin, "
            "Nicolaidis and Velazco, IEEE Trans. Nucl. Sci. 43, 1996); it does not flip, but may "
            "be stuck",
        ),
        Scheme("parity", 0, Parity, True, "one check bit a word"),
        Scheme(
            "secded",
            0,
            SecDed,
            True,
            "check bits of Hamming's code and one more (Hamming, Bell Syst. Tech. J. 29, 1950)",
        ),
    )
}


def find_scheme(name: str) -> Scheme:
    """The scheme of a name; ``ValueError`` names those there are."""
    if name not in SCHEMES:
        raise ValueError(f"scheme {name!r}; allowed: {', '.join(SCHEMES)}")
    return SCHEMES[name]


def describe_costs(schemes: Sequence[str] = tuple(SCHEMES)) -> str:
    """The cost of each scheme and its source, a line each."""
    return "\n".join(f"{name}: {SCHEMES[name].source}" for name in schemes)
