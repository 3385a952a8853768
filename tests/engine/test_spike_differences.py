"""In which pairs a spike differs: both engines against the oracle, and against each other."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
import torch
from campaigns import subject_of
from oracle import ModuleOracle
from oracle_formulas import every_case
from small_networks import INPUT_SHAPES, SmallConv, SmallLinear, event_batches, small
from stage_kinds import (
    FAST,
    GENERIC,
    MIXED,
    coupled,
    cut,
    events,
    every_fault,
    input_shape,
    network_of,
    recurrent_at_the_end,
)
from torch import Tensor, nn

from fi.engine.agreement import SPIKES, agreement, outcomes
from fi.engine.base import Engine
from fi.engine.differential.engine import DifferentialEngine
from fi.engine.full import FullEngine
from fi.engine.spike_watch import find_spike_layers
from fi.faults.fault import Fault
from fi.metrics.pairs import HIDDEN, OUTPUT
from fi.network.batches import Batch
from fi.network.stages import Stage

#: Without two kinds whose neurons feed float32 spikes back into float64 layers.
KINDS = [k for k in (*FAST, *GENERIC, *MIXED) if k not in (coupled, recurrent_at_the_end)]
CASES = [*((kind, "count") for kind in KINDS), *((kind, "membrane") for kind in KINDS[::4])]


def marks(engine: Engine, faults: Sequence[Fault], batches: Sequence[Batch]) -> Tensor:
    """Uint8 ``[faults, samples]``, as ``Pairs.spikes``."""
    return outcomes(engine, faults, batches) // SPIKES


def step_by_step(kind: type[nn.Module]) -> nn.Module:
    """A small network whose calls of neurons are in the order of time, as the oracle takes them."""
    network = small(kind)
    network.layer_by_layer = False
    return network


def expected(oracle: ModuleOracle, fault: Fault, output: str) -> list[int]:
    """The same of one fault, by the oracle."""
    found = []
    for before, after in zip(oracle.spikes(None), oracle.spikes(fault), strict=True):
        for sample in range(len(before[output][0])):
            mark = 0
            for name in before:
                if not torch.equal(before[name][:, sample], after[name][:, sample]):
                    mark |= OUTPUT if name == output else HIDDEN
            found.append(mark)
    return found


@pytest.mark.parametrize(("kind", "output"), [(SmallLinear, "lif2"), (SmallConv, "lif3")])
def test_marks_are_those_of_the_oracle(kind: type[nn.Module], output: str) -> None:
    subject = subject_of(kind)
    network, batches = subject.network, list(subject.batches)
    oracle = ModuleOracle(lambda: step_by_step(kind), event_batches(INPUT_SHAPES[kind]))
    faults = list(every_case(subject, each=1))
    layers = find_spike_layers(network, network, [])
    engines = [
        FullEngine(network, network),
        DifferentialEngine(network, network),
        DifferentialEngine(network, network, kernels=False),
    ]
    wanted = torch.tensor([expected(oracle, fault, output) for fault in faults], dtype=torch.uint8)
    for engine in engines:
        engine.watch_spikes(layers)
        found = marks(engine, faults, batches)
        wrong = (found != wanted).any(1).nonzero().flatten().tolist()
        assert not wrong, [str(faults[row]) for row in wrong]
    for mark in range(4):  # none, hidden alone, output alone, both
        assert (wanted == mark).float().mean() > 0.005, mark


@pytest.mark.parametrize(("kind", "readout"), CASES)
def test_engines_agree_on_spikes(kind: Callable[[], list[Stage]], readout: str) -> None:
    network = network_of(kind, readout, torch.float64, "spikes")
    signal = events(input_shape(network), 13, 6, "spikes").double()
    batches = cut(signal, (9, 4))
    faults = every_fault(network, each=1)[::7]
    layers = find_spike_layers(network, network, [])
    rows = []
    for engine in (FullEngine(network, network), DifferentialEngine(network, network)):
        engine.watch_spikes(layers)
        rows.append(outcomes(engine, faults, batches))
    found = agreement(*rows, faults)
    assert found.differing == 0, [str(fault) for fault in found.examples]
    some = rows[0] // SPIKES
    assert 0.01 < (some != 0).float().mean() < 0.95
    assert (some & OUTPUT).any()
    assert (rows[0] == HIDDEN * SPIKES).any()  # golden scores, and not golden spikes
