"""How a fault list was drawn, and from which faults: what estimates need to know of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import comb
from typing import TYPE_CHECKING, Any, Literal, get_args

from fi.faults.family_names import SEVERAL, layer_of, several_of

if TYPE_CHECKING:
    import pandas as pd

#: How the faults were chosen; ``list`` is a list of which no more is known. ``family-wise`` is what
#: an iterative campaign for the whole network draws (``fi.sampling.sequential``).
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
#: The column of strata.
STRATUM = "stratum"


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
        together: faults of a trial, the unit that was drawn.
        within_layer: whether the faults of a trial are in one layer, as in a layer-wise draw.

    >>> weights = FamilyFaults("fc1.weight", words=5_000, bits={"bit-flip": ("30", "31")})
    >>> beta = FamilyFaults("lif1.beta", words=1, bits={"bit-flip": ("30", "31")})
    >>> design = Design("layer-wise", (weights, beta))
    >>> design.populations(["family"])
           family stratum population
    0  fc1.weight     fc1      10000
    1   lif1.beta    lif1          2
    >>> Design.from_record(design.record()) == design
    True
    """

    scheme: str
    families: tuple[FamilyFaults, ...]
    steps: tuple[str, ...] = ("",)
    together: int = 1
    within_layer: bool = False

    @classmethod
    def of_list(cls, families: Sequence[str]) -> Design:
        """The design of a list of which nothing is known but the families of the network."""
        return cls("list", tuple(FamilyFaults(name, 0, {}) for name in families))

    @property
    def known(self) -> bool:
        """Whether it is known what was drawn from."""
        return self.scheme != "list"

    def populations(self, keys: Sequence[str] = ()) -> pd.DataFrame:
        """``population`` by ``keys`` (columns of ``cells``, or ``step``) and ``stratum``.

        Of trials: those that have a fault in the group. Of ``n`` faults of a layer, or of the
        network, ``m`` are in the group: ``comb(n, together) - comb(n - m, together)``.
        """
        cells = self.cells()
        pairs = zip(cells["family"], cells["bit"], strict=True)
        cells[STRATUM] = [stratum_name(self.scheme, *pair) for pair in pairs]
        cells["pool"] = cells["layer"] if self._in_layers else NETWORK
        if "step" in keys:
            import pandas as pd

            cells = cells.merge(pd.DataFrame({"step": self.steps}), how="cross")
            cells["population"] = [size // len(self.steps) for size in cells["population"]]
        if self.together > 1:
            pools = dict(cells.groupby("pool")["population"].sum())
            parts = [*keys, STRATUM, "pool"]
            cells = cells.groupby(parts, sort=False)["population"].sum().reset_index()
            pairs = zip(cells["pool"], cells["population"], strict=True)
            cells["population"] = [
                comb(pools[pool], self.together) - comb(pools[pool] - size, self.together)
                for pool, size in pairs
            ]
        return cells.groupby([*keys, STRATUM], sort=False)["population"].sum().reset_index()

    @property
    def _in_layers(self) -> bool:
        return self.within_layer or self.scheme == "layer-wise"

    def by_trial(self) -> Design:
        """The same draw with the trial as its unit, in the families that trials are counted in."""
        if self.together == 1 or not self.known:
            return self
        cells, several = self.cells(), dict[str, int]()
        families = self._count_sets(cells.groupby("family", sort=False))
        for layer, sets in self._count_sets(cells.groupby("layer", sort=False)).items():
            parts = sum(size for name, size in families.items() if layer_of(name) == layer)
            several[several_of(layer)] = sets - parts
        if not self._in_layers:
            parts = sum(families.values()) + sum(several.values())
            whole = comb(sum(cells["population"]), self.together)
            several[SEVERAL] = several.get(SEVERAL, 0) + whole - parts
        counted = {**families, **{name: size for name, size in several.items() if size}}
        return Design(self.scheme, tuple(FamilyFaults(*f, {"": ("",)}) for f in counted.items()))

    def _count_sets(self, groups: Any) -> dict[str, int]:
        """How many trials have all their faults in each of the groups of ``cells``."""
        sizes = groups["population"].sum().items()
        return {str(name): comb(size, self.together) for name, size in sizes}

    def cells(self) -> pd.DataFrame:
        """The fault space by ``family, layer, bit, model``, and ``population``: faults of each.

        Populations are Python integers, of any magnitude, over all ``steps``.
        """
        import pandas as pd  # here: options name designs, and are read without it

        rows = [
            (family.name, layer_of(family.name), bit, model, family.words * len(self.steps))
            for family in self.families
            for model, bits in family.bits.items()
            for bit in bits
        ]
        return pd.DataFrame(rows, columns=["family", "layer", "bit", "model", "population"]).astype(
            {"population": object}
        )

    def record(self) -> dict[str, Any]:
        """Plain values for a JSON file."""
        families = [
            {"name": f.name, "words": f.words, "bits": {m: list(b) for m, b in f.bits.items()}}
            for f in self.families
        ]
        return {
            "scheme": self.scheme,
            "steps": list(self.steps),
            "together": self.together,
            "within_layer": self.within_layer,
            "families": families,
        }

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
        together, within = record.get("together", 1), record.get("within_layer", False)
        return cls(record["scheme"], families, tuple(record["steps"]), together, within)
