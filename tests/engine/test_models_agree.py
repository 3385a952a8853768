"""The engines agree on every fault model, window, input line and trial, for any kind of stage."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from stage_kinds import (
    FAST,
    GENERIC,
    STEPS,
    Chain,
    cut,
    events,
    families,
    input_shape,
    linear,
    network_of,
    six_stages,
    synaptic,
)

from fi.engine.agreement import TOLERATED, agreement, outcomes
from fi.engine.differential.engine import DifferentialEngine
from fi.engine.full import FullEngine
from fi.faults.fault import Bits, Fault, Trial
from fi.faults.fault_sites import INPUT, Kind, SiteFamily
from fi.faults.fault_space import unravel
from fi.faults.models import fault_model
from fi.models import NMNIST
from fi.network.stages import Stage

MODELS = ("dead", "saturated", "stuck-value:0.7", "stuck-value:-2", "scale:0.3", "scale:-2.5")
BITWISE = ("bit-flip", "stuck-at-1")
SETS: tuple[Bits, ...] = ((22, 23), (29, 30), (21, 24, 31))
WINDOWS = (None, range(1, 2), range(1, 4), range(STEPS - 3, STEPS))


def sites(network: Chain) -> list[SiteFamily]:
    return [*families(network), SiteFamily(INPUT, input_shape(network), Kind.INPUT)]


def random_faults(network: Chain, count: int, seed: int) -> list[Fault]:
    """Faults of all families in turn, of random models, words and times."""
    draw, found = np.random.default_rng(seed), list[Fault]()
    pool = sites(network)
    while len(found) < count:
        family = pool[len(found) % len(pool)]
        model = (*MODELS, *BITWISE)[draw.integers(len(MODELS) + len(BITWISE))]
        if family.kind in fault_model(model).kinds:
            index = unravel(int(draw.integers(family.words)), family.shape)
            bits = SETS[draw.integers(len(SETS))] if model in BITWISE else ()
            steps = WINDOWS[draw.integers(len(WINDOWS))]
            found.append(Fault(len(found), family.name, index, bits, model, steps))
    return found


def random_trials(network: Chain, count: int, seed: int) -> list[Trial]:
    """Trials of two to four faults anywhere."""
    draw = np.random.default_rng(seed)
    pool = random_faults(network, 4 * count, seed)
    return [
        tuple(pool[place] for place in draw.permutation(len(pool))[: 2 + number % 3])
        for number in range(count)
    ]


def compared(network: Chain, items: list[Fault] | list[Trial]) -> None:
    dtype = next(network.parameters()).dtype
    batches = cut(events(input_shape(network), 17).to(dtype), (9, 8))
    reference = outcomes(FullEngine(network, network), items, batches)
    other = outcomes(DifferentialEngine(network, network), items, batches)
    found = agreement(reference, other, items)
    assert 0.02 < found.unmasked / found.pairs < 0.98, f"vacuous: {found}"
    allowed = TOLERATED if dtype == torch.float32 else 0
    assert found.holds(allowed), f"{found}: {'; '.join(map(str, found.examples))}"


@pytest.mark.parametrize("kind", [*FAST, *GENERIC])
def test_every_model_and_window(kind: Callable[[], list[Stage]]) -> None:
    compared(network_of(kind, "count", torch.float64), random_faults(network_of(kind), 60, seed=1))


@pytest.mark.parametrize("kind", [*FAST, *GENERIC])
def test_trials(kind: Callable[[], list[Stage]]) -> None:
    compared(network_of(kind, "count", torch.float64), random_trials(network_of(kind), 25, seed=2))


@pytest.mark.parametrize("kind", [linear, six_stages, synaptic])
def test_trials_that_meet_in_linear_stages(kind: Callable[[], list[Stage]]) -> None:
    network = network_of(kind, "count", torch.float64)
    pool = random_faults(network, 400, seed=0)
    draw = np.random.default_rng(0)
    sizes = [2 + number % 5 for number in range(120)]
    compared(network, [tuple(pool[k] for k in draw.permutation(400)[:size]) for size in sizes])


def test_trials_that_meet_in_a_stage_much_wider_than_the_last() -> None:
    torch.manual_seed(3)
    network = NMNIST(hidden=512, input_shape=(2, 4, 4), resize=None).eval()
    signal = (torch.rand(20, 128, 2, 4, 4) < 0.4).float()
    items: list[Trial] = [
        tuple(Fault(number, "fc1.weight", (7 * number, k), 29) for k in (1, 2))
        for number in range(6)
    ]
    batches = cut(signal, (128,))
    reference = outcomes(FullEngine(network, network), items, batches)
    engine = DifferentialEngine(network, network)
    found = agreement(reference, outcomes(engine, items, batches), items)
    paths = engine.prepare(signal)
    assert paths.kernels is not None
    assert paths.late.tally.pairs == 0
    assert found.holds(TOLERATED), found
    assert found.unmasked > 0.02 * found.pairs


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("readout", ["count", "membrane"])
@pytest.mark.parametrize("kind", [*FAST, *GENERIC])
def test_more_of_both(kind: Callable[[], list[Stage]], readout: str, dtype: torch.dtype) -> None:
    network = network_of(kind, readout, dtype)
    last = f"neuron{len(network.stages()) - 2}.spike"  # in float32 its last bit reaches a membrane
    reads = dtype == torch.float32 and readout == "membrane"
    faults = [fault for fault in random_faults(network, 300, 3) if not reads or fault.layer != last]
    compared(network, faults)
    if not reads:
        compared(network, random_trials(network, 80, seed=4))


def test_trials_take_the_kernels_unless_they_hit_a_word_twice() -> None:
    network = network_of(FAST[0], "count", torch.float64)
    apart = (Fault(0, "synapse0.0.weight", (0, 1), 30), Fault(0, "synapse0.0.weight", (1, 1), 30))
    later = (apart[0], Fault(0, "synapse2.0.weight", (1, 1), 30))
    alike = (apart[0], Fault(0, "neuron0.spike", (0,), 30))
    twice = (apart[0], Fault(0, "synapse0.0.weight", (0, 1), 29))
    engine = DifferentialEngine(network, network)
    with torch.inference_mode(), engine.injected([apart, later, alike, twice, apart[0]]):
        signal = events(input_shape(network), 5).double()
        list(engine.pairs(signal, 0))
        kernels = engine.prepare(signal).kernels
        assert kernels is not None
        taken = kernels.multiple.takes([apart, later, alike, twice])
        assert taken.tolist() == [True, True, True, False]
        assert engine.plan(signal).whole.tolist() == [3]  # both faults are in one stage
        assert not len(engine.plan(signal).late)
