"""``--interval`` and ``--pilot``: what is told, what is kept, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

from fi import analyse, compare
from fi.statistics.intervals import METHODS
from fi.test import main

ARGUMENTS = [
    *("--model", "small_networks.SmallLinear", "--data", "campaign_process.SmallEvents"),
    *("--checkpoint", "none", "--accelerator", "cpu", "--no-figures"),
    *("--faults.layers", "fc*.weight"),
]


def told(capsys: pytest.CaptureFixture[str]) -> str:
    return " ".join(capsys.readouterr().out.split())


def run(tmp_path: Path, *more: str) -> Path:
    before = set(tmp_path.glob("SmallLinear/*_fault_list-*"))
    assert main([*ARGUMENTS, "--output", str(tmp_path), *more]) == 0
    folders = set(tmp_path.glob("SmallLinear/*_fault_list-*"))
    return next(iter(folders - before or folders))


def width(path: Path) -> float:
    table = pd.read_csv(path, index_col=0)
    return float(table.at["facc high", "all"]) - float(table.at["facc low", "all"])


def test_footer_and_summary_say_which_and_what_it_guarantees(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    widths = {}
    for number, (name, method) in enumerate(METHODS.items()):
        folder = run(tmp_path / name, "--margin", "0.15", "--interval", name)
        printed, summary = told(capsys), json.loads((folder / "summary.json").read_text())
        assert method.title in printed
        assert method.basis in printed
        assert (summary["interval"], summary["guarantee"]) == (name, method.guarantee)
        (table,) = (tmp_path / name).glob("fault_list/SmallLinear/*_result.csv")
        widths[name] = width(table)
        assert number == 0 or widths[name] > widths["gaffke"]


def test_a_stored_campaign_is_analysed_and_compared_by_another_rule(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = run(tmp_path, "--margin", "0.15")
    (table,) = tmp_path.glob("fault_list/SmallLinear/*_result.csv")
    which = ["--model", "SmallLinear", "--fault-list", table.name.replace("_result", "")]
    which += ["--output", str(tmp_path), "--by", "bit"]
    narrow = width(table)
    capsys.readouterr()
    assert analyse.main([*which, "--interval", "wilson"]) == 0
    assert told(capsys).count("tested, without a proof") == 2  # the table, and that by bit
    assert width(table) > narrow
    assert compare.main([str(folder), str(folder), "--interval", "betting"]) == 0
    assert "proven to cover at every sample size" in told(capsys)
    summary = json.loads((folder / "summary.json").read_text())
    del summary["interval"], summary["guarantee"]  # as of a campaign that was run before
    (folder / "summary.json").write_text(json.dumps(summary))
    assert analyse.main(which) == 0
    assert "conjectured" in told(capsys)
    assert width(table) == pytest.approx(narrow)


def test_a_pilot_gives_the_sizes_of_the_next_campaign(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pilot = run(tmp_path, "--margin", "0.15")
    capsys.readouterr()
    again = ["--margin", "0.05", "--pilot", str(pilot)]
    assert main([*ARGUMENTS, "--output", str(tmp_path), *again, "--dry-run"]) == 0
    plan = told(capsys)
    assert "sizes by the pilot" in plan
    assert "half-width │" in plan or "half-width ┃" in plan
    folder = run(tmp_path, *again)
    summary = json.loads((folder / "summary.json").read_text())
    assert f"{summary['faults']} of " in plan
    formula = run(tmp_path / "formula", "--margin", "0.05")
    faults = json.loads((formula / "summary.json").read_text())["faults"]
    assert 20 < summary["faults"] < faults


def test_a_dry_run_says_what_the_margin_takes_at_best_and_at_worst(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*ARGUMENTS, "--output", str(tmp_path), "--margin", "0.15", "--dry-run"]) == 0
    assert "a half-width of 0.15 takes 15 faults (" in (plan := told(capsys))
    assert "of a rate of 0 or 1, " in plan
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--interval", "bayes"], "--interval bayes: allowed are gaffke, betting, wilson"),
        (["--pilot", "nowhere"], "nowhere"),
        (["--pilot", "nowhere", "--p", "0.1"], "--p 0.1: not with --pilot"),
        (["--pilot", "nowhere", "--iterative"], "--pilot: not with --iterative"),
    ],
)
def test_errors_are_one_line(
    more: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*ARGUMENTS, *more]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert len(error.strip().splitlines()) == 1
