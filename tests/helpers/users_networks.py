"""Networks as people write them: each has its own forward."""

from __future__ import annotations

from collections.abc import Callable

import snntorch as snn
import torch
import torch.nn.functional as F
from torch import Tensor, nn


class PoolingLoop(nn.Module):
    """Functional pooling in a loop, as in snnTorch's convolutional tutorial; returns a pair."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.lif1 = nn.Conv2d(2, 4, 3), snn.Leaky(beta=0.9)
        self.conv2, self.lif2 = nn.Conv2d(4, 6, 2), snn.Leaky(beta=0.8)
        self.fc1, self.lif3 = nn.Linear(24, 4), snn.Leaky(beta=0.85)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        mem1, mem2, mem3 = (lif.init_leaky() for lif in (self.lif1, self.lif2, self.lif3))
        spikes, membranes = [], []
        for step in range(x.size(0)):
            cur1 = F.max_pool2d(self.conv1(x[step]), 2)
            spk1, mem1 = self.lif1(cur1, mem1)
            cur2 = F.max_pool2d(self.conv2(spk1), 2)
            spk2, mem2 = self.lif2(cur2, mem2)
            cur3 = self.fc1(spk2.view(x.size(1), -1))
            spk3, mem3 = self.lif3(cur3, mem3)
            spikes.append(spk3)
            membranes.append(mem3)
        return torch.stack(spikes, dim=0), torch.stack(membranes, dim=0)


class Residual(nn.Module):
    """A skip connection, norms, dropout and a mean pool; a running sum of spikes."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(2, 4, 3, padding=1), nn.BatchNorm2d(4)
        self.lif0 = snn.Leaky(beta=0.9)
        self.conv2, self.bn2 = nn.Conv2d(4, 4, 3, padding=1), nn.BatchNorm2d(4)
        self.lif1 = snn.Leaky(beta=0.9)
        self.conv3, self.bn3 = nn.Conv2d(4, 4, 3, padding=1), nn.BatchNorm2d(4)
        self.lif2 = snn.Leaky(beta=0.9)
        self.pool, self.drop, self.fc = nn.AvgPool2d(5), nn.Dropout(0.3), nn.Linear(16, 4)
        self.lif3 = snn.Leaky(beta=0.9)

    def forward(self, x: Tensor) -> Tensor:
        mem0 = self.lif0.reset_mem()
        mem1, mem2, mem3 = self.lif1.reset_mem(), self.lif2.reset_mem(), self.lif3.reset_mem()
        out = 0
        for t in range(len(x)):
            spk0, mem0 = self.lif0(self.bn1(self.conv1(x[t])), mem0)
            spk1, mem1 = self.lif1(self.bn2(self.conv2(spk0)), mem1)
            spk2, mem2 = self.lif2(self.bn3(self.conv3(spk1)), mem2)
            pooled = torch.flatten(self.pool(spk2 + spk0), 1)
            spk3, mem3 = self.lif3(self.fc(self.drop(pooled)), mem3)
            out = out + spk3
        return out


class Recurrent(nn.Module):
    """RLeaky, then Synaptic; iterates over the events."""

    def __init__(self) -> None:
        super().__init__()
        self.fc1, self.lif1 = nn.Linear(12, 8), snn.RLeaky(beta=0.9, linear_features=8)
        self.fc2, self.lif2 = nn.Linear(8, 4), snn.Synaptic(alpha=0.8, beta=0.9)

    def forward(self, x: Tensor) -> Tensor:
        spk1, mem1 = self.lif1.init_rleaky()
        syn2, mem2 = self.lif2.init_synaptic()
        out = []
        for frame in x:
            spk1, mem1 = self.lif1(self.fc1(frame.flatten(1)), spk1, mem1)
            spk2, syn2, mem2 = self.lif2(self.fc2(spk1), syn2, mem2)
            out.append(spk2)
        return torch.stack(out)


class StaticImage(nn.Module):
    """An image [batch, ...], of which the forward makes the steps."""

    def __init__(self) -> None:
        super().__init__()
        self.fc1, self.lif1 = nn.Linear(12, 8), snn.Leaky(beta=0.9)
        self.fc2, self.lif2 = nn.Linear(8, 4), snn.Leaky(beta=0.8)

    def forward(self, image: Tensor) -> Tensor:
        mem1, mem2 = self.lif1.init_leaky(), self.lif2.init_leaky()
        spikes = []
        image = image.view(image.shape[0], -1)
        for _ in range(7):
            spk1, mem1 = self.lif1(self.fc1(image), mem1)
            spk2, mem2 = self.lif2(self.fc2(spk1), mem2)
            spikes.append(spk2)
        return torch.stack(spikes)


def sequential() -> nn.Module:
    """One step a call, with hidden states."""
    return nn.Sequential(
        nn.Conv2d(2, 4, 3),
        snn.Leaky(beta=0.9, init_hidden=True),
        nn.MaxPool2d(2),
        nn.Conv2d(4, 6, 2),
        snn.Leaky(beta=0.9, init_hidden=True),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(24, 4),
        snn.Leaky(beta=0.9, init_hidden=True, output=True),
    )


class ListsOfLayers(nn.Module):
    """One step a call, lists of all layers returned, a reset() of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(12, 8), nn.Linear(8, 6), nn.Linear(6, 4)])
        self.lifs = nn.ModuleList([snn.Leaky(beta=0.9) for _ in range(3)])
        self.mems: list[Tensor] = []

    def reset(self) -> None:
        self.mems = [lif.init_leaky() for lif in self.lifs]

    def forward(self, x: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        spikes = []
        for number, (layer, lif) in enumerate(zip(self.layers, self.lifs, strict=True)):
            x, self.mems[number] = lif(layer(x), self.mems[number])
            spikes.append(x)
        return spikes, list(self.mems)


class Standardised(nn.Conv2d):
    """A convolution whose weights are standardised."""

    def forward(self, x: Tensor) -> Tensor:
        weight = self.weight - self.weight.mean((1, 2, 3), keepdim=True)
        weight = weight / (weight.std((1, 2, 3), keepdim=True) + 1e-5)
        return F.conv2d(x, weight, self.bias, padding=self.padding)


class Scale(nn.Module):
    """A learned factor."""

    def __init__(self) -> None:
        super().__init__()
        self.factor = nn.Parameter(torch.tensor(1.5))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.factor


class Vgg(nn.Module):
    """Standardised convolutions, scaled spikes, pools behind spikes, a linear head each step."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.lif1 = Standardised(2, 4, 3, padding=1), snn.Leaky(beta=0.9)
        self.conv2, self.lif2 = Standardised(4, 6, 3, padding=1), snn.Leaky(beta=0.9)
        self.scale1, self.scale2, self.pool = Scale(), Scale(), nn.AvgPool2d(2)
        self.head = nn.Linear(6, 4)

    def forward(self, x: Tensor) -> Tensor:
        mem1, mem2 = self.lif1.init_leaky(), self.lif2.init_leaky()
        out = []
        for step in x:
            spk1, mem1 = self.lif1(self.conv1(step), mem1)
            spk2, mem2 = self.lif2(self.conv2(self.pool(self.scale1(spk1))), mem2)
            pooled = F.adaptive_avg_pool2d(self.scale2(spk2), 1)
            out.append(self.head(torch.flatten(pooled, 1)))
        return torch.stack(out)


class HandWrittenRecurrence(nn.Module):
    """fc1 of the events and fb1 of the spikes of the step before."""

    def __init__(self) -> None:
        super().__init__()
        self.fc1, self.fb1 = nn.Linear(12, 8), nn.Linear(8, 8, bias=False)
        self.lif1 = snn.Leaky(beta=0.9)
        self.fc2, self.lif2 = nn.Linear(8, 4), snn.Leaky(beta=0.8)

    def forward(self, x: Tensor) -> Tensor:
        mem1, mem2 = self.lif1.init_leaky(), self.lif2.init_leaky()
        spk1 = torch.zeros(x.shape[1], 8)
        out = []
        for t in range(x.shape[0]):
            spk1, mem1 = self.lif1(self.fc1(x[t]) + self.fb1(spk1), mem1)
            spk2, mem2 = self.lif2(self.fc2(spk1), mem2)
            out.append(spk2)
        return torch.stack(out).sum(0)


class CalledOnce(nn.Module):
    """Synapses called once for all steps before the loop; batch first inside."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.lif1 = nn.Conv2d(2, 3, 3), snn.Leaky(beta=0.9)
        self.fc, self.lif2 = nn.Linear(300, 4), snn.Leaky(beta=0.8)

    def forward(self, x: Tensor) -> Tensor:
        steps, batch = x.shape[:2]
        currents = self.conv(x.flatten(0, 1)).unflatten(0, (steps, batch))
        mem1, mem2 = self.lif1.init_leaky(), self.lif2.init_leaky()
        hidden = []
        for t in range(steps):
            spk1, mem1 = self.lif1(currents[t], mem1)
            hidden.append(spk1)
        second = self.fc(torch.stack(hidden).flatten(2))
        out = []
        for t in range(steps):
            spk2, mem2 = self.lif2(second[t], mem2)
            out.append(spk2)
        return torch.stack(out)


class BatchFirst(nn.Module):
    """[batch, time, ...] in and out."""

    def __init__(self) -> None:
        super().__init__()
        self.fc1, self.lif1 = nn.Linear(12, 8), snn.Leaky(beta=0.9, init_hidden=True)
        self.fc2 = nn.Linear(8, 4)
        self.lif2 = snn.Leaky(beta=0.8, init_hidden=True, output=True)

    def forward(self, x: Tensor) -> Tensor:
        if x.dim() != 3 or x.shape[2] != 12:
            raise ValueError("events must be [batch, time, 12]")
        self.lif1.reset_mem()
        self.lif2.reset_mem()
        out = []
        for t in range(x.size(1)):
            spikes, _ = self.lif2(self.fc2(self.lif1(self.fc1(x[:, t]))))
            out.append(spikes)
        return torch.stack(out, dim=1)


class LastMembrane(nn.Module):
    """The last membrane of a layer that never fires, as scores."""

    def __init__(self) -> None:
        super().__init__()
        self.fc1, self.lif1 = nn.Linear(12, 8), snn.Leaky(beta=0.9)
        self.fc2, self.out = nn.Linear(8, 4), snn.Leaky(beta=0.8, threshold=1e9)

    def forward(self, x: Tensor) -> Tensor:
        mem1, mem2 = self.lif1.init_leaky(), self.out.init_leaky()
        for step in x:
            spk1, mem1 = self.lif1(self.fc1(step), mem1)
            _, mem2 = self.out(self.fc2(spk1), mem2)
        return mem2


class LargestMembrane(LastMembrane):
    """The largest one."""

    def forward(self, x: Tensor) -> Tensor:
        mem1, mem2, seen = self.lif1.init_leaky(), self.out.init_leaky(), []
        for step in x:
            spk1, mem1 = self.lif1(self.fc1(step), mem1)
            _, mem2 = self.out(self.fc2(spk1), mem2)
            seen.append(mem2)
        return torch.stack(seen).max(dim=0)[0]


class TwoBranches(nn.Module):
    """Two paths that are joined by convolutions, a gate, and a concatenation; mean of spikes."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.lif1 = nn.Conv2d(2, 4, 3, padding=1), snn.Leaky(beta=0.9)
        self.conv2, self.lif2 = nn.Conv2d(4, 4, 3, padding=1), snn.Leaky(beta=0.9)
        self.conv_a, self.down = nn.Conv2d(4, 3, 3, padding=1), nn.Conv2d(4, 3, 1)
        self.lif3 = snn.Leaky(beta=0.9)
        self.fc_a, self.lif_a = nn.Linear(300, 5), snn.Leaky(beta=0.9)
        self.fc_b, self.lif_b = nn.Linear(300, 3), snn.Leaky(beta=0.9)
        self.fc, self.lif4 = nn.Linear(8, 4), snn.Leaky(beta=0.9)

    def forward(self, x: Tensor) -> Tensor:
        lifs = (self.lif1, self.lif2, self.lif3, self.lif_a, self.lif_b, self.lif4)
        m1, m2, m3, ma, mb, m4 = (lif.init_leaky() for lif in lifs)
        out = []
        for step in x:
            s1, m1 = self.lif1(self.conv1(step), m1)
            s2, m2 = self.lif2(self.conv2(s1), m2)
            s3, m3 = self.lif3(self.conv_a(s1) + self.down(s2), m3)
            sa, ma = self.lif_a(self.fc_a(s3.flatten(1)), ma)
            sb, mb = self.lif_b(self.fc_b((s3 * s3).reshape(len(s3), -1)), mb)
            s4, m4 = self.lif4(self.fc(torch.cat([sa, sb], dim=1)), m4)
            out.append(s4)
        return torch.stack(out).mean(0)


#: Network -> shape of an event frame.
USERS_NETWORKS: dict[Callable[[], nn.Module], tuple[int, ...]] = {
    PoolingLoop: (2, 12, 12),
    Residual: (2, 10, 10),
    Recurrent: (12,),
    StaticImage: (3, 4),
    sequential: (2, 12, 12),
    ListsOfLayers: (12,),
    Vgg: (2, 8, 8),
    HandWrittenRecurrence: (12,),
    CalledOnce: (2, 12, 12),
    BatchFirst: (12,),
    LastMembrane: (12,),
    LargestMembrane: (12,),
    TwoBranches: (2, 10, 10),
}


def make_users_network(kind: Callable[[], nn.Module], seed: int = 3) -> nn.Module:
    """The network with random weights, large enough that neurons spike, in inference mode."""
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(seed)
        network = kind()
        for module in network.modules():
            if isinstance(module, (nn.Linear, nn.Conv2d)) and not isinstance(module, Standardised):
                module.weight.mul_(2.5)
            if isinstance(module, nn.Linear):
                module.bias.fill_(0.3) if module.bias is not None else None
            if isinstance(module, nn.BatchNorm2d):
                module.bias.fill_(0.4)
                module.running_mean.uniform_(-0.2, 0.2)
                module.running_var.uniform_(0.5, 1.5)
    return network.eval()


def draw_events(shape: tuple[int, ...], batch: int, seed: int, steps: int = 6) -> Tensor:
    """Random event counts ``[time, batch, *shape]``."""
    draw = torch.Generator().manual_seed(seed)
    return torch.poisson(torch.full((steps, batch, *shape), 0.5), generator=draw)
