"""What is measured: a network, its test samples, and faults."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
import torch
from jsonargparse import Namespace

from fi.base.errors import UserError, report_errors
from fi.benchmarking.options import make_parser
from fi.campaign.settings import PRECISIONS
from fi.campaign.subject import Subject
from fi.cli.chosen_classes import find_chosen_classes
from fi.cli.option_values import parse_bit_sets, parse_times
from fi.cli.parser import CommandParser
from fi.cli.subject_options import load_network
from fi.engine.differential.engine import DifferentialEngine
from fi.faults.fault import Trial
from fi.faults.fault_space import FaultSpace
from fi.faults.user_models import load_model
from fi.network.batches import Batch
from fi.network.stages import SpikingNetwork
from fi.sampling.plan import SamplingPlan

#: The least number that an option takes.
LEAST = {"faults": 1, "samples": 1, "check": 1, "threads": 0, "together": 1}


@dataclass(frozen=True)
class Workload:
    """What is measured.

    Attributes:
        name: of the network.
        network: on its device, in its precision.
        steps: of the events.
        batches: the test samples, on the same device.
        trials: those that are timed.
        compared: those that both engines run, to compare their outcomes.
    """

    name: str
    network: SpikingNetwork
    steps: int
    batches: list[Batch]
    trials: list[Trial]
    compared: list[Trial]

    @property
    def samples(self) -> int:
        """How many."""
        return sum(len(labels) for _, labels in self.batches)

    @property
    def pairs(self) -> int:
        """How many trials times samples."""
        return len(self.trials) * self.samples


def parse_workload(argv: list[str]) -> tuple[Workload, Namespace]:
    """The workload that a command line asks for, and its options."""
    parser = make_parser(find_chosen_classes(argv, ("model", "data")))
    options = parser.parse(argv)
    return load_workload(parser, options), options


def load_workload(parser: CommandParser, options: Namespace) -> Workload:
    """Load all that the options name.

    Raises:
        UserError: there is no such thing, or the differential engine cannot take the network.
    """
    _check_options(options)
    if options.threads:
        torch.set_num_threads(options.threads)
    network = load_network(parser, options)
    data = parser.build(options, "data")
    subject = Subject(network, data, limit=options.samples, word_format=options.format)
    staged = subject.staged
    reason = DifferentialEngine.why_not(staged) if staged is not None else subject.why_not_recorded
    if reason or staged is None:
        raise UserError(f"there is only the full engine to measure: {reason}")
    dtype = torch.float64 if options.precision == "64-true" else torch.float32
    network.to(device=options.device, dtype=dtype)
    batches = [(e.to(options.device, dtype), y.to(options.device)) for e, y in subject.batches]
    space = _make_space(subject, options)
    trials = _draw_trials(space, options)
    compared = _choose_compared(space, trials, options)
    return Workload(subject.name, staged, subject.steps, batches, trials, compared)


def _check_options(options: Namespace) -> None:
    """Raise ``UserError`` for what cannot be measured, before anything is loaded."""
    for name, least in LEAST.items():
        if options[name] < least:
            raise UserError(f"--{name} {options[name]}: allowed is {least} or more")
    if options.precision not in PRECISIONS:
        allowed = " and ".join(PRECISIONS)
        raise UserError(f"--precision {options.precision}: allowed are {allowed}")
    with report_errors(RuntimeError, AssertionError, prefix=f"--device {options.device}: "):
        torch.zeros(1, device=options.device)


def _make_space(subject: Subject, options: Namespace) -> FaultSpace:
    """The faults that the options are about."""
    times = parse_times("transient" if options.transient else options.steps)
    with report_errors(ValueError):
        plan = SamplingPlan(
            models=tuple(map(load_model, options.models.split(","))),
            sites=tuple(options.layers.split(",")),
            bits=parse_bit_sets(options.bits, options.burst),
            seed=options.seed,
            **times,
        )
        return plan.space(subject.sites, subject.steps)


def _draw_trials(space: FaultSpace, options: Namespace) -> list[Trial]:
    """``--faults`` trials, drawn network-wise."""
    rng = np.random.default_rng(options.seed)
    if options.together == 1:
        chosen = rng.choice(space.size, size=min(options.faults, space.size), replace=False)
        return [(space.fault(int(number), row),) for row, number in enumerate(chosen)]
    return [
        tuple(
            space.fault(int(number), row)
            for number in rng.choice(space.size, size=options.together, replace=False)
        )
        for row in range(options.faults)
    ]


def _choose_compared(space: FaultSpace, trials: list[Trial], options: Namespace) -> list[Trial]:
    """``--check`` faults, as many of one site family as of another while it has them."""
    if options.together > 1:
        return trials[: options.check]
    rng = np.random.default_rng(options.seed)
    drawn = [
        numbers.start + rng.choice(len(numbers), min(options.check, len(numbers)), replace=False)
        for numbers in (space.range_of(family.name) for family in space.families)
    ]
    rounds = itertools.chain.from_iterable(itertools.zip_longest(*drawn))
    chosen = itertools.islice((number for number in rounds if number is not None), options.check)
    return [(space.fault(int(number), row),) for row, number in enumerate(chosen)]
