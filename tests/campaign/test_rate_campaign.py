"""Campaigns of rates: continued, in shards, iterative, replayed, reported."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from campaign_outputs import results, summary
from campaign_process import Job, ended, free_port, run_here, run_job, started
from campaigns import Run, subject_of
from rate_campaigns import rate_campaign
from small_networks import PlainLinear, SmallConv, SmallLinear
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import nn

from fi.analyse import main as analyse
from fi.base.errors import UserError
from fi.campaign.rates.rate_source import write_trial
from fi.compare import main as compare
from fi.faults.fault_list import read_fault_list
from fi.merge import main as merge
from fi.report.page import write_figures, write_report
from fi.sampling.shards import Shard
from fi.store.rate_results import RATE_COLUMNS, RateResultsFile
from fi.store.results_rows import ResultsError

RATES = (0.0005, 0.004, 0.03)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A campaign of all layers and each alone; its folder."""
    plan = {"scheme": "layer-wise"}
    campaign = rate_campaign(
        subject_of(SmallConv), tmp_path_factory.mktemp("r"), RATES, 6, until=0.3, plan=plan,
        figures=True,
    )  # fmt: skip
    campaign.run()
    return campaign.files.path


def test_a_row_a_trial_and_a_list(finished: Path) -> None:
    found = RateResultsFile(finished / "results.csv").load()
    assert tuple(found.columns) == RATE_COLUMNS
    assert found["Injection"].tolist() == list(range(6 * 3 * 7))
    assert set(found["Scope"]) == {"network", "conv1", "lif1", "conv2", "lif2", "fc1", "lif3"}
    entries = json.loads((finished / "summary.json").read_text())
    assert entries["status"] == "finished"
    assert entries["done"] == entries["trials"] == 126
    assert entries["decided"]["forward"] > 0
    assert sum(entries["decided"].values()) == 126 * 24
    path = finished.parent.parent / "fault_list" / "SmallConv" / entries["fault_list"]
    listed = pd.read_csv(path, keep_default_na=False)
    assert (listed["Faults"] == found["Faults"]).all()


def test_other_networks_run_by_plain_forwards(tmp_path: Path) -> None:
    lines: list[str] = []
    found = rate_campaign(
        subject_of(PlainLinear), tmp_path, RATES, 3, engine="full", say=lines.append
    ).run()
    assert len(found) == 9
    assert any("0 of 9 trials by their differences" in line for line in lines)
    again = rate_campaign(subject_of(PlainLinear), tmp_path / "d", RATES, 3).run()
    pd.testing.assert_frame_equal(found, again)


@pytest.mark.parametrize("kind", [SmallLinear, SmallConv])
@pytest.mark.parametrize("plan", [{}, {"transient": True}, {"models": ("stuck-at-1",)}], ids=str)
def test_a_written_trial_replayed_has_the_same_counts(
    campaign: Run, kind: type[nn.Module], plan: dict[str, object], tmp_path: Path
) -> None:
    subject = subject_of(kind)
    rates = rate_campaign(subject, tmp_path / "rates", (0.02,), 3, plan=plan)
    found = rates.run().set_index("Injection")
    counts = [name for name in RATE_COLUMNS if name in found and name not in ("Faults", "Seed")]
    counts = counts[counts.index("samples") :]
    for number in range(3):
        path = write_trial(rates.schedule, number, tmp_path)
        faults = read_fault_list(path, subject.sites, subject.steps)
        assert len(faults) == found.loc[number, "Faults"] > 5
        for engine in ("full", "differential"):
            replayed = campaign(subject, faults, engine=engine).run()
            assert (replayed[counts] == found.loc[number, counts]).all(axis=None)


KILLS = [("write", 1), ("group", 2)]


@pytest.mark.parametrize("iterative", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_killed_and_continued(tmp_path: Path, iterative: bool) -> None:
    log = tmp_path / "log"
    whole = Job(tmp_path / "whole", rates=True, iterative=iterative)
    assert run_here(whole, log) == 0
    wanted = results(whole.output)
    output = tmp_path / "killed"
    for kill in KILLS:
        job = Job(output, kill=kill, rates=True, iterative=iterative)
        assert run_here(job, log) == -signal.SIGKILL
        assert wanted.startswith(results(output)[: results(output).rfind(b"\n") + 1])
    assert 0 < len(results(output)) < len(wanted)
    assert run_here(Job(output, rates=True, iterative=iterative), log) == 0
    assert results(output) == wanted
    assert summary(output)["status"] == "finished"
    assert [run["status"] for run in summary(output)["runs"]][-1] == "finished"  # type: ignore[attr-defined]


@pytest.mark.slow
def test_several_processes_give_the_same(tmp_path: Path) -> None:
    assert run_here(Job(tmp_path / "one", rates=True), tmp_path / "log") == 0
    port = free_port()
    jobs = [Job(tmp_path / "two", rates=True, rank=r, processes=2, port=port) for r in range(2)]
    running = [started(run_job, tmp_path / f"log{job.rank}", job) for job in jobs]
    assert [ended(process) for process in running] == [0, 0], (tmp_path / "log0").read_text()
    assert results(tmp_path / "two") == results(tmp_path / "one")


def test_shards_put_together_are_the_bytes_of_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    subject = subject_of(SmallConv)
    whole = rate_campaign(subject, tmp_path / "whole", RATES, 5)
    whole.run()
    for number in (2, 1, 3):
        part = rate_campaign(subject, tmp_path / "parts", RATES, 5, shard=Shard(number, 3))
        part.run()
    assert merge([str(part.files.campaign)]) == 0
    assert results(tmp_path / "parts") == results(tmp_path / "whole")
    assert "15 trials x 24 samples" in capsys.readouterr().out


def test_each_rate_stops_by_itself(tmp_path: Path) -> None:
    lines: list[str] = []

    def run(output: Path) -> pd.DataFrame:
        return rate_campaign(
            subject_of(SmallConv), output, (1e-6, 0.004, 1.0), 30, iterative=True,
            plan={"margin": 0.13}, say=lines.append,
        ).run()  # fmt: skip

    found = run(tmp_path)
    trials = found.groupby("Rate")["Injection"].count()
    assert trials[1e-6] < 30
    assert trials[0.004] == 30  # as many as there may be: the intervals are wider than wanted
    assert any("all 30 trials used up at 0.004" in line for line in lines)
    assert lines[-1].endswith(": done")
    pd.testing.assert_frame_equal(run(tmp_path / "again"), found)


def test_the_table_the_page_and_the_figure(
    finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert analyse([str(finished)]) == 0
    printed = capsys.readouterr().out
    assert "126 trials x 24 samples" in printed
    assert "conv1: accuracy " in printed
    table = pd.read_csv(finished.parent.parent / "fault_list/SmallConv" / _table_name(finished))
    assert len(table) == 3 * 7
    own = RateResultsFile(finished / "results.csv").load()
    first = own[(own["Scope"] == "network") & (own["Rate"] == RATES[0])]
    assert table["facc"][0] == pytest.approx((first["correct"] / first["samples"]).mean())
    assert (table["facc low"] <= table["facc"]).all()
    assert analyse([str(finished), "--until", "0.01", "--confidence", "0.9"]) == 0
    assert "falls below 1.00%" in capsys.readouterr().out
    page = write_report(finished).read_text()
    assert "Accuracy over the rate" in page
    assert page.count('<tr><th class="site">conv2</th>') == 3
    (figure,) = write_figures(finished, tmp_path)
    assert "golden" in figure.read_text()


def _table_name(folder: Path) -> str:
    return f"{folder.name.rpartition('-')[0]}_result.csv"


def test_tensorboard_has_every_rate(finished: Path) -> None:
    events = EventAccumulator(str(finished / "tensorboard"))
    events.Reload()
    scalars = set(events.Tags()["scalars"])
    assert {"network/0.004/facc", "fc1/0.03/sdc_1_high", "network/over_rate/masked_low"} <= scalars
    assert len(events.Scalars("network/over_rate/facc")) == 3
    assert events.Tags()["images"] == ["accuracy_over_rate"]


@pytest.mark.parametrize("option", ["--by=family", "--top=3", "--fit=x.yaml"])
def test_what_is_for_single_faults(
    finished: Path, option: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert analyse([str(finished), option]) == 2
    assert "is a campaign of rates" in capsys.readouterr().err


def test_rates_are_not_compared(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert compare([str(finished), str(finished)]) == 2
    assert "fi.compare is for campaigns of single faults" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: text.replace("network", "conv1", 1), "in the list it is 0,"),
        (lambda text: text.replace(",0.0005,", ",0.00050,", 1), "results.csv:2: Rate is '0.00050'"),
        (lambda text: text.replace(",24,", ",25,", 1), "samples is 25, here 24"),
        (lambda text: text.replace("Rate", "rate", 1), "results.csv:1: the header is"),
    ],
)
def test_results_that_were_changed_by_hand(
    change: Callable[[str], str], message: str, tmp_path: Path
) -> None:
    subject = subject_of(SmallConv)
    campaign = rate_campaign(subject, tmp_path, RATES, 2)
    campaign.run()
    path = campaign.files.results.path
    path.write_text(change(path.read_text()))
    with pytest.raises(ResultsError, match=message):
        rate_campaign(subject, tmp_path, RATES, 2).run()


def test_a_shard_of_an_iterative_campaign_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="--shard 1/2"):
        rate_campaign(subject_of(SmallConv), tmp_path, RATES, iterative=True, shard=Shard(1, 2))


def test_verified_by_plain_forwards(tmp_path: Path) -> None:
    campaign = rate_campaign(subject_of(SmallConv), tmp_path, RATES, 4)
    found = campaign.run()
    assert campaign.verify(found, 12, 0).endswith("288 of 288 pairs agree")
    found.loc[:, "sdc_1"] += 3
    with pytest.raises(Exception, match="pairs agree; such as trial"):
        campaign.verify(found, 12, 0)


def test_plain_forwards_in_float64(tmp_path: Path) -> None:
    """Trials of many faults keep golden words of the run's own precision."""
    found = rate_campaign(
        subject_of(SmallConv), tmp_path, RATES, 3, precision="64-true", engine="differential"
    ).run()
    other = rate_campaign(
        subject_of(SmallConv), tmp_path / "full", RATES, 3, precision="64-true", engine="full"
    ).run()
    pd.testing.assert_frame_equal(found, other)
    assert (found["fully_masked"] < found["samples"]).any()


@pytest.mark.parametrize("edit", ["count", "seed", "more"])
def test_a_list_of_trials_that_was_edited_is_refused(tmp_path: Path, edit: str) -> None:
    """Trials follow from the options: a list that says otherwise is no list of this campaign."""
    subject = subject_of(SmallLinear)
    rate_campaign(subject, tmp_path, RATES, 2).run()
    (path,) = (tmp_path / "fault_list").glob("*/*_rates.csv")
    lines = path.read_text().splitlines()
    fields = lines[2].split(",")
    fields[4 if edit == "count" else 3] += "1"
    edited = [*lines, lines[-1]] if edit == "more" else [*lines[:2], ",".join(fields), *lines[3:]]
    path.write_text("\n".join([*edited, ""]))
    message = "has 7 trials, and the options give 6" if edit == "more" else "_rates.csv:3 is '1,"
    with pytest.raises(UserError, match=message):
        rate_campaign(subject, tmp_path, RATES, 2).run()
    with pytest.raises(UserError, match="has trials of rates, not faults"):
        read_fault_list(path)
    path.unlink()
    rate_campaign(subject, tmp_path, RATES, 2).run()
    assert path.read_text().splitlines() == lines
