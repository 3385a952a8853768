"""``fi.Campaign`` as a notebook uses it, and what importing ``fi`` costs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import torch
from small_networks import INPUT_SHAPES, PlainLinear, SmallLinear, event_batches, small

import fi
import fi.models
from fi.campaign.fault_source import make_fault_source
from fi.campaign.subject import Subject
from fi.models import NMNIST
from fi.report.result_view import ResultTable

PLAN = fi.SamplingPlan(margin=0.15)
DATA = event_batches(INPUT_SHAPES[SmallLinear])


def campaign(output: Path, **options: object) -> fi.Campaign:
    options = {"accelerator": "cpu", "quiet": True, "faults": PLAN, **options}
    return fi.Campaign(small(SmallLinear), DATA, output=output, **options)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> ResultTable:
    return campaign(tmp_path_factory.mktemp("output")).run()


def test_importing_fi_loads_nothing_else() -> None:
    code = (
        "import sys, fi; before = set(sys.modules); "
        "assert not {'torch', 'pandas', 'numpy', 'matplotlib'} & before; "
        "assert fi.SamplingPlan.__module__.startswith('fi.sampling.'); "
        "assert 'torch' in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=300)


def test_every_public_name_is_there_and_no_other() -> None:
    for name in fi.__all__:
        assert getattr(fi, name).__name__ == name
        assert name in dir(fi)
    with pytest.raises(AttributeError, match="no attribute 'Campaing'; it has: Campaign, Fault"):
        fi.Campaing  # noqa: B018


def test_a_plan_is_drawn_written_and_run(tmp_path: Path) -> None:
    one = campaign(tmp_path)
    table = one.run()
    listed = tmp_path / "fault_list" / "SmallLinear" / PLAN.list_name
    assert fi.read_fault_list(listed) == one.source.faults
    results = pd.read_csv(table.folder / "results.csv")
    assert table.faults["Injection"].tolist() == results["Injection"].tolist()
    rate = (results["sdc_1"] / results["samples"]).mean()
    assert table.rates.at["SDC_1", "all"] == pytest.approx(rate)
    assert 0 < rate < 1
    assert (listed.parent / listed.name.replace(".csv", "_result.csv")).exists()


@pytest.mark.parametrize("given", ["name", "path", "faults"])
def test_a_list_gives_the_same_results(tmp_path: Path, table: ResultTable, given: str) -> None:
    subject = Subject(small(SmallLinear), DATA)
    source = make_fault_source(PLAN, subject, tmp_path)
    source.write()
    faults = {"name": source.path.name, "path": source.path, "faults": source.faults}[given]
    again = campaign(tmp_path, faults=faults).run()
    pd.testing.assert_frame_equal(again.faults, table.faults)


def test_a_finished_campaign_is_not_run_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    campaign(tmp_path).run()
    campaign(tmp_path, quiet=False).run()
    assert "finished already" in capsys.readouterr().out


def test_names_mean_our_own_trained_networks(tmp_path: Path) -> None:
    one = fi.Campaign(
        "NMNIST", event_batches((2, 34, 34)), [fi.Fault(0, "fc1.weight", (0, 0), 30)],
        accelerator="cpu", output=tmp_path, quiet=True, samples=5,
    )  # fmt: skip
    trained = NMNIST()
    fi.load_checkpoint(trained, Path(fi.models.__file__).parent / "pretrained" / "NMNIST.pt")
    assert torch.equal(one.subject.network.get_parameter("fc1.weight"), trained.fc1.weight)
    table = one.run()
    assert (len(table.faults), table.faults["samples"].tolist()) == (1, [5])


def test_readable_reprs(tmp_path: Path, table: ResultTable) -> None:
    one = campaign(tmp_path)
    text = repr(one)
    number = len(one.source.faults)
    assert text.startswith("Campaign(SmallLinear on list, 6 time steps; ")
    assert f"{number:,} of {one.source.space.size:,}, network-wise draw" in text
    assert "differential engine" in text
    assert "<th style='text-align:left'>faults</th>" in one._repr_html_()
    assert repr(one.subject) == "Subject(SmallLinear on list, 6 time steps, 12 site families)"
    lines = repr(table).splitlines()
    assert lines[0] == f"SmallLinear, {PLAN.list_name[:-4]}: {number} faults x 24 samples"
    assert max(map(len, lines[:-1])) <= 80  # the last one is a path
    assert "\x1b" not in repr(table)
    html = table._repr_html_()
    assert f"{100 * table.rates.at['SDC_1', 'fc1.weight']:.3f}" in html
    assert repr(table.plot()).startswith("Picture('outcomes': What the faults did")


def test_figures_by_name(tmp_path: Path, table: ResultTable) -> None:
    assert {"outcomes", "bits", "accuracy"} <= set(table.figures)
    assert table.plot("bits")._repr_svg_().count("<svg") == 1
    assert table.plot("bits").save(tmp_path / "bits.svg").read_text() == table.plot("bits").svg()
    with pytest.raises(fi.UserError, match="no figure 'steps'; this campaign has: outcomes, bits"):
        table.plot("steps")
    assert table.headline[0].endswith("fully masked.")
    assert table.report().name == "report.html"


def test_a_network_with_a_forward_of_its_own(tmp_path: Path) -> None:
    one = fi.Campaign(
        small(PlainLinear), DATA, fi.SamplingPlan(margin=0.3), output=tmp_path, quiet=True,
        accelerator="cpu", name="Mine",
    )  # fmt: skip
    assert "stage graph recorded from its forward (2 stages)" in repr(one)
    assert one.run().folder.parent.name == "Mine"


def test_errors_are_the_users() -> None:
    with pytest.raises(fi.UserError, match="names no default data: give a datamodule"):
        fi.Campaign(small(SmallLinear))
    with pytest.raises(fi.UserError, match="unknown model 'NMNITS'; known: CSNN"):
        fi.Campaign("NMNITS")
    with pytest.raises(fi.UserError, match="there is no such list"):
        fi.Campaign(small(SmallLinear), DATA, "none.csv")
