"""How pairs were decided is counted, adds up, and is in the summary of a campaign."""

from __future__ import annotations

import json

import pytest
from campaigns import Run, subject_of
from small_networks import SmallConv, SmallLinear
from stopping import StopAfter

from fi.campaign.fault_test import FaultTest
from fi.campaign.golden_run import GoldenRun
from fi.campaign.runner import Campaign
from fi.campaign.running.decision_counts import count_own_share
from fi.campaign.subject import Subject
from fi.engine.full import FullEngine
from fi.engine.group_cutting import split_into_groups
from fi.faults.fault import Fault
from fi.metrics.fault_counts import FaultCounts
from fi.sampling.fault_draw import draw
from fi.sampling.plan import SamplingPlan
from fi.store.decisions import WAYS, add_decision_counts


def decided(campaign: Campaign) -> dict[str, int]:
    text = (campaign.files.path / "summary.json").read_text()
    return dict(json.loads(text)["decided"])


def test_the_full_engine_takes_a_forward_for_every_pair(
    campaign: Run, subject: Subject, faults: list[Fault]
) -> None:
    run = campaign(subject, faults)
    results = run.run()
    assert decided(run) == {"forward": int(results["samples"].sum())}


def test_the_differential_engine_adds_up(campaign: Run) -> None:
    subject = subject_of(SmallConv)
    plan = SamplingPlan(margin=0.1, models=("stuck-at-0", "bit-flip"))
    run = campaign(
        subject, draw(plan.space(subject.families, subject.steps), plan), engine="differential"
    )
    results = run.run()
    ways = decided(run)
    assert set(ways) <= set(WAYS)
    assert sum(ways.values()) == results["samples"].sum()
    assert {"no_change", "proof", "readout"} <= set(ways)
    changed = int((results["samples"] - results["fully_masked"]).sum())
    assert ways["readout"] >= changed > 0
    assert run.run() is not None  # reported, not run again: nothing is counted twice
    assert decided(run) == ways


def test_a_continued_campaign_adds_what_was_stored_before(
    campaign: Run, subject: Subject, faults: list[Fault]
) -> None:
    with pytest.raises(ValueError, match="broken"):
        campaign(subject, faults, callbacks=[StopAfter(ValueError("broken"), runs=31)]).run()
    run = campaign(subject, faults)
    run.run()
    assert decided(run) == {"forward": len(faults) * 24}


def test_counts_are_added_in_the_order_of_the_ways() -> None:
    added = add_decision_counts({"readout": 3, "proof": 1}, {"proof": 4, "not_counted": 2})
    assert list(added.items()) == [("proof", 5), ("readout", 3), ("not_counted", 2)]


@pytest.mark.parametrize("processes", [1, 2, 3])
@pytest.mark.parametrize(("faults", "group"), [(10, 4), (12, 12), (5, 7), (7, 3)])
def test_the_share_of_the_first_process(faults: int, group: int, processes: int) -> None:
    subject = subject_of(SmallLinear)
    golden = GoldenRun([], [])
    test = FaultTest(FullEngine(subject.network, subject.infer), golden, FaultCounts(group))
    listed = [Fault(n, "fc1.weight", (0, 0), 1) for n in range(faults)]
    mine = 0
    for part in split_into_groups(listed, group):
        test.take_group(part, 0, processes)
        mine += len(test.faults)
    assert count_own_share(faults, group, processes) == mine
