"""Every circuit fault model, permanent and at steps, alone and in trials, against the oracle."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from itertools import product

import pytest
import torch
from campaigns import Run, subject_of
from oracle_formulas import assert_oracle_agrees
from shipped_networks import shipped
from small_networks import SmallConv, SmallLinear, spread
from stage_kinds import (
    cut,
    events,
    input_shape,
    linear,
    max_pools,
    network_of,
    padded,
    recurrent,
    recurrent_synaptic,
    synaptic,
)
from torch import nn

from fi.campaign.subject import Subject
from fi.engine.agreement import agreement, outcomes
from fi.engine.differential.engine import DifferentialEngine
from fi.engine.full import FullEngine
from fi.faults.fault import Fault
from fi.faults.fault_sites import find_sites, observe_activity
from fi.faults.modelling.circuit_models import CIRCUIT_MODELS
from fi.models import SHD
from fi.network.stages import Stage

MODELS = (
    "no-leak", "no-reset", "no-integration", "no-fire", "always-fire", "scale-threshold:0.5",
    "scale-threshold:-1.3", "scale-leak:0.3", "scale-leak:1.7", "refractory:1", "refractory:3",
)  # fmt: skip


def windows(steps: int) -> tuple[range | None, ...]:
    """Permanent, one step, a window, and one up to the end."""
    return None, range(2, 3), range(1, 4), range(steps - 2, steps)


def every_case(subject: Subject, each: int) -> Iterator[Fault]:
    """``each`` random neurons of every layer x model x time."""
    choose, injection = random.Random(3), 0
    for family in subject.circuits:
        for model in MODELS:
            for steps in windows(subject.steps):
                for _ in range(each):
                    index = tuple(choose.randrange(size) for size in family.shape)
                    yield Fault(injection, family.name, index, (), model, steps)
                    injection += 1


def random_trials(subject: Subject, count: int) -> Iterator[Fault]:
    """Trials of circuits, two of them of one neuron, and of a word of that layer."""
    choose = random.Random(4)
    for injection in range(count):
        family = choose.choice(subject.circuits)
        index = tuple(choose.randrange(size) for size in family.shape)
        for model in choose.sample(MODELS, 2):
            steps = choose.choice(windows(subject.steps))
            yield Fault(injection, family.name, index, (), model, steps)
        other = choose.choice(subject.families)
        index = tuple(choose.randrange(size) for size in other.shape)
        yield Fault(injection, other.name, index, choose.choice((22, 30, 31)))


def test_no_model_is_forgotten() -> None:
    assert {model.partition(":")[0] for model in MODELS} == {kind.name for kind in CIRCUIT_MODELS}


@pytest.mark.parametrize("kind", [SmallLinear, SmallConv])
def test_circuits_count_as_the_oracle(campaign: Run, kind: type[nn.Module]) -> None:
    subject = subject_of(kind)
    wanted = assert_oracle_agrees(campaign, subject, list(every_case(subject, each=1)))
    assert 0.1 < wanted["fully_masked"].sum() / wanted["samples"].sum() < 0.95


@pytest.mark.parametrize("kind", [SmallLinear, SmallConv])
def test_circuits_in_trials_count_as_the_oracle(campaign: Run, kind: type[nn.Module]) -> None:
    subject = subject_of(kind)
    wanted = assert_oracle_agrees(campaign, subject, list(random_trials(subject, 40)))
    assert 0.05 < wanted["fully_masked"].sum() / wanted["samples"].sum() < 0.9


def test_circuits_of_synaptic_neurons_count_as_the_oracle(campaign: Run) -> None:
    torch.manual_seed(4)
    network = SHD(inputs=40, hidden=30, num_classes=5).eval()
    spread(network, 2.0)
    generator = torch.Generator().manual_seed(3)
    signal = torch.poisson(torch.full((20, 10, 40), 0.3), generator=generator)
    subject = Subject(network, [(signal, torch.zeros(10, dtype=torch.int64))])
    wanted = assert_oracle_agrees(campaign, subject, list(every_case(subject, each=1)))
    assert 0.05 < wanted["fully_masked"].sum() / wanted["samples"].sum() < 0.95


@pytest.mark.slow
@pytest.mark.parametrize("name", ["NMNIST", "CSNN"])
def test_circuits_of_the_shipped_networks_count_as_the_oracle(campaign: Run, name: str) -> None:
    subject = shipped(name, 20)
    wanted = assert_oracle_agrees(campaign, subject, list(every_case(subject, each=1)))
    assert 0.1 < wanted["fully_masked"].sum() / wanted["samples"].sum() < 0.99
    assert wanted["sdc_1"].sum() > 0


@pytest.mark.parametrize(
    "kind", [linear, synaptic, recurrent, max_pools, padded, recurrent_synaptic]
)
def test_engines_agree_on_circuits_of_any_stage(kind: Callable[[], list[Stage]]) -> None:
    """In float64 every pair; scalars, resets of each kind, recurrences and pools."""
    network = network_of(kind, "membrane").double()
    batches = cut(events(input_shape(network), 17).double(), (9, 8))
    trial = observe_activity(network, network, batches[0][0])
    faults, choose = [], random.Random(8)
    for family in find_sites(network, trial).circuits:
        for model, steps in product(MODELS, windows(6)[:3]):
            index = tuple(choose.randrange(size) for size in family.shape)
            faults.append(Fault(len(faults), family.name, index, (), model, steps))
    reference = outcomes(FullEngine(network, network), faults, batches)
    other = outcomes(DifferentialEngine(network, network), faults, batches)
    found = agreement(reference, other, faults)
    assert 0.02 < found.unmasked / found.pairs < 0.98, f"vacuous: {found}"
    assert found.holds(0.0), f"{found}: {'; '.join(map(str, found.examples))}"
