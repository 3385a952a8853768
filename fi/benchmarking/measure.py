"""The time of both engines on the same faults, and whether they agree."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jsonargparse import Namespace

from fi.benchmarking.peak_memory import peak_memory
from fi.benchmarking.plain_forward import find_best_forward, time_forward
from fi.benchmarking.workload import Workload
from fi.engine import timing
from fi.engine.agreement import Agreement, agreement, outcomes
from fi.engine.differential.engine import DifferentialEngine
from fi.engine.full import FullEngine
from fi.engine.group_cutting import split_into_groups
from fi.engine.tally import Tally
from fi.faults.fault import Trial
from fi.network.batches import Batch

#: Trials of the run before the clock starts, which compiles the kernels.
WARM_UP_TRIALS = 64


@dataclass(frozen=True)
class Report:
    """The JSON line. Times are wall-clock microseconds a pair (fault x sample), the best of a few.

    Attributes:
        full_us_per_pair: one sample through the plain forward, at its best: number of threads,
            batch size and order.
        agreement: part of ``checked_pairs`` with the same outcome in both engines.
        masked_without_simulation: part of the pairs that were decided by a no-op or a proof.
        diverged: part of the pairs whose spikes differ in the fault's own stage.
    """

    model: str
    device: str
    threads: int
    faults: int
    samples: int
    steps: int
    full_us_per_pair: float
    full_batch_size: int
    full_order: str
    full_threads: int
    full_other_order_us_per_pair: float
    differential_us_per_pair: float
    speedup: float
    agreement: float
    checked_pairs: int
    checked_unmasked: int
    masked_without_simulation: float
    diverged: float
    peak_memory_mb: float


def measure_engines(workload: Workload, options: Namespace) -> Report:
    """Time both engines in turn, then compare some trials pair by pair."""
    network, pairs = workload.network, workload.pairs
    events = torch.cat([events for events, _ in workload.batches], dim=1)
    with torch.inference_mode():
        best, other = find_best_forward(network, events)
        compile_kernels(workload, options)
        plain, differential = [best.seconds], []
        tally = Tally()
        for _ in range(timing.ROUNDS):
            engine = make_engine(workload, options)
            plain.append(time_forward(network, events, best))
            differential.append(time_differential(engine, workload.trials, workload.batches))
            tally = engine.tally
    network.layer_by_layer = best.layer_by_layer
    peak = peak_memory()
    compared = compare_engines(workload, options)
    full, fast = 1e6 * min(plain), 1e6 * min(differential) / pairs
    return Report(
        model=workload.name,
        device=options.device,
        threads=options.threads or torch.get_num_threads(),
        faults=len(workload.trials),
        samples=workload.samples,
        steps=workload.steps,
        full_us_per_pair=round(full, 3),
        full_batch_size=best.size,
        full_order=best.order,
        full_threads=best.threads,
        full_other_order_us_per_pair=round(1e6 * other.seconds, 3),
        differential_us_per_pair=round(fast, 6),
        speedup=round(full / fast, 1),
        agreement=compared.rate,
        checked_pairs=compared.pairs,
        checked_unmasked=compared.unmasked,
        masked_without_simulation=1 - tally.simulated / pairs,
        diverged=tally.diverged / pairs,
        peak_memory_mb=round(peak, 1),
    )


def make_engine(workload: Workload, options: Namespace) -> DifferentialEngine:
    """A differential engine that has seen nothing yet."""
    return DifferentialEngine(workload.network, workload.network, threads=options.threads or None)


def compile_kernels(
    workload: Workload, options: Namespace, batches: Sequence[Batch] | None = None
) -> None:
    """Run some trials that do not count."""
    chosen = workload.batches if batches is None else batches
    time_differential(make_engine(workload, options), workload.trials[:WARM_UP_TRIALS], chosen)


def time_differential(
    engine: DifferentialEngine, trials: Sequence[Trial], batches: Sequence[Batch]
) -> float:
    """Seconds for all trials on all batches, golden runs included, in a campaign's groups."""
    size = engine.group_size(len(trials))

    def run_all() -> None:
        for group in split_into_groups(trials, size, engine.resize_group):
            with engine.injected(group):
                for number, (events, _) in enumerate(batches):
                    for _ in engine.pairs(events, number):
                        pass

    return timing.time_work(run_all, batches[0][0])


def time_best_differential(workload: Workload, options: Namespace) -> float:
    """Seconds of the differential engine alone on the workload; the best of a few rounds."""
    with torch.inference_mode():
        compile_kernels(workload, options, workload.batches[:1])
        return min(
            time_differential(make_engine(workload, options), workload.trials, workload.batches)
            for _ in range(timing.ROUNDS)
        )


def compare_engines(workload: Workload, options: Namespace) -> Agreement:
    """Both engines on the same trials, pair by pair."""
    network, trials, batches = workload.network, workload.compared, workload.batches
    engine = make_engine(workload, options)
    reference = outcomes(FullEngine(network, network), trials, batches)
    return agreement(reference, outcomes(engine, trials, batches), trials)
