"""Networks as people write them: the recorded graph is theirs, bit for bit."""

from __future__ import annotations

import random
from collections.abc import Callable

import numpy as np
import pytest
import snntorch as snn
import torch
from torch import Tensor, nn
from users_networks import (
    USERS_NETWORKS,
    BatchFirst,
    CalledOnce,
    HandWrittenRecurrence,
    LargestMembrane,
    LastMembrane,
    ListsOfLayers,
    PoolingLoop,
    Recurrent,
    Residual,
    StaticImage,
    TwoBranches,
    Vgg,
    draw_events,
    make_users_network,
    sequential,
)

from fi.network.batch_forms import Layout
from fi.network.foreign import Adapter
from fi.network.neurons import spiking_neurons
from fi.network.readouts import MaxMembrane, SpikeCount
from fi.network.recorder.checking import SpikeDigest, compare, why_not_the_same
from fi.network.recorder.expression.replay import Passive, Replay
from fi.network.recorder.folds import RecordedCount, RecordedLast, RecordedSteps, RecordedSum
from fi.network.recorder.record import record
from fi.network.recorder.recorded_network import RecordedNetwork
from fi.store.identity import weights_hash

Kind = Callable[[], nn.Module]
#: Network -> what its stages are of: modules, neuron, sources (``None``: events), merge, readout.
STRUCTURE: dict[Kind, list[str]] = {
    PoolingLoop: [
        "Conv2d MaxPool2d -> lif1 of events",
        "Conv2d MaxPool2d -> lif2 of lif1",
        "Flatten Linear -> lif3 of lif2",
        "SpikeCount",
    ],
    Residual: [
        "Conv2d BatchNorm2d -> lif0 of events",
        "Conv2d BatchNorm2d -> lif1 of lif0",
        "Conv2d BatchNorm2d -> lif2 of lif1",
        "AvgPool2d Flatten Linear -> lif3 of lif2 add lif0",
        "SpikeCount",
    ],
    Recurrent: ["Linear -> lif1 of events", "Linear -> lif2 of lif1", "SpikeCount"],
    StaticImage: ["Flatten Linear -> lif1 of events", "Linear -> lif2 of lif1", "SpikeCount"],
    sequential: [
        "Conv2d -> 1 of events",
        "MaxPool2d Conv2d -> 4 of 1",
        "MaxPool2d Flatten Linear -> 8 of 4",
        "SpikeCount",
    ],
    ListsOfLayers: [
        "Linear -> lifs.0 of events",
        "Linear -> lifs.1 of lifs.0",
        "Linear -> lifs.2 of lifs.1",
        "SpikeCount",
    ],
    Vgg: [
        "Standardised -> lif1 of events",
        "Scale AvgPool2d Standardised -> lif2 of lif1",
        "Scale AdaptiveAvgPool2d Flatten Linear -> Passive of lif2",
        "RecordedSteps",
    ],
    HandWrittenRecurrence: [
        "Linear -> lif1 of events, Linear back",
        "Linear -> lif2 of lif1",
        "SpikeCount",
    ],
    CalledOnce: ["Conv2d -> lif1 of events", "Flatten Linear -> lif2 of lif1", "SpikeCount"],
    BatchFirst: ["Linear -> lif1 of events", "Linear -> lif2 of lif1", "SpikeCount"],
    LastMembrane: ["Linear -> lif1 of events", "Linear -> out of lif1", "RecordedLast"],
    LargestMembrane: ["Linear -> lif1 of events", "Linear -> out of lif1", "MaxMembrane"],
    TwoBranches: [
        "Conv2d -> lif1 of events",
        "Conv2d -> lif2 of lif1",
        "Replay -> lif3 of lif1 concatenate lif2",
        "Flatten Linear -> lif_a of lif3",
        "Replay Flatten Linear -> lif_b of lif3",
        "Linear -> lif4 of lif_a concatenate lif_b",
        "RecordedCount",
    ],
}
NAMES = [kind.__name__ for kind in USERS_NETWORKS]


def take(kind: Kind, events: Tensor | None = None, **options: object) -> tuple[Adapter, Tensor]:
    """An adapter that knows how the network is called, and the events it learnt it from."""
    network = make_users_network(kind)
    static = kind is StaticImage
    if events is None:
        events = draw_events(USERS_NETWORKS[kind], 8, seed=0, steps=1 if static else 6)
    adapter = Adapter(network, **options)  # type: ignore[arg-type]
    layout = Layout.STATIC if static else Layout.TIME_FIRST
    adapter.find_form(events[0] if static else events, [layout])
    return adapter, events


def describe(recorded: RecordedNetwork) -> list[str]:
    """The stages in words, and the readout."""
    names = {id(neuron): name for name, neuron in spiking_neurons(recorded).items()}
    lines = []
    for stage in recorded.stages():
        sources = ["events" if s is None else names[id(s)] for s in stage.sources]
        modules = " ".join(type(module).__name__ for module in stage.modules)
        neuron = names.get(id(stage.neuron), type(stage.neuron).__name__)
        back = f", {type(stage.recurrent).__name__} back" if stage.recurrent else ""
        lines.append(f"{modules} -> {neuron} of {f' {stage.merge} '.join(sources)}{back}")
    return [*lines, type(recorded.readout).__name__]


@pytest.mark.parametrize("kind", USERS_NETWORKS, ids=NAMES)
def test_spikes_and_scores_are_the_networks_own_on_other_data(kind: Kind) -> None:
    adapter, events = take(kind)
    recorded = record(adapter.network, adapter, events)
    for batch, seed in ((1, 5), (7, 6), (6, 7), (16, 8)):
        fresh = draw_events(USERS_NETWORKS[kind], batch, seed, steps=len(events))
        assert why_not_the_same(recorded, adapter, fresh) is None
        with torch.no_grad():
            assert torch.allclose(recorded(fresh), adapter(fresh), rtol=1e-5, atol=1e-5)
            assert batch == 1 or len(adapter(fresh).unique()) > 1  # not all silent


@pytest.mark.parametrize("kind", USERS_NETWORKS, ids=NAMES)
def test_the_graph_has_the_structure_of_the_forward(kind: Kind) -> None:
    adapter, events = take(kind)
    assert describe(record(adapter.network, adapter, events)) == STRUCTURE[kind]


@pytest.mark.parametrize("kind", USERS_NETWORKS, ids=NAMES)
def test_recording_leaves_the_network_and_random_numbers_as_they_were(kind: Kind) -> None:
    adapter, events = take(kind)
    network, given = adapter.network, events.clone()
    before = weights_hash(network), torch.get_rng_state(), random.getstate()
    states = {name: neuron.mem.clone() for name, neuron in spiking_neurons(network).items()}
    hooks = [len(module._forward_hooks) for module in network.modules()]
    call, numbers = nn.Module.__call__, np.random.get_state()[1]
    record(network, adapter, events)
    assert weights_hash(network) == before[0]
    assert torch.equal(torch.get_rng_state(), before[1])
    assert random.getstate() == before[2]
    assert (np.random.get_state()[1] == numbers).all()
    assert torch.equal(events, given)
    assert nn.Module.__call__ is call
    assert [len(module._forward_hooks) for module in network.modules()] == hooks
    for name, neuron in spiking_neurons(network).items():
        assert torch.equal(neuron.mem, states[name])


@pytest.mark.parametrize("kind", USERS_NETWORKS, ids=NAMES)
def test_the_same_graph_is_recorded_twice(kind: Kind) -> None:
    adapter, events = take(kind)
    twice = [record(adapter.network, adapter, events) for _ in range(2)]
    assert repr([s.modules for s in twice[0].stages()]) == repr(
        [s.modules for s in twice[1].stages()]
    )


def test_the_words_are_those_of_the_network_under_its_names() -> None:
    adapter, events = take(PoolingLoop)
    network = adapter.network
    recorded = record(network, adapter, events)
    assert dict(recorded.named_parameters()) == dict(network.named_parameters())
    assert recorded.get_submodule("conv1") is network.conv1
    assert recorded.stages()[0].modules[0] is network.conv1
    with torch.no_grad():
        before = recorded(events)
        network.fc1.bias += 2.0
        assert torch.equal(recorded(events), adapter(events))
        assert not torch.equal(recorded(events), before)


@pytest.mark.parametrize("kind", [TwoBranches, Vgg, CalledOnce])
def test_float64_is_followed(kind: Kind) -> None:
    adapter, events = take(kind)
    recorded = record(adapter.network, adapter, events)
    adapter.network.double()
    fresh = draw_events(USERS_NETWORKS[kind], 4, 9).double()
    assert why_not_the_same(recorded, adapter, fresh) is None


def test_batches_of_other_lengths_are_taken() -> None:
    adapter, events = take(PoolingLoop)
    recorded = record(adapter.network, adapter, events)
    for steps in (1, 3, 11):
        fresh = draw_events(USERS_NETWORKS[PoolingLoop], 4, 9, steps)
        assert why_not_the_same(recorded, adapter, fresh) is None


@pytest.mark.parametrize("steps", [1, 2, 3, 4])
def test_few_steps_suffice(steps: int) -> None:
    adapter, events = take(PoolingLoop, draw_events((2, 12, 12), 5, 0, steps))
    recorded = record(adapter.network, adapter, events)
    assert describe(recorded)[:-1] == STRUCTURE[PoolingLoop][:-1]
    assert why_not_the_same(recorded, adapter, draw_events((2, 12, 12), 3, 4, steps)) is None


def test_many_steps_of_a_running_sum_are_no_deeper_than_python_goes() -> None:
    adapter, events = take(Residual, draw_events((2, 10, 10), 2, 0, 150))
    recorded = record(adapter.network, adapter, events)
    assert describe(recorded) == STRUCTURE[Residual]


@pytest.mark.parametrize(
    ("readout", "kind"),
    [
        ("count", SpikeCount),
        ("mean", RecordedCount),
        ("population:2", RecordedCount),
        ("membrane-last", RecordedLast),
        ("membrane-max", MaxMembrane),
    ],
)
def test_readouts_that_are_asked_for(readout: str, kind: type) -> None:
    adapter, events = take(PoolingLoop, readout=readout)
    recorded = record(adapter.network, adapter, events)
    assert type(recorded.readout) is kind
    if kind is RecordedCount:
        assert type(recorded.readout).accumulate is SpikeCount.accumulate
    for batch in (3, 8):
        fresh = draw_events((2, 12, 12), batch, 11)
        assert why_not_the_same(recorded, adapter, fresh) is None


def test_a_digest_tells_the_neuron_and_the_step() -> None:
    adapter, events = take(PoolingLoop)
    recorded = record(adapter.network, adapter, events)
    digest = SpikeDigest()
    with torch.no_grad(), digest.watching(adapter.network):
        scores = adapter(events)
    assert compare(recorded, digest, scores, events) is None
    assert compare(recorded, digest, scores + 1, events) == "scores"
    other = events.clone()
    other[3:] = 1 - other[3:]
    said = compare(recorded, digest, scores, other)
    assert said is not None
    assert said.startswith("spikes of lif")
    assert said.endswith(("step 3", "step 4", "step 5"))


def test_a_graph_that_is_not_the_networks_is_found_out() -> None:
    adapter, events = take(PoolingLoop)
    recorded = record(adapter.network, adapter, events)
    recorded.stages()[1].modules  # noqa: B018
    first, *others = recorded.stages()
    wrong = type(first)([first.modules[0], nn.AvgPool2d(2)], first.neuron, sources=(None,))
    changed = RecordedNetwork(adapter.network, [wrong, *others], recorded.readout, None)
    assert "spikes of lif1 at step" in str(why_not_the_same(changed, adapter, events))


class Passing(nn.Module):
    """Two sources of another shape, a head on both, and words that a function reads."""

    def __init__(self) -> None:
        super().__init__()
        self.fc1, self.lif1 = nn.Linear(12, 8), snn.Leaky(beta=0.9)
        self.conv, self.lif2 = nn.Conv1d(1, 3, 3), snn.Leaky(beta=0.9)
        self.gate = nn.Linear(8, 18)
        self.lif3 = snn.Leaky(beta=0.9)
        self.fc4, self.lif4 = nn.Linear(18, 4), snn.Leaky(beta=0.9)

    def forward(self, x: Tensor) -> Tensor:
        m1, m2 = self.lif1.init_leaky(), self.lif2.init_leaky()
        m3, m4 = self.lif3.init_leaky(), self.lif4.init_leaky()
        out = torch.zeros(x.size(1), 4)
        for t in range(len(x)):
            s1, m1 = self.lif1(nn.functional.linear(x[t], self.fc1.weight, self.fc1.bias), m1)
            s2, m2 = self.lif2(self.conv(s1[:, None]), m2)
            drive = 1.5 * s2.flatten(1) + torch.sigmoid(self.gate(s1)) - 0.1
            s3, m3 = self.lif3(drive, m3)
            s4, m4 = self.lif4(self.fc4(s3), m4)
            out += s4
        return out


def test_sources_of_other_shapes_are_split_again() -> None:
    network = make_users_network(Passing)
    adapter, events = Adapter(network), draw_events((12,), 6, 0)
    adapter(events)
    recorded = record(network, adapter, events)
    assert describe(recorded) == [
        "Replay -> lif1 of events",
        "Unflatten Conv1d -> lif2 of lif1",
        "Replay Replay -> lif3 of lif2 concatenate lif1",
        "Linear -> lif4 of lif3",
        "SpikeCount",
    ]
    third = recorded.stages()[2].modules[0]
    assert isinstance(third, Replay)
    assert network.gate in set(third.modules())
    assert network.fc1 in set(recorded.stages()[0].modules[0].modules())
    for batch in (1, 5):
        assert why_not_the_same(recorded, adapter, draw_events((12,), batch, 3)) is None


def _add_in_place(spikes: Tensor, x: Tensor) -> Tensor:
    spikes += x
    return spikes


#: What a block makes of its spikes and of what came in.
SHORTCUTS: list[Callable[[Tensor, Tensor], Tensor]] = [
    lambda spikes, x: spikes + x,
    lambda spikes, x: x + spikes,
    lambda spikes, x: torch.add(spikes, x),
    lambda spikes, x: sum([spikes, x]),  # type: ignore[arg-type,return-value]
    _add_in_place,
]


class Blocks(nn.Module):
    """Three blocks with a shortcut each: what the last one gives is a sum of a sum of a sum."""

    def __init__(self, add: Callable[[Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.add = add
        self.layers = nn.ModuleList(nn.Linear(12, 12) for _ in range(4))
        self.neurons = nn.ModuleList(snn.Leaky(beta=0.9) for _ in range(4))
        self.head, self.last = nn.Linear(12, 4), snn.Leaky(beta=0.9)

    def forward(self, events: Tensor) -> Tensor:
        states = [neuron.init_leaky() for neuron in (*self.neurons, self.last)]
        out = []
        for x in events:
            x, states[0] = self.neurons[0](self.layers[0](x), states[0])
            for n in range(1, 4):
                spikes, states[n] = self.neurons[n](self.layers[n](x), states[n])
                x = self.add(spikes, x)
            spikes, states[4] = self.last(self.head(x), states[4])
            out.append(spikes)
        return torch.stack(out)


@pytest.mark.parametrize("add", SHORTCUTS)
def test_a_shortcut_of_shortcuts_is_one_sum(add: Callable[[Tensor, Tensor], Tensor]) -> None:
    """However it is written: else the stages behind would be functions that no kernel knows."""
    network = make_users_network(lambda: Blocks(add))
    adapter, events = Adapter(network), draw_events((12,), 6, 0)
    adapter(events)
    recorded = record(network, adapter, events)
    sources = [f"neurons.{n}" for n in range(4)]
    seen, *stages = [line.partition(" of ")[2] for line in describe(recorded)[:-1]]
    assert seen == "events"
    assert [set(stage.split(" add ")) for stage in stages] == [
        set(sources[:n]) for n in range(1, 5)
    ]
    assert all(line.startswith("Linear -> ") for line in describe(recorded)[:-1])
    for batch in (1, 5):
        assert why_not_the_same(recorded, adapter, draw_events((12,), batch, 3)) is None
    # spikes that a fault makes huge: the order of summation shows
    drawn = torch.Generator().manual_seed(2)
    values = [10.0**power * torch.randn(5, 12, generator=drawn) for power in (8, 0, 7, 1)]
    wanted = values[0].clone()
    for value in values[1:]:
        wanted = add(value.clone(), wanted)
    last = recorded.stages()[-1]
    named = {id(neuron): name for name, neuron in spiking_neurons(recorded).items()}
    order = [values[sources.index(named[id(neuron)])] for neuron in last.sources]
    assert torch.equal(last.merge_sources(order, 1), wanted)
    assert not torch.equal(sum(reversed(values)), wanted)  # type: ignore[arg-type]


def test_a_layer_without_neurons_is_a_stage_that_is_read_out() -> None:
    adapter, events = take(Vgg)
    recorded = record(adapter.network, adapter, events)
    last = recorded.stages()[-1]
    assert isinstance(last.neuron, Passive)
    assert last.neuron not in set(adapter.network.modules())
    assert isinstance(recorded.readout, RecordedSteps)
    (*_, activity) = recorded.activities(events)
    assert torch.equal(activity.spikes[2], activity.states[2]["mem"])


class Spare(PoolingLoop):
    """A layer and a neuron that no inference calls."""

    def __init__(self) -> None:
        super().__init__()
        self.spare, self.lif9 = nn.Linear(3, 3), snn.RLeaky(beta=0.9, linear_features=3)


def test_modules_that_no_inference_reads_are_told() -> None:
    network = make_users_network(Spare)
    adapter, events = Adapter(network), draw_events((2, 12, 12), 6, 0)
    adapter(events)
    idle = record(network, adapter, events).idle
    assert {"spare", "lif9"} <= idle
    assert not {"conv1", "fc1", "lif3"} & idle


class Graded(LastMembrane):
    """Spikes of 0.3, in another order of summation than step by step."""

    def __init__(self) -> None:
        super().__init__()
        self.out = snn.Leaky(beta=0.8, graded_spikes_factor=0.3)

    def forward(self, x: Tensor) -> Tensor:
        mem1, mem2, out = self.lif1.init_leaky(), self.out.init_leaky(), []
        for step in x:
            spk1, mem1 = self.lif1(self.fc1(step), mem1)
            spk2, mem2 = self.out(self.fc2(spk1), mem2)
            out.append(spk2)
        return torch.stack(out)


def test_spikes_that_are_no_whole_numbers_keep_their_order_of_summation() -> None:
    network = make_users_network(Graded)
    adapter, events = Adapter(network, "count"), draw_events((12,), 6, 0, steps=25)
    recorded = (adapter(events), record(network, adapter, events))[1]
    assert isinstance(recorded.readout, RecordedSteps)
    for batch in (2, 9):
        fresh = draw_events((12,), batch, 3, steps=25)
        assert why_not_the_same(recorded, adapter, fresh) is None


class GradedBoth(Graded):
    """Spikes and membranes are returned."""

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        spikes = super().forward(x)
        return spikes, spikes * 0


@pytest.mark.parametrize("kind", [Graded, GradedBoth])
def test_a_stack_of_any_number_of_steps_is_summed(kind: Kind) -> None:
    network = make_users_network(kind)
    adapter, events = Adapter(network, "count"), draw_events((12,), 6, 0, steps=6)
    recorded = (adapter(events), record(network, adapter, events))[1]
    assert isinstance(recorded.readout, RecordedSteps)
    for steps in (3, 8, 9):
        fresh = draw_events((12,), 4, 3, steps=steps)
        assert why_not_the_same(recorded, adapter, fresh) is None


class Weighted(LastMembrane):
    """Later steps count more."""

    def forward(self, x: Tensor) -> Tensor:
        mem1, mem2, out = self.lif1.init_leaky(), self.out.init_leaky(), []
        for step in x:
            spk1, mem1 = self.lif1(self.fc1(step), mem1)
            _, mem2 = self.out(self.fc2(spk1), mem2)
            out.append(mem2)
        return sum(mem * 0.5 ** (len(x) - t) for t, mem in enumerate(out))


def test_scores_of_other_numbers_of_steps_that_are_not_known_are_told() -> None:
    network = make_users_network(Weighted)
    adapter, events = Adapter(network), draw_events((12,), 6, 0, steps=6)
    recorded = (adapter(events), record(network, adapter, events))[1]
    assert why_not_the_same(recorded, adapter, draw_events((12,), 4, 3, steps=6)) is None
    reason = why_not_the_same(recorded, adapter, draw_events((12,), 4, 3, steps=8))
    assert reason == "scores: it was recorded for 6 steps, not 8"


class SummedMembranes(LastMembrane):
    """A running sum of membranes."""

    def forward(self, x: Tensor) -> Tensor:
        mem1, mem2, out = self.lif1.init_leaky(), self.out.init_leaky(), 0
        for step in x:
            spk1, mem1 = self.lif1(self.fc1(step), mem1)
            _, mem2 = self.out(self.fc2(spk1), mem2)
            out = out + mem2
        return torch.log_softmax(out / len(x), dim=1)


def test_a_running_sum_of_membranes_is_a_fold() -> None:
    network = make_users_network(SummedMembranes)
    adapter, events = Adapter(network), draw_events((12,), 6, 0)
    recorded = (adapter(events), record(network, adapter, events))[1]
    assert isinstance(recorded.readout, RecordedSum)
    for batch in (2, 9):
        assert why_not_the_same(recorded, adapter, draw_events((12,), batch, 3)) is None


class Integrating(nn.Module):
    """A head whose currents decay."""

    def __init__(self) -> None:
        super().__init__()
        self.fc1, self.lif1 = nn.Linear(12, 8), snn.Leaky(beta=0.9)
        self.head = nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        mem1, out = self.lif1.init_leaky(), 0
        for step in x:
            spk1, mem1 = self.lif1(self.fc1(step), mem1)
            out = 0.9 * out + self.head(spk1)
        return out


class Auxiliary(Integrating):
    """Spikes, and a head on those of another layer, added up."""

    def __init__(self) -> None:
        super().__init__()
        self.fc2, self.lif2 = nn.Linear(8, 4), snn.Leaky(beta=0.8)

    def forward(self, x: Tensor) -> Tensor:
        mem1, mem2, out = self.lif1.init_leaky(), self.lif2.init_leaky(), 0
        for step in x:
            spk1, mem1 = self.lif1(self.fc1(step), mem1)
            spk2, mem2 = self.lif2(self.fc2(spk1), mem2)
            out = out + spk2 + self.head(spk1)
        return out


class Gated(Integrating):
    """The counts of two layers of other sizes, in a product."""

    def __init__(self) -> None:
        super().__init__()
        self.fc2, self.lif2 = nn.Linear(8, 4), snn.Leaky(beta=0.8)

    def forward(self, x: Tensor) -> Tensor:
        mem1, mem2, out, hidden = self.lif1.init_leaky(), self.lif2.init_leaky(), [], []
        for step in x:
            spk1, mem1 = self.lif1(self.fc1(step), mem1)
            spk2, mem2 = self.lif2(self.fc2(spk1), mem2)
            out.append(spk2)
            hidden.append(spk1)
        return torch.stack(out).sum(0) * torch.stack(hidden).sum((0, 2))[:, None]


@pytest.mark.parametrize(
    ("kind", "last"),
    [
        (Gated, "Identity -> Passive of lif2 concatenate lif1"),
        (Integrating, "Linear -> Passive of lif1"),
        (Auxiliary, "Replay -> Passive of lif2 concatenate lif1"),
    ],
)
def test_heads_of_any_fold_are_a_stage(kind: Kind, last: str) -> None:
    network = make_users_network(kind)
    adapter, events = Adapter(network), draw_events((12,), 6, 0)
    recorded = (adapter(events), record(network, adapter, events))[1]
    assert describe(recorded)[-2:] == [last, "RecordedSteps"]
    for batch in (1, 9):
        assert why_not_the_same(recorded, adapter, draw_events((12,), batch, 3)) is None
