"""The time of both engines on the same faults, and whether they agree."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jsonargparse import Namespace
from torch import Tensor

from fi.base.errors import UserError, reported
from fi.benchmarking.options import command_parser
from fi.benchmarking.peak_memory import peak_memory
from fi.campaign.settings import PRECISIONS
from fi.campaign.subject import Subject
from fi.cli.overridden import warn_of_overridden
from fi.cli.parser import CommandParser, chosen_classes
from fi.cli.test_options import bits_of, times_of
from fi.engine.agreement import Agreement, agreement, outcomes
from fi.engine.differential.engine import DifferentialEngine
from fi.engine.full import FullEngine
from fi.faults.fault import Trial
from fi.faults.fault_space import FaultSpace
from fi.faults.user_models import load_model
from fi.network.batches import Batch
from fi.network.checkpoint import checkpoint_of, load_checkpoint
from fi.network.stages import SpikingNetwork
from fi.sampling.plan import SamplingPlan

#: Batch sizes among which the full engine has its best.
BATCH_SIZES = (1, 8, 16, 32, 64, 128, 256, 512)
ROUNDS = 3
#: Ways to run the plain forward that are timed on all samples, of either order.
FINALISTS = 3


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


@dataclass(frozen=True, order=True)
class Plain:
    """One way to run the plain forward: ``seconds`` a sample with these ``threads`` and so on."""

    seconds: float
    threads: int
    layer_by_layer: bool
    size: int

    @property
    def order(self) -> str:
        """In words."""
        return "layer by layer" if self.layer_by_layer else "step by step"


def measured(prepared: Prepared, options: Namespace) -> Report:
    """Time both engines in turn, then compare some faults pair by pair."""
    subject, batches, faults = prepared.subject, prepared.batches, prepared.faults
    network = subject.network
    assert isinstance(network, SpikingNetwork)
    samples = sum(len(labels) for _, labels in batches)
    pairs = len(faults) * samples
    events = torch.cat([events for events, _ in batches], dim=1)
    with torch.inference_mode():
        best, other = _best_plain(network, events)
        _differential_seconds(_engine(network, options), faults[:64], batches)  # compiles
        plain, differential = [best.seconds], []
        for _ in range(ROUNDS):
            engine = _engine(network, options)
            plain.append(_plain_seconds(network, events, best))
            differential.append(_differential_seconds(engine, faults, batches))
    tally, network.layer_by_layer = engine.tally, best.layer_by_layer
    peak = peak_memory()
    compared = _compared(network, batches, _checked(prepared, options), options)
    full, fast = 1e6 * min(plain), 1e6 * min(differential) / pairs
    return Report(
        model=subject.name,
        device=options.device,
        threads=options.threads or torch.get_num_threads(),
        faults=len(faults),
        samples=samples,
        steps=subject.steps,
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


@dataclass(frozen=True)
class Prepared:
    """What is measured: the network on its device, its batches, all faults, and those drawn."""

    subject: Subject
    batches: list[Batch]
    space: FaultSpace
    faults: list[Trial]


def prepare(parser: CommandParser, options: Namespace) -> Prepared:
    """Everything that the options name, loaded."""
    _check(options)
    if options.threads:
        torch.set_num_threads(options.threads)
    network = parser.built(options, "model")
    path = checkpoint_of(network, options.checkpoint)
    if path is not None:
        load_checkpoint(network, path)
        warn_of_overridden(parser, options, path)
    data = parser.built(options, "data")
    subject = Subject(network, data, limit=options.samples, word_format=options.format)
    reason = DifferentialEngine.why_not(network)
    if reason:
        raise UserError(f"there is only the full engine to measure: {reason}")
    dtype = torch.float64 if options.precision == "64-true" else torch.float32
    network.to(device=options.device, dtype=dtype)
    batches = [(e.to(options.device, dtype), y.to(options.device)) for e, y in subject.batches]
    space = _space(subject, options)
    return Prepared(subject, batches, space, _drawn(space, options))


def _check(options: Namespace) -> None:
    """Raise ``UserError`` for what cannot be measured, before anything is loaded."""
    least_of = {"faults": 1, "samples": 1, "check": 1, "threads": 0, "together": 1}
    for name, least in least_of.items():
        if options[name] < least:
            raise UserError(f"--{name} {options[name]}: allowed is {least} or more")
    if options.precision not in PRECISIONS:
        allowed = " and ".join(PRECISIONS)
        raise UserError(f"--precision {options.precision}: allowed are {allowed}")
    with reported(RuntimeError, AssertionError, prefix=f"--device {options.device}: "):
        torch.zeros(1, device=options.device)


def _space(subject: Subject, options: Namespace) -> FaultSpace:
    """The faults that the options are about."""
    times = times_of("transient" if options.transient else options.steps)
    with reported(ValueError):
        plan = SamplingPlan(
            models=tuple(map(load_model, options.models.split(","))),
            sites=tuple(options.layers.split(",")),
            bits=bits_of(options.bits, options.burst),
            seed=options.seed,
            **times,
        )
        return plan.space(subject.sites, subject.steps)


def _drawn(space: FaultSpace, options: Namespace) -> list[Trial]:
    """``--faults`` trials, drawn network-wise."""
    rng = np.random.default_rng(options.seed)
    if options.together == 1:
        chosen = rng.choice(space.size, size=min(options.faults, space.size), replace=False)
        return [(space.fault(int(number), place),) for place, number in enumerate(chosen)]
    return [
        tuple(
            space.fault(int(number), place)
            for number in rng.choice(space.size, size=options.together, replace=False)
        )
        for place in range(options.faults)
    ]


def _checked(prepared: Prepared, options: Namespace) -> list[Trial]:
    """``--check`` faults, as many of one site family as of another while it has them."""
    if options.together > 1:
        return prepared.faults[: options.check]
    space, rng = prepared.space, np.random.default_rng(options.seed)
    drawn = [
        numbers.start + rng.choice(len(numbers), min(options.check, len(numbers)), replace=False)
        for numbers in (space.range_of(family.name) for family in space.families)
    ]
    rounds = itertools.chain.from_iterable(itertools.zip_longest(*drawn))
    chosen = itertools.islice((number for number in rounds if number is not None), options.check)
    return [(space.fault(int(number), place),) for place, number in enumerate(chosen)]


def _best_plain(network: SpikingNetwork, events: Tensor) -> tuple[Plain, Plain]:
    """The fastest plain forward of all, and the fastest in the other order.

    Every way is tried on some samples; the best few of either order are timed on all of them, as
    a campaign on the full engine runs through all: what stays in the cache in a part may not.
    """
    threads = sorted({1, torch.get_num_threads()})
    sizes = [size for size in BATCH_SIZES if size <= max(1, events.shape[1])]
    tried = [Plain(0.0, *way) for way in itertools.product(threads, (True, False), sizes)]
    some = [
        replace(way, seconds=_plain_seconds(network, events[:, : max(way.size, 64)], way))
        for way in tried
    ]
    best, other = sorted(_best_in_order(network, events, some, way) for way in (True, False))
    return best, other


def _best_in_order(
    network: SpikingNetwork, events: Tensor, tried: Sequence[Plain], layer_by_layer: bool
) -> Plain:
    """The fastest way in one order on all samples, of those that were fastest on some."""
    fastest = sorted(way for way in tried if way.layer_by_layer == layer_by_layer)[:FINALISTS]
    return min(replace(way, seconds=_plain_seconds(network, events, way)) for way in fastest)


def _plain_seconds(network: SpikingNetwork, events: Tensor, way: Plain) -> float:
    """Seconds a sample of a plain forward; the best of a few."""
    parts = [part.contiguous() for part in events.split(way.size, dim=1)]
    threads, network.layer_by_layer = torch.get_num_threads(), way.layer_by_layer
    torch.set_num_threads(way.threads)
    try:
        best = min(timed(lambda: [network(part) for part in parts], events) for _ in range(ROUNDS))
    finally:
        torch.set_num_threads(threads)
    return best / events.shape[1]


def _engine(network: SpikingNetwork, options: Namespace) -> DifferentialEngine:
    return DifferentialEngine(network, network, threads=options.threads or None)


def _differential_seconds(
    engine: DifferentialEngine, faults: Sequence[Trial], batches: Sequence[Batch]
) -> float:
    """Seconds for all faults on all batches, golden runs included, in a campaign's groups."""
    size = engine.group_size(len(faults))

    def work() -> None:
        for start in range(0, len(faults), size):
            with engine.injected(faults[start : start + size]):
                for number, (events, _) in enumerate(batches):
                    for _ in engine.pairs(events, number):
                        pass

    return timed(work, batches[0][0])


def scaled(argv: list[str]) -> tuple[int, float, float]:
    """Number of faults, best seconds of the differential engine, and megabytes of the events."""
    parser = command_parser(chosen_classes(argv, ("model", "data")))
    options = parser.parse(argv)
    prepared = prepare(parser, options)
    network, batches, faults = prepared.subject.network, prepared.batches, prepared.faults
    assert isinstance(network, SpikingNetwork)
    with torch.inference_mode():
        _differential_seconds(_engine(network, options), faults[:64], batches[:1])
        seconds = min(
            _differential_seconds(_engine(network, options), faults, batches) for _ in range(ROUNDS)
        )
    return len(faults), seconds, sum(events.nbytes for events, _ in batches) / 2**20


def timed(work: Callable[[], object], on: Tensor) -> float:
    """Wall-clock seconds, the device's queue included."""
    start = time.perf_counter()
    work()
    if on.is_cuda:
        torch.cuda.synchronize(on.device)
    return time.perf_counter() - start


def _compared(
    network: SpikingNetwork, batches: Sequence[Batch], faults: Sequence[Trial], options: Namespace
) -> Agreement:
    """Both engines on the same faults, pair by pair."""
    engine = _engine(network, options)
    reference = outcomes(FullEngine(network, network), faults, batches)
    return agreement(reference, outcomes(engine, faults, batches), faults)
