"""A campaign of 100,000 faults, in many groups: memory stays flat."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from campaign_process import ended, started
from small_networks import INPUT_SHAPES, SmallLinear, event_batches, small

from fi.campaign.callback_api import CampaignCallback
from fi.campaign.runner import Campaign
from fi.campaign.settings import Hardware, Settings
from fi.campaign.subject import Subject
from fi.engine.differential import engine
from fi.sampling.fault_draw import draw
from fi.sampling.plan import SamplingPlan

FAULTS, GROUP = 100_000, 250
#: Growth that is no leak: tables of words that come up for the first time, fragmentation.
TOLERATED_MB = 24


def resident_mb() -> float:
    """Memory of this process, in MB."""
    return int(re.search(r"VmRSS:\s*([0-9]+)", Path("/proc/self/status").read_text())[1]) / 1024


class Watch(CampaignCallback):
    """Notes the memory whenever results are stored."""

    def __init__(self) -> None:
        self.seen: list[tuple[int, float]] = []
        self.done = self.test_runs = 0

    def on_test_start(self, *args: Any) -> None:
        self.test_runs += 1

    def on_results(self, done: Any, counts: Any) -> None:
        self.done += len(done)
        self.seen.append((self.done, resident_mb()))


def soak(output: Path) -> None:
    """The campaign, in this process; what was seen goes to ``seen.json``."""
    subject = Subject(small(SmallLinear), event_batches(INPUT_SHAPES[SmallLinear]))
    models = ("bit-flip", "stuck-at-0", "stuck-at-1")
    plan = SamplingPlan(scheme="exhaustive", models=models, transient=True)
    faults = draw(plan.space(subject.families, subject.steps), plan)[:FAULTS]
    assert len(faults) == FAULTS
    engine.LARGEST_GROUP = engine.SMALLEST_GROUP = GROUP
    watch = Watch()
    settings = Settings(output, "differential", hardware=Hardware("cpu"), progress=None)
    results = Campaign(subject, faults, settings, callbacks=[watch]).run()
    assert len(results) == FAULTS
    (output / "seen.json").write_text(json.dumps([watch.test_runs, watch.seen]))


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is read from /proc")
def test_memory_is_flat(tmp_path: Path, record_property: Any) -> None:
    log = tmp_path / "log"
    assert ended(started(soak, log, tmp_path), 3000) == 0, log.read_text()
    test_runs, seen = json.loads((tmp_path / "seen.json").read_text())
    early = next(memory for done, memory in seen if done >= FAULTS // 10)
    last, most = seen[-1][1], max(memory for _, memory in seen)
    record_property(
        "tally",
        f"soak of {FAULTS:,} faults in {test_runs} test runs: {early:.0f} MB after a tenth, "
        f"{last:.0f} MB at the end, {most:.0f} MB at most",
    )
    assert test_runs >= FAULTS // GROUP
    assert most - early < TOLERATED_MB
