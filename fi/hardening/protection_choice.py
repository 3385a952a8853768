"""The cheapest protection under a budget: units in the order of what they take off per bit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import inf
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fi.faults.csv_row import parse_index
from fi.faults.fault import Bits, Index
from fi.faults.fault_space import ravel, unravel
from fi.faults.protection.protection_plan import ProtectionPlan, Rule
from fi.faults.protection.schemes import Scheme
from fi.hardening.residual_risk import RiskSample
from fi.hardening.stratum_rates import shrink_rates

#: What is protected at once.
UNITS = ("bits", "words", "families")
#: Word -> ``bit model`` and rate of each of its faults that were run.
_Drawn = dict[int, list[tuple[str, float]]]
#: Full triplication adds so many bits to each.
_TRIPLED = 2


@dataclass(frozen=True)
class Unit:
    """What is protected at once: bits of all words of a family, or all bits of some words.

    Attributes:
        family: its name.
        bits: that become protected.
        words: row-major numbers; ``None`` is all words.
        cost: bits that it adds, beside the units before it.
        gain: what it takes off the risk, as estimated where it was chosen.
    """

    family: str
    bits: Bits
    words: tuple[int, ...] | None
    cost: float
    gain: float

    @property
    def ratio(self) -> float:
        """What it takes off for each bit; infinite where it costs nothing."""
        return self.gain / self.cost if self.cost else inf


class _Option(NamedTuple):
    """A way to protect a family: bits, and what they cost and take off."""

    bits: Bits
    cost: float
    gain: float


@dataclass(frozen=True)
class Goal:
    """When to stop: at a cost, or where the risk that is left is small enough.

    Attributes:
        cost: a part of full triplication, at most.
        residual: a rate, at most; 0 takes what the cost allows.
    """

    cost: float = 1.0
    residual: float = 0.0


@dataclass(frozen=True)
class Choice:
    """Units in the order in which they were taken.

    Attributes:
        units: of the choice.
        scheme: that protects them.
        full: bits that triplication of all words in the fault space adds.
        before: the risk without protection, as estimated where the units were chosen.
    """

    units: tuple[Unit, ...]
    scheme: Scheme
    full: float
    before: float

    @property
    def costs(self) -> NDArray[np.float64]:
        """The cost behind each unit, a part of full triplication ``[units]``."""
        return np.cumsum([unit.cost for unit in self.units]) / self.full

    def rank(self, sample: RiskSample) -> NDArray[np.int64]:
        """The unit that protects each fault, ``[faults]``; the number of units where none does."""
        rank = np.full(len(sample.results), len(self.units), np.int64)
        rows: dict[tuple[str, int], list[int]] = {}
        layers, bits = sample.results["Layer"].tolist(), sample.results["Bit"].astype(int).tolist()
        for row, key in enumerate(zip(layers, bits, strict=True)):
            rows.setdefault(key, []).append(row)
        words = number_words(sample) if any(u.words is not None for u in self.units) else None
        covered = sample.results["Model"].map(lambda name: covers(self.scheme, name)).to_numpy(bool)
        for place in range(len(self.units) - 1, -1, -1):
            unit = self.units[place]
            found = np.array(
                [row for bit in unit.bits for row in rows.get((unit.family, bit), ())], np.int64
            )
            if unit.words is not None and words is not None:
                found = found[np.isin(words[found], unit.words)]
            rank[found[covered[found]]] = place
        return rank

    def plan(self, shapes: Mapping[str, tuple[int, ...]]) -> ProtectionPlan:
        """The choice as a plan: one rule for the bits of a family, or for its words."""
        rules: list[Rule] = []
        for family in dict.fromkeys(unit.family for unit in self.units):
            own = [unit for unit in self.units if unit.family == family]
            bits = tuple(sorted({bit for unit in own for bit in unit.bits}))
            numbers = [word for unit in own for word in unit.words or ()]
            words: tuple[Index, ...] | None = None
            if numbers:
                words = tuple(unravel(number, shapes[family]) for number in sorted(numbers))
            rules.append(Rule(family, self.scheme.name, bits, words))
        return ProtectionPlan(tuple(rules))


def covers(scheme: Scheme, model: str) -> bool:
    """Whether the scheme is of any use against a fault model."""
    return scheme.keeps_stuck or model == "bit-flip"


def number_words(sample: RiskSample) -> NDArray[np.int64]:
    """The row-major number of each fault's word, ``[faults]``."""
    pairs = zip(sample.results["Layer"], sample.results["TensorIndex"], strict=True)
    return np.array([ravel(parse_index(text), sample.shapes[name]) for name, text in pairs], int)


def choose_protection(
    sample: RiskSample, scheme: Scheme, by: str, goal: Goal, copies: float | None = None
) -> Choice:
    """Units by what they take off per added bit, until the goal is reached.

    A unit's gain is from ``shrink_rates``. Of a family's ways to protect more and more of its bits
    those stand that no mixture of two others beats (the upper hull of gain over cost), so that
    units cost ever more: taking them in order is optimal at every cost that it reaches, and between
    two of these at most one unit away from it (the greedy solution of the fractional knapsack
    problem; Dantzig, Operations Research 5, 1957). What does not fit is left out, and what is
    behind it is tried.

    Args:
        sample: faults to choose on.
        scheme: of the protection.
        by: one of ``UNITS``.
        goal: when to stop.
        copies: bits that the scheme adds to each, in place of its own number.
    """
    cells = shrink_rates(sample)
    total = float(cells["population"].sum())
    before = float((cells["rate"] * cells["population"]).sum() / total)
    covered = cells[cells["model"].map(lambda name: covers(scheme, name))]
    full = sum(_TRIPLED * f.words * len(_list_bits(f.bits)) for f in sample.design.families)
    units: list[Unit] = []
    drawn = _find_drawn(sample, scheme) if by == "words" else {}
    for family in sample.design.families:
        own = covered[covered["family"] == family.name]
        if own.empty:
            continue
        gains = (own["rate"] * own["population"] / total).groupby(own["bit"]).sum()
        if by == "words":
            costs = scheme.added_bits(len(gains), copies)
            known = drawn.get(family.name, {})
            units += _list_words(family.name, family.words, gains, own, known, costs, total)
        else:
            options = _list_options(gains, family.words, scheme, copies)
            options = options[-1:] if by == "families" else options
            units += _list_increments(family.name, options)
    useful = sorted((unit for unit in units if unit.gain > 0), key=lambda unit: -unit.ratio)
    return Choice(tuple(_take(useful, goal, full, before)), scheme, full, before)


def _list_bits(bits: Mapping[str, Sequence[str]]) -> set[str]:
    return {bit for each in bits.values() for bit in each}


def _list_options(
    gains: pd.Series, words: int, scheme: Scheme, copies: float | None
) -> list[_Option]:
    """The bits of a family, the worst first, one more in each option."""
    order = gains.sort_values(ascending=False, kind="stable")
    found, gain = [], 0.0
    for count, (_, more) in enumerate(order.items(), 1):
        gain += float(more)
        bits = tuple(sorted(int(bit) for bit in order.index[:count]))
        found.append(_Option(bits, words * scheme.added_bits(count, copies), gain))
    return found


def _list_increments(family: str, options: Sequence[_Option]) -> list[Unit]:
    """The upper hull of gain over cost, from no protection on, as what each step adds."""
    hull = [_Option((), 0.0, 0.0)]
    for option in options:
        while len(hull) > 1 and _slope(hull[-2], hull[-1]) <= _slope(hull[-1], option):
            hull.pop()
        if option.gain > hull[-1].gain:
            hull.append(option)
    return [
        Unit(
            family,
            tuple(bit for bit in after.bits if bit not in before.bits),
            None,
            after.cost - before.cost,
            after.gain - before.gain,
        )
        for before, after in pairwise(hull)
    ]


def _slope(first: _Option, second: _Option) -> float:
    gain, cost = second.gain - first.gain, second.cost - first.cost
    return gain / cost if cost else inf * (gain > 0)


def _find_drawn(sample: RiskSample, scheme: Scheme) -> dict[str, _Drawn]:
    """What was run of each family against which the scheme is of use."""
    found: dict[str, _Drawn] = {}
    columns = (sample.results[name] for name in ("Layer", "Bit", "Model"))
    words, rates = number_words(sample).tolist(), sample.rates.tolist()
    for layer, bit, model, word, rate in zip(*columns, words, rates, strict=True):
        if covers(scheme, model):
            found.setdefault(layer, {}).setdefault(word, []).append((f"{bit} {model}", rate))
    return found


def _list_words(
    family: str,
    words: int,
    gains: pd.Series,
    cells: pd.DataFrame,
    drawn: _Drawn,
    cost: float,
    total: float,
) -> list[Unit]:
    """Each word that has a fault that was run, and all others of the family as one unit.

    The rate of a fault that was run is known; the others have their stratum's.
    """
    bits = tuple(sorted(map(int, gains.index)))
    pairs = zip(cells["bit"].astype(str) + " " + cells["model"], cells["rate"], strict=True)
    usual, each = dict(pairs), float(gains.sum()) / words
    units = [
        Unit(
            family,
            bits,
            (word,),
            cost,
            each + sum(rate - usual[sort] for sort, rate in faults) / total,
        )
        for word, faults in drawn.items()
    ]
    others = tuple(word for word in range(words) if word not in drawn)
    if others:
        units.append(Unit(family, bits, others, cost * len(others), each * len(others)))
    return units


def _take(units: Sequence[Unit], goal: Goal, full: float, before: float) -> list[Unit]:
    """Units in their order as far as the budget reaches, of many alike words as many as fit."""
    taken: list[Unit] = []
    closed: set[str] = set()
    room, left = goal.cost * full * (1 + 1e-12), before
    for unit in units:
        if left <= goal.residual:
            break
        if unit.words is None and unit.family in closed:
            continue
        fitting = _cut(unit, room, left - goal.residual)
        if fitting is None:
            closed.add(unit.family)
            continue
        taken.append(fitting)
        room -= fitting.cost
        left -= fitting.gain
    return taken


def _cut(unit: Unit, room: float, excess: float) -> Unit | None:
    """As many of the unit's words as there is room for, and need of; ``None`` for none."""
    if unit.words is None or len(unit.words) == 1:
        return unit if unit.cost <= room else None
    number = len(unit.words)
    cost, gain = unit.cost / number, unit.gain / number
    count = min(number, int(room // cost) if cost else number, int(np.ceil(excess / gain)))
    if not count:
        return None
    return Unit(unit.family, unit.bits, unit.words[:count], cost * count, gain * count)
