"""What to draw and how much of it: scheme, margin, fault models, bits, sites and times."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from fnmatch import fnmatchcase
from typing import Any

from fi.faults.bits import WORD_BITS
from fi.faults.fault import Bits
from fi.faults.fault_sites import Kind, SiteFamily
from fi.faults.fault_space import FaultSpace
from fi.faults.groups.element_maps import word_map
from fi.faults.groups.grouped_families import group_family
from fi.faults.models import fault_model
from fi.sampling.prior import Prior, expected_rate
from fi.sampling.strata import Stratum, stratify
from fi.statistics.sample_size import Rounding, check_size_arguments, sample_size

#: The schemes of DATE 2023, doi 10.23919/DATE56975.2023.10136998, and all faults.
SCHEMES = ("network-wise", "layer-wise", "data-unaware", "data-aware", "exhaustive")

DEFAULT_SEED = 51196


@dataclass(frozen=True)
class SamplingPlan:
    """What to draw and how; the default is SpikingJET's: one bit flip per bit of every word.

    Attributes:
        scheme: ``network-wise`` is one draw over all faults, ``layer-wise`` one for each module,
            ``data-unaware`` one for each site family and bit, ``data-aware`` the same with the
            expected rates of ``prior``, ``exhaustive`` takes every fault.
        margin, t, p, rounding: of the sample size, see ``sample_size``.
        seed: of the draw.
        models: names of the fault models.
        bits: what of a word may be hit: bits, 0 is the least significant, or sets of bits.
        sites: patterns of site families, such as ``fc1.*`` or ``*.potential``; the input lines are
            meant by ``input`` alone.
        transient: every fault at each single time step instead of permanent.
        window: how many steps a transient fault lasts.
        during: the first and the last step of all faults, instead of ``transient``.
        together: faults of a trial.
        within_layer: whether the faults of a trial are in one layer.
        word_format: of the stored words; lists of another than float32 have another name.
        minimum: faults of every stratum, at least (all, of one that has fewer).
        prior: expected rates of a data-aware draw; 0.5 for what it leaves out.
        planned: faults of strata, where these do not follow from the formula: see ``PilotPlan``.

    Raises:
        ValueError: a value outside its range; the message says what is allowed.

    >>> from fi.faults.fault_sites import Kind, SiteFamily
    >>> plan = SamplingPlan(margin=0.05, bits=(30, 31), sites=("fc1.*",))
    >>> families = [SiteFamily("fc1.weight", (100, 50), Kind.SYNAPSE)]
    >>> space = plan.space(families, steps=10)
    >>> space.size, plan.size(space.size)  # all faults, and how many of them are drawn
    (10000, 624)
    >>> plan.list_name
    '51196-f9921cac_fault_list.csv'
    """

    scheme: str = "network-wise"
    margin: float = 0.01
    t: float = 2.58
    p: float = 0.5
    rounding: Rounding = "floor"
    seed: int = DEFAULT_SEED
    models: tuple[str, ...] = ("bit-flip",)
    bits: tuple[int | Bits, ...] = tuple(range(WORD_BITS))
    sites: tuple[str, ...] = ("*",)
    transient: bool = False
    window: int = 1
    during: tuple[int, int] | None = None
    together: int = 1
    within_layer: bool = False
    word_format: str = "float32"
    minimum: int = 1
    prior: Prior = ()
    planned: tuple[tuple[str, int], ...] = ()
    group: str = ""
    state_format: str = "float32"

    def __post_init__(self) -> None:
        if self.scheme not in SCHEMES:
            raise ValueError(f"scheme is {self.scheme!r}; allowed: {', '.join(SCHEMES)}")
        check_size_arguments(self.margin, self.t, self.p, self.rounding)
        if self.seed < 0:
            raise ValueError(f"seed is {self.seed}; allowed: 0 or more")
        for name in ("models", "bits", "sites"):
            _check_distinct(name, getattr(self, name))
        for model in self.models:
            fault_model(model)
        if self.group:
            word_map(self.group)
        self._check_bits()
        for name in ("window", "together", "minimum"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; allowed: 1 or more")

    def _check_bits(self) -> None:
        for choice in self.bits:
            for bit in (choice,) if isinstance(choice, int) else choice:
                if not 0 <= bit < WORD_BITS:
                    raise ValueError(f"bits are {self.bits}; allowed: 0 to {WORD_BITS - 1}")
        takes_bits = any(fault_model(model).takes_bits for model in self.models)
        if not takes_bits and self.bits != tuple(range(WORD_BITS)):
            chosen = f"{', '.join(self.models)} strikes whole words"
            raise ValueError(f"bits are chosen, but {chosen}: leave bits and burst out")

    @property
    def tag(self) -> str:
        """Eight hexadecimal digits of all that is not default (seed apart); empty if nothing is."""
        default = asdict(SamplingPlan())
        changed = {k: v for k, v in asdict(self).items() if k != "seed" and v != default[k]}
        text = json.dumps(changed, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:8] if changed else ""

    def record(self) -> dict[str, Any]:
        """Plain values; of those that older files lack only what is not the default."""
        values = asdict(self)
        newer = {"planned": (), "group": "", "state_format": "float32"}
        return {k: v for k, v in values.items() if k not in newer or v != newer[k]}

    @property
    def list_name(self) -> str:
        """The file name of the list: ``51196_fault_list.csv``, ``51196-<tag>_fault_list.csv``."""
        return f"{self.seed}{'-' * bool(self.tag)}{self.tag}_fault_list.csv"

    def size(self, population: int, p: float | None = None) -> int:
        """How many of ``population`` faults are drawn, at an expected rate of ``p``."""
        if self.scheme == "exhaustive":
            return population
        n = sample_size(population, self.margin, self.t, p or self.p, self.rounding)
        return max(n, min(self.minimum, population))

    def sizes(self, space: FaultSpace) -> list[tuple[Stratum, int]]:
        """The strata of the draw, and how many faults of each are drawn.

        A stratum of a data-aware draw gets no less than its part of a network-wise one, so that the
        rate of the whole network is known as well as that gives it.
        """
        parts = stratify(space, self.scheme)
        if self.scheme != "data-aware":
            planned = dict(self.planned)
            return [
                (part, min(planned.get(part.name, self.size(part.population)), part.population))
                for part in parts
            ]
        total = self.size(space.size)
        sizes = []
        for part in parts:
            n = self.size(part.population, expected_rate(self.prior, part.family, part.bits))
            sizes.append((part, max(n, -(-total * part.population // space.size))))
        return sizes

    def space(self, families: Sequence[SiteFamily], steps: int) -> FaultSpace:
        """The faults that the plan is about, in a network of ``families`` run for ``steps`` steps.

        Raises:
            ValueError: a pattern of ``sites`` fits no family; the known ones are named. Or none has
                groups of that name.
        """
        for pattern in self.sites:
            if not any(fnmatchcase(family.name, pattern) for family in families):
                known = ", ".join(family.name for family in families)
                raise ValueError(f"sites are {pattern!r}: that fits no site family; known: {known}")
        chosen = [family for family in families if self._selects(family)]
        if self.group:
            grouped = [group_family(family, self.group) for family in chosen]
            chosen = [family for family in grouped if family is not None]
        return FaultSpace(tuple(chosen), self.models, self.bits, self._times(steps))

    def _selects(self, family: SiteFamily) -> bool:
        """Whether ``sites`` has this family.

        Inputs are no part of ``*``, nor circuits where no model is one of these.
        """
        if family.kind is Kind.INPUT:
            return family.name in self.sites
        circuits = any(Kind.CIRCUIT in fault_model(model).kinds for model in self.models)
        if family.kind is Kind.CIRCUIT and not circuits:
            return family.name in self.sites
        return any(fnmatchcase(family.name, pattern) for pattern in self.sites)

    def _times(self, steps: int) -> tuple[range | None, ...]:
        """When faults may be active in a run of ``steps`` steps."""
        last = self.window - 1 if self.during is None else self.during[1]
        if last >= steps:
            raise ValueError(f"step {last} is after the last one: the run has {steps} steps")
        if self.during is not None:
            return (range(self.during[0], self.during[1] + 1),)
        if not self.transient:
            return (None,)
        return tuple(range(t, t + self.window) for t in range(steps - self.window + 1))


def _check_distinct(name: str, values: Sequence[object]) -> None:
    if not values or len(set(values)) != len(values):
        raise ValueError(f"{name} are {tuple(values)}; allowed: one or more, each once")
