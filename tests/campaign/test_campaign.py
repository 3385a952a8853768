"""Campaigns: reproducible, resumable, and the network is left as it was."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from campaigns import Run, subject_of
from small_networks import SmallConv, SmallLinear, event_batches, small
from stopping import StopAfter
from torch import Tensor, nn

from fi.base.errors import UserError
from fi.campaign.callback_api import CampaignCallback
from fi.campaign.subject import NetworkChanged, Subject
from fi.engine.differential.engine import LARGEST_GROUP, QUICK_GROUP, DifferentialEngine
from fi.engine.group_cutting import split_into_groups
from fi.faults.fault import Fault, Trial
from fi.metrics.counts import GroupCounts
from fi.network.batches import Batches
from fi.sampling.fault_draw import draw
from fi.sampling.plan import SamplingPlan
from fi.store import write_buffer
from fi.store.identity import weights_hash
from fi.store.results_rows import ResultsError


def files(folder: Path) -> dict[str, bytes]:
    return {p.parent.name: p.read_bytes() for p in folder.glob("*/*/results.csv")}


def test_the_same_command_twice_gives_the_same_bytes(
    campaign: Run, faults: list[Fault], tmp_path: Path
) -> None:
    campaign(subject_of(SmallLinear), faults).run()
    first = files(tmp_path)
    campaign(subject_of(SmallLinear), faults, overwrite=True).run()
    assert len(first) == 1
    assert files(tmp_path) == first


@pytest.mark.parametrize("precision", ["32-true", "64-true"])
def test_the_network_is_bit_for_bit_as_it_was(
    campaign: Run, faults: list[Fault], precision: str
) -> None:
    subject = subject_of(SmallConv)
    before = weights_hash(subject.network)
    faults = [Fault(0, "conv1.weight", (0, 0, 0, 0), 30), Fault(1, "lif1.beta", (2,), 31)]
    results = campaign(subject, faults, precision=precision).run()
    assert len(results) == 2
    assert weights_hash(subject.network) == before
    assert all(not module._forward_hooks for module in subject.network.modules())


@pytest.mark.parametrize("error", [ValueError("broken"), KeyboardInterrupt()])
@pytest.mark.parametrize("engine", ["full", "differential"])
def test_the_network_is_restored_after(
    campaign: Run, subject: Subject, faults: list[Fault], error: BaseException, engine: str
) -> None:
    before = weights_hash(subject.network)
    stop = StopAfter(error, runs=5 if engine == "full" else 1)
    with pytest.raises(type(error)):
        campaign(subject, faults, callbacks=[stop], engine=engine).run()
    assert weights_hash(subject.network) == before
    assert all(not module._forward_hooks for module in subject.network.modules())


@pytest.mark.parametrize("error", [ValueError("broken"), KeyboardInterrupt()])
def test_a_stopped_campaign_continues_to_the_same_bytes(
    campaign: Run, subject: Subject, faults: list[Fault], error: BaseException, tmp_path: Path
) -> None:
    whole = campaign(subject, faults, output=tmp_path / "whole")
    whole.run()
    stopped = campaign(subject, faults, callbacks=[StopAfter(error, runs=20)])
    with pytest.raises(type(error)):
        stopped.run()
    status = json.loads((stopped.files.path / "summary.json").read_text())["status"]
    assert status == ("interrupted" if isinstance(error, KeyboardInterrupt) else "failed")
    assert stopped.files.results.done() == list(range(19))
    campaign(subject, faults).run()
    assert files(tmp_path) == files(tmp_path / "whole")


def test_a_row_that_was_cut_off_is_run_again(
    campaign: Run, subject: Subject, faults: list[Fault], tmp_path: Path
) -> None:
    first = campaign(subject, faults)
    first.run()
    wanted = files(tmp_path)
    path = first.files.results.path
    path.write_bytes(path.read_bytes()[:-300])
    campaign(subject, faults).run()
    assert files(tmp_path) == wanted


def test_results_of_another_list_are_refused(
    campaign: Run, subject: Subject, faults: list[Fault]
) -> None:
    first = campaign(subject, faults)
    first.run()
    path = first.files.results.path
    path.write_text(path.read_text().replace("fc1.weight", "fc2.weight"))
    with pytest.raises(ResultsError, match="in the fault list it is"):
        campaign(subject, faults).run()


class Counting(CampaignCallback):
    """Counts test runs."""

    runs = 0

    def on_test_start(self, *args: Any) -> None:
        self.runs += 1


def test_a_finished_campaign_is_not_run_again(
    campaign: Run, subject: Subject, faults: list[Fault]
) -> None:
    first = campaign(subject, faults).run()
    counting = Counting()
    again = campaign(subject, faults, callbacks=[counting]).run()
    assert counting.runs == 2  # golden
    assert first.equals(again)


def test_one_fault_is_one_test_run_on_the_full_engine(
    campaign: Run, subject: Subject, faults: list[Fault]
) -> None:
    counting = Counting()
    campaign(subject, faults, callbacks=[counting]).run()
    assert counting.runs == len(faults) + 2


def test_both_engines_count_the_same(campaign: Run, subject: Subject, faults: list[Fault]) -> None:
    full = campaign(subject, faults).run()
    differential = campaign(subject, faults, engine="differential").run()
    assert full.equals(differential)
    assert 0 < full["sdc_1"].sum() < full["samples"].sum()


def test_other_weights_are_another_campaign(
    campaign: Run, subject: Subject, faults: list[Fault], tmp_path: Path
) -> None:
    campaign(subject, faults[:3]).run()
    with torch.no_grad():
        subject.network.fc1.bias[0] += 1
    campaign(subject, faults[:3]).run()
    assert len(files(tmp_path)) == 2


class HeldInTheEnd(CampaignCallback):
    """Notes what is held of the test set while figures are drawn."""

    def __init__(self, subject: Subject) -> None:
        self.subject, self.held = subject, True

    def on_campaign_end(self) -> None:
        self.held = self.subject.batches._kept is not None


def test_the_test_set_is_dropped_before_figures_are_drawn(
    campaign: Run, subject: Subject, faults: list[Fault]
) -> None:
    held = HeldInTheEnd(subject)
    ended = campaign(subject, faults, engine="differential", callbacks=[held])
    ended.run()
    assert not held.held
    assert isinstance(ended.engine, DifferentialEngine)
    assert ended.engine.traces.bytes == 0
    first = ended.files.results.path.read_bytes()
    again = campaign(subject, faults, engine="differential", overwrite=True)
    again.run()
    assert again.files.results.path.read_bytes() == first


def test_groups_keep_the_order_and_the_rest() -> None:
    faults = [Fault(i, "fc1.bias", (i,), 0) for i in range(7)]
    assert [len(group) for group in split_into_groups(faults, 3)] == [3, 3, 1]
    assert [f for group in split_into_groups(faults, 3) for f in group] == faults
    sizes = [len(group) for group in split_into_groups(faults, 1, lambda size, _: 3 * size)]
    assert sizes == [1, 3, 3]


@pytest.mark.parametrize(("quick", "sizes"), [(1e9, [3, 9, 20, 17]), (0.0, [3] * 16 + [1])])
def test_groups_grow_where_one_was_quick(
    campaign: Run, monkeypatch: pytest.MonkeyPatch, quick: float, sizes: list[int]
) -> None:
    """The largest is 20 here; neither the order nor a byte of the results hangs on it."""
    subject = subject_of(SmallLinear)
    plan = SamplingPlan(margin=0.01, scheme="layer-wise")
    faults = draw(plan.space(subject.sites, subject.steps), plan)[:49]
    whole = campaign(subject, faults, engine="differential", check_first=False)
    whole.run()
    wanted = whole.files.results.path.read_bytes()

    seen: list[int] = []

    class Seen(CampaignCallback):
        def on_results(self, done: Sequence[Trial], counts: GroupCounts) -> None:
            seen.append(len(done))

    def grow(self: DifferentialEngine, size: int, seconds: float) -> int:
        return min(20, 3 * size) if seconds < quick else size

    monkeypatch.setattr(DifferentialEngine, "group_size", lambda self, faults: 3)
    monkeypatch.setattr(DifferentialEngine, "resize_group", grow)
    monkeypatch.setattr(write_buffer, "_FAULTS", 1)
    again = campaign(
        subject, faults, engine="differential", check_first=False, overwrite=True,
        callbacks=[Seen()],
    )  # fmt: skip
    again.run()
    assert again.files.results.path.read_bytes() == wanted
    assert seen == sizes


def test_the_engine_lets_quick_groups_grow_up_to_the_largest() -> None:
    engine = DifferentialEngine(subject_of(SmallLinear).network, lambda events: events)
    assert engine.resize_group(4096, QUICK_GROUP) == engine.resize_group(4096, 9.0) == 4096
    assert engine.resize_group(4096, QUICK_GROUP / 2) == 8192
    assert engine.resize_group(4096, 0.0) == LARGEST_GROUP
    assert engine.resize_group(LARGEST_GROUP, 0.1) == LARGEST_GROUP


class Noisy(SmallLinear):
    """Gives other scores in every run."""

    def forward(self, events: Tensor) -> Tensor:
        return super().forward(events) + torch.rand(1)


class Infinite(SmallLinear):
    """Divides by zero."""

    def forward(self, events: Tensor) -> Tensor:
        return super().forward(events) / 0.0


class Careless(SmallLinear):
    """Learns while it is tested."""

    def forward(self, events: Tensor) -> Tensor:
        self.fc1.bias.data += 1e-3
        return super().forward(events).round()


@pytest.mark.parametrize(
    ("kind", "message"),
    [(Noisy, "golden run is not reproducible"), (Infinite, "non-finite scores: batch 0, sample 0")],
)
def test_a_golden_run_that_cannot_be_used(
    campaign: Run, faults: list[Fault], tmp_path: Path, kind: type[nn.Module], message: str
) -> None:
    subject = Subject(small(kind), event_batches((12,)))
    with pytest.raises(UserError, match=message):
        campaign(subject, faults).run()
    assert not list(tmp_path.iterdir())


def test_words_that_a_forward_changes_are_put_back_before_every_inference(campaign: Run) -> None:
    network = small(Careless)
    before = network.fc1.bias.detach().clone()
    subject = Subject(network, event_batches((12,)))
    assert "fc1.bias" not in {family.name for family in subject.families}
    assert any(
        "reset before every inference" in note and "fc1.bias" in note for note in subject.notes
    )
    results = campaign(subject, [Fault(0, "fc2.weight", (0, 0), 0)]).run()
    assert results["fully_masked"].tolist() == results["samples"].tolist()
    assert torch.equal(network.fc1.bias, before)


class Sly(SmallLinear):
    """Changes itself where a trial run does not show it."""

    seen: ClassVar[list[int]] = []

    def forward(self, events: Tensor) -> Tensor:
        self.seen.append(1)
        if len(self.seen) > 8:
            self.fc1.bias.data += 1e-3
        return super().forward(events)


def test_a_network_that_changes_is_noticed(campaign: Run) -> None:
    subject = Subject(small(Sly), event_batches((12,)))
    faults = [Fault(number, "fc2.weight", (0, number), 0) for number in range(8)]
    with pytest.raises(NetworkChanged):
        campaign(subject, faults, engine="full").run()


class Shuffled:
    """Batches in another order each time."""

    def __init__(self) -> None:
        self.batches = event_batches((12,))

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        self.batches.reverse()
        return iter(self.batches)


def test_a_loader_that_shuffles_is_refused(campaign: Run, faults: list[Fault]) -> None:
    subject = Subject(small(SmallLinear), Shuffled())
    with pytest.raises(UserError, match="must not shuffle"):
        campaign(subject, faults).run()


@pytest.mark.parametrize("limit", [1, 10, 13, 24, 99])
def test_a_limit_takes_the_first_samples(limit: int) -> None:
    whole = torch.cat([labels for _, labels in Batches(event_batches((12,)), "data")])
    parts = [labels for _, labels in Batches(event_batches((12,)), "data", limit)]
    assert torch.equal(torch.cat(parts), whole[:limit])


@pytest.mark.parametrize(
    ("batch", "message"),
    [
        ((torch.zeros(6, 4, 12), torch.zeros(3, dtype=torch.long)), r"\[6, 4, 12\] and"),
        ((torch.zeros(6, 4, 12), torch.full((4,), 0.5)), "labels must be class numbers"),
        (torch.zeros(6, 4, 12), r"must be \(events, labels\)"),
        ((torch.zeros(6, 4, 12), list("abcd")), "two tensors"),
        ((torch.zeros(6, 4, 9), torch.zeros(4, dtype=torch.long)), "SmallLinear cannot take"),
    ],
)
def test_data_that_do_not_fit(batch: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        Subject(small(SmallLinear), [batch])


def test_an_empty_test_set_is_refused() -> None:
    with pytest.raises(UserError, match="no samples"):
        Subject(small(SmallLinear), [])


def test_summary_says_what_was_run(campaign: Run, subject: Subject, faults: list[Fault]) -> None:
    run = campaign(subject, faults)
    run.run()
    summary = json.loads((run.files.path / "summary.json").read_text())
    assert summary["status"] == "finished"
    assert (summary["batches"], summary["samples"], summary["steps"]) == (3, 24, 6)
    assert summary["pairs"] == 24 * len(faults)
    assert [family["name"] for family in summary["families"]][:2] == ["fc1.weight", "fc1.bias"]
    assert set(summary["hashes"]) >= {"network", "weights", "data", "faults", "engine"}
