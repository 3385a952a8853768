"""The same faults in a shipped network and in a plain one of its words: the same counts, each.

Twins convolve in the layout of memory in which the stages do; in the other one float32 currents are
summed up in another order, and golden scores of single digits differ.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pandas as pd
import pytest
import torch
from campaigns import Run
from plain_twins import PlainCSNN, PlainNMNIST, PlainSEWResNet, load_weights, sequential_csnn
from shipped_networks import first_digits
from torch import nn

from fi.base.user_classes import find_class
from fi.campaign.subject import Subject
from fi.engine.compiled.fast_path import find_reasons
from fi.faults.family_names import attribute_of, layer_of
from fi.faults.fault import Fault
from fi.network.checkpoint import checkpoint_of, load_checkpoint
from fi.network.neurons import spiking_neurons
from fi.network.recorder.recorded_network import RecordedNetwork
from fi.sampling.fault_draw import draw
from fi.sampling.plan import SamplingPlan

#: A twin, the shipped network that it is written after, stages, test digits, faults.
TWINS = [
    (PlainNMNIST, "NMNIST", 2, 32, 400),
    (PlainCSNN, "CSNN", 3, 16, 200),
    (sequential_csnn, "CSNN", 3, 16, 200),
    (PlainSEWResNet, "SEWResNet", 9, 8, 100),
]
#: Exponents and signs: faults in them show.
BITS = tuple(range(22, 32))


def make_pair(twin: Callable[[], nn.Module], name: str) -> tuple[nn.Module, nn.Module]:
    """The twin, its convolutions in the layout of the stages, and the shipped network."""
    shipped = find_class(name, "models")(softmax=False)
    path = checkpoint_of(shipped, None)
    assert path is not None
    load_checkpoint(shipped, path)
    made = twin()
    load_weights(made, torch.load(path, weights_only=True))
    return made.to(memory_format=torch.channels_last).eval(), shipped.eval()


def name_layers(twin: nn.Module, shipped: nn.Module) -> dict[str, str]:
    """The shipped network's layers by name, and what the twin calls each.

    Both have their neurons, and their layers with words, in the order in which signals pass them.
    """

    def list_layers(network: nn.Module) -> list[str]:
        neurons = set(spiking_neurons(network))
        named = network.named_modules()
        return [n for n, m in named if n in neurons or (m._parameters and not m._modules)]

    theirs, own = list_layers(shipped), list_layers(twin)
    assert len(theirs) == len(own)
    return dict(zip(theirs, own, strict=True))


def draw_faults(subject: Subject, count: int, transient: bool) -> list[Fault]:
    plan = SamplingPlan(
        scheme="layer-wise",
        margin=0.1,
        models=("bit-flip", "stuck-at-1"),
        bits=BITS,
        transient=transient,
        sites=tuple(family.name for family in subject.families),
    )
    faults = draw(plan.space(subject.families, subject.steps), plan)
    chosen = torch.randperm(len(faults), generator=torch.Generator().manual_seed(4))[:count]
    return [replace(faults[place], injection=n) for n, place in enumerate(sorted(chosen.tolist()))]


def counts_of(results: pd.DataFrame) -> pd.DataFrame:
    """The counts of each fault, by its number."""
    whole = [name for name in results.columns if results[name].dtype.kind == "i"]
    return results.set_index("Injection")[[name for name in whole if name != "Injection"]]


@pytest.mark.parametrize("transient", [False, True], ids=["permanent", "transient"])
@pytest.mark.parametrize(("twin", "name", "stages", "samples", "count"), TWINS)
def test_each_fault_has_the_counts_of_the_shipped_network(
    campaign: Run,
    twin: Callable[[], nn.Module],
    name: str,
    stages: int,
    samples: int,
    count: int,
    transient: bool,
) -> None:
    made, shipped = make_pair(twin, name)
    layers = name_layers(made, shipped)
    subject = Subject(shipped, [first_digits(samples)])
    faults = draw_faults(subject, count, transient)
    assert len({fault.layer for fault in faults}) > 10
    first = campaign(subject, faults, engine="differential", check_first=False)
    wanted = first.run()

    own = [
        replace(fault, layer=f"{layers[layer_of(fault.layer)]}.{attribute_of(fault.layer)}")
        for fault in faults
    ]
    other = Subject(made, [first_digits(samples)])
    run = campaign(other, own, engine="differential", check_first=False)
    found = run.run()
    assert f"stage graph recorded from its forward ({stages} stages)" in run.why
    assert isinstance(other.staged, RecordedNetwork)
    with torch.inference_mode():
        activities = list(other.staged.activities(first_digits(samples)[0]))
        assert find_reasons(other.staged, activities) == {}  # all stages on kernels
    assert torch.equal(run.golden.scores[0], first.golden.scores[0])
    pd.testing.assert_frame_equal(counts_of(found), counts_of(wanted))
    affected = (wanted["fully_masked"] < samples).sum()
    assert 0.03 * len(faults) < affected < len(faults)
