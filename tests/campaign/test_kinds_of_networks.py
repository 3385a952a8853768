"""Networks as people write them, a kind each: counts of both engines as the oracle's, or refused.

Every network stands here as its user writes it; ``Twin`` is a plain loop over time with the same
words, for the oracle, where ``Net`` is none itself.
"""

from __future__ import annotations

import math

import pytest
import torch
from network_grammar import DrawnNetwork
from random_networks import Verdict, try_network
from torch import nn

HEAD = """
import snntorch as snn
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils import parametrize, prune

from fi.network import SpikingNetwork, Stage
from fi.readout import MaxMembrane, SpikeCount


def strong(network, gain=2.5):
    draw = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for name, word in network.named_parameters():
            if word.ndim > 1:
                scale = gain / word[0].numel() ** 0.5
                word.copy_(torch.round(torch.randn(word.shape, generator=draw) * scale * 64) / 64)
            elif name.endswith("bias"):
                word.copy_(torch.round(torch.randn(word.shape, generator=draw) * 16) / 64)


def batches(kind=torch.float32):
    draw = torch.Generator().manual_seed(11)
    events = torch.poisson(torch.full((6, 16, 12), 0.4), generator=draw)
    return [(events.to(kind), torch.randint(4, (16,), generator=draw))]


class Data:
    def setup(self, stage=None):
        pass

    def test_dataloader(self):
        return batches()


class Parts(nn.Module):
    def parts(self):
        self.fc1, self.lif1 = nn.Linear(12, 8), snn.Leaky(0.9)
        self.fc2, self.lif2 = nn.Linear(8, 4), snn.Leaky(0.8)
        strong(self)

    def loop(self, x):
        return torch.stack([self.lif2(self.fc2(self.lif1(self.fc1(f))[0]))[0] for f in x])

    def gated(self, x):
        syn, mem, out = *self.lif1.reset_mem(), []
        for f in x:
            s, syn, mem = self.lif1(f, syn, mem)
            s = F.pad(s.flatten(1), (0, 8 - s[0].numel()))
            out.append(self.lif2(self.fc2(s))[0])
        return torch.stack(out)
"""
PLAIN = """
class Net(Parts):
    def __init__(self):
        super().__init__()
        self.parts()
        {parts}

    def forward(self, x):
        {forward}

Twin = Net
"""
STAGED = """
def change(self):
    self.parts()
    {parts}

class Net(SpikingNetwork, Parts):
    def __init__(self):
        super().__init__({readout})
        change(self)

    def stages(self):
        return [Stage({first}, self.lif1), Stage(self.fc2, self.lif2)]

class Twin(Parts):
    def __init__(self):
        super().__init__()
        change(self)

    def forward(self, x):
        return torch.stack([self.lif2(self.fc2(self.lif1({conduct})[0]))[0] for f in x])
"""
LOOP = "return self.loop(x)"


def plain(parts: str = "pass", forward: str = LOOP, head: str = HEAD) -> str:
    """A network with a forward of its own."""
    return head + PLAIN.format(parts=parts, forward=forward.replace("\n", "\n        "))


def staged(
    parts: str = "pass",
    first: str = "self.fc1",
    conduct: str = "self.fc1(f)",
    readout: str = "SpikeCount(False)",
) -> str:
    """A network of stages, and its plain loop."""
    return HEAD + STAGED.format(parts=parts, first=first, conduct=conduct, readout=readout)


def judge(source: str, **options: object) -> Verdict:
    """What becomes of a network."""
    return try_network(DrawnNetwork(0, source, frozenset()), each=6, most=120, **options)  # type: ignore[arg-type]


RIGHT = {
    "a hook clamps a synapse": staged(
        "self.fc1.register_forward_hook(lambda m, i, o: o.clamp(-1, 1))"
    ),
    "a hook clamps spikes": staged(
        "self.lif1.register_forward_hook(lambda m, i, o: (o[0] * 0.5, *o[1:]))"
    ),
    "a forward is replaced": staged(
        "inner = self.fc1.forward; self.fc1.forward = lambda x: inner(x).clamp(-1, 1)"
    ),
    "pruned": staged("prune.l1_unstructured(self.fc1, 'weight', 0.5)"),
    "normed weights": staged("nn.utils.weight_norm(self.fc2)"),
    "parametrized": staged(
        "parametrize.register_parametrization(self.fc1, 'weight', nn.Hardtanh())"
    ),
    "one beta for two neurons": staged("self.lif2.beta = self.lif1.beta"),
    "a transposed tie": plain(
        forward="return torch.stack([self.lif2(F.linear(self.lif1(self.fc1(f))[0],"
        " self.fc1.weight.t()))[0] for f in x])"
    ),
    "a batch axis in beta": staged(
        "self.lif1 = snn.Leaky(torch.linspace(.5, .95, 8)[None], threshold=torch.ones(1, 8))"
    ),
    "a norm for each step": plain(
        "self.bn = snn.BatchNormTT1d(8, 6)",
        "return torch.stack([self.lif2(self.fc2(self.lif1(self.bn[t](self.fc1(f)))[0]))[0]"
        " for t, f in enumerate(x)])",
    ),
    "a spare neuron that is defined first": plain(
        head=HEAD.replace(
            "def parts(self):", "def parts(self):\n        self.spare = snn.Leaky(0.9)"
        )
    ),
    "a weight that a function reads": plain(
        forward="return torch.stack([self.lif2(F.linear(self.lif1(self.fc1(f))[0],"
        " self.fc2.weight, self.fc2.bias))[0] for f in x])"
    ),
    "a layer called twice a step": plain(
        "self.fc3, self.lif3 = nn.Linear(8, 8), snn.Leaky(0.9); strong(self)",
        "out = []\nfor f in x:\n    f = self.lif1(self.fc1(f))[0]\n"
        "    f = self.lif3(self.fc3(self.fc3(f)))[0]\n"
        "    out.append(self.lif2(self.fc2(f))[0])\nreturn torch.stack(out)",
    ),
    "tied weights": plain(
        "self.fc3, self.lif3 = nn.Linear(8, 4), snn.Leaky(0.9); strong(self); "
        "self.fc3.weight = self.fc2.weight",
        "return torch.stack([self.lif2(self.fc2(s))[0] + self.lif3(self.fc3(s))[0] for s in"
        " [self.lif1(self.fc1(f))[0] for f in x]])",
    ),
    "events scaled in place": plain(forward="x *= 0.7\n" + LOOP),
    "weights clamped in the forward": plain(
        forward="self.fc1.weight.data.clamp_(-0.5, 0.5)\n" + LOOP
    ),
    "state of its own": plain(
        "self.seen = torch.zeros(())",
        "self.seen = self.seen * 0\nfor f in x:\n    self.seen = self.seen + self.fc1(f).sum()\n"
        "return self.loop(x) + 0 * self.seen",
    ),
    "a peak that only a fault raises": plain(
        "self.peak = torch.tensor(12.0)",
        "self.peak = torch.maximum(self.peak, max(self.fc1(f).abs().max() for f in x))\n"
        "return torch.stack([self.lif2(self.fc2(self.lif1(self.fc1(f) * (12 / self.peak))[0]))[0]"
        " for f in x])",
    ),
    "an expanded beta": plain("self.lif1.beta = torch.tensor(0.9).expand(8)"),
    "float64 events": plain(head=HEAD.replace("return batches()", "return batches(torch.float64)")),
    "uint8 events": plain(head=HEAD.replace("return batches()", "return batches(torch.uint8)")),
    "an LSTM that spikes": plain(
        "torch.manual_seed(3); self.lif1 = snn.SLSTM(12, 8, threshold=0.1); strong(self)",
        "return self.gated(x)",
    ),
    "a convolutional LSTM whose states are larger than its output": plain(
        "torch.manual_seed(3); self.lif1 = snn.SConv2dLSTM(1, 4, 3, max_pool=2, threshold=0.1); "
        "strong(self)",
        "return self.gated(x.reshape(*x.shape[:2], 1, 3, 4))",
    ),
    "the largest membrane": staged(readout="MaxMembrane(False)").replace(
        "self.fc1(f))[0]))[0] for f in x])", "self.fc1(f))[0]))[1] for f in x]).amax(0)"
    ),
}


@pytest.mark.parametrize("kind", RIGHT)
def test_counts_are_those_of_the_oracle(kind: str) -> None:
    found = judge(RIGHT[kind])
    assert found.kind == "right", f"{found.said}\n{found.details}"
    assert found.faults > 60
    assert found.affected > 8


REFUSED = {
    "states of all steps at once": (
        plain("self.lif1 = snn.StateLeaky(beta=0.9, channels=8)",
              "s, _ = self.lif1(self.fc1(x))\n"
              "return torch.stack([self.lif2(self.fc2(f))[0] for f in s])"),
        "lif1: its output has shape",
    ),
    "whole sequences a call": (
        plain("self.lif1 = snn.LinearLeaky(0.9, 8, 8, output=True)",
              "s = self.lif1(self.fc1(x))[0]\n"
              "return torch.stack([self.lif2(self.fc2(f))[0] for f in s])"),
        "lif1: its output has shape",
    ),
    "float16 words": (plain("self.half()", "return self.loop(x.half())"), "--format float16"),
    "float64 words": (plain("self.double()", "return self.loop(x.double())"), "64-true"),
    "sparse words": (
        plain("self.fc1.weight = nn.Parameter(self.fc1.weight.data.to_sparse())"),
        "fc1.weight is sparse",
    ),
    "words that overlap": (
        plain("self.fc2.weight = nn.Parameter(torch.zeros(44).as_strided((4, 8), (8, 1)));"
              "self.fc2.bias = nn.Parameter(self.fc2.weight.data.as_strided((4,), (1,), 30))"),
        "some words of fc2.bias are words of fc2.weight",
    ),
    "one neuron for layers of two shapes": (
        plain("self.fc3 = nn.Linear(4, 4)",
              "out = []\nfor f in x:\n"
              "    a, _ = self.lif1(self.fc1(f), torch.zeros(f.shape[0], 8))\n"
              "    out.append(self.lif1(self.fc2(a), torch.zeros(f.shape[0], 4))[0])\n"
              "return torch.stack(out)"),
        "lif1 is called for layers of different shapes",
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", REFUSED)
def test_a_network_is_refused_in_a_line_that_names_what_is_wrong(kind: str) -> None:
    source, said = REFUSED[kind]
    found = judge(source)
    assert found.kind == "refused", found.said
    assert said in found.said


BEFORE_THE_LOOP = "return torch.stack([self.lif2(self.fc2(self.lif1(c)[0]))[0] for c in {}])"


@pytest.mark.parametrize(
    ("forward", "family"),
    [
        (BEFORE_THE_LOOP.format("self.fc1(x)"), "fc1.weight"),
        (
            "s = torch.stack([self.lif1(self.fc1(f))[0] for f in x])\n"
            "return torch.stack([self.lif2(self.fc2(f))[0] for f in s])",
            "fc1.weight",
        ),
        (
            "held, out = 0, []\nfor t, f in enumerate(x):\n"
            "    held = held + self.lif1(self.fc1(f))[0]\n    if t % 2:\n"
            "        out.append(self.lif2(self.fc2(held))[0])\n        held = 0\n"
            "return torch.stack(out)",
            "lif2.potential",
        ),
    ],
)
def test_only_faults_for_a_step_are_refused_where_steps_cannot_be_told(
    forward: str, family: str
) -> None:
    found = judge(plain(forward=forward))
    assert found.kind == "right", found.said
    assert "can last for some steps only" in found.transient_refused
    assert judge(plain(forward=forward), transient=False).transient_refused == ""
    assert family


def test_what_outlasts_a_fault_unseen_stops_the_campaign() -> None:
    """A trace in a global, cleared in a way that NaN survives."""
    source = plain(
        forward="TRACE[0] = TRACE[0] * 0\nfor f in x:\n"
        "    TRACE[0] = TRACE[0] + self.fc1(f).sum()\nreturn self.loop(x) + 0 * TRACE[0]",
        head=HEAD + "\nTRACE = [torch.zeros(())]\n",
    )
    found = judge(source)
    assert found.kind == "wrong", found.said  # refused, but after some faults have run
    assert "values outlast it" in found.said


def test_formats_of_an_earlier_campaign_are_forgotten() -> None:
    from fi.campaign.subject import Subject
    from fi.models import NMNIST

    network = NMNIST(input_shape=(2, 4, 4), hidden=8, resize=None)
    data = [(torch.ones(5, 4, 2, 4, 4), torch.zeros(4, dtype=torch.int64))]
    widths = [
        {family.width for family in Subject(network, data, word_format=form).families}
        for form in ("int8", "float32")
    ]
    assert widths == [{8, 32}, {32}]


def test_a_softmax_does_not_depend_on_the_exponential_of_the_processor() -> None:
    from fi.network.readouts import SpikeCount

    counts = torch.tensor([[3.0, 25.0, 24.0, 0.0]])
    powers = [math.exp(count - 25.0) for count in counts[0].tolist()]
    wanted = torch.tensor([[power / math.fsum(powers) for power in powers]])
    assert torch.equal(SpikeCount().scores(counts), wanted)


def test_layers_that_couple_samples_under_a_fault_only_are_no_matter_of_differences() -> None:
    from fi.engine.differential.engine import DifferentialEngine
    from fi.models import NMNIST

    class Coupled(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x * (60 / x.abs().max().clamp_min(60))

    class Saturated(NMNIST):
        def stages(self):  # type: ignore[no-untyped-def]
            first, last = super().stages()
            return [type(first)([*first.modules, Coupled()], first.neuron), last]

    network = Saturated(input_shape=(2, 4, 4), hidden=8, resize=None).eval()
    events = (torch.rand(5, 4, 2, 4, 4, generator=torch.Generator().manual_seed(1)) < 0.4).float()
    before = network.fc1.weight.detach().clone()
    assert "a sample alone has other currents" in str(DifferentialEngine.why_not(network, events))
    assert torch.equal(network.fc1.weight, before)


def test_a_sample_that_depends_on_its_batch_is_no_matter_of_differences() -> None:
    from fi.engine.differential.engine import DifferentialEngine
    from fi.models import NMNIST

    class Normed(NMNIST):
        def stages(self):  # type: ignore[no-untyped-def]
            first, last = super().stages()
            norm = nn.BatchNorm1d(8, track_running_stats=False)
            return [type(first)([*first.modules, norm], first.neuron), last]

    network = Normed(input_shape=(2, 4, 4), hidden=8, resize=None).eval()
    events = (torch.rand(5, 4, 2, 4, 4, generator=torch.Generator().manual_seed(1)) < 0.4).float()
    assert DifferentialEngine.why_not(network) is None
    assert "stage 1: a sample alone has other currents" in str(
        DifferentialEngine.why_not(network, events)
    )
