"""What a campaign says of itself: commits, hashes, runs; what differs from another is named."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from campaigns import Run, subject_of
from small_networks import SmallLinear

from fi.base.errors import UserError
from fi.base.provenance import find_checkout, find_checkouts
from fi.campaign.runner import Campaign
from fi.campaign.subject import Subject
from fi.faults.fault import Fault
from fi.faults.fault_list import write_fault_list
from fi.store.run_summary import list_past_runs

TRIALS = [
    *(Fault(0, "fc1.weight", (1, 2), 30), Fault(0, "lif1.beta", (3,), 23)),
    *(Fault(1, "fc2.bias", (1,), 31), Fault(2, "fc1.weight", (0, 0), 29)),
    *(Fault(2, "fc1.weight", (0, 1), 29), Fault(2, "lif2.potential", (1,), 30, "bit-flip", 3)),
]


def git(folder: Path, *command: str) -> None:
    identity = ["-c", "user.name=A", "-c", "user.email=a@example.org"]
    subprocess.run(["git", "-C", folder, *identity, *command], check=True, capture_output=True)


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A user's network under git."""
    if shutil.which("git") is None:
        pytest.skip("git is not installed")
    (tmp_path / "net_under_git.py").write_text("class MyNet: pass\n")
    git(tmp_path, "init", "--quiet")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "--quiet", "--message", "A network")
    return tmp_path


def test_a_users_commit_and_what_is_not_in_it(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(repository))
    import net_under_git  # type: ignore[import-not-found]  # the fixture wrote it

    found = find_checkouts(network=net_under_git.MyNet, data=dict)
    assert "data" not in found
    assert set(found["network"]) == {"commit", "dirty"}
    assert len(found["network"]["commit"]) == 40
    assert found["network"]["dirty"] is False
    del sys.modules["net_under_git"]


def test_dirty_is_changed_or_not_added(repository: Path) -> None:
    find_checkout.cache_clear()
    (repository / "new.py").touch()
    assert find_checkout(repository / "new.py")["dirty"] is True
    assert find_checkout(repository / "net_under_git.py")["dirty"] is False
    (repository / "net_under_git.py").write_text("changed\n")
    find_checkout.cache_clear()
    assert find_checkout(repository / "net_under_git.py")["dirty"] is True
    (repository / ".gitignore").write_text("new.py\n")
    find_checkout.cache_clear()
    assert find_checkout(repository / "new.py") is None


def test_outside_git_nothing_is_said(tmp_path: Path) -> None:
    find_checkout.cache_clear()
    (tmp_path / "net_under_git.py").touch()
    assert find_checkout(tmp_path / "net_under_git.py") is None


def summary(run: Campaign) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((run.files.path / "summary.json").read_text())
    return found


def test_the_hash_of_a_list_is_that_of_its_file(
    campaign: Run, subject: Subject, tmp_path: Path
) -> None:
    run = campaign(subject, TRIALS)
    run.run()
    write_fault_list(tmp_path / "list.csv", TRIALS)
    wanted = hashlib.sha256((tmp_path / "list.csv").read_bytes()).hexdigest()
    found = summary(run)
    assert found["hashes"]["faults"] == wanted
    assert (found["faults"], found["trials"], found["done"]) == (6, 3, 6)
    assert (found["pairs"], found["runs"][0]["pairs"]) == (72, 72)
    assert found["runs"][0]["status"] == found["status"] == "finished"


def other_weights(subject: Subject) -> None:
    with torch.no_grad():
        subject.network.fc1.bias[0] += 1


def other_data(subject: Subject) -> None:
    subject.batches.limit = 20


def test_what_makes_another_campaign_is_named(campaign: Run, tmp_path: Path) -> None:
    said: list[str] = []
    campaign(subject_of(SmallLinear), TRIALS).run()
    changes: list[tuple[str, Any, list[Fault], dict[str, Any]]] = [
        ("weights (", other_weights, TRIALS, {}),
        ("data (", other_data, TRIALS, {}),
        ("faults (", None, TRIALS[:3], {}),
        ("precision (32-true there, 64-true here)", None, TRIALS, {"precision": "64-true"}),
        ("engine (full there, differential here)", None, TRIALS, {"engine": "differential"}),
    ]
    for wanted, change, faults, options in changes:
        subject = subject_of(SmallLinear)
        if change is not None:
            change(subject)
        said.clear()
        run = campaign(subject, faults, **options)
        run._say = said.append
        run.run()
        assert any("is another campaign: other" in line and wanted in line for line in said)
    assert len(list(tmp_path.glob("SmallLinear/*/results.csv"))) == 1 + len(changes)


def test_results_of_another_campaign_are_refused(
    campaign: Run, subject: Subject, faults: list[Fault]
) -> None:
    first, second = campaign(subject, faults), campaign(subject, faults, precision="64-true")
    first.run()
    second.run()
    for path in second.files.path.glob("*.*"):
        shutil.copy(path, first.files.path)
    before = first.files.results.path.read_bytes()
    with pytest.raises(UserError, match=r"other .*precision \(64-true there, 32-true here\)"):
        campaign(subject, faults).run()
    (first.files.path / "summary.json").unlink()
    with pytest.raises(UserError, match=r"no summary\.json beside it"):
        campaign(subject, faults).run()
    assert first.files.results.path.read_bytes() == before


def test_rows_over_another_test_set_are_refused(campaign: Run, subject: Subject) -> None:
    run = campaign(subject, TRIALS)
    run.run()
    path = run.files.results.path
    path.write_text(path.read_text().replace(",24,", ",23,"))
    with pytest.raises(UserError, match=r"results\.csv:2: samples is 23, here 24"):
        campaign(subject, TRIALS).run()


def test_a_trial_that_was_cut_is_run_again_as_a_whole(campaign: Run, subject: Subject) -> None:
    run = campaign(subject, TRIALS)
    run.run()
    path = run.files.results.path
    whole = path.read_bytes()
    for lines in range(1, 7):
        path.write_bytes(b"".join(whole.splitlines(keepends=True)[:lines]) + b"2,fc1.we")
        campaign(subject, TRIALS).run()
        assert path.read_bytes() == whole


def test_a_run_without_an_end_was_killed() -> None:
    runs = [{"status": "interrupted"}, {"status": "started"}]
    assert [run["status"] for run in list_past_runs({"runs": runs})] == ["interrupted", "killed"]
    assert list_past_runs({}) == []
