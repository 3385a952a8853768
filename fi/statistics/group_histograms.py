"""Rates of the faults that were run, by group and by stratum of the draw."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fi.faults.family_names import layer_of
from fi.statistics.histogram import Histogram
from fi.statistics.survey_design import Design, stratum_name

#: The columns that say which sort of fault a row is.
_SORT = ["Layer", "Bit", "Model", "Step"]
_NOT_IN_DESIGN = "the faults that the list was drawn from have no such"


#: A group of faults: a value for each column that they are grouped by.
Group = tuple[str, ...]
#: Group -> stratum -> what was seen, a histogram for each rate.
Histograms = dict[Group, dict[str, tuple[Histogram, ...]]]
#: Group -> stratum -> how many faults there are.
Sizes = dict[Group, dict[str, int]]


def compute_histograms(
    results: pd.DataFrame, design: Design, keys: Sequence[str], rates: Sequence[str]
) -> Histograms:
    """Histograms of the faults' rates, by group and stratum; of no known population yet.

    Names are parsed once for each sort of fault, not in every row: there may be millions.
    """
    first, sort = _find_sorts(results)
    _check_families(first["Layer"], design)
    places = [_locate(design, keys, *map(_as_text, row)) for row in first.itertuples(index=False)]
    numbers = {place: number for number, place in enumerate(dict.fromkeys(places))}
    part = np.array([numbers[place] for place in places], dtype=np.int64)[sort]
    order = np.lexsort((results["Injection"].to_numpy(), part))
    if not results["Injection"].is_unique:  # trials: once in every part
        again = ~results[["Injection"]].assign(part=part).duplicated().to_numpy()
        order = order[again[order]]
    part, samples = part[order], results["samples"].to_numpy()[order]
    columns = [
        count_values(results[rate].to_numpy()[order], samples, part, len(numbers)) for rate in rates
    ]
    seen: Histograms = {} if keys else {(): {}}
    for ((group, stratum), _), histograms in zip(
        numbers.items(), zip(*columns, strict=True), strict=True
    ):
        seen.setdefault(group, {})[stratum] = histograms
    return seen


def count_values(
    hits: NDArray[np.int64], samples: NDArray[np.int64], part: NDArray[np.int64], parts: int
) -> list[Histogram]:
    """A histogram of ``hits / samples`` for each part.

    Args:
        hits, samples: of each fault, in the order drawn within each part ``[faults]``.
        part: its number, ascending ``[faults]``.
        parts: how many there are.
    """
    if not len(hits):
        return [Histogram.of([])] * parts
    drawn = hits / samples
    if (samples == samples[0]).all():
        levels, level = np.arange(samples[0] + 1) / samples[0], hits
    else:
        levels, level = np.unique(drawn, return_inverse=True)
    code, number = _count_codes(part * len(levels) + level, parts * len(levels))
    values, counts = levels[code % len(levels)], number.astype(np.float64)
    ends = np.arange(parts + 1)
    rows, cells = np.searchsorted(part, ends), np.searchsorted(code // len(levels), ends)
    return [
        Histogram(
            values[cells[n] : cells[n + 1]],
            counts[cells[n] : cells[n + 1]],
            drawn=drawn[rows[n] : rows[n + 1]],
        )
        for n in range(parts)
    ]


def _count_codes(
    codes: NDArray[np.int64], most: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The different codes below ``most``, ascending, and how often each is there."""
    if most > 4 * len(codes) + 100_000:
        return np.unique(codes, return_counts=True)
    counts = np.bincount(codes, minlength=most)
    different = np.flatnonzero(counts)
    return different, counts[different]


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


def check_groups(seen: Histograms, sizes: Sizes, keys: Sequence[str]) -> None:
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
