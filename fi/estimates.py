"""Estimates by any grouping of the faults, each with its interval."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import nan
from typing import Any, Literal, get_args

import pandas as pd

from fi.design import STRATUM as _STRATUM
from fi.design import Design, layer_of, stratum_name
from fi.outcomes import OUTCOMES
from fi.statistics import Sample, estimate

Grouping = Literal["family", "layer", "bit", "model", "step"]
GROUPINGS: tuple[str, ...] = get_args(Grouping)
#: The rates that are estimated: columns of the results, as parts of the samples.
RATES = (*OUTCOMES, "non_finite", "correct", "golden_correct")
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
    keys = list(by)
    wrong = [key for key in keys if key not in GROUPINGS]
    if wrong:
        raise ValueError(f"faults are grouped by {wrong[0]!r}; allowed: {', '.join(GROUPINGS)}")
    seen = _labelled(results, design)
    _check_families(seen, design)
    means = _by_group(_means(seen, keys, rates), keys)
    populations = _by_group(design.populations(keys), keys) if design.known else None
    if populations is not None and not set(means) <= set(populations):
        foreign = sorted(set(means) - set(populations))[0]
        raise ValueError(f"results of {' '.join(keys)} {' '.join(foreign)}; {_ELSE}")
    groups = sorted(means if populations is None else populations, key=_order(keys, design))
    rows = [[*key, *_row(means.get(key), populations, key, confidence, rates)] for key in groups]
    ends = [name for rate in rates for name in (rate, f"{rate} low", f"{rate} high")]
    table = pd.DataFrame(rows, columns=[*keys, "faults", "population", *ends])
    return table.astype({"faults": "int64", "population": object})


def _labelled(results: pd.DataFrame, design: Design) -> pd.DataFrame:
    """The results with the columns that groups and strata are made of."""
    family, bit = results["Layer"], results["Bit"].astype(str)
    labels: dict[str, Any] = {
        "family": family,
        "layer": family.map(layer_of),
        "bit": bit,
        "model": results["Model"],
        "step": results["Step"].astype("string").fillna("").astype(str),
        _STRATUM: [stratum_name(design.scheme, *pair) for pair in zip(family, bit, strict=True)],
    }
    return results.assign(**labels)


def _check_families(seen: pd.DataFrame, design: Design) -> None:
    names = [family.name for family in design.families]
    unknown = sorted(set(seen["family"]) - set(names))
    if unknown:
        raise ValueError(f"results of {', '.join(unknown)}; the families are {', '.join(names)}")


def _means(seen: pd.DataFrame, keys: Sequence[str], rates: Sequence[str]) -> pd.DataFrame:
    """Mean ``rates`` and the number of ``faults`` by group and stratum."""
    parts = [*keys, _STRATUM]
    once = seen.drop_duplicates(["Injection", *parts])
    values = once[list(rates)].div(once["samples"], axis="index").assign(faults=1)
    grouped = values.groupby([once[part] for part in parts], sort=False)
    how: dict[str, Any] = {**dict.fromkeys(rates, "mean"), "faults": "sum"}
    return grouped.agg(how).reset_index()


_Key = tuple[str, ...]
_Groups = dict[_Key, pd.DataFrame]


def _by_group(table: pd.DataFrame, keys: Sequence[str]) -> _Groups:
    """The rows of every group, by stratum."""
    if not keys:
        return {(): table.set_index(_STRATUM)}
    groups = table.groupby(list(keys), sort=False)
    return {tuple(map(str, key)): part.set_index(_STRATUM) for key, part in groups}


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


def _row(
    means: pd.DataFrame | None,
    populations: _Groups | None,
    group: _Key,
    confidence: float,
    rates: Sequence[str],
) -> list[Any]:
    """``faults, population`` and the estimates of a group."""
    sizes = None if populations is None else dict(populations[group]["population"])
    if means is None:
        return [0, sum((sizes or {}).values()), *(nan, 0.0, 1.0) * len(rates)]
    if sizes is not None and not set(means.index) <= set(sizes):
        raise ValueError(f"results of {', '.join(sorted(set(means.index) - set(sizes)))}; {_ELSE}")
    row: list[Any] = [int(means["faults"].sum()), None if sizes is None else sum(sizes.values())]
    for rate in rates:
        row += estimate(_samples(means, rate, sizes), confidence)
    return row


def _samples(means: pd.DataFrame, rate: str, sizes: Mapping[str, int] | None) -> list[Sample]:
    """What was seen of every stratum of a group."""
    pairs = zip(means[rate], means["faults"], strict=True)
    seen = {name: (float(mean), int(n)) for name, (mean, n) in zip(means.index, pairs, strict=True)}
    if sizes is None:
        return [Sample(mean, n, None, n / sum(means["faults"])) for mean, n in seen.values()]
    total = sum(sizes.values())
    return [
        Sample(*seen.get(name, (nan, 0)), size, size / total)
        for name, size in sizes.items()
        if size
    ]
