"""``python -m fi.benchmark``: both engines in one run, on the same faults."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict

from fi.base.garbage import end_process
from fi.benchmarking.options import COMMAND, make_parser
from fi.cli.chosen_classes import find_chosen_classes
from fi.cli.execution import run_command
from fi.cli.ignored_options import check_heeded_by_benchmark


def main(arguments: Sequence[str] | None = None) -> int:
    """The command."""
    return run_command(COMMAND, run, arguments)


def run(argv: list[str]) -> None:
    """Measure, print the table, then the JSON line."""
    parser = make_parser(find_chosen_classes(argv, ("model", "data")))
    options = parser.parse(argv)
    check_heeded_by_benchmark(options, parser.get_defaults())
    # The engines are slow to load: only once there is something to measure.
    from rich.console import Console

    from fi.benchmarking.benchmark_table import make_table
    from fi.benchmarking.measure import measure_engines
    from fi.benchmarking.scaling import show_scaling
    from fi.benchmarking.workload import load_workload
    from fi.campaign.trainer import exact_arithmetic

    if options.scaling:
        show_scaling([argument for argument in argv if argument != "--scaling"])
        return
    with exact_arithmetic(options.device.startswith("cuda")):
        report = measure_engines(load_workload(parser, options), options)
    Console().print(make_table(report))
    print(json.dumps(asdict(report)))


if __name__ == "__main__":
    end_process(main())
