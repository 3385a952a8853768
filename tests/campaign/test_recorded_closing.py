"""Heads that are called once, after the last step, on what was gathered: on recorded stages."""

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
from fi.network.recorder.recorded_network import RecordedNetwork
from fi.sampling.fault_draw import draw
from fi.sampling.plan import SamplingPlan


class Loop(nn.Module):
    """Two layers; what is made of all spikes and membranes is ``finish``'s."""

    def __init__(self) -> None:
        super().__init__()
        self.fc1, self.lif1 = nn.Linear(12, 8), snn.Leaky(beta=0.9)
        self.fc2, self.lif2 = nn.Linear(8, 6), snn.Leaky(beta=0.8)
        self.head = nn.Linear(6, 4)

    def forward(self, x: Tensor) -> Tensor:
        mem1, mem2 = self.lif1.init_leaky(), self.lif2.init_leaky()
        spikes, membranes = [], []
        for frame in x:
            spk1, mem1 = self.lif1(self.fc1(frame), mem1)
            spk2, mem2 = self.lif2(self.fc2(spk1), mem2)
            spikes.append(spk2)
            membranes.append(mem2)
        return self.finish(spikes, membranes)

    def finish(self, spikes: list[Tensor], membranes: list[Tensor]) -> Tensor:
        raise NotImplementedError


class OfCounts(Loop):
    def finish(self, spikes: list[Tensor], membranes: list[Tensor]) -> Tensor:
        return self.head(torch.stack(spikes).sum(0))


class OfRates(Loop):
    def finish(self, spikes: list[Tensor], membranes: list[Tensor]) -> Tensor:
        return self.head(torch.stack(spikes).mean(0))


class OfRunningSum(Loop):
    def finish(self, spikes: list[Tensor], membranes: list[Tensor]) -> Tensor:
        total = torch.zeros_like(spikes[0])
        for step in spikes:
            total = total + step
        return self.head(total / len(spikes))


class OfLastMembrane(Loop):
    def finish(self, spikes: list[Tensor], membranes: list[Tensor]) -> Tensor:
        return self.head(membranes[-1])


class OfLargestMembrane(Loop):
    def finish(self, spikes: list[Tensor], membranes: list[Tensor]) -> Tensor:
        return self.head(torch.stack(membranes).max(0)[0])


class OfTwoLayers(Loop):
    def __init__(self) -> None:
        super().__init__()
        self.norm, self.hidden = nn.LayerNorm(6), nn.Linear(6, 6)

    def finish(self, spikes: list[Tensor], membranes: list[Tensor]) -> Tensor:
        hidden = torch.relu(self.hidden(self.norm(torch.stack(spikes, dim=1).mean(1))))
        return torch.log_softmax(self.head(hidden), dim=-1)


class OfAllSteps(Loop):
    """The head sees the spikes of all steps at once."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(6 * 6, 4)

    def finish(self, spikes: list[Tensor], membranes: list[Tensor]) -> Tensor:
        return self.head(torch.stack(spikes, dim=1).flatten(1))


class OfEachStep(Loop):
    """The bias is added at each step, and the sum is that of all steps."""

    def finish(self, spikes: list[Tensor], membranes: list[Tensor]) -> Tensor:
        return self.head(torch.stack(spikes)).sum(0)


KINDS = (
    OfCounts, OfRates, OfRunningSum, OfLastMembrane, OfLargestMembrane, OfTwoLayers, OfAllSteps,
    OfEachStep,
)  # fmt: skip


def make(kind: type[nn.Module]) -> nn.Module:
    network = small(kind)
    with torch.no_grad():
        network.fc1.weight.mul_(3.0)
        network.fc2.weight.mul_(3.0)
    return network


def draw_faults(subject: Subject, transient: bool = False, sites: tuple[str, ...] = ("*",)):
    plan = SamplingPlan(margin=0.18, models=("bit-flip", "stuck-at-1"), transient=transient,
                        scheme="layer-wise", sites=sites)  # fmt: skip
    return draw(plan.space(subject.sites, subject.steps), plan)


@pytest.mark.parametrize("kind", KINDS)
def test_faults_of_stages_and_head_are_those_of_the_full_engine(
    campaign: Run, kind: type[nn.Module]
) -> None:
    subject = Subject(make(kind), event_batches((12,)))
    faults = draw_faults(subject)
    run = campaign(subject, faults, engine="auto", save_scores=True)
    results = run.run()
    assert "stage graph recorded from its forward (2 stages)" in run.why
    assert isinstance(subject.staged, RecordedNetwork)
    assert subject.staged.closing is not None
    head = results["Layer"].str.startswith("head.")
    assert 5 < (results[head]["fully_masked"] < 24).sum() < head.sum()
    checked = verify(run, results, count=len(faults), seed=1)
    assert checked.compared.differing == 0
    assert checked.wrong_rows == ()
    assert checked.compared.unmasked > 100


@pytest.mark.parametrize("kind", [OfCounts, OfAllSteps, OfLastMembrane])
def test_trials_of_several_faults_may_have_some_in_the_head(
    campaign: Run, kind: type[nn.Module]
) -> None:
    subject = Subject(make(kind), event_batches((12,)))
    singles = draw_faults(subject)
    head = [f for f in singles if f.layer.startswith("head.")]
    others = [f for f in singles if not f.layer.startswith("head.")]
    listed = []
    for number, (one, two, three) in enumerate(zip(head, others, head[1:], strict=False)):
        trial = {(f.layer, f.index): f for f in ((one, two, three), (one, three))[number % 2]}
        listed += [Fault(number, f.layer, f.index, f.bits, f.model) for f in trial.values()]
    run = campaign(subject, listed, engine="differential")
    results = run.run()
    checked = verify(run, results, count=60, seed=1)
    assert checked.compared.differing == 0
    assert checked.compared.unmasked > 100


def test_no_fault_of_such_a_head_lasts_for_some_steps(campaign: Run) -> None:
    subject = Subject(make(OfCounts), event_batches((12,)))
    others = draw_faults(subject, True, ("fc1.*", "lif2.*"))
    run = campaign(subject, others, engine="auto")
    results = run.run()
    assert run.engine.name == "differential"
    assert verify(run, results, count=60, seed=1).compared.differing == 0
    for engine in ("auto", "full", "differential"):
        with pytest.raises(UserError, match=r"no fault in head\.weight can last for some steps"):
            campaign(subject, draw_faults(subject, True, ("head.weight",)), engine=engine)


def test_batches_of_several_blocks_are_rounded_as_one(campaign: Run) -> None:
    draw_events = torch.Generator().manual_seed(2)
    events = torch.poisson(torch.full((6, 201, 12), 0.5), generator=draw_events)
    subject = Subject(make(OfCounts), [(events, torch.arange(201) % 4)])
    spikes = [f for f in draw_faults(subject) if f.layer in ("lif2.spike", "fc2.weight")]
    head = [f for f in draw_faults(subject) if f.layer.startswith("head.")]
    faults = [*spikes[:60], *head[:40]]
    run = campaign(subject, faults, engine="differential")
    results = run.run()
    checked = verify(run, results, count=len(faults), seed=1)
    assert checked.compared.differing == 0
    assert checked.compared.unmasked > 500


class OfTied(Loop):
    """The words of the second layer are read after the last step, too."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(6, 6)
        self.fc2 = nn.Linear(8, 6)
        self.last = nn.Linear(8, 6)
        self.last.weight = self.fc2.weight

    def finish(self, spikes: list[Tensor], membranes: list[Tensor]) -> Tensor:
        return self.last(nn.functional.pad(torch.stack(spikes).sum(0), (0, 2)))


class OfGain(Loop):
    """A word of the network itself is read after the last step."""

    def __init__(self) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.tensor(1.5))

    def finish(self, spikes: list[Tensor], membranes: list[Tensor]) -> Tensor:
        return torch.stack(spikes).sum(0) * self.gain


class OfOthers(Loop):
    """Scores of a sample are relative to those of the batch."""

    def finish(self, spikes: list[Tensor], membranes: list[Tensor]) -> Tensor:
        scores = self.head(torch.stack(spikes).sum(0))
        return scores - scores.mean(0)


class OfBatchSize(Loop):
    """Scores depend on how many samples there are."""

    def finish(self, spikes: list[Tensor], membranes: list[Tensor]) -> Tensor:
        return torch.stack(spikes).sum(0) / len(spikes[0])


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        (OfTied, "last shares its words with fc2 of another place"),
        (OfGain, "gain is read after the last step, by no module of its own"),
        (OfOthers, "the scores of a sample depend on the others in its batch"),
        (OfBatchSize, "the scores of a sample depend on the others in its batch"),
    ],
)
def test_what_no_readout_can_be_is_refused(campaign: Run, kind: type[nn.Module], said: str) -> None:
    subject = Subject(make(kind), event_batches((12,)))
    with pytest.raises(UserError, match=said):
        campaign(subject, [Fault(0, "fc1.weight", (0, 0), (30,))], engine="differential")
    assert campaign(subject, draw_faults(subject)[:3], engine="auto").engine.name == "full"
