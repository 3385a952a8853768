"""What no stage graph follows from is refused, in one line that names what and why."""

from __future__ import annotations

import pytest
import snntorch as snn
import torch
from torch import Tensor, nn
from users_networks import draw_events, make_users_network

from fi.network.foreign import Adapter
from fi.network.recorder.expression.expressions import NotRecordable
from fi.network.recorder.record import record

#: The loop of a network of two layers, with holes for what is unusual in it.
LOOP = """
m1, m2, out = self.lif1.init_leaky(), self.lif2.init_leaky(), []
{before}
for t in range(len(x)):
    c = self.fc1(x[t])
    {current}
    s1, m1 = self.lif1(c, m1)
    {between}
    s2, m2 = self.lif2(self.fc2(s1), m2)
    {after}
    out.append(s2)
"""
RETURN = "result = torch.stack(out)"
REFUSED = {
    "a neuron twice a step": (
        {"between": "s1, m1 = self.lif1(s1, m1)"},
        "lif1 is called 12 times in 6 steps: a stage calls its neuron once a step",
    ),
    "another function at one step": (
        {"current": "c = c * 2 if t == 3 else c"},
        "lif1: it is another function at each step",
    ),
    "a number that changes": (
        {"current": "c = c * 0.9**t"},
        "lif1: a number in it is another one at each step",
    ),
    "a norm for each step": (
        {"current": "c = self.norms[t](c)"},
        "lif1: it is another BatchNorm1d at each step (norms.0 and norms.4)",
    ),
    "states clamped": (
        {"after": "m1 = m1.clamp(-1, 1)"},
        "lif1: the mem of call 2 is not what its call before has left",
    ),
    "states changed in place": (
        {"after": "self.lif1.mem.clamp_(-1, 1)"},
        "lif1: clamp_() changes its mem in place",
    ),
    "states begin elsewhere": (
        {"before": "m1 = torch.full((x.shape[1], 8), 0.5)"},
        "lif1 starts with a mem that is not zero",
    ),
    "states shared": (
        {"between": "m2 = m1[:, :4] * 2"},
        "lif2 starts with a mem that is not zero",
    ),
    "random numbers": ({"current": "c = c + torch.rand_like(c)"}, "rand_like() draws random"),
    "dropout left on": (
        {"current": "c = nn.functional.dropout(c, 0.5)"},
        "dropout() draws random numbers",
    ),
    "control flow on values": (
        {"current": "c = -c if c.sum() > 100 else c"},
        "__bool__() reads values of signals",
    ),
    "values that leave torch": (
        {"current": "c = c + c.detach().mean().item()"},
        "item() reads values of signals",
    ),
    "membranes passed on": ({"between": "s1 = m1"}, "lif2: it reads mem of lif1, no spikes"),
    "feedback from above": (
        {"before": "s2 = torch.zeros(x.shape[1], 4)", "current": "c = c + self.back(s2)"},
        "lif1: it is driven by spk of lif2, 1 steps before",
    ),
    "a product with feedback": (
        {"before": "s1 = torch.zeros(x.shape[1], 8)", "current": "c = c * (1 + s1)"},
        "lif1: its spikes come back otherwise than added to what drives it",
    ),
    "the events of the step before": (
        {"current": "c = c + self.fc1(x[t - 1])"},
        "lif1: what drives it depends on the step, or on several steps",
    ),
    "a word for each step": (
        {"current": "c = c * self.factors[t]"},
        "lif1: it reads another part of factors at each step",
    ),
    "samples that depend on one another": (
        {"current": "c = c - c.mean(0)"},
        "lif1: what drives a sample depends on the others in its batch",
    ),
    "all events at once": (
        {"current": "c = c + x.mean(0).sum(1, keepdim=True)"},
        "lif1: what drives it depends on the step, or on several steps",
    ),
    "words changed in the forward": (
        {"before": "self.fc1.weight.data.clamp_(-1, 1)"},
        "clamp_() changes fc1.weight in place",
    ),
    "a word of its own after the last step": (
        {"result": "result = torch.stack(out).sum(0) * self.factors[0]"},
        "factors is read after the last step, by no module of its own",
    ),
    "states of two neurons": (
        {
            "before": "hidden = []",
            "after": "hidden.append(m1)",
            "result": "result = torch.stack(out).sum(0) * torch.stack(hidden).sum((0, 2))[:, None]",
        },
        "it reads mem of lif1, no spikes",
    ),
    "scores of two steps at once": (
        {"result": "result = sum(out[t] * out[t - 1] * s1[:, :4] for t in range(len(out)))"},
        "the scores are no function of what one layer does at each step",
    ),
}


def make(holes: dict[str, str]) -> nn.Module:
    """A network with that in its loop."""
    source = LOOP.format(
        **{
            name: holes.get(name, "pass").replace("\n", "\n    ")
            for name in ("before", "current", "between", "after")
        }
    ) + holes.get("result", RETURN)

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc1, self.lif1 = nn.Linear(12, 8), snn.Leaky(beta=0.9)
            self.fc2, self.lif2 = nn.Linear(8, 4), snn.Leaky(beta=0.8)
            self.back, self.last = nn.Linear(4, 8), nn.Linear(4, 4)
            self.factors = nn.Parameter(torch.linspace(0.5, 1.5, 6))
            self.norms = nn.ModuleList(nn.BatchNorm1d(8) for _ in range(6))

        def forward(self, x: Tensor) -> Tensor:
            scope = {"self": self, "x": x, "torch": torch, "nn": nn}
            exec(source, scope)
            result = scope["result"]
            assert isinstance(result, Tensor)
            return result

    return make_users_network(Net)


def try_recording(network: nn.Module) -> None:
    adapter, events = Adapter(network), draw_events((12,), 8, 0)
    adapter(events)
    record(network, adapter, events)


def test_the_plain_loop_is_recorded() -> None:
    try_recording(make({}))


@pytest.mark.parametrize("kind", REFUSED)
def test_it_is_refused_in_a_line_that_says_why(kind: str) -> None:
    holes, said = REFUSED[kind]
    with pytest.raises(NotRecordable) as refused:
        try_recording(make(holes))
    assert said in str(refused.value)
    assert "\n" not in str(refused.value)


def test_one_neuron_for_two_layers_is_refused() -> None:
    holes = {"between": "s1b, m1 = self.lif1(self.fc1(x[t]) + s1, m1)"}
    with pytest.raises(NotRecordable, match="lif1 is called 12 times in 6 steps"):
        try_recording(make(holes))


class Adding(nn.Module):
    """A layer that adds up all that it has seen."""

    def __init__(self) -> None:
        super().__init__()
        self.seen = torch.zeros(())

    def forward(self, x: Tensor) -> Tensor:
        self.seen = self.seen + x.sum()
        return x + 0.001 * self.seen


def test_a_layer_that_keeps_something_is_refused() -> None:
    network = make({"current": "c = self.adding(c)"})
    network.adding = Adding()
    with pytest.raises(NotRecordable, match=r"adding\.seen is changed by an inference"):
        try_recording(network)


def test_the_network_is_left_as_it_was_when_it_is_refused() -> None:
    network = make({"before": "m1 = torch.full((x.shape[1], 8), 0.5)"})
    call = nn.Module.__call__
    with pytest.raises(NotRecordable):
        try_recording(network)
    assert nn.Module.__call__ is call
    assert not network.lif1.mem.numel()


class FedElsewhere(nn.Module):
    """Recurrent neurons that are given back what a wrapper has made of their spikes."""

    def __init__(self) -> None:
        super().__init__()
        self.fc1, self.lif1 = nn.Linear(12, 4), snn.RLeaky(beta=0.9, linear_features=4)
        fire = self.lif1.forward
        self.lif1.forward = lambda *given: (fire(*given)[0].clamp(0, 1), self.lif1.mem)

    def forward(self, x: Tensor) -> Tensor:
        spikes, membrane = self.lif1.init_rleaky()
        out = []
        for step in x:
            spikes, membrane = self.lif1(self.fc1(step), spikes, membrane)
            out.append(spikes)
        return torch.stack(out).sum(0)


def test_spikes_that_are_fed_back_are_those_that_the_neuron_keeps() -> None:
    """A fault in the output would reach the next step in the one and not in the other."""
    network = make_users_network(FedElsewhere)
    with pytest.raises(
        NotRecordable, match="lif1 is fed with other spikes than those that it keeps"
    ):
        try_recording(network)
