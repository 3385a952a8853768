"""What iterative campaigns take, and whether their intervals hold where they stop."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from coverage_study import RATES, Draw, Population, simulate_draw
from coverage_tables import POPULATIONS
from scipy.stats import binom

from fi.statistics.group_estimates import estimate_groups


def main(arguments: Sequence[str] | None = None) -> None:
    """Run campaigns with the seeds 0 to runs - 1 on a population of which every fault is known."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--population", default="trained", choices=POPULATIONS)
    parser.add_argument("--margin", type=float, default=0.01)
    parser.add_argument("--runs", type=int, default=600)
    parser.add_argument("--output", default="output/coverage", help="campaigns and tallies")
    parsed = parser.parse_args(arguments)
    options = POPULATIONS[parsed.population].split()
    population = Population.from_campaign(options, Path(parsed.output) / parsed.population)
    truth = (population.results[list(RATES)].div(population.samples)).mean().to_numpy()
    draw, faults, held = (
        Draw("network-wise", parsed.margin, iterative=True),
        [],
        np.zeros(len(RATES)),
    )
    for seed in range(parsed.runs):
        results, design = simulate_draw(population, draw, seed)
        found = estimate_groups(results, design, rates=RATES).iloc[0]
        low, high = (
            found[[f"{r} {end}" for r in RATES]].to_numpy(float) for end in ("low", "high")
        )
        held += (low <= truth) & (truth <= high)
        faults.append(len(results))
    print(
        f"{parsed.population}, {parsed.margin:g}, {parsed.runs} runs: {np.mean(faults):,.0f} "
        f"faults in the mean ({min(faults):,} to {max(faults):,})"
    )
    for rate, number in zip(RATES, held, strict=True):
        p = binom.cdf(number, parsed.runs, 0.99)
        print(f"{rate}: {number:.0f} of {parsed.runs} hold at 99 %; p of so few {p:.2g}")


if __name__ == "__main__":
    main()
