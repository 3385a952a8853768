"""Networks with a forward of their own give what a SpikingNetwork of the same layers gives."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from campaigns import Run, subject_of
from oracle_formulas import every_case
from small_networks import PlainLinear, SmallLinear, event_batches, small
from torch import Tensor, nn

from fi.base.errors import UserError
from fi.campaign.subject import Subject
from fi.network.foreign import Adapter


def plain() -> nn.Module:
    """A plain network with the weights of the small one."""
    network = PlainLinear()
    network.load_state_dict(small(SmallLinear).state_dict())
    return network


class Softened(nn.Module):
    """Makes a plain network's spikes into other forms; ``form`` is what its forward returns."""

    def __init__(self, form: Callable[[Tensor], Any], axis: int = 0) -> None:
        super().__init__()
        self.inner, self.form, self.axis = plain(), form, axis

    def forward(self, events: Tensor) -> Any:
        return self.form(self.inner(events.movedim(self.axis, 0)))


@pytest.mark.parametrize("precision", ["32-true", "64-true"])
def test_all_families_count_as_in_a_spiking_network(campaign: Run, precision: str) -> None:
    staged = subject_of(SmallLinear)
    staged.network.readout.softmax = False  # the plain network's scores are counts
    own = Subject(plain(), event_batches((12,)))
    assert [f.name for f in own.families] == [f.name for f in staged.families]
    assert own.steps == staged.steps
    faults = list(every_case(staged, each=1))
    wanted = campaign(staged, faults, precision=precision).run()
    found = campaign(own, faults, precision=precision).run()
    assert wanted.equals(found)
    assert 0 < wanted["sdc_1"].sum() < wanted["samples"].sum()


@pytest.mark.parametrize(
    ("readout", "form"),
    [
        ("auto", lambda spikes: spikes),
        ("spikes", lambda spikes: spikes),
        ("auto", lambda spikes: (spikes, spikes * 2)),
        ("pair", lambda spikes: [spikes, spikes * 2]),
        ("auto", lambda spikes: spikes.sum(0)),
        ("scores", lambda spikes: spikes.sum(0)),
    ],
)
@pytest.mark.parametrize("axis", [0, 1])
def test_what_a_forward_may_return(readout: str, form: Callable[[Tensor], Any], axis: int) -> None:
    events, _ = event_batches((12,))[0]
    with torch.no_grad():
        wanted = plain()(events).sum(0)
        found = Adapter(Softened(form, axis), readout, axis)(events)
    assert torch.equal(found, wanted)
    assert wanted.sum() > 0


def test_a_second_batch_starts_from_rest() -> None:
    events, _ = event_batches((12,))[0]
    adapter = Adapter(plain())
    with torch.no_grad():
        assert torch.equal(adapter(events), adapter(events))


def test_a_network_that_calls_an_injector_runs_unchanged() -> None:
    class Instrumented(PlainLinear):
        def forward(self, events: Tensor) -> Tensor:
            self.FaultInjector.injection(layer_name="lif1", pot=events)
            return super().forward(events)

    assert Subject(Instrumented(), event_batches((12,))).steps == 6


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"readout": "scores"}, "--readout scores: wanted scores [batch, classes]"),
        ({"readout": "pair"}, "--readout pair: the forward returned Tensor [6, 2, 4], no pair"),
        (
            {"readout": "votes"},
            "--readout votes: allowed are auto, scores, count, mean, ",
        ),
        ({"time_axis": 5}, "--time-axis 5: the events have 3 axes, allowed are -3 to 2"),
    ],
)
def test_options_that_do_not_fit(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError) as error:
        Subject(plain(), event_batches((12,)), **options)
    assert message in str(error.value)


def test_a_network_without_spikes_is_refused() -> None:
    with pytest.raises(UserError, match="no snnTorch neuron"):
        Subject(nn.Linear(12, 4), event_batches((12,)))
