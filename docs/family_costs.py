"""What a pair costs in each site family, against a sample through the family's own stage in torch.

``python docs/family_costs.py CSNN --models bit-flip,stuck-at-1 --faults 200``: one thread, one
batch, permanent faults (``--transient``: those of one step), the golden run not counted.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).parents[1]))

from fi import models
from fi.benchmarking.measure import time_differential
from fi.campaign.subject import Subject
from fi.engine import timing
from fi.engine.differential.engine import DifferentialEngine
from fi.faults.family_names import layer_of
from fi.faults.fault import Fault
from fi.faults.fault_sites import INPUT, SiteFamily
from fi.faults.models import fault_model
from fi.network.neurons import reset_neurons
from fi.network.stages import SpikingNetwork
from fi.sampling.fault_draw import draw
from fi.sampling.plan import SamplingPlan


@dataclass(frozen=True)
class Cost:
    """Microseconds of one thread.

    Attributes:
        family: the site family.
        model: the fault model.
        faults: how many were timed.
        pair: of a pair.
        stage: of a sample through the family's own stage in torch; of inputs, through them all.
    """

    family: str
    model: str
    faults: int
    pair: float
    stage: float


def measure(
    subject: Subject, models: Sequence[str], faults: int, transient: bool
) -> Iterator[Cost]:
    """The cost of each family that a model can hit, on the first batch of the test set."""
    network = subject.staged
    assert isinstance(network, SpikingNetwork), "the network has no stages"
    batch = subject.batches.first()
    with torch.inference_mode():
        stages = time_stages(network, batch[0])
        for model in models:
            for family in subject.sites:
                if family.kind not in fault_model(model).kinds:
                    continue
                trials = list_trials(subject, family, model, faults, transient)
                engine = DifferentialEngine(network, network, threads=1)
                run = partial(time_differential, engine, trials, [batch])
                run()  # makes the golden run, and compiles
                pairs = len(trials) * batch[0].shape[1]
                seconds = min(run() for _ in range(timing.ROUNDS))
                stage = stages[layer_of(family.name) or INPUT]
                yield Cost(family.name, model, len(trials), 1e6 * seconds / pairs, stage)


def list_trials(
    subject: Subject, family: SiteFamily, model: str, faults: int, transient: bool
) -> list[tuple[Fault, ...]]:
    """At most so many faults of a family, one a trial."""
    plan = SamplingPlan(
        sites=(family.name,), models=(model,), scheme="layer-wise", transient=transient,
        margin=max(0.005, 0.5 / faults**0.5),
    )  # fmt: skip
    drawn = draw(plan.space(subject.sites, subject.steps), plan)
    return [(fault,) for fault in drawn[:faults]]


def time_stages(network: SpikingNetwork, events: torch.Tensor) -> dict[str, float]:
    """Layer -> microseconds of a sample through its stage, and of the inputs through them all."""
    names = {module: name for name, module in network.named_modules()}

    def time(work: Callable[[], object]) -> float:
        seconds = [timing.time_work(work, events) for _ in range(timing.ROUNDS)]
        return 1e6 * min(seconds) / events.shape[1]

    found = {INPUT: time(lambda: network(events))}
    for stage, activity in zip(network.stages(), list(network.activities(events)), strict=True):

        def run() -> None:
            reset_neurons(network)
            stage.run(activity.inputs)  # noqa: B023

        microseconds = time(run)
        for module in (*stage.modules, stage.neuron):
            own = (names[inner] for inner in module.modules() if inner in names)
            found |= dict.fromkeys(own, microseconds)
    return found


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table, the worst row last."""
    parser = argparse.ArgumentParser(description=__doc__)
    weights = {path.stem for path in (Path(models.__path__[0]) / "pretrained").iterdir()}
    known = [name for name in models.__all__ if name in weights]
    parser.add_argument("network", choices=known, help="one that has weights of its own")
    parser.add_argument("--models", default="bit-flip", help="fault models, comma separated")
    parser.add_argument("--faults", type=int, default=100, help="of each family, at most")
    parser.add_argument("--samples", type=int, default=64)
    parser.add_argument("--transient", action="store_true")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    table = Table("family", "model", "faults", "µs a pair", "µs, own stage in torch", "ratio")
    costs = measure(
        load_subject(options.network, options.samples),
        options.models.split(","),
        options.faults,
        options.transient,
    )
    for cost in sorted(costs, key=lambda cost: cost.pair / cost.stage):
        numbers = (f"{cost.pair:.3f}", f"{cost.stage:.1f}", f"{cost.pair / cost.stage:.4f}")
        table.add_row(cost.family, cost.model, str(cost.faults), *numbers)
    Console().print(table)


def load_subject(name: str, samples: int) -> Subject:
    """A shipped network with its weights, and the first test samples of SaccadeMNIST."""
    from fi.datamodules import SaccadeMNIST
    from fi.network.checkpoint import checkpoint_of, load_checkpoint

    network = getattr(models, name)()
    path = checkpoint_of(network, None)
    assert path is not None, f"{name} has no weights of its own"
    load_checkpoint(network, path)
    return Subject(network.eval(), SaccadeMNIST(batch_size=samples), limit=samples)


if __name__ == "__main__":
    main()
