"""Failures in time of a campaign: the table of ``fi.analyse --fit``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import yaml
from rich import box
from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from fi.base.text_files import FileError, csv_text, read_text, write_text
from fi.statistics.failure_rates import FailureRate, compute_failure_rates
from fi.statistics.intervals import METHODS
from fi.statistics.result_table import OVERALL
from fi.store.campaign_reader import PastCampaign


def read_raw_rates(path: Path) -> dict[str, Any]:
    """The raw rates in a YAML file, ``pattern: FIT per Mbit``; ``FileError`` for another."""
    try:
        found = yaml.safe_load(read_text(path, FileError))
    except yaml.YAMLError as problem:
        mark = getattr(problem, "problem_mark", None)
        line = f":{mark.line + 1}" if mark else ""
        raise FileError(f"{path}{line}: not YAML: {getattr(problem, 'problem', problem)}") from None
    if not isinstance(found, dict) or not found:
        raise FileError(f"{path}: allowed are lines 'PATTERN: FIT', as '*.weight: 700'")
    return {str(pattern): rate for pattern, rate in found.items()}


def find_failure_rates(
    campaign: PastCampaign, file: Path, confidence: float, method: str
) -> list[FailureRate]:
    """The failure rates of a campaign, by the raw rates in ``file``.

    Raises:
        FileError: the file, or the campaign, is not fit for that.
    """
    campaign.refuse_rates("--fit")
    raw, summary = read_raw_rates(file), campaign.summary()
    results = campaign.results.load(whole=False)
    try:
        return compute_failure_rates(results, summary.design, raw, confidence, method)
    except ValueError as problem:
        raise FileError(f"{file}: {campaign.path}: {problem}") from None


def show_failure_rates(
    campaign: PastCampaign,
    rates: Sequence[FailureRate],
    confidence: float,
    method: str,
    console: Console,
) -> None:
    """Print failure rates, and write them as CSV beside the campaign's table.

    Raises:
        FileError: they cannot be written.
    """
    path = campaign.table_path.with_name(f"{campaign.list_name}_fit.csv")
    try:
        write_text(path, fit_csv(rates))
    except OSError as problem:
        raise FileError(f"{path} cannot be written: {problem.strerror}") from problem
    console.print(view_failure_rates(rates, confidence, method))
    console.print(f"Written to {path}", highlight=False, soft_wrap=True)


def view_failure_rates(rates: Sequence[FailureRate], confidence: float, method: str) -> Group:
    """Families in rows, the network last; within 80 columns, as the names of families allow."""
    return Group(
        Text("\nFailures in 10^9 hours (FIT), by single upsets", style="bold"),
        _table(rates, ("bits", "FIT/Mbit", "SDC-1", "FIT", "hours between failures"), _means),
        Text(f"\n{confidence * 100:g} % intervals", style="bold"),
        _table(rates, ("FIT", "hours between failures"), _ends),
        Text(f"\n{_footer(rates, confidence, method)}", style="dim"),
    )


def _table(
    rates: Sequence[FailureRate],
    headings: Sequence[str],
    make: Callable[[FailureRate], list[str]],
) -> Table:
    grid = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), show_edge=False, pad_edge=False)
    grid.add_column("site family", overflow="fold")
    for heading in headings:
        grid.add_column(heading, justify="right", no_wrap=True)
    for each in rates:
        if each.name == OVERALL:
            grid.add_section()
        grid.add_row(each.name, *make(each))
    return grid


def _means(each: FailureRate) -> list[str]:
    numbers = [f"{each.bits}", f"{each.raw:.4g}", f"{100 * each.sdc.rate:.3f}"]
    return [*numbers, f"{each.failures.rate:.3g}", f"{each.hours.rate:.3g}"]


def _ends(each: FailureRate) -> list[str]:
    return [f"{low:.3g} to {high:.3g}" for _, low, high in (each.failures, each.hours)]


def _footer(rates: Sequence[FailureRate], confidence: float, method: str) -> str:
    unseen = [each.name for each in rates if not each.faults]
    missing = f" No fault was run in {', '.join(unseen)}." if unseen else ""
    return (
        "FIT: upsets of the memory (FIT/Mbit x bits / 10^6) x SDC-1, in % of the samples: a "
        "failure is another class under one upset. Only bits and words of this campaign count."
        f"{missing} Intervals: {confidence * 100:g} %, {METHODS[method].title}, of SDC-1 over "
        "faults, for this test set; raw rates are taken as they are given."
    )


def fit_csv(rates: Sequence[FailureRate]) -> str:
    """One row a family, the network last."""
    header = ["family", "bits", "raw", "upsets", "faults"]
    names = ("SDC_1", "FIT", "MTBF_hours")
    header += [f"{name}{end}" for name in names for end in ("", " low", " high")]
    rows = [
        [
            *(each.name, each.bits, f"{each.raw:.10g}", f"{each.upsets:.10g}", each.faults),
            *(f"{v:.10g}" for found in (each.sdc, each.failures, each.hours) for v in found),
        ]
        for each in rates
    ]
    return csv_text([header, *rows])
