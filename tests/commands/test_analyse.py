"""``python -m fi.analyse``: finds the newest campaign on a list, prints and writes its table."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from fi.analyse import main
from fi.base.text_files import FileError
from fi.faults.fault import Fault
from fi.metrics.counts import COUNT_COLUMNS
from fi.report.tables import write_table
from fi.store.results_file import ResultsFile

SUMMARY: dict[str, Any] = {
    "model": "CSNN",
    "fault_list": "51196_fault_list",
    "status": "finished",
    "batches": 4,
    "samples": 10,
    "golden_accuracy": 0.8,
    "confidence": 0.99,
    "draw": {
        "scheme": "network-wise",
        "steps": [""],
        "families": [
            {"name": "fc1.weight", "words": 11560, "bits": {"bit-flip": ["5", "30"]}},
            {"name": "lif1.beta", "words": 20, "bits": {"bit-flip": ["5", "30"]}},
        ],
    },
}
NO_FAMILIES = {"scheme": "network-wise", "steps": [""], "families": []}


def campaign(output: Path, name: str, sdc: int = 1, **changes: Any) -> Path:
    """A campaign of two faults, each corrupting ``sdc`` of 10 samples."""
    folder = output / "CSNN" / name
    folder.mkdir(parents=True)
    (folder / "summary.json").write_text(json.dumps(SUMMARY | changes))
    row = np.array([10, 10 - sdc, sdc, 0, 0, 0, 0, 0, 8 - sdc, 8])
    counts = dict(zip(COUNT_COLUMNS, np.stack([row, row], axis=1), strict=True))
    faults = [Fault(0, "fc1.weight", (0, 3), 5), Fault(1, "lif1.beta", (7,), 30)]
    ResultsFile(folder / "results.csv").append(faults, counts)
    return folder


def command(output: Path, fault_list: str = "51196_fault_list.csv", model: str = "CSNN") -> int:
    return main([f"--model={model}", f"--fault-list={fault_list}", f"--output={output}"])


def test_the_table_is_printed_and_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    campaign(tmp_path, "51196_fault_list-1a2b")
    assert command(tmp_path) == 0
    lines = (tmp_path / "fault_list/CSNN/51196_fault_list_result.csv").read_text().splitlines()
    assert lines[:4] == [
        ",fc1.weight,lif1.beta,all",
        "# of faults,1,1,2",
        "# of injections,4,4,8",
        "fully_masked,0.9,0.9,0.9",
    ]
    assert lines[9:11] == ["facc,0.7,0.7,0.7", "acc,0.8,0.8,0.8"]
    printed = capsys.readouterr().out
    assert printed.startswith("CSNN, 51196_fault_list: 2 faults x 10 samples\n")
    assert "51196_fault_list_result.csv" in printed


def test_the_newest_campaign_on_that_very_list_is_taken(tmp_path: Path) -> None:
    first = campaign(tmp_path, "51196_fault_list-ff", sdc=2)
    second = campaign(tmp_path, "51196_fault_list-00", sdc=3)
    campaign(tmp_path, "51196-abcd_fault_list-11", sdc=4)
    for folder, seconds in ((first, 200), (second, 100)):
        os.utime(folder / "results.csv", (seconds, seconds))
    path = tmp_path / "fault_list/CSNN/51196_fault_list_result.csv"
    for name in ("51196_fault_list.csv", "51196_fault_list", "/some/where/51196_fault_list.csv"):
        assert command(tmp_path, name) == 0
        assert "SDC_1,0.2,0.2,0.2" in path.read_text()
    assert command(tmp_path, "51196-abcd_fault_list.csv") == 0
    other = tmp_path / "fault_list/CSNN/51196-abcd_fault_list_result.csv"
    assert "SDC_1,0.4,0.4,0.4" in other.read_text()


def test_an_interrupted_campaign_shows_what_is_done(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = campaign(tmp_path, "51196_fault_list-1a2b", status="interrupted")
    with (folder / "results.csv").open("a") as file:
        file.write("2,fc1.wei")
    before = (folder / "results.csv").read_bytes()
    assert command(tmp_path) == 0
    assert "2 faults x 10 samples (interrupted)" in capsys.readouterr().out
    assert (folder / "results.csv").read_bytes() == before


@pytest.mark.parametrize("model", ["CSNN", "my_package.CSNN", "./models/mine.py:CSNN"])
def test_a_network_is_known_by_its_class(tmp_path: Path, model: str) -> None:
    campaign(tmp_path, "mine-1a2b")
    assert command(tmp_path, "mine", model) == 0
    assert (tmp_path / "fault_list/CSNN/mine_result.csv").exists()


def failure(output: Path, capsys: pytest.CaptureFixture[str], **options: str) -> str:
    """The one line on stderr of a command that fails."""
    assert command(output, **options) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    return captured.err


def test_what_is_not_there_is_named_with_what_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "no results of 'CSNN' in" in failure(tmp_path / "none", capsys)
    campaign(tmp_path, "51196_fault_list-1a2b")
    assert "no results of 'SHD'" in (wrong := failure(tmp_path, capsys, model="SHD"))
    assert wrong.endswith("there are: CSNN\n")
    wrong = failure(tmp_path, capsys, fault_list="7_fault_list.csv")
    assert "no campaign on the fault list '7_fault_list'" in wrong
    assert wrong.endswith("there are campaigns on: 51196_fault_list\n")
    assert not (tmp_path / "fault_list").exists()


@pytest.mark.parametrize(
    ("summary", "message"),
    [
        (None, "summary.json: no such file"),
        ("{", "summary.json:1: not JSON"),
        ("[]", "summary.json: not the summary of a campaign"),
        (json.dumps(SUMMARY | {"draw": {"scheme": "list"}}), "key 'families' is missing"),
        (json.dumps(SUMMARY | {"draw": NO_FAMILIES | {"scheme": "best"}}), "scheme is 'best'"),
        (json.dumps(SUMMARY | {"draw": NO_FAMILIES}), "results of fc1.weight, lif1.beta"),
    ],
)
def test_a_bad_summary_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], summary: str | None, message: str
) -> None:
    path = campaign(tmp_path, "51196_fault_list-1a2b") / "summary.json"
    path.unlink() if summary is None else path.write_text(summary)
    assert message in failure(tmp_path, capsys)


def test_a_campaign_without_results_is_named(tmp_path: Path) -> None:
    folder = campaign(tmp_path, "51196_fault_list-1a2b")
    header = (folder / "results.csv").read_text().splitlines(keepends=True)[0]
    for content in ("", header, header[:20]):
        (folder / "results.csv").write_text(content)
        with pytest.raises(FileError, match="no fault is finished"):
            write_table(folder)


def test_write_table_gives_the_table_to_the_campaign(tmp_path: Path) -> None:
    draw = SUMMARY["draw"] | {"scheme": "layer-wise"}
    table = write_table(campaign(tmp_path, "51196_fault_list-1a2b", draw=draw))
    assert table.at["SDC_1", "all"] == pytest.approx(0.1)
    (tmp_path / "fault_list/CSNN/51196_fault_list_result.csv").unlink()
    (tmp_path / "fault_list/CSNN").rmdir()
    (tmp_path / "fault_list/CSNN").write_text("in the way")
    with pytest.raises(FileError, match="cannot be written"):
        write_table(tmp_path / "CSNN/51196_fault_list-1a2b")


def test_help_names_every_option(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--help"])
    assert ended.value.code == 0
    printed = capsys.readouterr().out
    for option in ("--model", "--fault-list", "--output", "--by", "--top", "--confidence"):
        assert option in printed


def harmful_campaign(output: Path) -> None:
    """Three faults: one harmless, one of 2 and one of 6 changed predictions of 10."""
    folder = output / "CSNN" / "51196_fault_list-1a2b"
    folder.mkdir(parents=True)
    (folder / "summary.json").write_text(json.dumps(SUMMARY))
    rows = [[10, 10 - n, n, 0, 0, 0, 0, 0, 8 - n, 8] for n in (0, 2, 6)]
    counts = dict(zip(COUNT_COLUMNS, np.array(rows).T, strict=True))
    faults = [
        Fault(0, "fc1.weight", (0, 3), 5),
        Fault(1, "fc1.weight", (0, 4), 30),
        Fault(2, "lif1.beta", (7,), 30),
    ]
    ResultsFile(folder / "results.csv").append(faults, counts)


def test_rates_by_any_grouping(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    harmful_campaign(tmp_path)
    arguments = ["--model=CSNN", "--fault-list=51196_fault_list", f"--output={tmp_path}"]
    assert main([*arguments, "--by=bit", "--confidence=0.95"]) == 0
    printed = capsys.readouterr().out
    assert "by bit" in printed
    assert "95 % intervals" in printed
    path = tmp_path / "fault_list/CSNN/51196_fault_list_by_bit.csv"
    table = pd.read_csv(path, dtype={"bit": str}).set_index("bit")
    assert list(table.index) == ["5", "30"]
    assert table["faults"].to_dict() == {"5": 1, "30": 2}
    assert table["sdc_1"].to_dict() == pytest.approx({"5": 0.0, "30": 0.4})
    assert (table["sdc_1 low"] <= table["sdc_1"]).all()
    assert (table["sdc_1"] <= table["sdc_1 high"]).all()
    assert main([*arguments, "--by=family,model"]) == 0
    assert path.with_name("51196_fault_list_by_family-model.csv").exists()


def test_the_most_critical_faults_come_first(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    harmful_campaign(tmp_path)
    arguments = ["--model=CSNN", "--fault-list=51196_fault_list", f"--output={tmp_path}"]
    assert main([*arguments, "--top=1"]) == 0
    printed = capsys.readouterr().out
    assert "the most critical fault" in printed
    path = tmp_path / "fault_list/CSNN/51196_fault_list_top.csv"
    assert list(pd.read_csv(path)["Injection"]) == [2]
    assert main([*arguments, "--top=20"]) == 0
    table = pd.read_csv(path)  # the fault that changes nothing is left out
    assert list(table["Injection"]) == [2, 1]
    assert table["sdc_1_rate"].tolist() == pytest.approx([0.6, 0.2])
    assert table["accuracy_drop"].tolist() == pytest.approx([0.6, 0.2])


def test_no_fault_does_harm(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    campaign(tmp_path, "51196_fault_list-1a2b", sdc=0)
    assert (
        main(["--model=CSNN", "--fault-list=51196_fault_list", f"--output={tmp_path}", "--top=3"])
        == 0
    )
    assert "No fault that was run changes a prediction." in capsys.readouterr().out


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("--by=laye", "--by laye: allowed are family, layer, bit, model, step"),
        ("--by=bit,bit", "--by bit,bit: allowed are"),
        ("--top=-1", "--top -1: allowed is 0 or more"),
        ("--confidence=1", "--confidence 1.0: allowed is above 0 and below 1"),
    ],
)
def test_wrong_options_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], option: str, message: str
) -> None:
    campaign(tmp_path, "51196_fault_list-1a2b")
    assert main(["--model=CSNN", "--fault-list=x", f"--output={tmp_path}", option]) == 2
    assert message in capsys.readouterr().err
