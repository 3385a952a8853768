"""Modules that are called but change no score: their faults are masked, on the recorded stages."""

from __future__ import annotations

import pytest
import snntorch as snn
import torch
from campaigns import Run
from small_networks import event_batches, small
from torch import Tensor, nn

from fi.base.errors import UserError
from fi.campaign.subject import Subject
from fi.campaign.verify import verify
from fi.faults.fault import Fault
from fi.sampling.fault_draw import draw
from fi.sampling.plan import SamplingPlan

IDLE = ("aux.weight", "aux.bias", "watch.weight", "lif3.beta", "lif3.potential", "lif3.spike")


class Idle(nn.Module):
    """An auxiliary head that nobody reads, and a neuron with its synapse whose spikes go nowhere.

    The last neuron that is called is the idle one.
    """

    def __init__(self) -> None:
        super().__init__()
        self.fc1, self.lif1 = nn.Linear(12, 8), snn.Leaky(beta=0.9)
        self.fc2, self.lif2 = nn.Linear(8, 4), snn.Leaky(beta=0.8)
        self.aux = nn.Linear(8, 3)
        self.watch, self.lif3 = nn.Linear(4, 4), snn.RLeaky(beta=0.8, linear_features=4)

    def forward(self, x: Tensor) -> Tensor:
        mem1, mem2 = self.lif1.init_leaky(), self.lif2.init_leaky()
        spk3, mem3 = self.lif3.init_rleaky()
        spikes, others = [], []
        for step in range(x.size(0)):
            spk1, mem1 = self.lif1(self.fc1(x[step]), mem1)
            spk2, mem2 = self.lif2(self.fc2(spk1), mem2)
            others.append(self.aux(spk1))
            spk3, mem3 = self.lif3(self.watch(mem2) ** 2, spk3, mem3)
            spikes.append(spk2)
        self.seen = torch.stack(others).sum(0)
        return torch.stack(spikes)


def make(kind: type[nn.Module]) -> nn.Module:
    network = small(kind)
    with torch.no_grad():
        network.fc1.weight.mul_(3.0)
        network.fc2.weight.mul_(3.0)
    return network


@pytest.mark.parametrize("transient", [False, True], ids=["permanent", "transient"])
def test_faults_in_what_changes_no_score_are_masked(campaign: Run, transient: bool) -> None:
    subject = Subject(make(Idle), event_batches((12,)))
    plan = SamplingPlan(margin=0.15, models=("bit-flip", "stuck-at-1"), transient=transient,
                        scheme="layer-wise")  # fmt: skip
    faults = draw(plan.space(subject.sites, subject.steps), plan)
    assert {*IDLE, "lif3.recurrent.weight", "fc2.weight"} <= {fault.layer for fault in faults}
    run = campaign(subject, faults, engine="auto")
    results = run.run()
    assert "stage graph recorded from its forward (2 stages)" in run.why
    assert len(results) == len(faults)
    idle = results["Layer"].isin([*IDLE, "lif3.recurrent.weight"])
    assert (results[idle]["fully_masked"] == 24).all()
    assert (results[~idle]["fully_masked"] < 24).any()
    checked = verify(run, results, count=len(faults), seed=1)
    assert checked.compared.differing == 0
    assert checked.compared.unmasked > 10


def test_trials_of_several_faults_keep_those_that_count(campaign: Run) -> None:
    subject = Subject(make(Idle), event_batches((12,)))
    both = (Fault(0, "aux.weight", (0, 1), (30,)), Fault(0, "fc2.weight", (1, 2), (30,)))
    alone = (Fault(1, "aux.weight", (0, 1), (30,)), Fault(1, "watch.bias", (1,), (30,)))
    same = (Fault(2, "fc2.weight", (1, 2), (30,)),)
    run = campaign(subject, [*both, *alone, *same], engine="differential")
    results = run.run().set_index("Injection")
    assert verify(run, run.run(), count=3, seed=1).compared.differing == 0
    assert results.loc[1, "fully_masked"].max() == 24
    assert (results.loc[0, "fully_masked"] == results.loc[2, "fully_masked"]).all()
    assert results.loc[2, "fully_masked"] < 24


class Reading(Idle):
    """The number of a word outside of PyTorch is part of every score."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x * self.aux.bias.detach()[0].item())


class Switching(Idle):
    """A word decides what the forward does."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x if self.aux.bias[0] < 100 else -x)


@pytest.mark.parametrize("kind", [Reading, Switching])
def test_words_that_leave_torch_are_not_taken_for_idle(campaign: Run, kind: type) -> None:
    subject = Subject(make(kind), event_batches((12,)))
    with pytest.raises(UserError, match="aux has weight, but is part of no stage"):
        campaign(subject, [Fault(0, "aux.bias", (0,), (30,))], engine="differential")


class OwnWord(Idle):
    """A word of the network itself, in no module within it."""

    def __init__(self) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.tensor(1.5))

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x * self.gain)


def test_a_word_of_the_network_itself_is_named(campaign: Run) -> None:
    subject = Subject(make(OwnWord), event_batches((12,)))
    with pytest.raises(UserError, match="OwnWord has gain, but is part of no stage"):
        campaign(subject, [Fault(0, "gain", (), (30,))], engine="differential")
    faults = [Fault(0, "gain", (), (30,)), Fault(1, "input", (3,), (), "dead")]
    assert campaign(subject, faults, engine="auto").engine.name == "full"


def test_faults_of_input_lines_are_not_left_out(campaign: Run) -> None:
    subject = Subject(make(Idle), event_batches((12,)))
    faults = [Fault(line, "input", (line,), (), "dead") for line in range(12)]
    run = campaign(subject, faults, engine="differential", check_first=False)
    results = run.run()
    assert verify(run, results, count=12, seed=1).compared.differing == 0
    assert (results["fully_masked"] < 24).all()
