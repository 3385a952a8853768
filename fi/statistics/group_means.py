"""Mean rates of the faults that were run, by group and by stratum of the draw."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fi.faults.family_names import layer_of
from fi.statistics.survey_design import Design, stratum_name

#: The columns that say which sort of fault a row is.
_SORT = ["Layer", "Bit", "Model", "Step"]
_NOT_IN_DESIGN = "the faults that the list was drawn from have no such"


class Mean(NamedTuple):
    """What was seen of the faults of a group that are in one stratum.

    Attributes:
        faults: how many were run.
        rates: their mean rates.
    """

    faults: int
    rates: tuple[float, ...]


#: A group of faults: a value for each column that they are grouped by.
Group = tuple[str, ...]
#: Group -> stratum -> what was seen.
Means = dict[Group, dict[str, Mean]]
#: Group -> stratum -> how many faults there are.
Sizes = dict[Group, dict[str, int]]


def compute_means(
    results: pd.DataFrame, design: Design, keys: Sequence[str], rates: Sequence[str]
) -> Means:
    """Mean rates and the number of faults, by group and stratum.

    Names are parsed once for each sort of fault, not in every row: there may be millions.
    """
    first, sort = _find_sorts(results)
    _check_families(first["Layer"], design)
    parts = [_locate(design, keys, *map(_as_text, row)) for row in first.itertuples(index=False)]
    numbers = {part: number for number, part in enumerate(dict.fromkeys(parts))}
    part = np.array([numbers[part] for part in parts], dtype=np.int64)[sort]
    values = results[list(rates)].div(results["samples"], axis="index")
    if not results["Injection"].is_unique:  # trials: once in every part
        once = ~results[["Injection"]].assign(part=part).duplicated().to_numpy()
        values, part = values[once], part[once]
    means = values.groupby(pd.Series(part, values.index)).mean().to_numpy().tolist()
    faults = np.bincount(part, minlength=len(numbers)).tolist()
    seen: Means = {} if keys else {(): {}}
    for (group, stratum), number in numbers.items():
        seen.setdefault(group, {})[stratum] = Mean(faults[number], tuple(means[number]))
    return seen


def _find_sorts(results: pd.DataFrame) -> tuple[pd.DataFrame, NDArray[np.int64]]:
    """A row of each sort of fault, and the sort of every row, int64 ``[rows]``."""
    code = np.zeros(len(results), dtype=np.int64)
    for column in _SORT:
        number, names = pd.factorize(results[column], use_na_sentinel=False)
        code = code * max(len(names), 1) + number
    _, first, sort = np.unique(code, return_index=True, return_inverse=True)
    return results[_SORT].iloc[first], sort


def _as_text(label: Any) -> str:
    """A permanent fault's step may be read as a missing value."""
    return "" if pd.isna(label) else str(label)


def _locate(
    design: Design, keys: Sequence[str], family: str, bit: str, model: str, step: str
) -> tuple[Group, str]:
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


def count_faults(design: Design, keys: Sequence[str]) -> Sizes:
    """How many faults, or trials, there are by group and stratum."""
    sizes: Sizes = {}
    for *group, stratum, population in design.populations(keys).itertuples(index=False):
        sizes.setdefault(tuple(map(str, group)), {})[stratum] = population
    return sizes


def check_groups(seen: Means, sizes: Sizes, keys: Sequence[str]) -> None:
    """Raise ``ValueError`` for results of what the design has not."""
    foreign = sorted(set(seen) - set(sizes))
    if foreign:
        raise ValueError(f"results of {' '.join(keys)} {' '.join(foreign[0])}; {_NOT_IN_DESIGN}")
    for group, means in seen.items():
        strata = sorted(set(means) - set(sizes[group]))
        if strata:
            raise ValueError(f"results of {', '.join(strata)}; {_NOT_IN_DESIGN}")


def order_groups(keys: Sequence[str], design: Design) -> Callable[[Group], list[tuple[int, str]]]:
    """Families and layers in the order of the network, bits and steps by number."""
    families = [family.name for family in design.families]
    layers = dict.fromkeys(map(layer_of, families))
    places: dict[str, dict[str, int]] = {
        "family": {name: place for place, name in enumerate(families)},
        "layer": {name: place for place, name in enumerate(layers)},
    }

    def order(group: Group) -> list[tuple[int, str]]:
        pairs = zip(keys, group, strict=True)
        return [(places[k][v] if k in places else _first_number(v), v) for k, v in pairs]

    return order


def _first_number(text: str) -> int:
    """The first number in ``3-5`` or ``3+7``; -1 for what has none."""
    digits = text.replace("+", "-").partition("-")[0]
    return int(digits) if digits.isdigit() else -1
