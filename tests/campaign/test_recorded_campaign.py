"""Campaigns on networks whose forward is their own, on the stages recorded from it."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pandas as pd
import pytest
import snntorch as snn
import torch
import torch.nn.functional as F
from campaigns import Run
from small_networks import event_batches, small
from torch import Tensor, nn

from fi.base.errors import UserError
from fi.campaign.subject import Subject
from fi.campaign.verify import verify
from fi.faults.fault import Fault
from fi.models import CSNN, NMNIST
from fi.network.stages import SpikingNetwork
from fi.sampling.fault_draw import draw
from fi.sampling.plan import SamplingPlan

FRAME = (2, 14, 14)
ON_STAGES = "stage graph recorded from its forward"


class NmnistLoop(nn.Module):
    """The words of NMNIST in a loop of its own."""

    def __init__(self, twin: NMNIST) -> None:
        super().__init__()
        self.fc1, self.lif1, self.fc2, self.lif2 = twin.fc1, twin.lif1, twin.fc2, twin.lif2

    def forward(self, x: Tensor) -> Tensor:
        mem1, mem2 = self.lif1.init_leaky(), self.lif2.init_leaky()
        spikes = []
        for step in range(x.size(0)):
            spk1, mem1 = self.lif1(self.fc1(x[step].flatten(1)), mem1)
            spk2, mem2 = self.lif2(self.fc2(spk1), mem2)
            spikes.append(spk2)
        return torch.stack(spikes, dim=0)


class CsnnFunctional(nn.Module):
    """The words of CSNN, with pooling as a function."""

    def __init__(self, twin: CSNN) -> None:
        super().__init__()
        self.conv1, self.lif1 = twin.conv1, twin.lif1
        self.conv2, self.lif2 = twin.conv2, twin.lif2
        self.fc1, self.lif3 = twin.fc1, twin.lif3

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        mem1, mem2, mem3 = (lif.init_leaky() for lif in (self.lif1, self.lif2, self.lif3))
        spikes, membranes = [], []
        for frame in x:
            spk1, mem1 = self.lif1(F.max_pool2d(self.conv1(frame), 2), mem1)
            spk2, mem2 = self.lif2(F.max_pool2d(self.conv2(spk1), 2), mem2)
            spk3, mem3 = self.lif3(self.fc1(spk2.view(frame.size(0), -1)), mem3)
            spikes.append(spk3)
            membranes.append(mem3)
        return torch.stack(spikes), torch.stack(membranes)


def make_declared(kind: str) -> NMNIST | CSNN:
    """A network of this package with words of its own, whose scores are spike counts."""
    torch.manual_seed(5)
    options = {"input_shape": FRAME, "num_classes": 4, "resize": None, "softmax": False}
    network: NMNIST | CSNN
    if kind == "NMNIST":
        network = NMNIST(**options, hidden=12)
    else:
        network = CSNN(**options, channels=(3, 4), kernel=3)
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, (nn.Linear, nn.Conv2d)):
                module.weight.mul_(3.0)
    return network.eval()


def make_twin(declared: NMNIST | CSNN) -> nn.Module:
    twin = NmnistLoop(declared) if isinstance(declared, NMNIST) else CsnnFunctional(declared)
    return twin.eval()


def draw_faults(subject: Subject, transient: bool, sites: tuple[str, ...] = ("*",)) -> list[Fault]:
    plan = SamplingPlan(
        margin=0.04, models=("bit-flip", "stuck-at-1"), transient=transient, sites=sites
    )
    return draw(plan.space(subject.sites, subject.steps), plan)


def counts_of(results: pd.DataFrame) -> pd.DataFrame:
    return results[["Injection", *[c for c in results.columns if results[c].dtype.kind == "i"]]]


@pytest.mark.parametrize("transient", [False, True], ids=["permanent", "transient"])
@pytest.mark.parametrize("kind", ["NMNIST", "CSNN"])
def test_counts_are_those_of_the_declared_twin(
    campaign: Run, tmp_path: Path, kind: str, transient: bool
) -> None:
    declared = make_declared(kind)
    batches = event_batches(FRAME)
    subject = Subject(declared, batches)
    faults = draw_faults(subject, transient)
    wanted = campaign(subject, faults, engine="differential", output=tmp_path / "one").run()

    said: list[str] = []
    other = Subject(make_twin(declared), batches)
    assert [f.name for f in other.families] == [f.name for f in subject.families]
    run = campaign(other, faults, engine="differential", output=tmp_path / "two", say=said.append)
    found = run.run()
    stages = len(declared.stages())
    assert f"{ON_STAGES} ({stages} stages)" in run.why
    assert "in torch" not in run.why
    assert any(ON_STAGES in line for line in said)
    assert any("checked on the full engine" in line for line in said)
    pd.testing.assert_frame_equal(counts_of(found), counts_of(wanted))
    assert 20 < (found["fully_masked"] < 24).sum() < len(found)
    verified = verify(run, found, count=100, seed=1)
    assert verified.compared.differing == 0
    assert verified.wrong_rows == ()
    assert verified.compared.unmasked > 5


def test_auto_takes_the_recorded_stages_and_leaves_the_network_alone(
    campaign: Run, tmp_path: Path
) -> None:
    declared = make_declared("NMNIST")
    network = make_twin(declared)
    before = {key: value.clone() for key, value in network.state_dict().items()}
    subject = Subject(network, event_batches(FRAME))
    run = campaign(subject, draw_faults(subject, False)[:60], engine="auto", precision="64-true")
    run.run()
    assert run.engine.name == "differential"
    assert isinstance(subject.staged, SpikingNetwork)
    assert subject.staged is not subject.network
    assert subject.why_not_recorded == ""
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())


class Scaled(NmnistLoop):
    """The second layer is twice as strong from the fourth step on."""

    def forward(self, x: Tensor) -> Tensor:
        mem1, mem2 = self.lif1.init_leaky(), self.lif2.init_leaky()
        spikes = []
        for step in range(x.size(0)):
            spk1, mem1 = self.lif1(self.fc1(x[step].flatten(1)), mem1)
            current = self.fc2(spk1)
            spk2, mem2 = self.lif2(current * 2 if step > 2 else current, mem2)
            spikes.append(spk2)
        return torch.stack(spikes)


def test_what_has_no_stages_takes_the_full_engine_and_says_why(campaign: Run) -> None:
    network = Scaled(make_declared("NMNIST")).eval()
    subject = Subject(network, event_batches(FRAME))
    faults = draw_faults(subject, False)[:10]
    run = campaign(subject, faults, engine="auto")
    assert subject.staged is None
    said = "full engine, one fault a test run: lif2: it is another function at each step"
    assert run.why.startswith(said)
    assert len(run.run()) == 10
    with pytest.raises(UserError, match="--engine differential: lif2: it is another function"):
        campaign(subject, faults, engine="differential")


class Later(NmnistLoop):
    """Another network for batches in which there are many events: not seen in the first one."""

    def forward(self, x: Tensor) -> Tensor:
        if len(x.numpy()[x.numpy() > 8]):
            x = x * 0.5
        return super().forward(x)


class Odd(NmnistLoop):
    """Four samples are computed otherwise than any other number of them."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x * 0.5 if x.shape[1] == 4 else x)


def test_values_that_leave_torch_are_noticed(campaign: Run) -> None:
    subject = Subject(Later(make_declared("NMNIST")).eval(), event_batches(FRAME))
    assert subject.staged is None
    assert "numpy() reads values of signals" in subject.why_not_recorded


OTHER_SPIKES = (
    r"Odd: batch 2: the stage graph recorded from its forward gives other spikes of "
    r"lif1 at step \d; --engine full runs the network as it is"
)


def test_a_batch_on_which_the_graph_is_not_the_network_stops_the_campaign(campaign: Run) -> None:
    subject = Subject(Odd(make_declared("NMNIST")).eval(), event_batches(FRAME))
    run = campaign(subject, draw_faults(subject, False)[:10], engine="differential")
    with pytest.raises(UserError, match=OTHER_SPIKES):
        run.run()


def test_the_full_engine_takes_over_where_the_graph_is_not_the_network(
    campaign: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    subject = Subject(Odd(make_declared("NMNIST")).eval(), event_batches(FRAME))
    run = campaign(subject, draw_faults(subject, False)[:10], engine="auto")
    assert run.engine.name == "differential"
    found = run.run()
    assert re.search(
        f"warning: {OTHER_SPIKES}; the campaign goes on with it", capsys.readouterr().err
    )
    assert run.engine.name == "full"
    assert (
        "gives other spikes of lif1"
        in json.loads((run.folder / "summary.json").read_text())["engine_why"]
    )
    wanted = campaign(subject, run.faults, engine="full").run()
    pd.testing.assert_frame_equal(found, wanted)


class Stepping(nn.Module):
    """One step a call, states in a list of its own, a reset()."""

    def __init__(self) -> None:
        super().__init__()
        self.fc1, self.lif1 = nn.Linear(12, 8), snn.Leaky(beta=0.9)
        self.fc2, self.lif2 = nn.Linear(8, 4), snn.Synaptic(alpha=0.5, beta=0.8)
        self.states: list[Tensor] = []

    def reset(self) -> None:
        self.states = [self.lif1.reset_mem(), *self.lif2.reset_mem()]

    def forward(self, x: Tensor) -> Tensor:
        first, *others = self.states
        spk1, first = self.lif1(self.fc1(x), first)
        spk2, *others = self.lif2(self.fc2(spk1), *others)
        self.states = [first, *others]
        return spk2


@pytest.mark.parametrize("transient", [False, True], ids=["permanent", "transient"])
def test_one_step_a_call_runs_on_stages(campaign: Run, transient: bool) -> None:
    network = small(Stepping)
    with torch.no_grad():
        network.fc1.weight.mul_(3.0)
        network.fc2.weight.mul_(3.0)
    subject = Subject(network, event_batches((12,)))
    run = campaign(subject, draw_faults(subject, transient), engine="auto")
    results = run.run()
    assert ON_STAGES in run.why
    checked = verify(run, results, count=60, seed=2)
    assert checked.compared.differing == 0
    assert checked.compared.unmasked > 10


class Images(nn.Module):
    """An image, of which the forward makes the steps."""

    def __init__(self) -> None:
        super().__init__()
        self.fc1, self.lif1 = nn.Linear(12, 8), snn.Leaky(beta=0.9)
        self.fc2, self.lif2 = nn.Linear(8, 4), snn.Leaky(beta=0.8)

    def forward(self, image: Tensor) -> Tensor:
        mem1, mem2 = self.lif1.init_leaky(), self.lif2.init_leaky()
        spikes = []
        for _ in range(7):
            spk1, mem1 = self.lif1(self.fc1(image.flatten(1)), mem1)
            spk2, mem2 = self.lif2(self.fc2(spk1), mem2)
            spikes.append(spk2)
        return torch.stack(spikes)


@pytest.mark.parametrize("transient", [False, True], ids=["permanent", "transient"])
def test_images_run_on_stages(campaign: Run, transient: bool) -> None:
    batches = [(events[:2].transpose(0, 1), labels) for events, labels in event_batches((2, 3))]
    network = small(Images)
    with torch.no_grad():
        network.fc2.weight.mul_(3.0)
    subject = Subject(network, [(images.reshape(-1, 1, 3, 4), y) for images, y in batches])
    run = campaign(subject, draw_faults(subject, transient), engine="auto")
    results = run.run()
    assert ON_STAGES in run.why
    checked = verify(run, results, count=60, seed=2)
    assert checked.compared.differing == 0
    assert checked.compared.unmasked > 10


@pytest.mark.parametrize("transient", [False, True], ids=["permanent", "transient"])
def test_input_lines_are_those_of_the_events(campaign: Run, transient: bool) -> None:
    network = make_twin(make_declared("NMNIST"))
    subject = Subject(network, event_batches(FRAME))
    faults = draw_faults(subject, transient, ("input",))
    assert {fault.layer for fault in faults} == {"input"}
    run = campaign(subject, faults, engine="auto")
    results = run.run()
    assert ON_STAGES in run.why
    checked = verify(run, results, count=80, seed=2)
    assert checked.compared.differing == 0
    assert checked.compared.unmasked > 3


def test_batches_of_other_lengths_run_on_stages(campaign: Run) -> None:
    network = make_twin(make_declared("CSNN"))
    first, second, _ = event_batches(FRAME)
    subject = Subject(
        network, [first, (second[0][:4], second[1]), (second[0][:, :3], second[1][:3])]
    )
    run = campaign(subject, draw_faults(subject, False), engine="auto")
    results = run.run()
    assert ON_STAGES in run.why
    checked = verify(run, results, count=60, seed=2)
    assert checked.compared.differing == 0
    assert checked.compared.unmasked > 5


class IntegratedHead(nn.Module):
    """A linear head on the spikes of each step, added up."""

    def __init__(self) -> None:
        super().__init__()
        self.fc1, self.lif1 = nn.Linear(12, 8), snn.Leaky(beta=0.9)
        self.head = nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        membrane, out = self.lif1.init_leaky(), 0
        for frame in x:
            spikes, membrane = self.lif1(self.fc1(frame), membrane)
            out = out + self.head(spikes)
        return out


def test_a_head_without_neurons_is_a_stage(campaign: Run) -> None:
    network = small(IntegratedHead)
    with torch.no_grad():
        network.fc1.weight.mul_(3.0)
    subject = Subject(network, event_batches((12,)))
    run = campaign(subject, draw_faults(subject, False), engine="auto")
    results = run.run()
    assert f"{ON_STAGES} (2 stages)" in run.why
    checked = verify(run, results, count=60, seed=2)
    assert checked.compared.differing == 0
    assert checked.compared.unmasked > 100


def test_a_head_that_no_neuron_ends_has_no_steps_on_stages(campaign: Run) -> None:
    subject = Subject(small(IntegratedHead), event_batches((12,)))
    head = draw_faults(subject, True, ("head.*",))[:5]
    others = draw_faults(subject, True, ("fc1.*",))[:5]
    assert campaign(subject, others, engine="auto").engine.name == "differential"
    assert (
        "head.weight is read after the last neuron of a step"
        in campaign(subject, head, engine="auto").why
    )
