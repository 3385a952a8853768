"""Which faults to inject: seeded draws that never list the fault space."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from fnmatch import fnmatchcase

import numpy as np

from fi.faults.bits import WORD_BITS
from fi.faults.fault import Bits, Fault
from fi.faults.fault_sites import Kind, SiteFamily
from fi.faults.fault_space import FaultSpace
from fi.faults.models import fault_model
from fi.sampling.combinations import TrialNumbers
from fi.sampling.prior import Prior, expected_rate
from fi.sampling.strata import Stratum, strata
from fi.statistics.sample_size import Rounding, check_size_arguments, sample_size
from fi.statistics.survey_design import BIT_WISE

#: The schemes of DATE 2023, doi 10.23919/DATE56975.2023.10136998, and all faults.
SCHEMES = ("network-wise", "layer-wise", "data-unaware", "data-aware", "exhaustive")

DEFAULT_SEED = 51196
#: A list of more faults is refused: it would be held in memory.
LONGEST_LIST = 10_000_000


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
        for choice in self.bits:
            for bit in (choice,) if isinstance(choice, int) else choice:
                if not 0 <= bit < WORD_BITS:
                    raise ValueError(f"bits are {self.bits}; allowed: 0 to {WORD_BITS - 1}")
        takes_bits = any(fault_model(model).takes_bits for model in self.models)
        if not takes_bits and self.bits != tuple(range(WORD_BITS)):
            chosen = f"{', '.join(self.models)} strikes whole words"
            raise ValueError(f"bits are chosen, but {chosen}: leave bits and burst out")
        for name in ("window", "together", "minimum"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; allowed: 1 or more")

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
        parts = strata(space, self.scheme)
        if self.scheme != "data-aware":
            return [(part, self.size(part.population)) for part in parts]
        total = self.size(space.size)
        sizes = []
        for part in parts:
            n = self.size(part.population, expected_rate(self.prior, part.family, part.bits))
            sizes.append((part, max(n, -(-total * part.population // space.size))))
        return sizes

    def space(self, families: Sequence[SiteFamily], steps: int) -> FaultSpace:
        """The faults that the plan is about, in a network of ``families`` run for ``steps`` steps.

        Raises:
            ValueError: a pattern of ``sites`` fits no family; the known ones are named.
        """
        for pattern in self.sites:
            if not any(fnmatchcase(family.name, pattern) for family in families):
                known = ", ".join(family.name for family in families)
                raise ValueError(f"sites are {pattern!r}: that fits no site family; known: {known}")
        chosen = tuple(family for family in families if self._means(family))
        return FaultSpace(chosen, self.models, self.bits, self._times(steps))

    def _means(self, family: SiteFamily) -> bool:
        """Whether ``sites`` has this family; inputs are no part of ``*``."""
        if family.kind is Kind.INPUT:
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


def draw(space: FaultSpace, plan: SamplingPlan) -> list[Fault]:
    """The fault list of the plan: no fault twice, numbered from 0 in random order.

    The order is random so that the first rows are a sample of their own, should a campaign stop
    early. The same plan and space give the same list on every platform.

    Raises:
        ValueError: the list would have more than ``LONGEST_LIST`` faults.
    """
    if plan.together > 1:
        return draw_trials(space, plan)
    return [space.fault(number, place) for place, number in enumerate(drawn_numbers(space, plan))]


def drawn_numbers(space: FaultSpace, plan: SamplingPlan) -> list[int]:
    """The numbers in the space of the faults that ``draw`` lists, for plans of single faults."""
    parts = plan.sizes(space)
    length = sum(size for _, size in parts)
    if length > LONGEST_LIST:
        raise ValueError(f"the plan asks for {length} faults; allowed: {LONGEST_LIST} in a list")
    words = _random_words(plan.seed)
    numbers = [
        part.number(position)
        for part, size in parts
        for position in _distinct(words, part.population, size)
    ]
    if len(parts) > 1:
        numbers = [numbers[position] for position in _distinct(words, length, length)]
    return numbers


def draw_trials(space: FaultSpace, plan: SamplingPlan) -> list[Fault]:
    """Trials of ``plan.together`` different faults each, no trial twice, in random order.

    The population are all sets of so many faults: of the network, or within one layer.
    """
    if plan.scheme in BIT_WISE:
        raise ValueError(
            f"trials of several faults are drawn network-wise or layer-wise, not {plan.scheme}"
        )
    layers = [list(layer) for layer in _spans_by_layer(space).values()]
    whole = [[range(space.size)]]
    if plan.scheme == "layer-wise":
        populations = [TrialNumbers([layer], plan.together) for layer in layers]
    else:
        populations = [TrialNumbers(layers if plan.within_layer else whole, plan.together)]
    sizes = [plan.size(population.size) for population in populations]
    if sum(sizes) > LONGEST_LIST:
        raise ValueError(
            f"the plan asks for {sum(sizes)} trials; allowed: {LONGEST_LIST} in a list"
        )
    words = _random_words(plan.seed)
    drawn = [
        population[position]
        for population, size in zip(populations, sizes, strict=True)
        for position in _distinct(words, population.size, size)
    ]
    order = _distinct(words, len(drawn), len(drawn)) if len(populations) > 1 else range(len(drawn))
    return [
        space.fault(number, injection)
        for injection, place in enumerate(order)
        for number in drawn[place]
    ]


def _spans_by_layer(space: FaultSpace) -> dict[str, list[range]]:
    """Fault numbers of each module."""
    layers: dict[str, list[range]] = {}
    for family in space.families:
        layers.setdefault(family.layer, []).append(space.range_of(family.name))
    return layers


def _random_words(seed: int, at_once: int = 4096) -> Iterator[int]:
    """The 64-bit words of PCG64, a stream that numpy promises never to change (NEP 19)."""
    generator = np.random.PCG64(seed)
    while True:
        yield from generator.random_raw(at_once).tolist()


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
    """``size`` different integers below ``population``, in random order."""
    return Shuffle(words, population).take(size)


class Shuffle:
    """The integers below ``population`` in random order, made only as far as they are taken.

    A Fisher-Yates shuffle that holds only the moved entries.

    Args:
        words: random, of 64 bits.
        population: of any magnitude.
    """

    def __init__(self, words: Iterator[int], population: int) -> None:
        self._words = words
        self._population = population
        self._moved: dict[int, int] = {}
        self.taken = 0

    def take(self, size: int) -> list[int]:
        """The next ``size`` integers; together with the earlier ones at most all there are."""
        drawn, moved = [], self._moved
        for place in range(self.taken, self.taken + size):
            other = place + _below(self._words, self._population - place)
            drawn.append(moved.get(other, other))
            moved[other] = moved.pop(place, place)
        self.taken += size
        return drawn


def shuffle_of(seed: int, name: str, population: int) -> Shuffle:
    """The random order of a part of a draw, which depends on the seed and the part's name only."""
    digest = hashlib.sha256(f"{seed} {name}".encode()).digest()
    return Shuffle(_random_words(int.from_bytes(digest[:16], "big"), at_once=256), population)
