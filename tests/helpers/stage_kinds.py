"""Small networks of every kind of stage, for tests that compare the engines."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from itertools import pairwise, product

import numpy as np
import snntorch as snn
import torch
from torch import Tensor, nn

from fi.faults.fault import Fault
from fi.faults.fault_sites import SiteFamily, find_site_families, observe_activity
from fi.faults.fault_space import unravel
from fi.network.batches import Batch
from fi.network.neurons import make_parameters_float
from fi.network.readouts import MaxMembrane, Readout, SpikeCount
from fi.network.stages import SpikingNetwork, Stage

STEPS = 6
MODELS = ("bit-flip", "stuck-at-0", "stuck-at-1")
#: All bits over time, those that matter more often.
BITS = (30, 23, 31, 22, 25, 18, 28, 24, 0, 29, 26, 21, 27, 12)
READOUTS: dict[str, Callable[[], Readout]] = {
    "count": lambda: SpikeCount(softmax=False),
    "membrane": lambda: MaxMembrane(softmax=False),
}
IMAGE, FLAT = (2, 9, 9), (11,)


class Chain(SpikingNetwork):
    """A network of the given stages; modules are registered under short names."""

    def __init__(self, stages: Sequence[Stage], readout: Readout | None = None) -> None:
        super().__init__(readout)
        for number, stage in enumerate(stages):
            self.add_module(f"synapse{number}", nn.ModuleList(stage.modules))
            self.add_module(f"neuron{number}", stage.neuron)
            if stage.recurrent is not None:
                self.add_module(f"recurrent{number}", stage.recurrent)
        self._declared = tuple(stages)

    def stages(self) -> list[Stage]:
        return list(self._declared)


def decays(*shape: int, low: float = 0.4, high: float = 0.95) -> Tensor:
    return torch.linspace(low, high, int(np.prod(shape))).reshape(shape)


def linear() -> list[Stage]:
    """Leaky with each reset mechanism, scalar and per-neuron parameters."""
    return [
        Stage(nn.Linear(11, 9), snn.Leaky(beta=decays(9), threshold=decays(9, low=0.7, high=1.3))),
        Stage(nn.Linear(9, 8), snn.Leaky(beta=0.8, reset_mechanism="zero", threshold=decays(8))),
        Stage(nn.Linear(8, 7, bias=False), snn.Leaky(beta=decays(1), reset_mechanism="none")),
        Stage([nn.Identity(), nn.Linear(7, 4)], snn.Leaky(beta=0.9)),
    ]


def six_stages() -> list[Stage]:
    """A long chain."""
    widths = (11, 8, 9, 7, 8, 6, 4)
    return [
        Stage(nn.Linear(before, after), snn.Leaky(beta=decays(after)))
        for before, after in pairwise(widths)
    ]


def max_pools() -> list[Stage]:
    """2x2 windows, then overlapping ones; a beta that broadcasts over columns or channels."""
    return [
        Stage(
            [nn.Conv2d(2, 3, 2), nn.MaxPool2d(2)],
            snn.Leaky(beta=decays(4), threshold=torch.linspace(0.8, 1.2, 3).reshape(3, 1, 1)),
        ),
        Stage(
            [nn.Conv2d(3, 4, 3, padding=2), nn.MaxPool2d(3, 2)],
            snn.Leaky(beta=decays(4, 1, 1), reset_mechanism="zero"),
        ),
        Stage([nn.Flatten(), nn.Linear(16, 4)], snn.Leaky(beta=decays(4))),
    ]


def mean_pools() -> list[Stage]:
    """Norms and mean pools, whose windows overlap in the second stage."""
    return [
        Stage(
            [nn.Conv2d(2, 3, 2, bias=False), nn.BatchNorm2d(3), nn.AvgPool2d(2)],
            snn.Leaky(beta=decays(3, 1, 1), threshold=0.5),
        ),
        Stage([nn.Conv2d(3, 4, 2), nn.AvgPool2d(2, 1)], snn.Leaky(beta=0.7, threshold=0.5)),
        Stage([nn.Flatten(), nn.Linear(16, 6), nn.BatchNorm1d(6)], snn.Leaky(beta=decays(6))),
        Stage(nn.Linear(6, 4), snn.Leaky(beta=torch.tensor([0.8]))),
    ]


def padded() -> list[Stage]:
    """Strides, dilation and padding, of convolutions and of pools."""
    return [
        Stage(
            [nn.Conv2d(2, 3, 3, stride=2, padding=1), nn.BatchNorm2d(3)],
            snn.Leaky(beta=decays(3, 5, 5)),
        ),
        Stage(
            [nn.Conv2d(3, 4, 3, padding=2, dilation=2), nn.MaxPool2d(3, 2, padding=1)],
            snn.Leaky(beta=0.8, reset_mechanism="none"),
        ),
        Stage(
            [nn.Conv2d(4, 3, (2, 3), padding=(0, 1)), nn.MaxPool2d((2, 1), 1, dilation=(1, 2))],
            snn.Synaptic(alpha=0.5, beta=decays(3)),
        ),
        Stage([nn.Flatten(), nn.Linear(9, 4)], snn.Leaky(beta=0.9)),
    ]


def synaptic() -> list[Stage]:
    """Synaptic with each reset mechanism."""
    return [
        Stage(nn.Linear(11, 9), snn.Synaptic(alpha=decays(9), beta=decays(9).flip(0))),
        Stage(
            nn.Linear(9, 8),
            snn.Synaptic(alpha=0.8, beta=0.9, reset_mechanism="zero", threshold=decays(8)),
        ),
        Stage(nn.Linear(8, 7), snn.Synaptic(alpha=0.6, beta=0.7, reset_mechanism="none")),
        Stage(nn.Linear(7, 4), snn.Synaptic(alpha=decays(4), beta=0.6)),
    ]


def recurrent() -> list[Stage]:
    """Recurrence within the first stage."""
    return [
        Stage(nn.Linear(11, 8), snn.Leaky(beta=decays(8)), nn.Linear(8, 8)),
        Stage(nn.Linear(8, 4), snn.Synaptic(alpha=0.5, beta=0.8)),
    ]


def recurrent_synaptic() -> list[Stage]:
    """Second-order neurons that feed each other, and thresholds of their own."""
    lif = snn.Synaptic(alpha=0.7, beta=decays(9), threshold=decays(9), reset_mechanism="zero")
    return [
        Stage(nn.Linear(11, 9), lif, nn.Linear(9, 9, bias=False)),
        Stage(nn.Linear(9, 8), snn.Leaky(beta=0.7)),
        Stage(nn.Linear(8, 4), snn.Leaky(beta=0.8)),
    ]


def late_recurrence() -> list[Stage]:
    """Recurrence above the first stage: no kernel takes it."""
    return [
        Stage(nn.Linear(11, 8), snn.Leaky(beta=0.7)),
        Stage(nn.Linear(8, 6), snn.Leaky(beta=decays(6)), nn.Linear(6, 6)),
        Stage(nn.Linear(6, 4), snn.Synaptic(alpha=0.5, beta=0.8)),
    ]


def lapicque() -> list[Stage]:
    """A neuron that no kernel takes."""
    return [
        Stage(nn.Linear(11, 8), snn.Lapicque(beta=0.7, threshold=0.4)),
        Stage(nn.Linear(8, 4), snn.Leaky(beta=0.8)),
    ]


def late_reset() -> list[Stage]:
    """A reset in the step of the spike: no kernel takes it."""
    return [
        Stage([nn.Conv2d(2, 3, 4), nn.AvgPool2d(3)], snn.Leaky(beta=0.8, reset_delay=False)),
        Stage([nn.Flatten(), nn.Linear(12, 4)], snn.Leaky(beta=0.8)),
    ]


def residual() -> list[Stage]:
    """Spike-element-wise residual blocks with norms; the sums hold up to three spikes."""
    stem = snn.Leaky(beta=decays(4, 1, 1))
    inner = snn.Leaky(beta=0.7, threshold=0.6)
    block = snn.Leaky(beta=decays(4, 1, 1), threshold=0.5, reset_mechanism="zero")
    outer = snn.Leaky(beta=0.8)
    norms = [nn.BatchNorm2d(4) for _ in range(3)]
    return [
        Stage([nn.Conv2d(2, 4, 3, padding=1, bias=False), norms[0], nn.AvgPool2d(2)], stem),
        Stage([nn.Conv2d(4, 4, 3, padding=1, bias=False), norms[1]], inner),
        Stage([nn.Conv2d(4, 4, 3, padding=1)], block),
        Stage([nn.Conv2d(4, 4, 3, padding=1), norms[2]], outer, sources=(block, stem)),
        Stage(
            [nn.AvgPool2d(2), nn.Flatten(), nn.Linear(16, 4)],
            snn.Leaky(beta=decays(4)),
            sources=(stem, block, outer),
        ),
    ]


def skips() -> list[Stage]:
    """Linear stages, of which later ones see the events and several stages before."""
    first, second, third = (snn.Leaky(beta=decays(n)) for n in (11, 11, 7))
    return [
        Stage(nn.Linear(11, 11), first),
        Stage(nn.Linear(11, 11), second, sources=(first, None)),
        Stage(nn.Linear(33, 7), third, sources=(second, None, first), merge="concatenate"),
        Stage(nn.Linear(18, 4), snn.Leaky(beta=0.8), sources=(third, first), merge="concatenate"),
    ]


def joined_channels() -> list[Stage]:
    """Two convolutions of the events whose channels stand one after another; one is read alone."""
    small, large = snn.Leaky(beta=0.7), snn.Leaky(beta=decays(2, 1, 1))
    both, alone = snn.Leaky(beta=0.8), snn.Synaptic(alpha=0.4, beta=0.7)
    return [
        Stage(nn.Conv2d(2, 3, 3, padding=1), small),
        Stage(nn.Conv2d(2, 2, 5, padding=2), large, sources=(None,)),
        Stage(
            [nn.Conv2d(5, 4, 3), nn.MaxPool2d(2)],
            both,
            sources=(small, large),
            merge="concatenate",
        ),
        Stage([nn.Conv2d(3, 2, 3, stride=2)], alone, sources=(small,)),
        Stage(
            [nn.Linear(36 + 32, 4)], snn.Leaky(beta=0.9), sources=(both, alone), merge="concatenate"
        ),
    ]


def coupled() -> list[Stage]:
    """Neurons that depend on each other by recurrence or inhibition; a norm over a layer."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # "Inhibition is an unstable feature"
        inhibited = snn.Leaky(beta=0.8, inhibition=True)
    return [
        Stage(nn.Linear(11, 9), snn.RLeaky(beta=decays(9), linear_features=9)),
        Stage([nn.LayerNorm(9), nn.Linear(9, 8)], snn.Leaky(beta=0.8)),
        Stage(nn.Linear(8, 7), snn.RSynaptic(alpha=0.5, beta=0.7, all_to_all=False)),
        Stage(nn.Linear(7, 6), inhibited),
        Stage(nn.Linear(6, 4), snn.Alpha(alpha=0.7, beta=0.6)),
    ]


def pools_of_spikes() -> list[Stage]:
    """Maximum pools and scales in front of the layer with the weights, an activation behind it."""
    return [
        Stage([nn.Conv2d(2, 3, 2)], snn.Leaky(beta=0.7)),
        Stage([nn.MaxPool2d(2), nn.Conv2d(3, 4, 2)], snn.Leaky(beta=decays(4, 1, 1))),
        Stage([nn.Conv2d(4, 4, 2), nn.ReLU()], snn.Leaky(beta=0.6)),
        Stage(
            [nn.MaxPool2d(2, 1, padding=1), nn.Conv2d(4, 3, 2), nn.MaxPool2d(2)],
            snn.Leaky(beta=0.8),
        ),
        Stage([nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 6)], snn.Leaky(beta=0.8)),
        Stage([nn.Linear(6, 4)], snn.Leaky(beta=0.9)),
    ]


class Resized(nn.Module):
    """Events in another size, as many networks begin."""

    def forward(self, events: Tensor) -> Tensor:
        return nn.functional.interpolate(events, (6, 6)) * 0.5


def resized() -> list[Stage]:
    """A function of the events in front of the first layer."""
    return [
        Stage([Resized(), nn.Conv2d(2, 3, 3)], snn.Leaky(beta=0.7)),
        Stage([nn.Flatten(), nn.Linear(48, 6)], snn.Leaky(beta=decays(6))),
        Stage(nn.Linear(6, 4), snn.Leaky(beta=0.9)),
    ]


def recurrent_at_the_end() -> list[Stage]:
    """A recurrent stage is read out, behind one whose neurons have a recurrence of their own."""
    return [
        Stage(nn.Linear(11, 8), snn.Leaky(beta=0.7)),
        Stage(nn.Linear(8, 6), snn.RSynaptic(alpha=0.4, beta=decays(6), linear_features=6)),
        Stage(nn.Linear(6, 4), snn.Leaky(beta=0.8), nn.Linear(4, 4)),
    ]


FAST = (
    linear,
    six_stages,
    max_pools,
    mean_pools,
    padded,
    synaptic,
    recurrent,
    recurrent_synaptic,
)
GENERIC = (late_recurrence, lapicque, late_reset)
#: Stages that the kernels take beside such that they do not, and graphs of stages.
MIXED = (residual, skips, joined_channels, coupled, pools_of_spikes, resized, recurrent_at_the_end)


def events(
    shape: tuple[int, ...], samples: int, steps: int = STEPS, kind: str = "spikes", seed: int = 2
) -> Tensor:
    """``[time, samples, *shape]``: spikes, counts of spikes, or signed values."""
    generator = torch.Generator().manual_seed(seed)
    size = (steps, samples, *shape)
    if kind == "counts":
        return torch.poisson(torch.full(size, 0.5), generator=generator)
    if kind == "signed":
        return torch.randn(size, generator=generator)
    return (torch.rand(size, generator=generator) < 0.35).float()


def cut(signal: Tensor, sizes: Sequence[int]) -> list[Batch]:
    """Batches of these sizes."""
    return [(part, torch.zeros(part.shape[1]).long()) for part in signal.split(list(sizes), dim=1)]


def input_shape(network: SpikingNetwork) -> tuple[int, ...]:
    """Of the events that a network here takes."""
    return IMAGE if isinstance(network.stages()[0].modules[0], nn.Conv2d | Resized) else FLAT


def network_of(
    kind: Callable[[], list[Stage]],
    readout: str = "count",
    dtype: torch.dtype = torch.float32,
    signal: str = "spikes",
) -> Chain:
    """A network whose stages all spike, now and then."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = Chain(kind(), READOUTS[readout]()).eval()
        _randomise(network)
    make_parameters_float(network)
    with torch.no_grad():
        _calibrate(network, events(input_shape(network), 16, kind=signal))
    return network.to(dtype)


def _randomise(network: nn.Module) -> None:
    for module in network.modules():
        if isinstance(module, nn.Linear | nn.Conv2d):
            noise = torch.randn(module.weight.shape)
            module.weight.data = (noise * 0.9 + 0.35) * (2.0 / module.weight[0].numel()) ** 0.5
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            module.running_mean = 0.2 * torch.rand(module.num_features)
            module.running_var = 0.5 + torch.rand(module.num_features)
            module.weight.data = torch.linspace(-0.5, 1.2, module.num_features)
            module.bias.data = 0.2 * torch.rand(module.num_features)


def _calibrate(network: Chain, signal: Tensor) -> None:
    """Scale each stage's weights until about a fifth of its neurons spike at a step."""
    for number, stage in enumerate(network.stages()):
        weights = [m.weight for m in stage.modules if isinstance(m, nn.Linear | nn.Conv2d)]
        for _ in range(20):
            rate = float(list(network.activities(signal))[number].spikes.mean())
            if 0.1 < rate < 0.35:
                break
            for weight in weights:
                weight.mul_(0.8 if rate > 0.2 else 1.4)


def families(network: Chain, steps: int = STEPS) -> list[SiteFamily]:
    """Where faults can strike."""
    dtype = next(network.parameters()).dtype
    signal = events(input_shape(network), 1, steps).to(dtype)
    return find_site_families(network, observe_activity(network, network, signal))


def every_fault(network: Chain, each: int = 2, steps: int = STEPS, seed: int = 3) -> list[Fault]:
    """``each`` random words of every family x model x time."""
    draw = np.random.default_rng(seed)
    times = (None, None, 0, steps // 2, steps - 1)
    faults: list[Fault] = []
    for family, model, step in product(families(network, steps), MODELS, times):
        for _ in range(each):
            index = unravel(int(draw.integers(family.words)), family.shape)
            bit = BITS[len(faults) % len(BITS)]
            faults.append(Fault(len(faults), family.name, index, bit, model, step))
    return faults
