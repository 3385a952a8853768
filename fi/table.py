"""The published result table: what the faults of each site family did."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import pandas as pd

from fi.faults import SEVERAL
from fi.files import csv_text
from fi.outcomes import OUTCOMES
from fi.statistics import Estimate, Sample, estimate

#: How the faults were chosen; ``list`` is a list that the user gave.
Draw = Literal["network-wise", "layer-wise", "exhaustive", "list"]

FAULTS, INJECTIONS = "# of faults", "# of injections"
FAULTY_ACCURACY, ACCURACY, NON_FINITE, OVERALL = "facc", "acc", "non_finite", "all"
#: Column of the results -> row of the table, in the order of SpikingJET's tables.
OUTCOME_ROWS = dict(
    zip(
        OUTCOMES,
        ("fully_masked", "SDC_1", "SDC_0_5%", "SDC_5_10%", "SDC_10_20%", "SDC_20"),
        strict=True,
    )
)
PUBLISHED_ROWS = (FAULTS, INJECTIONS, *OUTCOME_ROWS.values(), FAULTY_ACCURACY, ACCURACY)
_RATE_ROWS = {**OUTCOME_ROWS, "correct": FAULTY_ACCURACY, "non_finite": NON_FINITE}


def result_table(
    results: pd.DataFrame,
    populations: Mapping[str, int | None],
    batches: int,
    confidence: float = 0.99,
    draw: Draw = "network-wise",
) -> pd.DataFrame:
    """The table of a campaign: metrics are rows, site families columns, ``all`` the last.

    A fault's rates are its counts over its samples; a cell is the mean over faults; a trial of
    several faults counts as one. After the
    published rows come the ends of the interval of each rate (``SDC_1 low``, ``SDC_1 high``), then
    the rate of non-finite outputs and its interval. ``acc`` is the golden accuracy, ``facc`` the
    mean accuracy under a fault.

    A network-wise draw meets every fault with the same probability: ``all`` is the plain mean. A
    layer-wise draw does so only within a layer: ``all`` weighs each layer by its population.

    Args:
        results: as ``ResultsFile.load`` gives them.
        populations: site family -> number of its faults in the fault space, in the order of the
            network; ``None`` where it is not known, which leaves the correction out.
        batches: batches of the test set; an injection is one fault in one batch.
        confidence: nominal coverage of the intervals, over faults, for this test set.
        draw: how the faults were chosen.

    Raises:
        ValueError: a result is of a family that ``populations`` has not.
    """
    results = one_row_a_trial(results)
    if SEVERAL in set(results["Layer"]):
        populations = {**populations, SEVERAL: None}
    unknown = set(results["Layer"]) - set(populations)
    if unknown:
        raise ValueError(
            f"results of {', '.join(sorted(unknown))}; the families are {', '.join(populations)}"
        )
    by_family: dict[str, pd.DataFrame] = {str(n): part for n, part in results.groupby("Layer")}
    none = results.iloc[:0]
    families = {n: _Part(by_family.get(n, none), size) for n, size in populations.items()}
    columns = {n: _column([part], batches, confidence) for n, part in families.items()}
    columns[OVERALL] = _column(_strata(families, draw), batches, confidence)
    return pd.DataFrame(columns)


def one_row_a_trial(results: pd.DataFrame) -> pd.DataFrame:
    """The results with a trial of several faults counted once.

    Its ``Layer`` is that of its faults, or ``several`` where they are in different families.
    """
    if not results["Injection"].duplicated().any():
        return results
    layers = results.groupby("Injection")["Layer"]
    mixed = layers.transform("nunique") > 1
    labelled = results.assign(Layer=results["Layer"].mask(mixed, SEVERAL))
    return labelled.drop_duplicates("Injection")


class _Part:
    """The faults of one stratum that were run, and how many it has."""

    def __init__(self, results: pd.DataFrame, population: int | None, weight: float = 1.0) -> None:
        self.results = results
        self.population = population
        self.weight = weight
        self.drawn_from = None if _not_a_draw(results, population) else population
        counts = results[[*_RATE_ROWS, "golden_correct"]]
        self.rates = counts.div(results["samples"], axis="index").mean()

    def sample(self, column: str) -> Sample:
        rate = float(self.rates[column])
        return Sample(rate, len(self.results), self.drawn_from, self.weight)


def _not_a_draw(results: pd.DataFrame, population: int | None) -> bool:
    """Whether the faults cannot be a sample of the population without replacement."""
    repeated = bool(results.duplicated(["Layer", "TensorIndex", "Bit", "Model", "Step"]).any())
    return repeated or (population is not None and len(results) > population)


def _strata(families: Mapping[str, _Part], draw: Draw) -> list[_Part]:
    """The faults by stratum of the draw: one for each layer, or one for the network."""
    if draw != "layer-wise":
        return [_union(list(families.values()))]
    layers: dict[str, list[_Part]] = {}
    for name, part in families.items():
        if part.population is None:
            raise ValueError(f"the population of {name} is not known; a layer-wise draw needs it")
        layers.setdefault(name.rpartition(".")[0], []).append(part)
    total = sum(part.population or 0 for part in families.values())
    return [_union(parts, total) for parts in layers.values()]


def _union(parts: Sequence[_Part], total: int = 0) -> _Part:
    """One stratum of several families; its weight is its share of ``total``, 1 without one."""
    sizes = [part.population for part in parts if part.population is not None]
    population = sum(sizes) if len(sizes) == len(parts) else None
    weight = (population or 0) / total if total else 1.0
    return _Part(pd.concat([part.results for part in parts]), population, weight)


def _column(parts: Sequence[_Part], batches: int, confidence: float) -> dict[str, float]:
    def rate(column: str) -> Estimate:
        return estimate([part.sample(column) for part in parts], confidence)

    faults = sum(len(part.results) for part in parts)
    rates = {row: rate(column) for column, row in _RATE_ROWS.items()}
    non_finite = rates.pop(NON_FINITE)
    column = {FAULTS: float(faults), INJECTIONS: float(faults * batches)}
    column |= {row: value.rate for row, value in rates.items()}
    column[ACCURACY] = rate("golden_correct").rate
    for row, value in rates.items():
        column |= _ends(row, value)
    return column | {NON_FINITE: non_finite.rate} | _ends(NON_FINITE, non_finite)


def _ends(row: str, value: Estimate) -> dict[str, float]:
    return {f"{row} low": value.low, f"{row} high": value.high}


def table_csv(table: pd.DataFrame) -> str:
    """The table as CSV in its published shape; cells without a fault are empty."""
    header = ["", *table.columns]
    rows = ([row, *(_cell(row, value) for value in table.loc[row])] for row in table.index)
    return csv_text([header, *rows])


def _cell(row: str, value: float) -> str:
    if value != value:
        return ""
    return f"{value:.0f}" if row in (FAULTS, INJECTIONS) else f"{value:.10g}"
