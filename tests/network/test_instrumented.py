"""A network in the style of SpikingJET's README runs unchanged, and faults strike it."""

from __future__ import annotations

from typing import Any

import pytest
import snntorch as snn
import torch
from campaigns import Run, subject_of
from oracle_formulas import every_case
from small_networks import CLASSES, STEPS, SmallLinear, event_batches, small
from torch import Tensor, nn

from fi.campaign.subject import Subject
from fi.network.spikingjet_stub import NoInjection, silence


class Net(nn.Module):
    """As its README shows: None in the constructor, a call after each neuron in the forward."""

    def __init__(self) -> None:
        super().__init__()
        self.FaultInjector: Any = None
        self.fc1 = nn.Linear(12, 8)
        self.lif1 = snn.Leaky(beta=torch.full((8,), 0.9), threshold=torch.ones(8))
        self.fc2 = nn.Linear(8, CLASSES)
        self.lif2 = snn.Leaky(beta=torch.full((CLASSES,), 0.8), threshold=torch.ones(CLASSES))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        mem1 = self.lif1.init_leaky()
        mem2 = self.lif2.init_leaky()
        spk2_rec, mem2_rec = [], []
        for step in range(x.shape[0]):
            cur1 = self.fc1(x[step])
            spk1, mem1 = self.lif1(cur1, mem1)
            mem1, spk1 = self.FaultInjector.injection(mem1, spk1, "lif1", step)
            cur2 = self.fc2(spk1)
            spk2, mem2 = self.lif2(cur2, mem2)
            mem2, spk2 = self.FaultInjector.injection(mem2, spk2, "lif2", step)
            spk2_rec.append(spk2)
            mem2_rec.append(mem2)
        return torch.stack(spk2_rec), torch.stack(mem2_rec)


def instrumented() -> Net:
    """With the weights of the small staged network."""
    network = Net()
    network.load_state_dict(small(SmallLinear).state_dict())
    return network


def test_every_family_counts_as_in_a_staged_network(campaign: Run) -> None:
    staged = subject_of(SmallLinear)
    staged.network.readout.softmax = False  # what the adapter makes of spikes are counts
    own = Subject(instrumented(), event_batches((12,)))
    assert [family.name for family in own.families] == [family.name for family in staged.families]
    assert own.steps == STEPS
    faults = list(every_case(staged, each=1))
    assert {fault.layer for fault in faults} >= {"lif1.potential", "lif1.spike", "lif2.beta"}
    wanted, found = campaign(staged, faults).run(), campaign(own, faults).run()
    assert wanted.equals(found)
    assert 0 < wanted["sdc_1"].sum() < wanted["samples"].sum()


def test_it_gets_an_injector_that_returns_what_it_is_given() -> None:
    network = instrumented()
    silence(network)
    mem, spk = torch.rand(2, 8), torch.ones(2, 8)
    assert isinstance(network.FaultInjector, NoInjection)
    found = network.FaultInjector.injection(mem, spk, "lif1", 3)
    assert found[0] is mem
    assert found[1] is spk
    named = network.FaultInjector.injection(spike=spk, pot=mem, layer_name="lif1")
    assert named[0] is spk
    assert named[1] is mem


def test_modules_within_get_one_where_they_declare_it() -> None:
    outer = nn.Sequential(instrumented(), nn.Linear(2, 2))
    silence(outer)
    assert isinstance(outer[0].FaultInjector, NoInjection)
    assert not hasattr(outer[1], "FaultInjector")


@pytest.mark.parametrize("own", [object(), NoInjection()])
def test_an_injector_of_its_own_is_left(own: object) -> None:
    network = instrumented()
    network.FaultInjector = own
    silence(network)
    assert network.FaultInjector is own
