"""The lines that tell a user what a campaign is about to do."""

from __future__ import annotations

import pandas as pd

from fi.campaign.golden_run import GoldenRun
from fi.campaign.schedule import ListedFaults
from fi.campaign.subject import Subject
from fi.store.campaign_folder import CampaignFiles
from fi.store.run_summary import list_past_runs


def describe_golden(subject: Subject, golden: GoldenRun) -> str:
    """The network, its data and its golden accuracy."""
    words = ""
    if subject.accuracy_before is not None:
        changes = []
        if subject.word_format != "float32" or subject.clamps is None:
            changes.append(f"words of {subject.word_format}")
        if subject.state_format != "float32":
            changes.append(f"states of {subject.state_format}")
        if subject.clamps is not None:
            changes.append(f"{len(subject.clamps.by_family)} site families clamped")
        before = "in float32" if changes[0].startswith("words") else "without"
        words = f"; {', '.join(changes)}, {subject.accuracy_before:.2%} {before}"
    return (
        f"{subject.name} on {subject.data_name}: golden accuracy {golden.accuracy:.2%} of "
        f"{golden.samples} samples, {subject.steps} time steps{words}"
    )


def describe_list(schedule: ListedFaults, name: str) -> str:
    """How many faults or trials of the list ``name`` are run."""
    several = schedule.multi_fault
    what = f"trials of {len(schedule.listed)} faults" if several else "faults"
    shard = schedule.shard
    part = f"shard {shard}, {len(schedule.trials)} of " if shard else ""
    return f"{part}{schedule.listed_trials} {what} of {name}"


def describe_folder(
    files: CampaignFiles, earlier: pd.DataFrame, schedule: ListedFaults
) -> list[str]:
    """What is there already: results of this campaign, or else other campaigns on this list."""
    if earlier.empty:
        return [
            f"{path} is another campaign: other {', '.join(differing)}"
            for path, differing in files.find_siblings().items()
        ]
    last = (list_past_runs(files.load_summary()) or [{}])[-1]
    return [
        f"{earlier['Injection'].nunique()} {'trials' if schedule.multi_fault else 'faults'} are "
        "done already: continuing the run "
        f"that was started {last.get('started')} on {last.get('host')} ({last.get('status')})"
    ]
