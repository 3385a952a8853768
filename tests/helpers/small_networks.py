"""Small networks and data with the structure of the real ones; they spike, and faults show."""

from __future__ import annotations

import snntorch as snn
import torch
from torch import Tensor, nn

from fi.network.stages import SpikingNetwork, Stage

STEPS, SAMPLES, CLASSES = 6, 24, 4


class SmallLinear(SpikingNetwork):
    """12-8-4 with beta and threshold per neuron, as NMNIST."""

    def __init__(self) -> None:
        super().__init__()
        self.fc1 = nn.Linear(12, 8)
        self.lif1 = snn.Leaky(beta=torch.full((8,), 0.9), threshold=torch.ones(8))
        self.fc2 = nn.Linear(8, CLASSES)
        self.lif2 = snn.Leaky(beta=torch.full((CLASSES,), 0.8), threshold=torch.ones(CLASSES))
        spread(self, 3.0)

    def stages(self) -> list[Stage]:
        return [Stage(self.fc1, self.lif1), Stage(self.fc2, self.lif2)]


class SmallConv(SpikingNetwork):
    """Two convolutions with pooling and a linear layer, as CSNN; beta broadcasts over a column."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.pool1 = nn.Conv2d(2, 3, 3), nn.MaxPool2d(2)
        self.lif1 = snn.Leaky(beta=torch.full((5,), 0.9), threshold=torch.full((5,), 1.25))
        self.conv2, self.pool2 = nn.Conv2d(3, 4, 2), nn.MaxPool2d(2)
        self.lif2 = snn.Leaky(beta=torch.full((2,), 0.85), threshold=torch.ones(2))
        self.flatten, self.fc1 = nn.Flatten(), nn.Linear(16, CLASSES)
        self.lif3 = snn.Leaky(beta=torch.full((CLASSES,), 0.8), threshold=torch.ones(CLASSES))
        spread(self, 2.0)

    def stages(self) -> list[Stage]:
        return [
            Stage([self.conv1, self.pool1], self.lif1),
            Stage([self.conv2, self.pool2], self.lif2),
            Stage([self.flatten, self.fc1], self.lif3),
        ]


class PlainLinear(nn.Module):
    """The layers of ``SmallLinear`` in a forward of its own that returns spikes."""

    def __init__(self) -> None:
        super().__init__()
        self.fc1 = nn.Linear(12, 8)
        self.lif1 = snn.Leaky(beta=torch.full((8,), 0.9), threshold=torch.ones(8))
        self.fc2 = nn.Linear(8, CLASSES)
        self.lif2 = snn.Leaky(beta=torch.full((CLASSES,), 0.8), threshold=torch.ones(CLASSES))

    def forward(self, events: Tensor) -> Tensor:
        membrane1, membrane2 = self.lif1.reset_mem(), self.lif2.reset_mem()
        spikes = []
        for step in events:
            hidden, membrane1 = self.lif1(self.fc1(step), membrane1)
            output, membrane2 = self.lif2(self.fc2(hidden), membrane2)
            spikes.append(output)
        return torch.stack(spikes)


def spread(network: nn.Module, factor: float) -> None:
    """Larger weights, so that neurons spike."""
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, (nn.Linear, nn.Conv2d)):
                module.weight.mul_(factor)


def small(kind: type[nn.Module], seed: int = 1) -> nn.Module:
    """A network of that class with fixed random weights."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return kind()


def event_batches(
    shape: tuple[int, ...], samples: int = SAMPLES, batch: int = 10, seed: int = 2
) -> list[tuple[Tensor, Tensor]]:
    """Random event counts ``[time, batch, *shape]`` and labels; the last batch is smaller."""
    generator = torch.Generator().manual_seed(seed)
    events = torch.poisson(torch.full((STEPS, samples, *shape), 0.35), generator=generator)
    labels = torch.randint(0, CLASSES, (samples,), generator=generator)
    parts = range(0, samples, batch)
    return [(events[:, i : i + batch].clone(), labels[i : i + batch].clone()) for i in parts]


INPUT_SHAPES: dict[type[nn.Module], tuple[int, ...]] = {
    SmallLinear: (12,),
    PlainLinear: (12,),
    SmallConv: (2, 12, 12),
}
