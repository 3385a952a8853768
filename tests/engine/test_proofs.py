"""What is proved to be masked is masked: changes placed at the edge of the bounds."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import pytest
import snntorch as snn
import torch
from stage_kinds import FAST, READOUTS, Chain, events, input_shape, network_of
from torch import Tensor, nn

from fi.engine.agreement import outcomes
from fi.engine.compiled.fast_path import FastPath
from fi.engine.compiled.fault_arrays import WeightFaultArrays
from fi.engine.compiled.kernels.arrays import FOREVER, Margins, SeenInputs, WeightFaults
from fi.engine.compiled.planner import Need, Part
from fi.engine.compiled.proof_margins import find_impulse_response
from fi.engine.compiled.stage_constants import StageModel
from fi.engine.compiled.stage_runner import Task
from fi.engine.differential.engine import DifferentialEngine
from fi.engine.full import FullEngine
from fi.faults.fault import Fault
from fi.metrics.outcomes import FULLY_MASKED
from fi.network.neurons import make_parameters_float
from fi.network.stages import Stage, StageActivity

#: Distances from the edge of the bound, relative; below it a proof holds.
DELTAS = (-0.3, -1e-2, -1e-4, -1e-6, 0.0, 1e-6, 1e-4, 1e-2, 0.3)
SAMPLES = 3


@dataclass(frozen=True)
class Placed:
    """A change of one weight or bias, in one sample, at a distance from the bound."""

    delta: float
    proved: bool
    spikes_differ: bool


class Probe:
    """One stage of a network on one sample, and what the kernels prove of it."""

    def __init__(self, network: Chain, number: int, signal: Tensor) -> None:
        self.activities = list(network.activities(signal))
        self.path = FastPath(network, self.activities, 1 << 26, threads=1)
        self.model: StageModel = self.path.models[number]
        self.number = number
        self.stage: Stage = self.model.stage
        self.activity: StageActivity = self.activities[number]
        self.trace = self.path.trace(frozenset({Need(number, Part.CURRENTS)}), self.activities)
        own = self.trace.faulty[number]
        assert own.seen is not None
        assert own.margins is not None
        self.seen: SeenInputs = own.seen
        self.margins: Margins = own.margins

    @property
    def weights(self) -> nn.Module:
        return self.model.synapse.weights

    def edge(self, row: int, channel: int, sign: float, step: int | None) -> float:
        """The change at which the proof of some cell of the channel fails."""
        seen, margins, model = self.seen, self.margins, self.model
        steps = seen.inputs.shape[2]
        cells = np.arange(model.synapse.cells)
        neurons = channel * len(cells) + cells
        if step is None:
            level = model.level[neurons]
            peaks = seen.peak[level, model.window_of[row, cells], 0] if row >= 0 else None
            response = margins.bias_peak[neurons] if peaks is None else peaks
        else:
            taps = model.taps[row]
            largest = np.where(taps < 0, 0, np.abs(seen.inputs[taps, 0, step])).max(axis=1)
            response = largest if row >= 0 else np.ones(len(cells))
            response = response * find_impulse_response(model, steps)
        margin = margins.up if sign > 0 else margins.down
        if seen.negative:
            margin = np.minimum(margins.up, margins.down)
        with np.errstate(divide="ignore", invalid="ignore"):
            bounds = margin[neurons, 0].astype(np.float64) / (
                response.astype(np.float64) * margins.factor
            )
        return float(np.nanmin(np.where(response > 0, bounds, np.inf)))

    def proves(self, row: int, channel: int, change: float, step: int | None) -> bool:
        """Whether the kernels decide the pair without a simulation."""
        arrays = WeightFaults(
            row=np.array([row], np.int32),
            channel=np.array([channel], np.int32),
            change=np.array([change], self.model.dtype),
            since=np.array([step or 0], np.int32),
            until=np.array([FOREVER if step is None else step], np.int32),
        )
        faults = WeightFaultArrays(np.zeros(1, np.int64), arrays)
        return self.path.runner.run(Task(self.number, faults), self.trace).simulated == 0

    def differs(self, word: tuple[int, ...], name: str, faulty: Tensor, step: int | None) -> bool:
        """Whether a plain simulation of the stage spikes otherwise with that word."""
        parameter = getattr(self.weights, name)
        before = parameter[word].clone()
        currents = self.activity.currents.clone()
        try:
            parameter.data[word] = faulty
            changed = self.stage.currents(self.activity.inputs)
        finally:
            parameter.data[word] = before
        active = slice(None) if step is None else slice(step, step + 1)
        currents[active] = changed[active]
        neuron = self.stage.neuron
        neuron.reset_mem()
        spikes: list[Tensor] = []
        for current in currents:
            spikes.append(self.stage.fire(current, spikes[-1] if spikes else None))
        return not torch.equal(torch.stack(spikes), self.activity.spikes)


def placed(
    probe: Probe, draw: np.random.Generator, faults: int, deltas: tuple[float, ...] = DELTAS
) -> Iterator[Placed]:
    """Changes of random words, of both signs, permanent and transient, around the edge."""
    scale = probe.model.synapse.scale
    steps = len(probe.activity.inputs)
    for number in range(faults):
        name = "bias" if number % 4 == 3 and probe.weights.bias is not None else "weight"
        parameter: Tensor = getattr(probe.weights, name)
        word = tuple(int(draw.integers(size)) for size in parameter.shape)
        channel = word[0]
        row = int(np.ravel_multi_index(word[1:], parameter.shape[1:])) if name == "weight" else -1
        sign = 1.0 if draw.random() < 0.5 else -1.0
        step = int(draw.integers(steps)) if number % 3 == 2 else None
        edge = probe.edge(row, channel, sign, step)
        if not 0 < edge < np.inf or float(scale[channel]) == 0:
            continue
        for delta in deltas:
            wanted = sign * edge * (1 + delta) / float(scale[channel])
            faulty = (parameter[word].double() + wanted).to(parameter.dtype)
            change = float((faulty - parameter[word]) * scale[channel])
            if change * sign <= 0:  # too small for a word of this size
                continue
            yield Placed(
                delta,
                probe.proves(row, channel, change, step),
                probe.differs(word, name, faulty, step),
            )


@pytest.fixture(autouse=True)
def _no_gradients() -> Iterator[None]:
    with torch.no_grad():
        yield


@pytest.mark.parametrize("words", [4, pytest.param(16, marks=pytest.mark.slow)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("signal", ["spikes", "signed"])
@pytest.mark.parametrize("kind", FAST)
def test_what_is_proved_never_changes_a_spike(
    kind: Callable[[], list[Stage]], signal: str, dtype: torch.dtype, words: int
) -> None:
    network = network_of(kind, dtype=dtype, signal=signal)
    draw = np.random.default_rng(5)
    found: list[Placed] = []
    for sample in range(SAMPLES):
        shown = events(input_shape(network), 1, 12, signal, seed=sample).to(dtype)
        for number in range(len(network.stages())):
            probe = Probe(network, number, shown)
            found += placed(probe, draw, faults=words)
    false = [one for one in found if one.proved and one.spikes_differ]
    assert not false
    below = [one for one in found if one.delta <= -1e-2]
    above = [one for one in found if one.delta >= 1e-2]
    assert np.mean([one.proved for one in below]) > 0.9, "little is proved: the test is vacuous"
    assert not any(one.proved for one in above), "proved beyond the bound"
    assert any(one.spikes_differ for one in above), "the bound is never reached"


@pytest.mark.parametrize("scale", [10.0, 100.0])
def test_large_terms_that_cancel(scale: float) -> None:
    """Two runs round such a sum apart: by more than its result would let expect."""
    torch.manual_seed(0)
    inputs = 256
    stages = [
        Stage(nn.Linear(inputs, 16), snn.Leaky(beta=0.9)),
        Stage(nn.Linear(16, 4), snn.Leaky(beta=0.9)),
    ]
    network = Chain(stages, READOUTS["count"]()).eval()
    make_parameters_float(network)
    large = torch.randn(16, inputs) * scale
    large -= large.mean(dim=1, keepdim=True)
    draw = np.random.default_rng(1)
    found: list[Placed] = []
    for _ in range(25):
        network.stages()[0].modules[0].weight.data = large + torch.randn(16, inputs) / inputs**0.5
        probe = Probe(network, 0, torch.ones(2, 1, inputs))
        found += placed(probe, draw, faults=8, deltas=(-1e-2, -1e-4, -1e-5, -1e-6, 0.0))
    assert len(found) > 500
    assert not any(one.proved and one.spikes_differ for one in found)
    assert np.mean([one.proved for one in found if one.delta == -1e-2]) > 0.9


def test_a_spike_behind_a_mean_pool_moves_a_cell_by_all_its_weights() -> None:
    """The bound on differences from below, at its edge."""
    stages = [
        Stage(nn.Conv2d(1, 1, 1), snn.Leaky(beta=0.0)),
        Stage([nn.Conv2d(1, 1, 2, bias=False), nn.AvgPool2d(2)], snn.Leaky(beta=0.5)),
        Stage([nn.Flatten(), nn.Linear(1, 2)], snn.Leaky(beta=0.5)),
    ]
    network = Chain(stages, READOUTS["count"]()).eval()
    make_parameters_float(network)
    first, second = (stage.modules[0] for stage in network.stages()[:2])
    first.weight.data, first.bias.data = torch.full((1, 1, 1, 1), 2.0), torch.zeros(1)
    second.weight.data = torch.full((1, 1, 2, 2), 0.3)  # 1.2 of nine spikes, 0.9 of eight
    network.stages()[2].modules[1].weight.data = torch.tensor([[3.0], [-3.0]])
    shown = [(torch.ones(1, 1, 1, 3, 3), torch.zeros(1).long())]
    silent = [Fault(0, "neuron0.spike", (0, 1, 1), bit, "stuck-at-0", 0) for bit in range(23, 30)]
    reference = outcomes(FullEngine(network, network), silent, shown)
    assert (reference != FULLY_MASKED).any()
    assert torch.equal(outcomes(DifferentialEngine(network, network), silent, shown), reference)
