"""Makes ``coverage.md``: how often the intervals hold, by repeated draws from known populations."""

from __future__ import annotations

import argparse
import platform
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import scipy
from coverage_study import (
    LEVELS,
    METHODS,
    ROOT,
    Cells,
    Draw,
    Finding,
    Population,
    Tally,
    add_up,
    assess_coverage,
    run_study,
)

from fi.sampling.plan import SamplingPlan
from fi.sampling.strata import stratify
from fi.statistics.sample_size import sample_size

PAGE = ROOT / "docs" / "coverage.md"
BEGIN, END = "<!-- tables: written by docs/coverage_tables.py -->\n", "<!-- end of the tables -->\n"
REPETITIONS = 400
#: So many repetitions of every draw are kept in a file: a study that was stopped goes on.
PART = 50
POPULATIONS = {
    "trained": "--model NMNIST --limit-samples 200",
    "untrained": "--model NMNIST --model.hidden 10 --checkpoint none --faults.bits 23-31 "
    "--limit-samples 1",
    "convolutional": "--model CSNN --limit-samples 100 --faults.layers "
    "conv1.*,lif1.beta,lif1.threshold,conv2.bias,lif2.*,fc1.bias,lif3.*",
}
DRAWS = (
    Draw("network-wise", 0.01),
    Draw("network-wise", 0.05),
    Draw("layer-wise", 0.05),
    Draw("data-unaware", 0.05),
    Draw("data-aware", 0.05),
    Draw("network-wise", 0.01, iterative=True),
    Draw("network-wise", 0.05, iterative=True),
    Draw("layer-wise", 0.05, iterative=True),
)


class Study(NamedTuple):
    """All repetitions on one population."""

    name: str
    options: str
    population: Population
    cells: Cells
    tallies: dict[Draw, Tally]


def conduct_study(name: str, options: str, arguments: argparse.Namespace) -> Study:
    """The study of a population; draws of which the tally is kept are not repeated."""
    folder = Path(arguments.output) / name
    population = Population.from_campaign(options.split(), folder)
    start, parts = time.perf_counter(), {draw: list[Path]() for draw in DRAWS}
    for first in range(0, arguments.repetitions, PART):
        seeds = range(first, min(first + PART, arguments.repetitions))
        kept = {d: folder / f"{d.tag}-{seeds.start}-{seeds.stop}.npz" for d in DRAWS}
        missing = [draw for draw in DRAWS if arguments.again or not kept[draw].exists()]
        for draw, tally in run_study(population, missing, seeds, arguments.processes):
            tally.save(kept[draw])
            seconds = time.perf_counter() - start
            print(f"{name}: {draw.tag}, {seeds.stop} draws after {seconds:.0f} s", flush=True)
        for draw, path in kept.items():
            parts[draw].append(path)
    tallies = {draw: add_up(map(Tally.load, paths)) for draw, paths in parts.items()}
    return Study(name, options, population, population.cells, tallies)


def format_tables(studies: Sequence[Study]) -> str:
    """All tables of the page, and what they were made with."""
    return "\n".join(
        [
            describe_versions(studies),
            "### The populations\n",
            format_table(
                "population | campaign | faults | samples | cells | rates that vary",
                *population_rows(studies),
            ),
            "### The default intervals\n",
            format_table(
                "population | draw | margin | faults drawn | 99 %: pooled | rates | below | worst"
                " | 95 %: pooled | below | worst",
                *coverage_rows(studies),
            ),
            "### Their half-widths\n",
            format_table(
                "population | draw | margin | network: masked | SDC-1 | facc | mean over all cells",
                *width_rows(studies),
            ),
            "### Other intervals, from the same network-wise draws\n",
            format_table(
                "population | margin | interval | 99 %: pooled | below | 95 %: pooled | below"
                " | worst at 99 % | half-width",
                *method_rows(studies),
            ),
            "### One step and interim analyses\n",
            format_table(
                "population | draw | margin | formula: faults | half-width | iterative: faults"
                " | from - to | half-width | formula for that half-width | coverage of the targets",
                *iterative_rows(studies),
            ),
        ]
    )


def describe_versions(studies: Sequence[Study]) -> str:
    """The command, seeds and versions."""
    repetitions = {len(tally.injections) for s in studies for tally in s.tallies.values()}
    (count,) = repetitions
    return (
        f"Made by `python docs/coverage_tables.py` with {count} repetitions of every draw, seeds "
        f"0 to {count - 1}; Python {platform.python_version()}, numpy {np.__version__}, scipy "
        f"{scipy.__version__}.\n"
    )


def format_table(head: str, *rows: Sequence[object]) -> str:
    """A table of Markdown."""
    rule = "|".join("---" for _ in head.split("|"))
    lines = [f"| {head} |", f"|{rule}|", *(f"| {' | '.join(map(str, row))} |" for row in rows)]
    return "\n".join([*lines, ""])


def population_rows(studies: Sequence[Study]) -> Iterator[Sequence[object]]:
    """The rows of the populations."""
    for s in studies:
        command = f"`python -m fi.test {s.options} --scheme exhaustive`"
        faults = f"{len(s.population.results):,}"
        yield (
            *(s.name, command, faults, s.population.samples, len(s.cells.names)),
            int(s.cells.varied.sum()),
        )


def coverage_rows(studies: Sequence[Study]) -> Iterator[Sequence[object]]:
    """How the default intervals held, for each draw."""
    for s in studies:
        for draw, tally in s.tallies.items():
            high, low = (assess_coverage(tally, s.cells, level=level) for level in LEVELS)
            yield (
                *(s.name, draw, draw.margin, f"{np.mean(tally.injections):,.0f}"),
                *(_percent(high.pooled), high.tested, len(high.failing), _worst(high)),
                *(_percent(low.pooled), len(low.failing), _worst(low)),
            )


def width_rows(studies: Sequence[Study]) -> Iterator[Sequence[object]]:
    """How wide they were."""
    for s in studies:
        for draw, tally in s.tallies.items():
            network = (_percent(width, 3) for width in mean_half_widths(tally)[0])
            mean = tally.width[0, 0].sum() / tally.counted.sum()
            yield s.name, draw, draw.margin, *network, _percent(mean, 3)


def method_rows(studies: Sequence[Study]) -> Iterator[Sequence[object]]:
    """How every method held, for each network-wise draw."""
    for s in studies:
        for draw, tally in s.tallies.items():
            if draw.scheme == "network-wise" and not draw.iterative:
                for number, method in enumerate(METHODS):
                    high, low = (assess_coverage(tally, s.cells, method, level) for level in LEVELS)
                    mean = tally.width[number, 0].sum() / tally.counted.sum()
                    yield (
                        *(s.name, draw.margin, method, _percent(high.pooled), len(high.failing)),
                        *(_percent(low.pooled), len(low.failing)),
                        *(_worst(high), _percent(mean, 3)),
                    )


def iterative_rows(studies: Sequence[Study]) -> Iterator[Sequence[object]]:
    """At the same margin the draw in one step, whose size is the formula's, and the iterative."""
    for s in studies:
        for draw, tally in s.tallies.items():
            if not draw.iterative:
                continue
            plan = SamplingPlan(scheme=draw.scheme, margin=draw.margin)
            single = s.tallies[draw._replace(iterative=False)]
            targets = find_targets(s, draw)
            width = np.nanmax(mean_half_widths(tally)[targets])
            formula = sum(
                sample_size(part.population, round(float(width), 6), plan.t)
                for part in stratify(s.population.space, draw.scheme)
            )
            counted, covered = tally.counted[targets].sum(), tally.covered[0, 0][targets].sum()
            yield (
                *(s.name, draw.scheme, draw.margin, f"{np.mean(single.injections):,.0f}"),
                _percent(np.nanmax(mean_half_widths(single)[targets]), 3),
                f"{np.mean(tally.injections):,.0f}",
                f"{min(tally.injections):,} - {max(tally.injections):,}",
                *(_percent(width, 3), f"{formula:,}", _percent(covered / counted)),
            )


def find_targets(study: Study, draw: Draw) -> list[int]:
    """The cells that an iterative draw stops by."""
    kind = "network" if draw.scheme == "network-wise" else "layer "
    return [n for n, name in enumerate(study.cells.names) if name.startswith(kind)]


def mean_half_widths(tally: Tally) -> np.ndarray:
    """Mean half-widths of the default 99 % intervals ``[cells, rates]``; NaN where none counted."""
    with np.errstate(invalid="ignore"):
        return tally.width[0, 0] / tally.counted


def _percent(part: float, digits: int = 2) -> str:
    return "-" if np.isnan(part) else f"{100 * part:.{digits}f} %"


def _worst(finding: Finding) -> str:
    inside, counted = finding.share
    return f"{finding.worst}: {inside} of {counted}, p {finding.p:.2g}"


def replace_tables(page: str, studies: Sequence[Study]) -> str:
    """The page with the tables of these studies."""
    before, rest = page.split(BEGIN)
    return f"{before}{BEGIN}\n{format_tables(studies)}\n{END}{rest.split(END)[1]}"


def main(arguments: Sequence[str] | None = None) -> None:
    """Conduct the studies and renew the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", default="output/coverage", help="campaigns and tallies")
    parser.add_argument("--repetitions", type=int, default=REPETITIONS)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--again", action="store_true", help="repeat draws whose tally is kept")
    parsed = parser.parse_args(arguments)
    studies = [conduct_study(name, options, parsed) for name, options in POPULATIONS.items()]
    PAGE.write_text(replace_tables(PAGE.read_text(encoding="utf-8"), studies), encoding="utf-8")
    print(f"{PAGE.relative_to(ROOT)} is renewed")


if __name__ == "__main__":
    main()
