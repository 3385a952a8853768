"""Which faults to inject: seeded draws that never list the fault space."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from fnmatch import fnmatchcase
from typing import Literal, get_args

import numpy as np

from fi.fault_models import fault_model
from fi.faults import Fault
from fi.sample_size import Rounding, check_size_arguments, sample_size
from fi.sites import SiteFamily
from fi.space import FaultSpace
from fi.words import WORD_BITS

Scheme = Literal["network-wise", "layer-wise", "exhaustive"]

DEFAULT_SEED = 51196
#: A list of more faults is refused: it would be held in memory.
LONGEST_LIST = 10_000_000


@dataclass(frozen=True)
class SamplingPlan:
    """What to draw and how; the default is SpikingJET's: one bit flip per bit of every word.

    Attributes:
        scheme: ``network-wise`` is one draw over all faults, ``layer-wise`` one for each module,
            ``exhaustive`` takes every fault.
        margin, t, p, rounding: of the sample size, see ``sample_size``.
        seed: of the draw.
        models: names of the fault models.
        bits: the bits that may be hit, 0 is the least significant.
        sites: patterns of site families, such as ``fc1.*`` or ``*.potential``.
        transient: every fault at each single time step instead of permanent.
    """

    scheme: Scheme = "network-wise"
    margin: float = 0.01
    t: float = 2.58
    p: float = 0.5
    rounding: Rounding = "floor"
    seed: int = DEFAULT_SEED
    models: tuple[str, ...] = ("bit-flip",)
    bits: tuple[int, ...] = tuple(range(WORD_BITS))
    sites: tuple[str, ...] = ("*",)
    transient: bool = False

    def __post_init__(self) -> None:
        if self.scheme not in get_args(Scheme):
            raise ValueError(f"scheme is {self.scheme!r}; allowed: {', '.join(get_args(Scheme))}")
        check_size_arguments(self.margin, self.t, self.p, self.rounding)
        if self.seed < 0:
            raise ValueError(f"seed is {self.seed}; allowed: 0 or more")
        for name in ("models", "bits", "sites"):
            _check_distinct(name, getattr(self, name))
        for model in self.models:
            fault_model(model)
        if not all(0 <= bit < WORD_BITS for bit in self.bits):
            raise ValueError(f"bits are {self.bits}; allowed: 0 to {WORD_BITS - 1}")

    @property
    def tag(self) -> str:
        """Eight hexadecimal digits of all that is not default (seed apart); empty if nothing is."""
        default = asdict(SamplingPlan())
        changed = {k: v for k, v in asdict(self).items() if k != "seed" and v != default[k]}
        text = json.dumps(changed, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:8] if changed else ""

    @property
    def list_name(self) -> str:
        """The file name of the list: ``51196_fault_list.csv``, ``51196-<tag>_fault_list.csv``."""
        return f"{self.seed}{'-' * bool(self.tag)}{self.tag}_fault_list.csv"

    def size(self, population: int) -> int:
        """How many of ``population`` faults are drawn."""
        if self.scheme == "exhaustive":
            return population
        return sample_size(population, self.margin, self.t, self.p, self.rounding)

    def space(self, families: Sequence[SiteFamily], steps: int) -> FaultSpace:
        """The faults that the plan is about, in a network of ``families`` run for ``steps`` steps.

        Raises:
            ValueError: a pattern of ``sites`` fits no family; the known ones are named.
        """
        for pattern in self.sites:
            if not any(fnmatchcase(family.name, pattern) for family in families):
                known = ", ".join(family.name for family in families)
                raise ValueError(f"site {pattern!r} fits no site family; known: {known}")
        chosen = [f for f in families if any(fnmatchcase(f.name, p) for p in self.sites)]
        every = tuple(range(step, step + 1) for step in range(steps))
        return FaultSpace(
            tuple(chosen), self.models, self.bits, every if self.transient else (None,)
        )


def _check_distinct(name: str, values: Sequence[object]) -> None:
    if not values or len(set(values)) != len(values):
        raise ValueError(f"{name} are {tuple(values)}; allowed: one or more, each once")


@dataclass(frozen=True)
class Stratum:
    """A part of the fault space from which faults are drawn on their own.

    Attributes:
        name: the module, or ``network``.
        spans: numbers of its faults in the space.
        size: how many of them are drawn.
    """

    name: str
    spans: tuple[range, ...]
    size: int

    @property
    def population(self) -> int:
        """The number of its faults."""
        return _total(self.spans)

    def number(self, position: int) -> int:
        """The number in the space of its ``position``-th fault."""
        for span in self.spans:
            if position < span.stop - span.start:
                return span.start + position
            position -= span.stop - span.start
        raise IndexError(f"position {position} is behind the last fault of {self.name}")


def _total(spans: Sequence[range]) -> int:
    return sum(span.stop - span.start for span in spans)


def strata(space: FaultSpace, plan: SamplingPlan) -> list[Stratum]:
    """The strata of the draw and their sample sizes, in the order of the network.

    Families of one module (its weights and biases; its parameters, states and spikes) are one
    stratum of a layer-wise draw.
    """
    if plan.scheme != "layer-wise":
        return [Stratum("network", (range(space.size),), plan.size(space.size))]
    layers: dict[str, list[range]] = {}
    for family in space.families:
        layers.setdefault(family.layer, []).append(space.range_of(family.name))
    return [
        Stratum(name, tuple(s), plan.size(_total(s))) for name, s in layers.items() if _total(s)
    ]


def draw(space: FaultSpace, plan: SamplingPlan) -> list[Fault]:
    """The fault list of the plan: no fault twice, numbered from 0 in random order.

    The order is random so that the first rows are a sample of their own, should a campaign stop
    early. The same plan and space give the same list on every platform.

    Raises:
        ValueError: the list would have more than ``LONGEST_LIST`` faults.
    """
    parts = strata(space, plan)
    length = sum(part.size for part in parts)
    if length > LONGEST_LIST:
        raise ValueError(f"the plan asks for {length} faults; allowed: {LONGEST_LIST} in a list")
    words = _random_words(plan.seed)
    numbers = [
        part.number(position)
        for part in parts
        for position in _distinct(words, part.population, part.size)
    ]
    if len(parts) > 1:
        numbers = [numbers[position] for position in _distinct(words, length, length)]
    return [space.fault(number, injection) for injection, number in enumerate(numbers)]


def _random_words(seed: int) -> Iterator[int]:
    """The 64-bit words of PCG64, a stream that numpy promises never to change (NEP 19)."""
    generator = np.random.PCG64(seed)
    while True:
        yield from generator.random_raw(4096).tolist()


def _below(words: Iterator[int], bound: int) -> int:
    """A uniform integer from 0 to ``bound - 1``, of any magnitude."""
    bits = (bound - 1).bit_length()
    while True:
        number = 0
        for _ in range(-(-bits // 64)):
            number = number << 64 | next(words)
        number >>= -bits % 64
        if number < bound:
            return number


def _distinct(words: Iterator[int], population: int, size: int) -> list[int]:
    """``size`` different integers below ``population``, in random order.

    A Fisher-Yates shuffle that stops after ``size`` places and holds only the moved entries.
    """
    moved: dict[int, int] = {}
    drawn = []
    for place in range(size):
        other = place + _below(words, population - place)
        drawn.append(moved.get(other, other))
        moved[other] = moved.pop(place, place)
    return drawn
