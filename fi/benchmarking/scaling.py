"""How the differential engine's time and memory grow with faults and samples."""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import NamedTuple

from rich.console import Console
from rich.table import Table

from fi.benchmarking.measure import time_best_differential
from fi.benchmarking.peak_memory import peak_memory
from fi.benchmarking.workload import parse_workload

#: Faults and samples of each row.
SIZES = ((1600, 100), (1600, 1000), (16000, 100), (16000, 1000), (160000, 100), (160000, 1000))


class Point(NamedTuple):
    """One row: what it took, measured in a process of its own; ``events`` and ``peak`` in MB."""

    faults: int
    samples: int
    seconds: float
    events: float
    peak: float


def show_scaling(argv: list[str]) -> None:
    """``fi.benchmark --scaling``: a row for each of ``SIZES``, the other options as given."""
    table = Table(title="Time and memory of the differential engine")
    for column in ("faults", "samples", "seconds", "us/pair", "events, MB", "peak memory, MB"):
        table.add_column(column, justify="right")
    for faults, samples in SIZES:
        sizes = ["--faults", str(faults), "--samples", str(samples)]
        point = _measure_in_new_process([*argv, *sizes])
        pair = 1e6 * point.seconds / (point.faults * point.samples)
        numbers = (
            f"{point.seconds:.2f}",
            f"{pair:.4f}",
            f"{point.events:.0f}",
            f"{point.peak:.0f}",
        )
        table.add_row(f"{point.faults:,}", f"{samples:,}", *numbers)
    Console().print(table)


def _measure_in_new_process(argv: list[str]) -> Point:
    """Measured in a new process, whose peak is nobody else's."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(_measure_point, argv).result()


def _measure_point(argv: list[str]) -> Point:
    """Measured in this process; ``argv`` ends with the number of samples."""
    workload, options = parse_workload(argv)
    seconds = time_best_differential(workload, options)
    events = sum(events.nbytes for events, _ in workload.batches) / 2**20
    return Point(len(workload.trials), int(argv[-1]), seconds, events, peak_memory())
