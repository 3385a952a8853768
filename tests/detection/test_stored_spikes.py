"""Stored marks of spikes: both engines against the oracle, on chains and on other forwards."""

from __future__ import annotations

import numpy as np
import pytest
import snntorch as snn
import torch
from campaigns import Run
from oracle import ModuleOracle
from small_networks import PlainLinear, event_batches, small
from torch import Tensor, nn

from fi.base.errors import UserError
from fi.campaign.subject import Subject
from fi.detection.stored_pairs import StoredPairs
from fi.faults.fault import Fault
from fi.sampling.fault_draw import draw
from fi.sampling.plan import SamplingPlan


class Headed(nn.Module):
    """Two layers, and a layer without neurons on the counts of their spikes."""

    def __init__(self) -> None:
        super().__init__()
        self.fc1, self.lif1 = nn.Linear(12, 8), snn.Leaky(beta=torch.full((8,), 0.9))
        self.fc2, self.lif2 = nn.Linear(8, 6), snn.Leaky(beta=torch.full((6,), 0.8))
        self.head = nn.Linear(6, 4)

    def forward(self, x: Tensor) -> Tensor:
        mem1, mem2 = self.lif1.init_leaky(), self.lif2.init_leaky()
        counts = 0
        for frame in x:
            hidden, mem1 = self.lif1(self.fc1(frame), mem1)
            spikes, mem2 = self.lif2(self.fc2(hidden), mem2)
            counts = counts + spikes
        return self.head(counts)


class Membranes(nn.Module):
    """The last layer has no neurons: what it gives is added up."""

    def __init__(self) -> None:
        super().__init__()
        self.fc1, self.lif1 = nn.Linear(12, 8), snn.Leaky(beta=torch.full((8,), 0.9))
        self.fc2 = nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        mem1, total = self.lif1.init_leaky(), 0
        for frame in x:
            hidden, mem1 = self.lif1(self.fc1(frame), mem1)
            total = total + self.fc2(hidden)
        return total


def wide(kind: type[nn.Module]) -> nn.Module:
    network = small(kind)
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, nn.Linear):
                module.weight.mul_(3.0)
    return network


@pytest.mark.parametrize(
    ("kind", "output"), [(PlainLinear, "lif2"), (Headed, "lif2"), (Membranes, None)]
)
def test_forwards_of_their_own(campaign: Run, kind: type[nn.Module], output: str | None) -> None:
    subject = Subject(wide(kind), event_batches((12,)))
    plan = SamplingPlan(margin=0.12)
    faults = draw(plan.space(subject.families, subject.steps), plan)[::2]
    oracle = ModuleOracle(lambda: wide(kind), event_batches((12,)))
    golden = oracle.spikes(None)
    found = {}
    for engine in ("full", "differential"):
        run = campaign(subject, faults, save_pairs="spikes", engine=engine)
        run.run()
        pairs = StoredPairs(run.files.path)
        assert pairs.head.output == output
        found[engine] = pairs
        ways = ("hidden", "spikes") if output else ("hidden",)
        for by in ways:
            seen = pairs.detected(by).toarray()
            for row, fault in enumerate(faults):
                wanted = []
                for before, after in zip(golden, oracle.spikes(fault), strict=True):
                    names = [n for n in before if (n == output) == (by == "spikes")]
                    differs = sum((before[n] != after[n]).flatten(2).any(2).any(0) for n in names)
                    wanted += (differs > 0).tolist()
                assert seen[row].tolist() == wanted, (by, fault)
            assert 0.02 < seen.mean() < 0.9
    same = [pairs.detected("score").toarray() for pairs in found.values()]
    assert np.array_equal(*same)
    if output is None:
        with pytest.raises(UserError, match="reads a layer without neurons"):
            pairs.detected("spikes")


def test_spikes_of_the_output_are_seen_by_more_samples_than_its_class(
    campaign: Run, subject: Subject, faults: list[Fault]
) -> None:
    said: list[str] = []
    run = campaign(subject, faults, save_pairs="spikes", engine="differential", say=said.append)
    results = run.run()
    pairs = StoredPairs(run.files.path)
    seen = {by: pairs.detected(by).toarray() for by in ("class", "score", "spikes", "hidden")}
    assert (seen["class"] <= seen["score"]).all()
    assert (seen["score"] <= seen["spikes"]).all()  # scores are made of spikes
    assert (seen["hidden"] & ~seen["spikes"]).any()
    assert (seen["spikes"] & ~seen["score"]).any()
    assert np.array_equal(pairs.detected("class").sum(axis=1), results["sdc_1"])
    assert any("hidden layers lif1; output lif2" in line for line in said)
    plain = campaign(subject, faults, engine="differential", overwrite=True).run()
    assert plain.equals(results)


def test_levels_are_not_mixed(campaign: Run, subject: Subject, faults: list[Fault]) -> None:
    run = campaign(subject, faults, save_pairs="scores")
    run.run()
    with pytest.raises(UserError, match="--save-pairs spikes compares spikes"):
        StoredPairs(run.files.path).detected("hidden")
    lines = run.files.results.path.read_text().splitlines(keepends=True)
    run.files.results.path.write_text("".join(lines[:-1]))
    with pytest.raises(UserError, match=r"--save-pairs spikes: .* has scores"):
        campaign(subject, faults, save_pairs="spikes").run()


def test_a_run_that_goes_on_compares_spikes_too(
    campaign: Run, subject: Subject, faults: list[Fault]
) -> None:
    run = campaign(subject, faults, save_pairs="spikes", engine="differential")
    run.run()
    whole = StoredPairs(run.files.path).detected("hidden").toarray()
    lines = run.files.results.path.read_text().splitlines(keepends=True)
    run.files.results.path.write_text("".join(lines[: len(lines) // 2]))
    campaign(subject, faults, engine="differential").run()
    assert np.array_equal(StoredPairs(run.files.path).detected("hidden").toarray(), whole)
