"""Iterative campaigns: continued after kills, split over processes, replayed from their list."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from campaign_outputs import results, summary
from campaign_process import Job, ended, free_port, run_here, run_job, started
from campaigns import subject_of
from small_networks import SmallLinear

from fi.base.errors import UserError
from fi.callbacks import standard_callbacks
from fi.callbacks.tensorboard import CampaignBoard
from fi.campaign.callback_api import CampaignCallback
from fi.campaign.fault_source import make_fault_source
from fi.campaign.runner import Campaign
from fi.campaign.settings import Hardware, Settings
from fi.campaign.subject import Subject
from fi.faults.fault_list import FaultListError, read_fault_list
from fi.report.tables import table_of
from fi.sampling.plan import SamplingPlan
from fi.sampling.plan_file import plan_path
from fi.sampling.sequential_plan import TRACKED, IterativePlan
from fi.sampling.shards import Shard
from fi.statistics.group_estimates import estimate_groups
from fi.store.campaign_reader import PastCampaign
from fi.store.results_rows import ResultsError
from fi.test import main

PLAN = SamplingPlan(margin=0.05, models=("bit-flip", "stuck-at-1"), sites=("fc*.weight",))


def list_files(output: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in output.glob("fault_list/*/*_fault_list.*")}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The output of a campaign that nobody stops."""
    folder = tmp_path_factory.mktemp("whole")
    log = folder / "log"
    assert run_here(Job(folder, iterative=True, stored=5), log) == 0, log.read_text()
    return folder


def check_same(output: Path, whole: Path) -> None:
    assert results(output) == results(whole)
    assert list_files(output) == list_files(whole)
    for key in ("faults", "trials", "listed", "done", "looks", "hashes", "fault_list", "pairs"):
        assert summary(output)[key] == summary(whole)[key], key
    assert sum(summary(output)["decided"].values()) == summary(output)["pairs"]


def test_a_campaign_that_nobody_stops(whole: Path) -> None:
    found = summary(whole)
    analyses: Any = found["looks"]
    assert len(analyses) > 2
    assert [analysis["open"] for analysis in analyses] == [1] * (len(analyses) - 1) + [0]
    assert (
        analyses[-1]["faults"]
        == found["faults"]
        == found["done"]
        == results(whole).count(b"\n") - 1
    )
    assert (
        max(analyses[-1]["half_widths"].values())
        <= 0.05
        < max(analyses[-2]["half_widths"].values())
    )
    assert found["iterative"] == {"margin": 0.05, "rates": list(TRACKED)}
    lines = (whole / "log").read_text().splitlines()
    said = [line for line in lines if line.startswith("interim analysis ")]
    assert [int(line.split()[3]) for line in said] == [analysis["faults"] for analysis in analyses]
    assert said[0].endswith(": going on")
    assert said[-1].endswith(": done")


def kill_points(whole: Path) -> dict[str, tuple[str, int]]:
    """Kills in the draws of ``whole``, whose results are written 5 at a time and at the end."""
    analyses: Any = summary(whole)["looks"]
    first = -(-analyses[0]["faults"] // 5)  # writes of the first draw
    return {
        "golden": ("golden", 2),
        "first draw": ("group", 13),
        "first draw stored": ("stored", first - 1),
        "second draw": ("group", analyses[0]["faults"] + 5),
        "in a write of the second draw": ("write", first + 1),
    }


@pytest.mark.parametrize("when", ["first draw stored", "in a write of the second draw"])
def test_killed_once_and_continued(whole: Path, tmp_path: Path, when: str) -> None:
    job, log = Job(tmp_path, iterative=True, stored=5), tmp_path / "log"
    assert run_here(replace(job, kill=kill_points(whole)[when]), log) == -signal.SIGKILL
    assert results(whole).startswith(results(tmp_path))
    assert run_here(job, log) == 0, log.read_text()
    check_same(tmp_path, whole)


def test_killed_again_and_again(whole: Path, tmp_path: Path) -> None:
    job, log = Job(tmp_path, iterative=True, stored=5), tmp_path / "log"
    for kill in (("group", 9), ("golden", 2), ("write", 2), ("stored", 1), ("group", 12)):
        assert run_here(replace(job, kill=kill), log) == -signal.SIGKILL
    assert run_here(job, log) == 0, log.read_text()
    check_same(tmp_path, whole)
    assert [run["status"] for run in summary(tmp_path)["runs"]][-2:] == ["killed", "finished"]


@pytest.mark.slow
@pytest.mark.parametrize("when", ["golden", "first draw", "second draw"])
def test_killed_at_a_chosen_moment(whole: Path, tmp_path: Path, when: str) -> None:
    job, log = Job(tmp_path, iterative=True, stored=5), tmp_path / "log"
    assert run_here(replace(job, kill=kill_points(whole)[when]), log) == -signal.SIGKILL
    assert run_here(job, log) == 0, log.read_text()
    check_same(tmp_path, whole)


def test_two_processes_give_the_bytes_of_one(whole: Path, tmp_path: Path) -> None:
    log, port = tmp_path / "log", free_port()
    begun = Job(tmp_path, iterative=True, stored=5, kill=kill_points(whole)["second draw"])
    assert run_here(begun, log) == -signal.SIGKILL  # one process begins, two go on
    job = Job(tmp_path, iterative=True, stored=5, processes=2, port=port)
    ranks = [started(run_job, log, replace(job, rank=rank)) for rank in (0, 1)]
    assert [ended(process) for process in ranks] == [0, 0], log.read_text()
    assert results(tmp_path) == results(whole)
    assert list_files(tmp_path) == list_files(whole)
    assert summary(tmp_path)["looks"] == summary(whole)["looks"]
    assert log.read_text().count(": done\n") == 1  # the first process speaks


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., Campaign]:
    """Makes the campaign of a plan, in this process."""

    def made(given: Any, **options: Any) -> Campaign:
        subject = options.pop("subject", None) or subject_of(SmallLinear)
        defaults = {
            "output": tmp_path,
            "progress": None,
            "figures": False,
            "engine": "differential",
        }
        more, say = options.pop("callbacks", ()), options.pop("say", lambda line: None)
        settings = Settings(**{**defaults, "hardware": Hardware("cpu"), **options})
        source = make_fault_source(given, subject, tmp_path)
        return Campaign(
            subject,
            source.runnable,
            settings,
            source.record,
            callbacks=[*standard_callbacks(settings), *more],
            say=say,
        )

    return made


class Following(CampaignCallback):
    """Notes how long the list is, and ends the run after so many test runs."""

    def __init__(self, stop_after: int = 10**9) -> None:
        self.sizes: list[int] = []
        self.left = stop_after + 3  # the golden runs, and the faults that are checked before

    def on_interim_analysis(self, faults: int) -> None:
        self.sizes.append(faults)

    def on_test_start(self, *args: Any) -> None:
        self.left -= 1
        if self.left < 0:
            raise KeyboardInterrupt


def test_the_list_that_was_drawn_is_replayed(
    make: Callable[..., Campaign], whole: Path, tmp_path: Path
) -> None:
    following = Following()
    drawn = make(IterativePlan(PLAN), callbacks=[following])
    first = drawn.run()
    path = tmp_path / "fault_list" / "SmallLinear" / drawn.source.name
    assert read_fault_list(path) == drawn.faults
    assert following.sizes[-1] == len(drawn.faults)
    assert json.loads(plan_path(path).read_text())["iterative"]["rates"] == list(TRACKED)
    replayed = make(path.name)
    assert replayed.run().equals(first)
    assert replayed.files.path != drawn.files.path
    tables = [table_of(PastCampaign(c.files.path), first) for c in (drawn, replayed) if c.files]
    pd.testing.assert_frame_equal(*tables)
    design = PastCampaign(replayed.files.path).summary().design
    assert design.scheme == "family-wise"
    overall = estimate_groups(first, design).iloc[0]
    assert tables[0]["all"]["SDC_1"] == overall["sdc_1"] != (first["sdc_1"] / 24).mean()


def test_interrupted_and_run_again_in_the_same_session(
    make: Callable[..., Campaign], whole: Path, tmp_path: Path
) -> None:
    analyses: Any = summary(whole)["looks"]
    campaign = make(IterativePlan(PLAN), callbacks=[Following(stop_after=1)])  # a run a draw
    with pytest.raises(KeyboardInterrupt):
        campaign.run()
    found = summary(tmp_path)
    assert (found["status"], found["done"]) == ("interrupted", analyses[0]["faults"])
    assert found["faults"] == analyses[1]["faults"]
    table = table_of(PastCampaign(campaign.files.path), campaign.files.results.load())
    assert table["all"]["# of faults"] == found["done"]
    campaign = make(IterativePlan(PLAN))
    campaign.run()
    assert len(campaign.run()) == analyses[-1]["faults"]  # a finished one is reported
    assert results(tmp_path) == results(whole)
    assert summary(tmp_path)["looks"] == analyses


def test_overwrite_draws_the_same_again(
    make: Callable[..., Campaign], whole: Path, tmp_path: Path
) -> None:
    make(IterativePlan(PLAN)).run()
    lists = list_files(tmp_path)
    following = Following()
    make(IterativePlan(PLAN), callbacks=[following], overwrite=True).run()
    assert following.sizes
    assert results(tmp_path) == results(whole)
    assert list_files(tmp_path) == lists


def test_what_makes_another_campaign(make: Callable[..., Campaign], tmp_path: Path) -> None:
    other = subject_of(SmallLinear)
    other.network.fc1.bias.data[0] += 1
    folders = set()
    for options in (
        {"given": IterativePlan(PLAN)},
        {"given": IterativePlan(PLAN, confidence=0.9)},
        {"given": IterativePlan(PLAN, rates=("sdc_1",))},
        {"given": IterativePlan(replace(PLAN, seed=3))},
        {"given": IterativePlan(PLAN), "subject": Subject(other.network, other.batches)},
    ):
        campaign = make(**options)
        campaign.run()
        folders.add(campaign.files.path.name)
    assert len(folders) == 5
    assert len(list_files(tmp_path)) == 10  # each its list and its plan: none is overwritten


def test_results_that_were_changed_are_refused(make: Callable[..., Campaign]) -> None:
    campaign = make(IterativePlan(PLAN))
    campaign.run()
    path = campaign.files.results.path
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(lines[:7] + lines[8:]))
    with pytest.raises(ResultsError, match=r"injection \d+ is .*; in the fault list it is not in"):
        make(IterativePlan(PLAN)).run()


def test_a_list_of_others_is_not_overwritten(make: Callable[..., Campaign], tmp_path: Path) -> None:
    campaign = make(IterativePlan(PLAN))
    campaign.run()
    path = tmp_path / "fault_list" / "SmallLinear" / campaign.source.name
    path.write_text(path.read_text().replace("bit-flip", "stuck-at-0"))
    with pytest.raises(FaultListError, match="holds other faults; a list is never overwritten"):
        make(IterativePlan(PLAN), overwrite=True).run()


def test_a_shard_is_refused(make: Callable[..., Campaign]) -> None:
    with pytest.raises(
        UserError, match="--shard 1/2: the interim analyses of --iterative need all"
    ):
        make(IterativePlan(PLAN), shard=Shard(1, 2))


def test_tensorboard_follows_the_list(
    make: Callable[..., Campaign], monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[int] = []
    monkeypatch.setattr(
        CampaignBoard, "_draw_figures", lambda board: drawn.append(board._rates.done)
    )
    campaign = make(IterativePlan(PLAN), figures=True)
    results = campaign.run()
    assert drawn == [len(results)]


ARGUMENTS = [
    *("--model", "small_networks.SmallLinear", "--data", "campaign_process.SmallEvents"),
    *("--checkpoint", "none", "--accelerator", "cpu", "--margin", "0.05"),
    *("--faults.layers", "fc*.weight"),
    *("--iterative", "--no-figures"),
]


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = [*ARGUMENTS, "--output", str(tmp_path), "--iterative-rates", "sdc_1"]
    assert main([*arguments, "--dry-run"]) == 0
    plan = capsys.readouterr().out
    assert "network-wise, interim analyses until sdc_1 are known to 0.05 at 0.99" in " ".join(
        plan.split()
    )
    assert "the pilot has" in plan
    assert not list(tmp_path.iterdir())
    assert main([*arguments, "--verify", "3"]) == 0
    printed = capsys.readouterr().out
    assert "verified 3 faults" in printed
    assert main(arguments) == 0
    assert "finished already" in capsys.readouterr().out
    (folder,) = (tmp_path / "SmallLinear").glob("*_fault_list-*")
    config = folder / "config.yaml"
    assert main(["--config", str(config), "--output", str(tmp_path / "again")]) == 0
    assert results(tmp_path / "again") == (folder / "results.csv").read_bytes()


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--shard", "1/2"], "--shard 1/2: the interim analyses of --iterative need"),
        (["--fault-list", "a.csv"], "not with --iterative, which draws the list"),
        (["--p", "0.1"], "--p 0.1: not with --iterative"),
        (["--t", "2"], "--t 2.0: not with --iterative"),
        (["--scheme", "exhaustive"], "an exhaustive draw takes every fault"),
        (["--faults.together", "2"], "trials of 2 faults are not drawn iteratively"),
        (["--iterative-rates", "sdc"], "the tracked rates are sdc; allowed, each once: fully_m"),
    ],
)
def test_errors_are_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], more: list[str], message: str
) -> None:
    assert main([*ARGUMENTS, "--output", str(tmp_path), *more]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert message in error


def test_rates_without_iterative(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = [word for word in ARGUMENTS if word != "--iterative"]
    assert main([*arguments, "--output", str(tmp_path), "--iterative-rates", "sdc_1"]) == 2
    assert "--iterative-rates sdc_1: --iterative is missing" in capsys.readouterr().err
