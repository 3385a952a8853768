"""What drawn networks are made of: decisions by name, layers, and the text around them."""

from __future__ import annotations

import math
import random
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

HEAD = '''\
import snntorch as snn
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils import parametrize, prune, weight_norm


class HalfLeaky(snn.Leaky):
    def forward(self, input_, mem=None):
        return super().forward(0.5 * input_, mem)


class HalfLinear(nn.Linear):
    def forward(self, x):
        return 0.5 * super().forward(x)


class Limited(nn.Module):
    def forward(self, weight):
        return weight.clamp(-3, 3)


def spread(network, seed, gain=2.5):
    """Words of layers on a grid of 1/64, so large that neurons spike."""
    draw = torch.Generator().manual_seed(seed)
    for module in network.modules():
        if isinstance(module, snn.SpikingNeuron):
            continue
        norm = isinstance(module, (nn.modules.batchnorm._BatchNorm, nn.LayerNorm, nn.GroupNorm))
        for name, word in module._parameters.items():
            if word is not None:
                size = gain / word[0].numel() ** 0.5 if word.ndim > 1 else 0.25
                middle = 1.25 if norm and name == "weight" else 0.0
                values = middle + size * torch.randn(word.shape, generator=draw)
                word.data.copy_(torch.round(values * 64) / 64)
        if getattr(module, "running_mean", None) is not None:
            mean, var = module.running_mean, module.running_var
            mean.copy_(torch.randint(-8, 9, mean.shape, generator=draw) / 32)
            var.copy_(torch.randint(20, 60, var.shape, generator=draw) / 32)
'''

DECLARED_HEAD = """\
from fi.network import SpikingNetwork, Stage
from fi.readout import MaxMembrane, Readout, SpikeCount


class LastMembrane(Readout):
    def initial(self, like):
        return torch.zeros_like(like)

    def accumulate(self, statistic, spikes, membrane):
        return membrane
"""

#: Kinds of neurons -> their states in the order of their ``reset_mem``.
NEURONS = {
    "Leaky": ("mem",),
    "HalfLeaky": ("mem",),
    "Synaptic": ("syn", "mem"),
    "Lapicque": ("mem",),
    "Alpha": ("syn_exc", "syn_inh", "mem"),
    "RLeaky": ("spk", "mem"),
    "RSynaptic": ("spk", "syn", "mem"),
}


@dataclass(frozen=True)
class DrawnNetwork:
    """One network of the grammar.

    Attributes:
        seed: it was drawn from.
        source: of a module with ``Net``, ``Twin`` (a loop over time with the same words; ``Net``
            itself where that is one), ``batches()`` and ``Data``, a datamodule of these.
        features: what it has beyond the simplest network; each may be left out.
        time_axis: where its forward wants time.
        unread: modules and words that no inference reads.
        rounds: whether scores hang on the order of summation: they are membranes, not counts.
        random: whether it is not reproducible and has to be refused.
        without: features that were left out.
    """

    seed: int
    source: str
    features: frozenset[str]
    time_axis: int = 0
    unread: tuple[str, ...] = ()
    rounds: bool = False
    random: bool = False
    without: frozenset[str] = frozenset()


class Decisions:
    """Decisions by name, each drawn on its own; those in ``without`` fall back to the simplest."""

    def __init__(self, seed: int, without: Collection[str] = ()) -> None:
        self.seed, self.without = seed, without
        self.features: set[str] = set()

    def draw(self, name: str) -> random.Random:
        """A generator of this decision alone."""
        return random.Random(f"{self.seed}/{name}")

    def chance(self, name: str, share: float, at: object = "") -> bool:
        """Whether the network has this feature, which a ``share`` of all has."""
        has = name not in self.without and self.draw(f"{name}{at}").random() < share
        if has:
            self.features.add(name)
        return has

    def pick(self, name: str, options: Sequence[str], at: object = "") -> str:
        """One of ``options``; the first is the simplest, which is no feature."""
        picked = self.draw(f"{name}{at}").choice(options)
        if picked == options[0] or f"{name}={picked}" in self.without:
            return options[0]
        self.features.add(f"{name}={picked}")
        return picked

    def number(self, name: str, low: int, high: int, at: object = "") -> int:
        """A number; no feature."""
        return self.draw(f"{name}{at}").randint(low, high)


@dataclass
class Op:
    """One step of a synapse: ``call`` on ``{x}``; a module where it has a name.

    Attributes:
        call: expression of the result.
        name: attribute of the module.
        make: expression of the module, also of one without words and name.
    """

    call: str
    name: str = ""
    make: str = ""

    @property
    def module(self) -> str:
        """The expression of the module that a declared stage takes."""
        return f"self.{self.name}" if self.name else self.make

    @property
    def line(self) -> str:
        """The statement in a loop over time."""
        return f"x = {self.call.format(x='x')}"


@dataclass
class Layer:
    """A synapse and its neuron.

    Attributes:
        number: from 1 on.
        shape: of a sample's neurons.
        ops: the synapse.
        kind, neuron, make: class, attribute and expression of the neuron.
        states: ``kept`` by the neuron, ``explicit`` arguments, or ``hidden`` (``init_hidden``).
        output: of a neuron with hidden states.
        slow, twice: whether it is called at every second step, or twice a step.
        recurrent: attribute of the module of a recurrent stage.
    """

    number: int
    shape: tuple[int, ...]
    ops: list[Op] = field(default_factory=list)
    kind: str = "Leaky"
    neuron: str = ""
    make: str = ""
    states: str = "kept"
    output: bool = False
    slow: bool = False
    twice: bool = False
    recurrent: str = ""

    @property
    def returns_tuple(self) -> bool:
        return self.states != "hidden" or self.output

    @property
    def state_names(self) -> str:
        """Variables of explicit states, as ``spk1, mem1``."""
        return ", ".join(f"{name}{self.number}" for name in NEURONS[self.kind])

    @property
    def size(self) -> int:
        """The number of its neurons."""
        return math.prod(self.shape)


def replace_argument(make: str, name: str, value: str) -> str:
    """A neuron's expression with another value of one argument."""
    start = make.index(f"{name}=") + len(name) + 1
    depth, end = 0, start
    while depth or make[end] not in ",)":
        depth += {"(": 1, "[": 1, ")": -1, "]": -1}.get(make[end], 0)
        end += 1
    return make[:start] + value + make[end:]
