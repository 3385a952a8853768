"""``python -m fi.benchmark``: both engines in one run, on the same faults."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict

from rich.console import Console
from rich.table import Table

from fi.benchmarking.measure import Report, measured, prepare
from fi.benchmarking.options import COMMAND, command_parser
from fi.benchmarking.scaling import show_scaling
from fi.campaign.trainer import exact_arithmetic
from fi.cli.parser import chosen_classes, run_command


def main(arguments: Sequence[str] | None = None) -> int:
    """The command."""
    return run_command(COMMAND, run, arguments)


def run(argv: list[str]) -> None:
    """Measure, print the table, then the JSON line."""
    parser = command_parser(chosen_classes(argv, ("model", "data")))
    options = parser.parse(argv)
    if options.scaling:
        return show_scaling([argument for argument in argv if argument != "--scaling"])
    with exact_arithmetic(options.device.startswith("cuda")):
        report = measured(prepare(parser, options), options)
    Console().print(_table(report))
    return print(json.dumps(asdict(report)))


def _table(report: Report) -> Table:
    """The report for a reader."""
    table = Table(title=f"{report.model}: {report.faults} faults x {report.samples} samples")
    table.add_column("what")
    table.add_column("value", justify="right")
    plain = f"plain forward, {report.full_order}, batches of {report.full_batch_size}"
    plain += f", threads: {report.full_threads}"
    rows = {
        plain: f"{report.full_us_per_pair:,.2f} us/pair",
        "plain forward, the other order": f"{report.full_other_order_us_per_pair:,.2f} us/pair",
        "differential engine": f"{report.differential_us_per_pair:.4f} us/pair",
        "speedup": f"{report.speedup:,.0f}",
        "agreement": f"{report.agreement:.6%} of {report.checked_pairs:,} pairs",
        "not masked among these": f"{report.checked_unmasked:,}",
        "masked without simulation": f"{report.masked_without_simulation:.2%}",
        "diverged in their own stage": f"{report.diverged:.2%}",
        "peak memory": f"{report.peak_memory_mb:,.0f} MB",
        "steps, device, threads": f"{report.steps}, {report.device}, {report.threads}",
    }
    for what, value in rows.items():
        table.add_row(what, value)
    return table


if __name__ == "__main__":
    sys.exit(main())
