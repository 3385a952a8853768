"""How a fault list was drawn, and from which faults: what estimates need to know of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import pandas as pd

#: How the faults were chosen; ``list`` is a list of which no more is known. ``family-wise`` is what
#: an iterative campaign for the whole network draws (``fi.iterative``).
Scheme = Literal[
    "network-wise",
    "layer-wise",
    "family-wise",
    "data-unaware",
    "data-aware",
    "exhaustive",
    "list",
]
#: Schemes that draw from every bit of every site family on its own.
BIT_WISE = ("data-unaware", "data-aware")
FAMILY_WISE = "family-wise"
#: The stratum of schemes that have only one.
NETWORK = "network"


def layer_of(family: str) -> str:
    """The module of a site family: ``fc1`` of ``fc1.weight``."""
    return family.rpartition(".")[0]


def stratum_name(scheme: str, family: str, bit: str) -> str:
    """The stratum of a fault: the part of the fault space that it was drawn from.

    ``fc1`` in a layer-wise draw, ``fc1.weight`` in a family-wise one, ``fc1.weight bit 30`` in one
    by bits, ``network`` otherwise.
    """
    if scheme == "layer-wise":
        return layer_of(family)
    if scheme == FAMILY_WISE:
        return family
    if scheme in BIT_WISE:
        return f"{family} bit {bit}" if bit else family
    return NETWORK


@dataclass(frozen=True)
class FamilyFaults:
    """The faults of a site family.

    Attributes:
        name: of the family.
        words: how many it has.
        bits: fault model -> the bits that it may hit, as in fault lists; ``""`` is the whole word.
    """

    name: str
    words: int
    bits: Mapping[str, Sequence[str]]


@dataclass(frozen=True)
class Design:
    """How faults were drawn from a fault space.

    Attributes:
        scheme: how.
        families: the fault space. Of a ``list`` only the names count: what it was drawn from is
            not known.
        steps: the times of a fault, as in fault lists; ``""`` is permanent.
    """

    scheme: str
    families: tuple[FamilyFaults, ...]
    steps: tuple[str, ...] = ("",)

    @classmethod
    def of_list(cls, families: Sequence[str]) -> Design:
        """The design of a list of which nothing is known but the families of the network."""
        return cls("list", tuple(FamilyFaults(name, 0, {}) for name in families))

    @property
    def known(self) -> bool:
        """Whether it is known what was drawn from."""
        return self.scheme != "list"

    def cells(self) -> pd.DataFrame:
        """The fault space by ``family, layer, bit, model``, and ``population``: faults of each.

        Populations are Python integers, of any magnitude, over all ``steps``.
        """
        columns = ["family", "layer", "bit", "model", "population"]
        return pd.DataFrame(list(self.rows()), columns=columns).astype({"population": object})

    def rows(self) -> Iterator[tuple[str, str, str, str, int]]:
        """The rows of ``cells``, a table of which would take longer to make than to read."""
        for family in self.families:
            faults = family.words * len(self.steps)
            for model, bits in family.bits.items():
                for bit in bits:
                    yield family.name, layer_of(family.name), bit, model, faults

    def populations(self) -> dict[str, int | None]:
        """Site family -> its faults, ``None`` where not known, in the order of the network."""
        sizes = self.cells().groupby("family")["population"].sum()
        return {f.name: int(sizes[f.name]) if self.known else None for f in self.families}

    def strata(self, family: str | None = None) -> dict[str, int]:
        """Stratum -> its faults; those of one ``family`` only, where that is given."""
        cells = self.cells()
        cells = cells if family is None else cells[cells["family"] == family]
        sizes = cells.groupby(self.strata_of(cells["family"], cells["bit"]))["population"].sum()
        return {str(name): int(size) for name, size in sizes.items()}

    def strata_of(self, families: pd.Series, bits: pd.Series) -> pd.Series:
        """The stratum of each fault with this family and bit, as in lists."""
        pairs = zip(families, bits.astype(str), strict=True)
        names = [stratum_name(self.scheme, *pair) for pair in pairs]
        return pd.Series(names, index=families.index, dtype="str")

    def record(self) -> dict[str, Any]:
        """Plain values for a JSON file."""
        families = [
            {"name": f.name, "words": f.words, "bits": {m: list(b) for m, b in f.bits.items()}}
            for f in self.families
        ]
        return {"scheme": self.scheme, "steps": list(self.steps), "families": families}

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Design:
        """The inverse of ``record``; ``KeyError``, ``TypeError`` or ``ValueError`` for others."""
        if record["scheme"] not in get_args(Scheme):
            allowed = ", ".join(get_args(Scheme))
            raise ValueError(f"the scheme is {record['scheme']!r}; allowed: {allowed}")
        families = tuple(
            FamilyFaults(f["name"], f["words"], {m: tuple(b) for m, b in f["bits"].items()})
            for f in record["families"]
        )
        return cls(record["scheme"], families, tuple(record["steps"]))
