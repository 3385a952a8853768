"""The shipped networks as users write them for snnTorch: nothing of fi is in here.

Each takes events ``[time, batch, 2, 34, 34]`` (a chain takes one step of them at a call) and
returns the spikes of its last neurons, ``[time, batch, 10]`` or ``[batch, 10]``.
"""

from __future__ import annotations

from collections.abc import Mapping

import snntorch as snn
import torch
from snntorch import utils
from torch import Tensor, nn
from torch.nn import functional


def leaky(*shape: int, **options: bool) -> snn.Leaky:
    """Leaky neurons with a beta and a threshold of this shape, which training changes."""
    return snn.Leaky(
        beta=torch.full(shape, 0.9),
        threshold=torch.ones(shape),
        learn_beta=True,
        learn_threshold=True,
        **options,
    )


class PlainNMNIST(nn.Module):
    """NMNIST with a loop over time, its membranes handed from step to step."""

    def __init__(self, hidden: int = 20) -> None:
        super().__init__()
        self.fc1 = nn.Linear(2 * 17 * 17, hidden)
        self.lif1 = leaky(hidden)
        self.fc2 = nn.Linear(hidden, 10)
        self.lif2 = leaky(10)

    def forward(self, events: Tensor) -> Tensor:
        mem1, mem2 = self.lif1.init_leaky(), self.lif2.init_leaky()
        recorded = []
        for step in range(events.size(0)):
            frame = functional.interpolate(events[step], size=(17, 17))
            spk1, mem1 = self.lif1(self.fc1(frame.flatten(1)), mem1)
            spk2, mem2 = self.lif2(self.fc2(spk1), mem2)
            recorded.append(spk2)
        return torch.stack(recorded)


class PlainCSNN(nn.Module):
    """CSNN with a loop over time and pools that are functions."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(2, 12, 5)
        self.lif1 = leaky(14)
        self.conv2 = nn.Conv2d(12, 32, 5)
        self.lif2 = leaky(5)
        self.fc1 = nn.Linear(32 * 5 * 5, 10)
        self.lif3 = leaky(10)

    def forward(self, events: Tensor) -> Tensor:
        mem1, mem2, mem3 = (lif.init_leaky() for lif in (self.lif1, self.lif2, self.lif3))
        recorded = []
        for step in range(events.size(0)):
            frame = functional.interpolate(events[step], size=(32, 32))
            spk1, mem1 = self.lif1(functional.max_pool2d(self.conv1(frame), 2), mem1)
            spk2, mem2 = self.lif2(functional.max_pool2d(self.conv2(spk1), 2), mem2)
            spk3, mem3 = self.lif3(self.fc1(spk2.flatten(1)), mem3)
            recorded.append(spk3)
        return torch.stack(recorded)


def sequential_csnn() -> nn.Sequential:
    """CSNN as a chain that computes one step at a call; its neurons keep their membranes."""
    return nn.Sequential(
        nn.Upsample(size=(32, 32)),
        nn.Conv2d(2, 12, 5),
        nn.MaxPool2d(2),
        leaky(14, init_hidden=True),
        nn.Conv2d(12, 32, 5),
        nn.MaxPool2d(2),
        leaky(5, init_hidden=True),
        nn.Flatten(),
        nn.Linear(32 * 5 * 5, 10),
        leaky(10, init_hidden=True),
    )


def sequential_vgg() -> nn.Sequential:
    """SpikingVGG as a chain that computes one step at a call."""
    layers: list[nn.Module] = [nn.Upsample(size=(32, 32))]
    before = 2
    for channels, pool in ((16, True), (16, True), (32, False), (32, True), (32, False)):
        layers += [nn.Conv2d(before, channels, 3, padding=1, bias=False), nn.BatchNorm2d(channels)]
        layers += [nn.AvgPool2d(2)] if pool else []
        layers.append(leaky(channels, 1, 1, init_hidden=True))
        before = channels
    layers += [nn.Flatten(), nn.Linear(32 * 4 * 4, 64, bias=False), nn.BatchNorm1d(64)]
    layers += [leaky(64, init_hidden=True), nn.Linear(64, 10), leaky(10, init_hidden=True)]
    return nn.Sequential(*layers)


def run_steps(network: nn.Module, events: Tensor) -> Tensor:
    """The spikes ``[time, batch, 10]`` of a network that computes one step at a call."""
    utils.reset(network)
    return torch.stack([network(frame) for frame in events])


class SEWBlock(nn.Module):
    """Two convolutions, each with norm and neurons, and a shortcut that is added to the spikes."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.lif1 = leaky(channels, 1, 1)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.lif2 = leaky(channels, 1, 1)

    def init_states(self) -> list[Tensor]:
        """The membranes before the first step."""
        return [self.lif1.init_leaky(), self.lif2.init_leaky()]

    def forward(self, x: Tensor, states: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
        spk1, mem1 = self.lif1(self.bn1(self.conv1(x)), states[0])
        spk2, mem2 = self.lif2(self.bn2(self.conv2(spk1)), states[1])
        return spk2 + x, [mem1, mem2]


class PlainSEWResNet(nn.Module):
    """SEWResNet with a loop over time, and blocks that are modules."""

    def __init__(self, blocks: int = 3) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(2, 16, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.lif1 = leaky(16, 1, 1)
        self.conv2 = nn.Conv2d(16, 24, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(24)
        self.lif2 = leaky(24, 1, 1)
        self.blocks = nn.ModuleList(SEWBlock(24) for _ in range(blocks))
        self.fc1 = nn.Linear(24 * 4 * 4, 10, bias=False)
        self.bn_out = nn.BatchNorm1d(10)
        self.lif_out = leaky(10)

    def forward(self, events: Tensor) -> Tensor:
        mem1, mem2, mem_out = (lif.init_leaky() for lif in (self.lif1, self.lif2, self.lif_out))
        states = [block.init_states() for block in self.blocks]
        recorded = []
        for step in range(events.size(0)):
            x = functional.interpolate(events[step], size=(32, 32))
            x, mem1 = self.lif1(functional.avg_pool2d(self.bn1(self.conv1(x)), 2), mem1)
            x, mem2 = self.lif2(functional.avg_pool2d(self.bn2(self.conv2(x)), 2), mem2)
            for number, block in enumerate(self.blocks):
                x, states[number] = block(x, states[number])
            current = self.bn_out(self.fc1(functional.avg_pool2d(x, 2).flatten(1)))
            spikes, mem_out = self.lif_out(current, mem_out)
            recorded.append(spikes)
        return torch.stack(recorded)


def load_weights(twin: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Load the state dict of the shipped network of which ``twin`` has the layers.

    Raises:
        ValueError: twin and state dict have not the same words.
    """
    own = list(twin.state_dict())
    chain = isinstance(twin, nn.Sequential)  # which has numbers for names: the order tells
    taken = list(state) if chain else [shipped_name(twin, name) for name in own]
    if set(taken) != set(state) or len(taken) != len(own):
        differing = ", ".join(sorted(set(taken) ^ set(state)))
        raise ValueError(f"{type(twin).__name__} has other words than the state dict: {differing}")
    twin.load_state_dict({name: state[theirs] for name, theirs in zip(own, taken, strict=True)})


def shipped_name(twin: nn.Module, name: str) -> str:
    """What the shipped network calls the tensor that ``twin`` calls ``name``."""
    if name.startswith(("bn_out.", "lif_out.")):
        return name.replace("_out", str(2 * len(twin.blocks) + 3))
    if name.startswith("blocks."):
        _, block, module, word = name.split(".")
        return f"{module[:-1]}{2 * int(block) + 2 + int(module[-1])}.{word}"
    return name
