"""Estimates by any grouping of the faults, each with its interval."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import nan
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fi.faults.family_names import layer_of
from fi.metrics.outcomes import OUTCOMES
from fi.statistics.estimators import Sample, estimate
from fi.statistics.survey_design import Design, stratum_name

Grouping = Literal["family", "layer", "bit", "model", "step"]
GROUPINGS: tuple[str, ...] = get_args(Grouping)
#: The rates that are estimated: columns of the results, as parts of the samples.
RATES = (*OUTCOMES, "non_finite", "correct", "golden_correct")
_SORT = ["Layer", "Bit", "Model", "Step"]
_ELSE = "the faults that the list was drawn from have no such"


def estimates(
    results: pd.DataFrame,
    design: Design,
    by: Sequence[str] = (),
    confidence: float = 0.99,
    rates: Sequence[str] = RATES,
) -> pd.DataFrame:
    """The rates of every group of faults, with the ends of their intervals.

    A fault's rate is its count over its samples; the rate of a group is that of all its faults in
    the fault space, estimated from those that were run: within each stratum of the draw by their
    mean, over the strata by their populations. The intervals hold over faults, for this test set.

    Args:
        results: as ``ResultsFile.load`` gives them. A trial of several faults counts once in every
            group that it has a fault in.
        design: how the faults were drawn.
        by: ``family``, ``layer``, ``bit``, ``model``, ``step``, or several of them; nothing is the
            whole network.
        confidence: nominal coverage of the intervals.
        rates: which rates, columns of the results.

    Returns:
        One row a group: the columns ``by``, then ``faults`` (that were run) and ``population``
        (``<NA>`` where it is not known), then for every rate ``sdc_1``, ``sdc_1 low``,
        ``sdc_1 high``; NaN, 0, 1 where no fault was run. In the order of the network, of bits and
        of steps.

    Raises:
        ValueError: an unknown grouping, or a result that the design has not.
    """
    return GroupMeans.of(results, design, by, rates).estimates(confidence)


class _Mean(NamedTuple):
    """What was seen of the faults of a group that are in one stratum."""

    faults: int
    rates: tuple[float, ...]


_Key = tuple[str, ...]
#: Group -> stratum -> what was seen, and how many faults there are.
_Seen = dict[_Key, dict[str, _Mean]]
_Sizes = dict[_Key, dict[str, int]]


@dataclass(frozen=True)
class GroupMeans:
    """What was seen of every group, from which intervals of any confidence follow.

    Attributes:
        keys, rates: as ``by`` and ``rates`` of ``estimates``.
        seen: mean rates by group and stratum.
        sizes: faults of the space, likewise; ``None`` where they are not known.
        groups: in the order of the network, of bits and of steps.
    """

    keys: tuple[str, ...]
    rates: tuple[str, ...]
    seen: _Seen
    sizes: _Sizes | None
    groups: list[_Key]

    @classmethod
    def of(
        cls,
        results: pd.DataFrame,
        design: Design,
        by: Sequence[str] = (),
        rates: Sequence[str] = RATES,
    ) -> GroupMeans:
        """The groups of ``results``; arguments and errors as ``estimates``."""
        wrong = [key for key in by if key not in GROUPINGS]
        if wrong:
            raise ValueError(f"faults are grouped by {wrong[0]!r}; allowed: {', '.join(GROUPINGS)}")
        seen = _seen(results, design, by, rates)
        sizes = _sizes(design, by) if design.known else None
        if sizes is not None:
            _check_known(seen, sizes, by)
        groups = sorted(seen if sizes is None else sizes, key=_order(by, design))
        return cls(tuple(by), tuple(rates), seen, sizes, groups)

    def estimates(self, confidence: float = 0.99) -> pd.DataFrame:
        """The table of ``fi.estimates.estimates``."""
        rows = [[*group, *self._row(group, confidence)] for group in self.groups]
        ends = [name for rate in self.rates for name in (rate, f"{rate} low", f"{rate} high")]
        table = pd.DataFrame(rows, columns=[*self.keys, "faults", "population", *ends])
        return table.astype({"faults": "int64", "population": object})

    def _row(self, group: _Key, confidence: float) -> list[Any]:
        """``faults, population`` and the estimates of a group."""
        seen = self.seen.get(group, {})
        sizes = None if self.sizes is None else self.sizes[group]
        faults = sum(mean.faults for mean in seen.values())
        row: list[Any] = [faults, None if sizes is None else sum(sizes.values())]
        if not faults:
            return [*row, *(nan, 0.0, 1.0) * len(self.rates)]
        for rate in range(len(self.rates)):
            row += estimate(_samples(seen, rate, sizes), confidence)
        return row


def _seen(
    results: pd.DataFrame, design: Design, keys: Sequence[str], rates: Sequence[str]
) -> _Seen:
    """Mean rates and the number of faults, by group and stratum.

    Names are looked at once for each sort of fault, not in every row: there may be millions.
    """
    first, sort = _sorts(results)
    _check_families(first["Layer"], design)
    parts = [_part(design, keys, *map(_text, row)) for row in first.itertuples(index=False)]
    numbers = {part: number for number, part in enumerate(dict.fromkeys(parts))}
    part = np.array([numbers[part] for part in parts], dtype=np.int64)[sort]
    values = results[list(rates)].div(results["samples"], axis="index")
    if not results["Injection"].is_unique:  # trials: once in every part
        once = ~results[["Injection"]].assign(part=part).duplicated().to_numpy()
        values, part = values[once], part[once]
    means = values.groupby(pd.Series(part, values.index)).mean().to_numpy().tolist()
    faults = np.bincount(part, minlength=len(numbers)).tolist()
    seen: _Seen = {} if keys else {(): {}}
    for (group, stratum), number in numbers.items():
        seen.setdefault(group, {})[stratum] = _Mean(faults[number], tuple(means[number]))
    return seen


def _sorts(results: pd.DataFrame) -> tuple[pd.DataFrame, NDArray[np.int64]]:
    """A row of each sort of fault, and the sort of every row, int64 ``[rows]``."""
    code = np.zeros(len(results), dtype=np.int64)
    for column in _SORT:
        number, names = pd.factorize(results[column], use_na_sentinel=False)
        code = code * max(len(names), 1) + number
    _, first, sort = np.unique(code, return_index=True, return_inverse=True)
    return results[_SORT].iloc[first], sort


def _text(label: Any) -> str:
    """A permanent fault's step may be read as a missing value."""
    return "" if pd.isna(label) else str(label)


def _part(
    design: Design, keys: Sequence[str], family: str, bit: str, model: str, step: str
) -> tuple[_Key, str]:
    """The group and the stratum of a sort of fault."""
    labels = {
        "family": family,
        "layer": layer_of(family),
        "bit": bit,
        "model": model,
        "step": step,
    }
    return tuple(labels[key] for key in keys), stratum_name(design.scheme, family, bit)


def _check_families(seen: Iterable[str], design: Design) -> None:
    names = [family.name for family in design.families]
    unknown = sorted(set(seen) - set(names))
    if unknown:
        raise ValueError(f"results of {', '.join(unknown)}; the families are {', '.join(names)}")


def _sizes(design: Design, keys: Sequence[str]) -> _Sizes:
    """How many faults, or trials, there are by group and stratum."""
    sizes: _Sizes = {}
    for *group, stratum, population in design.populations(keys).itertuples(index=False):
        sizes.setdefault(tuple(map(str, group)), {})[stratum] = population
    return sizes


def _check_known(seen: _Seen, sizes: _Sizes, keys: Sequence[str]) -> None:
    """Raise ``ValueError`` for results of what the design has not."""
    foreign = sorted(set(seen) - set(sizes))
    if foreign:
        raise ValueError(f"results of {' '.join(keys)} {' '.join(foreign[0])}; {_ELSE}")
    for group, means in seen.items():
        strata = sorted(set(means) - set(sizes[group]))
        if strata:
            raise ValueError(f"results of {', '.join(strata)}; {_ELSE}")


def _order(keys: Sequence[str], design: Design) -> Callable[[_Key], list[tuple[int, str]]]:
    """Families and layers in the order of the network, bits and steps by number."""
    families = [family.name for family in design.families]
    layers = dict.fromkeys(map(layer_of, families))
    places: dict[str, dict[str, int]] = {
        "family": {name: place for place, name in enumerate(families)},
        "layer": {name: place for place, name in enumerate(layers)},
    }

    def order(group: _Key) -> list[tuple[int, str]]:
        pairs = zip(keys, group, strict=True)
        return [(places[k][v] if k in places else _number(v), v) for k, v in pairs]

    return order


def _number(text: str) -> int:
    """The first number in ``3-5`` or ``3+7``; -1 for what has none."""
    digits = text.replace("+", "-").partition("-")[0]
    return int(digits) if digits.isdigit() else -1


def _samples(seen: Mapping[str, _Mean], rate: int, sizes: Mapping[str, int] | None) -> list[Sample]:
    """What was seen of every stratum of a group."""
    if sizes is None:
        total = sum(mean.faults for mean in seen.values())
        return [Sample(m.rates[rate], m.faults, None, m.faults / total) for m in seen.values()]
    total = sum(sizes.values())
    unseen = _Mean(0, (nan,) * (rate + 1))
    return [
        Sample(mean.rates[rate], mean.faults, size, size / total)
        for name, size in sizes.items()
        if size
        for mean in (seen.get(name, unseen),)
    ]
