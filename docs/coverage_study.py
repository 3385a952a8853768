"""How often the intervals hold: draws from populations of which every fault was injected."""

from __future__ import annotations

import multiprocessing
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import binom, norm

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # the code beside this page, whatever is installed

import fi.test  # noqa: E402
from fi.campaign.subject import Subject  # noqa: E402
from fi.cli.chosen_classes import find_chosen_classes  # noqa: E402
from fi.cli.subject_options import load_subject  # noqa: E402
from fi.cli.test_options import make_parser  # noqa: E402
from fi.cli.test_plan import make_plan  # noqa: E402
from fi.faults.family_names import layer_of  # noqa: E402
from fi.faults.fault_space import FaultSpace  # noqa: E402
from fi.sampling.fault_draw import draw_numbers  # noqa: E402
from fi.sampling.plan import SamplingPlan  # noqa: E402
from fi.sampling.prior import Prior, derive_prior  # noqa: E402
from fi.sampling.sequential import IterativeDraw  # noqa: E402
from fi.sampling.strata import describe_design  # noqa: E402
from fi.statistics.group_estimates import GroupHistograms, estimate_groups  # noqa: E402
from fi.statistics.intervals import DEFAULT_METHOD  # noqa: E402
from fi.statistics.survey_design import Design  # noqa: E402
from fi.store.campaign_reader import newest_campaign  # noqa: E402

RATES = ("fully_masked", "sdc_1", "correct")
GROUPINGS = ((), ("layer",), ("family",), ("bit",), ("family", "bit"))
LEVELS = (0.99, 0.95)
#: A p value below this one says that a cell is not covered.
SIGNIFICANT = 0.05
Array = NDArray[np.float64]


@dataclass(frozen=True)
class Population:
    """All faults of a network with what each of them did.

    Attributes:
        results: as ``ResultsFile.load`` gives them, in the order of the space.
        space: the faults.
        plan: what drew all of them.
        subject: the network and its data.
    """

    results: pd.DataFrame
    space: FaultSpace
    plan: SamplingPlan
    subject: Subject

    @classmethod
    def from_campaign(cls, options: Sequence[str], output: Path) -> Population:
        """The population of a campaign with these options of ``fi.test``, run if it is not yet."""
        argv = [*options, "--scheme", "exhaustive", "--output", str(output)]
        if fi.test.main([*argv, "--quiet", "--no-figures"]):
            raise SystemExit(f"python -m fi.test {' '.join(argv)} failed")
        parser = make_parser(find_chosen_classes(argv, ("model", "data")))
        chosen = parser.parse(argv)
        plan, subject = make_plan(chosen), load_subject(parser, chosen)
        space = plan.space(subject.sites, subject.steps)
        campaign = newest_campaign(output, chosen.model, plan.list_name)
        listed = campaign.results.load().sort_values("Injection", ignore_index=True)
        order = np.argsort(draw_numbers(space, plan))
        names = dict.fromkeys(("Layer", "Bit", "Model", "Step"), "category")
        return cls(listed.iloc[order].astype(names).reset_index(drop=True), space, plan, subject)

    @property
    def samples(self) -> int:
        """Test samples that every fault was tried on."""
        return int(self.results["samples"].iloc[0])

    @cached_property
    def prior(self) -> Prior:
        """Of a data-aware draw."""
        return derive_prior(self.space, self.subject.network)

    @cached_property
    def cells(self) -> Cells:
        """The groups of faults whose rates are estimated."""
        return make_cells(self)

    def rows(self, numbers: Sequence[int], first: int = 0) -> pd.DataFrame:
        """The results of these faults, as injections from ``first`` on."""
        injections = range(first, first + len(numbers))
        return self.results.iloc[numbers].assign(Injection=injections)


class Cells(NamedTuple):
    """The groups of faults whose rates are estimated.

    Attributes:
        names: ``network``, ``family fc1.weight``, ``family, bit fc1.weight 30``.
        truth: their rates ``[cells, rates]``.
        varied: whether not all faults of the cell have that rate; else no draw can miss it.
    """

    names: list[str]
    truth: Array
    varied: NDArray[np.bool_]


def make_cells(population: Population) -> Cells:
    """All cells of a population, in the order of ``GROUPINGS`` and ``estimate_groups``."""
    results = population.results
    design = describe_design(population.space, "exhaustive")
    tables = [estimate_groups(results, design, by, rates=RATES) for by in GROUPINGS]
    values = results[list(RATES)].div(results["samples"], axis="index")
    labels = {"family": results["Layer"].astype(str), "bit": results["Bit"].astype(str)}
    values = values.assign(**labels, layer=results["Layer"].map(layer_of).astype(str))
    names, varied = [], []
    for by, table in zip(GROUPINGS, tables, strict=True):
        keys = [tuple(row) for row in table[list(by)].to_numpy()]
        grouped = dict(list(values.groupby(list(by)))) if by else {(): values}
        for key in keys:
            names.append(f"{', '.join(by)} {' '.join(key)}" if by else "network")
            group = grouped[key][list(RATES)]
            varied.append(group.max().to_numpy() > group.min().to_numpy())
    truth = np.concatenate([table[list(RATES)].to_numpy(dtype=float) for table in tables])
    return Cells(names, truth, np.array(varied))


@dataclass
class Tally:
    """What many repetitions gave.

    Attributes:
        injections: faults of each repetition.
        counted: ``[cells, rates]`` repetitions that had some, but not all, faults of the cell.
        covered: ``[methods, levels, cells, rates]`` how many of these the true rate was inside.
        width: ``[methods, levels, cells, rates]`` sum of the half-widths of these.
    """

    injections: list[int]
    counted: Array
    covered: Array
    width: Array

    def __add__(self, other: Tally) -> Tally:
        return Tally(
            self.injections + other.injections,
            self.counted + other.counted,
            self.covered + other.covered,
            self.width + other.width,
        )

    def save(self, path: Path) -> None:
        """Write all of it to ``path``, for ``load``."""
        path.parent.mkdir(parents=True, exist_ok=True)
        np.savez_compressed(path, **vars(self))

    @classmethod
    def load(cls, path: Path) -> Tally:
        """What ``save`` wrote."""
        with np.load(path) as saved:
            injections = saved["injections"].tolist()
            return cls(injections, saved["counted"], saved["covered"], saved["width"])


class Draw(NamedTuple):
    """A way to draw: a scheme of ``fi.sampling`` at a margin, in one step or iteratively."""

    scheme: str
    margin: float
    iterative: bool = False

    def __str__(self) -> str:
        return f"{'iterative ' * self.iterative}{self.scheme}"

    @property
    def tag(self) -> str:
        """For file names: ``iterative-network-wise-0.01``."""
        return f"{self} {self.margin:g}".replace(" ", "-")


def simulate_draw(population: Population, draw: Draw, seed: int) -> tuple[pd.DataFrame, Design]:
    """What a campaign on this draw would write, and how it was drawn."""
    prior = population.prior if draw.scheme == "data-aware" else ()
    given = {"scheme": draw.scheme, "margin": draw.margin, "seed": seed, "prior": prior}
    plan = replace(population.plan, **given)
    space = population.space
    if not draw.iterative:
        return population.rows(draw_numbers(space, plan)), describe_design(space, draw.scheme)
    iterative = IterativeDraw(space, plan, LEVELS[0], RATES)
    results = population.rows([])
    while faults := iterative.next_faults(results):
        new = population.rows([space.number(fault) for fault in faults], first=len(results))
        results = pd.concat([results, new], ignore_index=True)
    return results, iterative.design


def wald(rate: Array, n: Array, size: Array, samples: int, level: float) -> tuple[Array, Array]:
    """``p +- z sqrt(p (1 - p) / n (N - n) / (N - 1))``: the formula behind the sample size."""
    half = _z(level) * np.sqrt(rate * (1 - rate) / _effective(n, size))
    return rate - half, rate + half


def wilson(rate: Array, n: Array, size: Array, samples: int, level: float) -> tuple[Array, Array]:
    """Wilson's interval by fault, finite-population corrected, as in ``fi.statistics``."""
    return _score(rate, _effective(n, size), level)


def by_pair(rate: Array, n: Array, size: Array, samples: int, level: float) -> tuple[Array, Array]:
    """Wilson's interval as if every (fault, sample) had been drawn on its own."""
    return _score(rate, n * samples, level)


OTHERS: dict[str, Callable[[Array, Array, Array, int, float], tuple[Array, Array]]] = {
    "Wilson": wilson,
    "Wald": wald,
    "Wilson by pair": by_pair,
}
#: What the tool can take -> its method; all but the default for network-wise draws only.
OWN = {"default": DEFAULT_METHOD, "score and deviance": "wilson"}
#: The tool's own intervals, and what others would take from a network-wise draw.
METHODS = (*OWN, *OTHERS)


def _z(level: float) -> float:
    return float(norm.ppf((1 + level) / 2))


def _effective(n: Array, size: Array) -> Array:
    """The effective sample size, as in ``fi.statistics``."""
    return n * (size - 1) / (size - n)


def _score(rate: Array, n: Array, level: float) -> tuple[Array, Array]:
    z = _z(level)
    centre = (rate + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * np.sqrt(rate * (1 - rate) / n + z**2 / (4 * n**2))
    return centre - half, centre + half


def run_repetition(population: Population, cells: Cells, draw: Draw, seed: int) -> Tally:
    """One draw, its estimates, and whether their intervals hold the true rates."""
    results, design = simulate_draw(population, draw, seed)
    groups = [GroupHistograms.of(results, design, by, RATES) for by in GROUPINGS]
    table = _estimate(groups, LEVELS[0], DEFAULT_METHOD)
    faults, sizes = _numbers(table, ["faults"]), _numbers(table, ["population"])
    counted = cells.varied & (faults > 0) & (faults < sizes)
    ends = np.full((len(METHODS), len(LEVELS), 2, *counted.shape), np.nan)
    single = design.scheme == "network-wise"  # others have no formula for several strata
    for place, level in enumerate(LEVELS):
        for number, method in enumerate(OWN.values()):
            if single or method == DEFAULT_METHOD:
                table = _estimate(groups, level, method)
                for end, name in enumerate(("low", "high")):
                    ends[number, place, end] = _numbers(table, [f"{rate} {name}" for rate in RATES])
        if single:
            rates = _numbers(table, RATES)
            for number, interval in enumerate(OTHERS.values(), start=len(OWN)):
                with np.errstate(all="ignore"):  # where nothing or everything was run
                    ends[number, place] = interval(rates, faults, sizes, population.samples, level)
    low, high = np.where(counted, ends, 0.0).swapaxes(0, 2)
    inside = (low <= cells.truth + 1e-12) & (cells.truth - 1e-12 <= high)
    covered = (counted & inside).astype(float).swapaxes(0, 1)
    return Tally([len(results)], counted.astype(float), covered, ((high - low) / 2).swapaxes(0, 1))


def _estimate(groups: Sequence[GroupHistograms], level: float, method: str) -> pd.DataFrame:
    return pd.concat([group.estimate(level, method) for group in groups])


def _numbers(table: pd.DataFrame, columns: Sequence[str]) -> Array:
    return table[list(columns)].to_numpy(dtype=float)


_shared: tuple[Population, Cells]


def _chunk(task: tuple[Draw, range]) -> Tally:
    draw, seeds = task
    return add_up(run_repetition(*_shared, draw, seed) for seed in seeds)


def add_up(tallies: Iterable[Tally]) -> Tally:
    """The sum."""
    first, *others = tallies
    return sum(others, start=first)


def run_study(
    population: Population, draws: Sequence[Draw], seeds: range, processes: int = 2
) -> Iterator[tuple[Draw, Tally]]:
    """Repeat every draw with these seeds; the sum for each, in order."""
    global _shared
    _shared = population, population.cells
    population.prior  # noqa: B018 - made before the processes are, which share the population
    chunks = [seeds[start : start + 10] for start in range(0, len(seeds), 10)]
    if processes == 1:
        yield from ((draw, add_up(map(_chunk, [(draw, c) for c in chunks]))) for draw in draws)
        return
    with multiprocessing.get_context("fork").Pool(processes) as pool:
        for draw in draws:
            yield draw, add_up(pool.imap(_chunk, [(draw, c) for c in chunks]))


class Finding(NamedTuple):
    """How a method held in one study, at one level.

    Attributes:
        pooled: part of all intervals that hold the true rate.
        tested: rates of cells, each tested for coverage below the level.
        failing: names of those that are significantly below.
        worst: name of the one with the smallest p value.
        share: its coverage.
        p: its p value, corrected.
    """

    pooled: float
    tested: int
    failing: tuple[str, ...]
    worst: str
    share: tuple[int, int]
    p: float


def assess_coverage(
    tally: Tally, cells: Cells, method: str = "default", level: float = 0.99
) -> Finding:
    """Pooled coverage, and an exact one-sided binomial test of every rate of every cell.

    The p values are corrected for the number of rates that are tested, by Holm's method.
    """
    used = tally.counted > 0
    names = [f"{RATES[rate]}, {cells.names[cell]}" for cell, rate in np.argwhere(used)]
    counted = tally.counted[used]
    covered = tally.covered[METHODS.index(method), LEVELS.index(level)][used]
    corrected = correct_by_holm(binom.cdf(covered, counted, level))
    worst = int(np.lexsort((covered / counted, corrected))[0])
    return Finding(
        float(covered.sum() / counted.sum()),
        len(names),
        tuple(name for name, p in zip(names, corrected, strict=True) if p < SIGNIFICANT),
        names[worst],
        (int(covered[worst]), int(counted[worst])),
        float(corrected[worst]),
    )


def correct_by_holm(p: Array) -> Array:
    """p values corrected for their number (Holm, Scand. J. Stat. 6, 1979)."""
    order = np.argsort(p)
    increasing = np.maximum.accumulate(p[order] * (len(p) - np.arange(len(p))))
    corrected = np.empty_like(p)
    corrected[order] = np.minimum(increasing, 1.0)
    return corrected
