"""How often intervals hold where it is hard: rates between 0 and 1, few faults or nearly all."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binom

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # the code beside this page, whatever is installed
sys.path.insert(0, str(ROOT / "docs"))

from coverage_study import SIGNIFICANT, correct_by_holm  # noqa: E402

from fi.statistics.histogram import Histogram  # noqa: E402
from fi.statistics.intervals import interval  # noqa: E402

#: Rates are multiples of one in so many samples.
SAMPLES = 200
LEVELS = (0.99, 0.95)
SIZES = (90, 1000, 10_000, 100_000)
#: Faults that are run: of few or of a part of all.
FEW = (2, 5, 10, 30, 100, 300, 1000)
PARTS = (0.5, 0.9, 0.99)
Generator = np.random.Generator
Rates = NDArray[np.float64]


def _where(rng: Generator, size: int, part: float, one: float, others: float) -> Rates:
    return np.where(rng.random(size) < part, one, others)


def _single(size: int, one: float, others: float) -> Rates:
    return np.append(np.full(size - 1, others), one)


#: Populations of so many faults: rare and common, yes or no and anything between.
POPULATIONS: dict[str, Callable[[Generator, int], Rates]] = {
    "one critical": lambda rng, size: _single(size, 1.0, 0.0),
    "all but one critical": lambda rng, size: _single(size, 0.0, 1.0),
    "1 % critical": lambda rng, size: _where(rng, size, 0.01, 1.0, 0.0),
    "30 % critical": lambda rng, size: _where(rng, size, 0.3, 1.0, 0.0),
    "one critical, others 0.01": lambda rng, size: _single(size, 1.0, 0.01),
    "0.9, one of 0": lambda rng, size: _single(size, 0.0, 0.9),
    "0.9, 2 % of 0": lambda rng, size: _where(rng, size, 0.02, 0.0, 0.9),
    "noise, 1 % of 1": lambda rng, size: np.where(
        rng.random(size) < 0.01, 1.0, rng.integers(0, 20, size) / SAMPLES
    ),
    "halves of 0.4 and 0.6": lambda rng, size: _where(rng, size, 0.5, 0.4, 0.6),
    "0, 0.5 and 1": lambda rng, size: rng.integers(0, 3, size) / 2,
    "beta 0.1, 5": lambda rng, size: rng.beta(0.1, 5, size),
    "beta 0.5, 0.5": lambda rng, size: rng.beta(0.5, 0.5, size),
    "uniform": lambda rng, size: rng.random(size),
}


class Setting(NamedTuple):
    """Faults of a population, of which so many are run."""

    name: str
    size: int
    n: int


class Outcome(NamedTuple):
    """How often the interval of a setting held at a level."""

    setting: Setting
    level: float
    inside: int
    draws: int


def list_settings(sizes: Sequence[int] = SIZES, few: Sequence[int] = FEW) -> list[Setting]:
    """All settings: ``few`` faults, a part of all, and all but one."""
    numbers = {
        size: sorted({*few, *(int(part * size) for part in PARTS), size - 1}) for size in sizes
    }
    return [
        Setting(name, size, n)
        for name in POPULATIONS
        for size in sizes
        for n in numbers[size]
        if 2 <= n < size
    ]


def measure(setting: Setting, draws: int, method: str = "gaffke") -> Iterator[Outcome]:
    """Draw many samples from one population; the true rate is inside so often."""
    rng = np.random.default_rng([setting.size, setting.n, list(POPULATIONS).index(setting.name)])
    rates = np.round(POPULATIONS[setting.name](rng, setting.size) * SAMPLES) / SAMPLES
    values, counts = np.unique(rates, return_counts=True)
    if len(values) == 1:
        return
    samples = rng.multivariate_hypergeometric(counts, setting.n, draws, method="marginals")
    seen = [
        Histogram(values[found := row > 0], row[found].astype(float), setting.size)
        for row in samples
    ]
    for level in LEVELS:
        ends = np.array([interval([one], level, method) for one in seen])
        truth = rates.mean()
        inside = (ends[:, 0] <= truth + 1e-12) & (truth - 1e-12 <= ends[:, 1])
        yield Outcome(setting, level, int(inside.sum()), draws)


def find_failing(outcomes: Sequence[Outcome]) -> tuple[list[Outcome], float]:
    """Those significantly below their level, by Holm's method; the smallest p, uncorrected."""
    p = np.array([binom.cdf(one.inside, one.draws, one.level) for one in outcomes])
    corrected = correct_by_holm(p)
    failing = [o for o, value in zip(outcomes, corrected, strict=True) if value < SIGNIFICANT]
    return failing, float(p.min())


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure all settings; 1 where one is significantly below."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--draws", type=int, default=1000)
    parser.add_argument("--interval", default="gaffke")
    parsed = parser.parse_args(arguments)
    settings = list_settings()
    outcomes = [one for s in settings for one in measure(s, parsed.draws, parsed.interval)]
    failing, p = find_failing(outcomes)
    least = min(outcomes, key=lambda one: binom.cdf(one.inside, one.draws, one.level))
    print(
        f"{len(settings)} settings x {len(LEVELS)} levels x {parsed.draws} draws, "
        f"{parsed.interval}: {len(failing)} significantly below; smallest p, uncorrected, {p:.2g}: "
        f"{least.inside} of {least.draws} at {least.level:g}, {least.setting}"
    )
    for level in LEVELS:
        of = [one for one in outcomes if one.level == level]
        pooled = sum(one.inside for one in of) / sum(one.draws for one in of)
        print(f"{level:g}: pooled {pooled:.4%}")
    for one in failing:
        print(one)
    return bool(failing)


if __name__ == "__main__":
    sys.exit(main())
