"""The generic differential path gives, pair by pair, what the full forward gives."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import product

import numpy as np
import pytest
import snntorch as snn
import torch
from engine_scores import scores
from torch import Tensor, nn

from fi.engine.differential.engine import DifferentialEngine
from fi.engine.generic.path import GenericPath
from fi.faults.fault import Fault
from fi.faults.fault_sites import INPUT, Kind, SiteFamily, find_site_families, observe_activity
from fi.faults.fault_space import unravel
from fi.faults.injection import injected
from fi.metrics.judgement import judge
from fi.network.neurons import make_parameters_float
from fi.network.readouts import MaxMembrane, Readout, SpikeCount
from fi.network.stages import SpikingNetwork, Stage

STEPS, BATCH = 6, 5
BITS = (0, 20, 23, 30, 31)
MODELS = ("bit-flip", "stuck-at-0", "stuck-at-1")
WHEN = (None, 0, STEPS // 2, STEPS - 1)


class Net(SpikingNetwork):
    """A network of the given stages; modules are registered under short names."""

    def __init__(self, stages: list[Stage], readout: Readout | None = None) -> None:
        super().__init__(readout)
        for number, stage in enumerate(stages):
            self.add_module(f"neuron{number}", stage.neuron)
            self.add_module(f"synapse{number}", nn.ModuleList(stage.modules))
            if stage.recurrent is not None:
                self.add_module(f"recurrent{number}", stage.recurrent)
        self._declared = tuple(stages)

    def stages(self) -> list[Stage]:
        return list(self._declared)


def randomise(network: nn.Module, seed: int) -> None:
    """Weights that make neurons spike now and then, and norms that do something."""
    generator = torch.Generator().manual_seed(seed)
    for module in network.modules():
        if isinstance(module, nn.Linear | nn.Conv2d):
            fan_in = module.weight[0].numel()
            noise = torch.randn(module.weight.shape, generator=generator)
            module.weight.data = (noise * 0.9 + 0.35) * (2.0 / fan_in) ** 0.5
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            size = module.num_features
            module.running_mean = 0.2 * torch.rand(size, generator=generator)
            module.running_var = 0.5 + torch.rand(size, generator=generator)
            module.weight.data = 0.8 + 0.4 * torch.rand(size, generator=generator)
            module.bias.data = 0.2 * torch.rand(size, generator=generator)


def calibrate(network: Net, events: Tensor) -> None:
    """Scale each stage's weights so that about a fifth of its neurons spike at a step."""
    for number, stage in enumerate(network.stages()):
        weights = [m.weight for m in stage.modules if isinstance(m, nn.Linear | nn.Conv2d)]
        for _ in range(12):
            rate = float((list(network.activities(events))[number].spikes > 0).float().mean())
            if 0.08 < rate < 0.3:
                break
            for weight in weights:
                weight.mul_(0.75 if rate > 0.2 else 1.5)


def betas(*shape: int) -> Tensor:
    return torch.linspace(0.5, 0.95, int(np.prod(shape))).reshape(shape)


def linear_chain() -> Net:
    stages = [
        Stage(nn.Linear(9, 8), snn.Leaky(beta=betas(8))),
        Stage(nn.Linear(8, 7), snn.Leaky(beta=0.8, reset_mechanism="zero", threshold=betas(7))),
        Stage(nn.Linear(7, 4, bias=False), snn.Leaky(beta=0.9)),
    ]
    return Net(stages, SpikeCount(softmax=False))


def conv_maxpool() -> Net:
    stages = [
        Stage([nn.Conv2d(2, 3, 3), nn.MaxPool2d(2)], snn.Leaky(beta=betas(3))),
        Stage([nn.Conv2d(3, 4, 2), nn.MaxPool2d(2, 1)], snn.Leaky(beta=0.7)),
        Stage([nn.Flatten(), nn.Linear(4, 4)], snn.Leaky(beta=betas(4))),
    ]
    return Net(stages)


def conv_avgpool_norm() -> Net:
    stages = [
        Stage(
            [nn.Conv2d(2, 4, 3, bias=False), nn.BatchNorm2d(4), nn.AvgPool2d(2)],
            snn.Leaky(beta=betas(4, 1, 1), reset_delay=False, threshold=0.5),
        ),
        Stage(
            [nn.Flatten(), nn.Linear(36, 6), nn.BatchNorm1d(6)],
            snn.Leaky(beta=0.6, reset_mechanism="none"),
        ),
        Stage(nn.Linear(6, 4), snn.Leaky(beta=torch.tensor([0.8]))),
    ]
    return Net(stages, MaxMembrane(softmax=False))


def conv_rectified_in_place() -> Net:
    conv = nn.Conv2d(2, 4, 3)
    conv.bias.data -= 1  # so that much is cut off
    stages = [
        Stage(
            [conv, nn.ReLU(inplace=True), nn.BatchNorm2d(4), nn.AvgPool2d(2)],
            snn.Leaky(beta=betas(4, 1, 1), threshold=0.5),
        ),
        Stage([nn.Flatten(), nn.Linear(36, 4)], snn.Leaky(beta=0.8)),
    ]
    return Net(stages)


def padded_convs() -> Net:
    stages = [
        Stage(nn.Conv2d(2, 4, 3, stride=2, padding=1), snn.Leaky(beta=betas(4, 4, 4))),
        Stage(
            [nn.Conv2d(4, 4, 3, padding="same", dilation=2, groups=2), nn.Flatten()],
            snn.Leaky(beta=0.8, reset_delay=False, reset_mechanism="zero"),
        ),
        Stage(nn.Linear(64, 3), snn.Leaky(beta=0.9)),
    ]
    return Net(stages, SpikeCount(softmax=False))


def recurrent_synaptic() -> Net:
    stages = [
        Stage(nn.Linear(9, 8), snn.Synaptic(alpha=betas(8), beta=betas(8)), nn.Linear(8, 8)),
        Stage(
            nn.Linear(8, 5),
            snn.Synaptic(alpha=0.6, beta=0.7, reset_mechanism="zero"),
            nn.Sequential(nn.Linear(5, 5, bias=False), nn.LayerNorm(5)),
        ),
        Stage(nn.Linear(5, 4, bias=False), snn.Leaky(beta=0.9, reset_mechanism="none")),
    ]
    return Net(stages, MaxMembrane())


def recurrent_conv_last() -> Net:
    stages = [
        Stage(nn.Conv2d(2, 2, 3), snn.Leaky(beta=0.6), nn.Conv2d(2, 2, 3, padding=1)),
        Stage(
            [nn.Flatten(), nn.LayerNorm(72), nn.Linear(72, 4)],
            snn.Synaptic(alpha=0.5, beta=0.8, reset_delay=False),
            nn.Linear(4, 4),
        ),
    ]
    return Net(stages, MaxMembrane(softmax=False))


class MeanMembrane(Readout):
    """A readout of a user's own, which looks at all classes in each step."""

    def initial(self, like: Tensor) -> Tensor:
        return torch.zeros_like(like)

    def accumulate(self, statistic: Tensor, spikes: Tensor, membrane: Tensor) -> Tensor:
        return statistic + membrane - membrane.mean(1, keepdim=True)


def lapicque_and_alpha() -> Net:
    stages = [
        Stage(nn.Linear(9, 8), snn.Lapicque(beta=0.7, reset_mechanism="subtract", threshold=0.4)),
        Stage(nn.Linear(8, 6), snn.Alpha(alpha=0.9, beta=0.8, threshold=0.4)),
        Stage([nn.Linear(6, 4), nn.Tanh()], snn.Lapicque(R=1.5, C=2.0, reset_mechanism="zero")),
    ]
    return Net(stages, MeanMembrane(softmax=False))


class Case:
    """A network, events, and what both ways make of them."""

    def __init__(self, build: Callable[[], Net], shape: tuple[int, ...], dtype: torch.dtype):
        torch.manual_seed(0)
        network = build().eval()
        randomise(network, seed=1)
        make_parameters_float(network)
        self.network = network.to(dtype)
        generator = torch.Generator().manual_seed(2)
        events = torch.rand(STEPS, BATCH, *shape, generator=generator) < 0.35
        self.events = events.to(dtype)
        with torch.no_grad():
            calibrate(network, self.events)
        self.run()

    def run(self) -> None:
        """The golden run of the network as it is now."""
        with torch.no_grad():
            self.activities = list(self.network.activities(self.events))
            self.golden = self.network(self.events)

    def families(self) -> list[SiteFamily]:
        return find_site_families(
            self.network, observe_activity(self.network, self.network, self.events)
        )

    def faults(self) -> list[Fault]:
        """Every family x model x time; 12 and 5 have no common factor: all bits, all mixed.

        In turn any bit, and one that matters.
        """
        draw = np.random.default_rng(3)
        faults = []
        for number, (family, model, step) in enumerate(product(self.families(), MODELS, WHEN)):
            bit = BITS[number % len(BITS)] if number % 3 else (23, 30)[number % 2]
            index = unravel(int(draw.integers(family.words)), family.shape)
            faults.append(Fault(0, family.name, index, bit, model, step))
        return faults

    def reference(self, faults: list[Fault]) -> Tensor:
        """Scores ``[faults, batch, classes]`` of plain forwards."""
        rows = []
        with torch.no_grad():
            for fault in faults:
                with injected(self.network, fault):
                    rows.append(self.network(self.events))
        return torch.stack(rows)

    def generic(self, faults: list[Fault], memory: int = 1 << 26) -> Tensor:
        """Scores ``[faults, batch, classes]`` of the generic path."""
        path = GenericPath(self.network, memory)
        scores = self.golden.expand(len(faults), *self.golden.shape).clone()
        position = torch.arange(len(faults)).flip(0)  # positions are the caller's affair
        listed = torch.zeros(len(faults), BATCH)
        for pairs in path.pairs(self.activities, self.golden, faults[::-1], position):
            scores[pairs.fault, pairs.sample] = pairs.scores
            listed[pairs.fault, pairs.sample] += 1
        assert listed.max() <= 1, "a pair was listed twice"
        return scores

    def outcomes(self, scores: Tensor) -> Tensor:
        golden = self.golden.expand_as(scores).flatten(0, 1)
        labels = torch.zeros(len(golden), dtype=torch.int64)
        return judge(golden, scores.flatten(0, 1), labels).outcome


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Iterator[None]:
    """Tensors this small lose more time to threads than they gain."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


SMALL, IMAGE = (9,), (2, 8, 8)
CASES = {
    "linear chain": (linear_chain, SMALL),
    "conv, max-pool": (conv_maxpool, IMAGE),
    "conv, norm, avg-pool": (conv_avgpool_norm, IMAGE),
    "conv, rectified in place, norm": (conv_rectified_in_place, IMAGE),
    "padded convs": (padded_convs, IMAGE),
    "recurrent synaptic": (recurrent_synaptic, SMALL),
    "recurrent conv, recurrent last": (recurrent_conv_last, IMAGE),
    "lapicque, alpha": (lapicque_and_alpha, SMALL),
}


@pytest.fixture(params=CASES, scope="module")
def case64(request: pytest.FixtureRequest) -> Case:
    return Case(*CASES[request.param], torch.float64)


@pytest.fixture(params=CASES, scope="module")
def case32(request: pytest.FixtureRequest) -> Case:
    return Case(*CASES[request.param], torch.float32)


def test_neurons_of_the_cases_spike_now_and_then(case32: Case) -> None:
    rates = [float((activity.spikes > 0).float().mean()) for activity in case32.activities]
    assert all(0.02 < rate < 0.6 for rate in rates), rates


def test_every_pair_agrees_in_float64(case64: Case) -> None:
    faults = case64.faults()
    expected, found = case64.reference(faults), case64.generic(faults)
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9, equal_nan=True)
    outcomes = case64.outcomes(expected)
    assert torch.equal(case64.outcomes(found), outcomes)
    diverged = float((expected != case64.golden).any(-1).float().mean())
    assert 0.1 < diverged < 0.95, diverged


def test_at_most_a_stray_pair_differs_in_float32(case32: Case) -> None:
    faults = case32.faults()
    expected = case32.outcomes(case32.reference(faults))
    found = case32.outcomes(case32.generic(faults))
    assert (found != expected).sum() <= 1
    assert 0.1 < float((expected != 0).float().mean()) < 0.95


def test_a_small_memory_budget_changes_no_outcome(case64: Case) -> None:
    faults = case64.faults()[::3]
    outcomes = [case64.outcomes(case64.generic(faults, memory)) for memory in (1, 200_000, 1 << 30)]
    assert torch.equal(outcomes[0], outcomes[2])
    assert torch.equal(outcomes[1], outcomes[2])


def test_words_that_turn_infinite_or_nan_agree(case64: Case) -> None:
    faults = []
    for family in case64.families():
        layer, _, attribute = family.name.rpartition(".")
        word = getattr(case64.network.get_submodule(layer), attribute, None)
        if word is None or not word.is_floating_point() or word.shape != family.shape:
            continue
        for index, value in ((0, 1.0), (-1, 1.5)):  # bit 30 makes them infinite, and NaN
            place = unravel(index % family.words, family.shape)
            before = word.data[place].clone()
            word.data[place] = value
            case64.run()
            fault = [Fault(0, family.name, place, 30, steps=step) for step in (None, 2)]
            outcomes = case64.outcomes(case64.reference(fault))
            assert torch.equal(case64.outcomes(case64.generic(fault)), outcomes), fault[0]
            faults.append(outcomes)
            word.data[place] = before
    case64.run()
    assert 0.05 < float((torch.cat(faults) != 0).float().mean()) < 1


LINE_MODELS = ("drop:0.5", "add:0.3", "delay:2", "jitter:3")


def lines_of(case: Case) -> list[Fault]:
    """Lines of every family that has any x model x time, two in turn."""
    families = [f for f in case.families() if f.kind is Kind.SPIKE]
    families.append(SiteFamily(INPUT, tuple(case.events.shape[2:]), Kind.INPUT))
    faults = []
    for number, (family, model, steps) in enumerate(
        product(families, LINE_MODELS, (None, range(1, 2), range(2, STEPS)))
    ):
        for place in (number, 3 * number + 1):
            index = unravel(place % family.words, family.shape)
            faults.append(Fault(len(faults), family.name, index, (), model, steps))
    return faults


@pytest.mark.parametrize("kernels", [False, True])
def test_lines_agree_and_are_run_many_at_a_time(case64: Case, kernels: bool) -> None:
    faults = lines_of(case64)
    engine = DifferentialEngine(case64.network, case64.network, kernels=kernels)
    batches = [(case64.events, torch.zeros(BATCH, dtype=torch.int64))]
    found, reference = scores(engine, faults, batches, group=29), case64.reference(faults)
    torch.testing.assert_close(found, reference, rtol=1e-9, atol=1e-9, equal_nan=True)
    differs = (reference != case64.golden).any(-1)
    assert 0.05 < float(differs.float().mean()) < 0.95
    paths = engine.prepare(case64.events)
    assert paths.late.tally.pairs == 0
    assert paths.generic.tally.pairs == len(faults) * BATCH


class Halving(snn.Leaky):
    """A neuron of a user's own: the membrane halves after each step."""

    elementwise = True

    def forward(self, current: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        spikes, membrane = super().forward(current)
        self.mem = membrane * 0.5
        return spikes, self.mem


def user_neuron() -> Net:
    return Net([Stage(nn.Linear(9, 6), Halving(0.9)), Stage(nn.Linear(6, 3), Halving(0.8))])


def test_a_neuron_of_ones_own_agrees() -> None:
    case = Case(user_neuron, SMALL, torch.float64)
    assert GenericPath.why_not(case.network) is None
    faults = case.faults()
    assert torch.equal(case.outcomes(case.generic(faults)), case.outcomes(case.reference(faults)))


def test_all_cases_can_be_run(case32: Case) -> None:
    assert GenericPath.why_not(case32.network) is None


def test_the_network_is_left_as_it_was(case64: Case) -> None:
    before = {name: word.clone() for name, word in case64.network.state_dict().items()}
    case64.generic(case64.faults())
    after = case64.network.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_faults_that_change_nothing_give_no_pairs() -> None:
    case = Case(linear_chain, SMALL, torch.float32)
    late = Fault(0, "synapse0.0.weight", (0, 0), 30, steps=STEPS)
    sign = int(case.network.stages()[0].modules[0].weight[0, 0] < 0)
    kept = Fault(1, "synapse0.0.weight", (0, 0), 31, f"stuck-at-{sign}")
    path = GenericPath(case.network, 1 << 20)
    assert not list(path.pairs(case.activities, case.golden, [late, kept], torch.arange(2)))


def refused(stages: list[Stage], **parts: nn.Module) -> str | None:
    network = Net(stages)
    for name, part in parts.items():
        network.add_module(name, part)
    return GenericPath.why_not(network)


def test_reasons_against_the_generic_path() -> None:
    linear, leaky = nn.Linear(4, 4), snn.Leaky(beta=0.9)
    assert refused([Stage(linear, snn.RLeaky(0.9, linear_features=4))]) is None
    assert "part of no stage" in str(refused([Stage(linear, leaky)], extra=nn.Linear(2, 2)))
    assert "shares its words" in str(refused([Stage(linear, leaky), Stage(linear, leaky)]))
