"""The normal form of a synapse gives the currents that its modules give."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import snntorch as snn
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from small_networks import SmallLinear
from torch import Tensor, nn

from fi.campaign.subject import Subject
from fi.engine.agreement import outcomes
from fi.engine.compiled.stage_constants import StageModel, stage_model
from fi.engine.compiled.synapse_matrix import Synapse, normal_form
from fi.engine.differential.engine import DifferentialEngine
from fi.engine.full import FullEngine
from fi.faults.fault import Fault
from fi.metrics.outcomes import FULLY_MASKED
from fi.network.stages import Stage, StageActivity

quick = settings(
    max_examples=150,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
small = st.integers(1, 3)


def form_of(modules: list[nn.Module], inputs: Tensor) -> Synapse | None:
    return normal_form(Stage(modules, snn.Leaky(beta=0.9)), inputs.shape[1:])


def before_pool(synapse: Synapse, inputs: Tensor) -> Tensor:
    """``[batch, channels, positions]``."""
    return synapse.before(inputs).reshape(len(inputs), synapse.channels, -1)


def by_taps(synapse: Synapse, inputs: Tensor) -> Tensor:
    """Currents ``[batch, channels, cells]`` from rows, taps and windows, plus those of silence."""
    padded = torch.cat([inputs.flatten(1), inputs.new_zeros(len(inputs), 1)], dim=1)
    seen = padded[:, torch.from_numpy(synapse.taps.astype(np.int64))]  # [batch, rows, cells, K]
    linear = torch.einsum("brwk,rc->bcwk", seen, synapse.rows)
    silent = before_pool(synapse, torch.zeros_like(inputs[:1]))
    positions = torch.cat([silent, silent.new_full((1, silent.shape[1], 1), -torch.inf)], dim=2)
    pooled = linear + positions[:, :, torch.from_numpy(synapse.windows.astype(np.int64))]
    return pooled.mean(-1) if synapse.mean else pooled.amax(-1)


def by_runs(model: StageModel, inputs: Tensor) -> Tensor:
    """Currents ``[channels, positions]`` that one sample's inputs add through the runs."""
    runs = model.fan_out
    channels = model.synapse.channels
    assert not runs.rows[:, channels:].any()
    added = np.zeros((runs.positions, channels))
    for source, value in enumerate(inputs.flatten().tolist()):
        for run in range(runs.first[source], runs.first[source + 1]):
            position, row, length = runs.position[run], runs.row[run], runs.length[run]
            rows = runs.rows[row : row + length, :channels]
            added[position : position + length] += value * rows
    return torch.from_numpy(added.T.copy())


def check(modules: list[nn.Module], inputs: Tensor) -> Synapse:
    """Taps, and runs, against the modules themselves."""
    synapse = form_of(modules, inputs)
    assert synapse is not None, modules
    stage = Stage(modules, snn.Leaky(beta=0.9))
    with torch.no_grad():
        wanted = stage.conduct(inputs)
        found = by_taps(synapse, inputs)
        assert torch.allclose(found, wanted.reshape(found.shape), atol=1e-9)
        check_runs(stage, synapse, inputs, wanted)
    return synapse


def check_runs(stage: Stage, synapse: Synapse, inputs: Tensor, currents: Tensor) -> None:
    """What inputs add to positions, through the runs, is what the taps say."""
    activity = StageActivity(inputs[None], currents[None], currents[None], [{"mem": currents}])
    model = stage_model(stage, activity)
    before = before_pool(synapse, inputs[:1]) - before_pool(synapse, torch.zeros_like(inputs[:1]))
    if synapse.mean:
        windows = torch.from_numpy(synapse.windows.astype(np.int64))
        before = before[:, :, windows].mean(-1)
    added = by_runs(model, inputs[0])
    reached = [p for p in range(model.fan_out.positions) if (model.fan_out.windows == p).any()]
    assert torch.allclose(added[:, reached], before[0][:, reached], atol=1e-9)
    unit = torch.eye(inputs[0].numel(), dtype=inputs.dtype).reshape(-1, *inputs.shape[1:])
    moved = stage.conduct(unit + inputs[:1]) - stage.conduct(inputs[:1])
    low, high = reach(model)
    moved = moved.reshape(low.shape)
    assert have_own_places(model)
    assert (low - 1e-9 <= moved).all()
    assert (moved <= high + 1e-9).all()


def have_own_places(model: StageModel) -> bool:
    """Whether inputs have one place where, and only where, they reach the same cells."""
    runs = model.fan_out
    owned: dict[int, set[tuple[int, ...]]] = {}
    for source, place in enumerate(runs.place.tolist()):
        cells = runs.cells[runs.cells_first[source] : runs.cells_first[source + 1]]
        owned.setdefault(place, set()).add(tuple(cells.tolist()))
    distinct = set().union(*owned.values())
    return len(distinct) == len(owned) and all(len(lists) == 1 for lists in owned.values())


def reach(model: StageModel) -> tuple[Tensor, Tensor]:
    """How far an input of 1 may move each neuron, down and up, ``[inputs, channels, cells]``."""
    runs, synapse = model.fan_out, model.synapse
    found = torch.zeros(2, len(runs.first) - 1, synapse.channels, synapse.cells).double()
    for source in range(len(runs.first) - 1):
        for entry in range(runs.cells_first[source], runs.cells_first[source + 1]):
            rows = runs.cell_rows[entry] // runs.reach_rows.shape[1]
            weights = torch.from_numpy(runs.reach_rows[rows, : synapse.channels])
            where = source, slice(None), int(runs.cells[entry])
            if model.max_pooled:
                found[0][where] = weights.amin(0).clamp(max=0)
                found[1][where] = weights.amax(0).clamp(min=0)
            else:
                found[0][where] = found[1][where] = weights[0]
    return found[0], found[1]


def randomised(modules: list[nn.Module], seed: int) -> list[nn.Module]:
    """In float64, evaluated, with norms that do something."""
    generator = torch.Generator().manual_seed(seed)
    for module in modules:
        module.double().eval()
        for parameter in module.parameters():
            parameter.data = torch.randn(parameter.shape, generator=generator).double()
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            size = module.num_features
            module.running_mean = torch.randn(size, generator=generator).double()
            module.running_var = 0.2 + torch.rand(size, generator=generator).double()
    return modules


@st.composite
def convolutions(draw: Any) -> tuple[list[nn.Module], tuple[int, ...]]:
    """A convolution, perhaps a norm, perhaps a pool, and the shape of its inputs."""
    channels, outputs = draw(small), draw(small)
    kernel = (draw(small), draw(small))
    dilation = draw(st.integers(1, 2))
    shape = (channels, draw(st.integers(5, 8)), draw(st.integers(5, 8)))
    conv = nn.Conv2d(
        channels,
        outputs,
        kernel,
        stride=(draw(st.integers(1, 2)), draw(st.integers(1, 2))),
        padding=(draw(st.integers(0, 2)), draw(st.integers(0, 2))),
        dilation=dilation,
        bias=draw(st.booleans()),
    )
    modules: list[nn.Module] = [conv]
    if draw(st.booleans()):
        modules.append(nn.BatchNorm2d(outputs, affine=draw(st.booleans())))
    made = conv(torch.zeros(1, *shape)).shape[2:]
    kind = draw(st.sampled_from(["none", "max", "mean"]))
    size = tuple(draw(st.integers(1, min(3, extent))) for extent in made)
    stride = draw(st.sampled_from([None, 1, 2]))
    if kind == "max":
        padding = draw(st.integers(0, min(size) // 2))
        modules.append(nn.MaxPool2d(size, stride, padding))
    elif kind == "mean":
        modules.append(nn.AvgPool2d(size, stride))
    if draw(st.booleans()):
        modules.append(nn.Flatten())
    return modules, shape


@quick
@given(convolutions(), st.integers(0, 99))
def test_convolutions(drawn: tuple[list[nn.Module], tuple[int, ...]], seed: int) -> None:
    modules, shape = drawn
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.randn(2, *shape, generator=generator).double()
    check(randomised(modules, seed), inputs)


@quick
@given(st.integers(1, 9), st.integers(1, 5), st.booleans(), st.booleans(), st.booleans())
def test_linear_layers(features: int, outputs: int, bias: bool, norm: bool, image: bool) -> None:
    modules: list[nn.Module] = [nn.Linear(2 * features, outputs, bias=bias)]
    if norm:
        modules.append(nn.BatchNorm1d(outputs))
    if image:
        modules.insert(0, nn.Flatten())
    generator = torch.Generator().manual_seed(features)
    shape = (2, features, 1) if image else (2 * features,)
    synapse = check(
        randomised(modules, features), torch.randn(3, *shape, generator=generator).double()
    )
    assert (synapse.channels, synapse.cells) == (outputs, 1)


@quick
@given(convolutions(), st.integers(0, 99))
def test_changes_of_a_weight_reach_what_the_taps_say(
    drawn: tuple[list[nn.Module], tuple[int, ...]], seed: int
) -> None:
    modules, shape = drawn
    randomised(modules, seed)
    inputs = torch.randn(1, *shape, generator=torch.Generator().manual_seed(seed)).double()
    synapse = form_of(modules, inputs)
    assert synapse is not None
    weight = synapse.weights.weight
    draw = np.random.default_rng(seed)
    word = tuple(int(draw.integers(size)) for size in weight.shape)
    row = int(np.ravel_multi_index(word[1:], weight.shape[1:]))
    with torch.no_grad():
        before = before_pool(synapse, inputs)
        weight[word] += 0.5
        change = (before_pool(synapse, inputs) - before)[0]
        weight[word] -= 0.5
    others = [channel for channel in range(synapse.channels) if channel != word[0]]
    assert not change[others].any()
    padded = torch.cat([inputs.flatten(), inputs.new_zeros(1)])
    windows = torch.from_numpy(synapse.windows.astype(np.int64))
    wanted = 0.5 * padded[torch.from_numpy(synapse.taps[row].astype(np.int64))]
    wanted = wanted * synapse.scale[word[0]]
    inside = windows >= 0
    found = change[word[0]][windows.clamp(min=0)]
    assert torch.allclose(found[inside], wanted[inside], atol=1e-9)


@pytest.mark.parametrize(
    "modules",
    [
        [nn.Conv2d(2, 4, 3, groups=2)],
        [nn.Conv2d(2, 4, 3, padding=1, padding_mode="circular")],
        [nn.Conv2d(2, 4, 3, padding="same")],
        [nn.Conv2d(2, 4, 3), nn.MaxPool2d(2, ceil_mode=True)],
        [nn.Conv2d(2, 4, 3), nn.AvgPool2d(2, padding=1)],
        [nn.Conv2d(2, 4, 3), nn.AdaptiveAvgPool2d(3)],
        [nn.Conv2d(2, 4, 3), nn.MaxPool2d(2), nn.BatchNorm2d(4)],
        [nn.Conv2d(2, 4, 3), nn.ReLU()],
        [nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4, track_running_stats=False)],
        [nn.Conv2d(2, 4, 3), nn.Conv2d(4, 2, 1)],
        [nn.BatchNorm2d(2), nn.Conv2d(2, 4, 3)],
        [nn.Flatten()],
        [nn.Linear(6, 3)],
    ],
)
def test_what_has_another_structure_has_no_normal_form(modules: list[nn.Module]) -> None:
    for module in modules:
        module.eval()
    assert form_of(modules, torch.zeros(1, 2, 6, 6)) is None


def test_a_norm_in_training_has_no_normal_form() -> None:
    norm = nn.BatchNorm2d(3)
    modules = [nn.Conv2d(2, 3, 3), norm]
    norm.train()
    assert form_of(modules, torch.zeros(1, 2, 6, 6)) is None


class Clamped(nn.Linear):
    """A synapse hardened by a bound on its weights."""

    def forward(self, signal: Tensor) -> Tensor:
        return nn.functional.linear(signal, self.weight.clamp(-0.8, 0.8), self.bias)


class ClampedNet(SmallLinear):
    def __init__(self) -> None:
        super().__init__()
        plain, self.fc1 = self.fc1, Clamped(12, 8)
        self.fc1.load_state_dict(plain.state_dict())


def test_a_subclass_with_a_forward_of_its_own_has_none(subject: Subject) -> None:
    assert form_of([Clamped(8, 4)], torch.zeros(1, 8)) is None
    torch.manual_seed(1)
    network, batches = ClampedNet().eval(), list(subject.batches)
    places = [(row, column) for row in range(8) for column in range(12)]
    faults = [Fault(number, "fc1.weight", place, 30) for number, place in enumerate(places)]
    reference = outcomes(FullEngine(network, network), faults, batches)
    found = outcomes(DifferentialEngine(network, network), faults, batches)
    assert torch.equal(reference, found)
    assert 0.05 < (reference != FULLY_MASKED).float().mean() < 0.95
