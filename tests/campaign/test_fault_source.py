"""Where a campaign's faults come from: a plan, a file by name or path, faults in memory."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from campaigns import subject_of
from small_networks import SmallLinear

from fi.base.errors import UserError
from fi.campaign.fault_source import make_fault_source
from fi.campaign.subject import Subject
from fi.faults.fault import Fault
from fi.faults.fault_list import write_fault_list
from fi.sampling.plan import SamplingPlan
from fi.sampling.plan_file import plan_path

PLAN = SamplingPlan(margin=0.2, models=("stuck-at-1",), sites=("fc1.weight", "lif1.*"))
FAULT = Fault(0, "fc1.weight", (7, 11), 30)


def test_a_plan_draws_and_is_written(subject: Subject, tmp_path: Path) -> None:
    source = make_fault_source(PLAN, subject, tmp_path)
    assert source.record.scheme == "network-wise"
    assert source.record.populations["fc1.weight"] == 12 * 8 * 32
    assert not source.path.exists()
    source.write()
    by_name = make_fault_source(source.path.name, subject, tmp_path)
    assert (
        by_name.faults == make_fault_source(source.path, subject, tmp_path).faults == source.faults
    )
    assert (by_name.record.scheme, by_name.record.name) == ("network-wise", PLAN.list_name)
    assert by_name.design is not None
    assert source.design is not None
    assert by_name.design.record() == source.design.record()


def test_a_list_keeps_its_plan_while_it_is_that_list(subject: Subject, tmp_path: Path) -> None:
    source = make_fault_source(replace(PLAN, scheme="layer-wise"), subject, tmp_path)
    source.write()
    elsewhere = tmp_path / "mine.csv"
    elsewhere.write_bytes(source.path.read_bytes())
    assert make_fault_source(elsewhere, subject, tmp_path).record.scheme == "list"
    plan = plan_path(source.path)
    (tmp_path / "mine.json").write_bytes(plan.read_bytes())
    assert make_fault_source(elsewhere, subject, tmp_path).record.scheme == "layer-wise"
    elsewhere.write_text("".join(elsewhere.read_text().splitlines(keepends=True)[:-1]))
    with pytest.raises(UserError, match=r"mine.json is the plan of other faults than .*mine.csv"):
        make_fault_source(elsewhere, subject, tmp_path)
    plan.write_text("{}")
    with pytest.raises(UserError, match=r"not the plan of a fault list \('list_sha256'\)"):
        make_fault_source(source.path, subject, tmp_path)


def test_a_data_aware_draw_knows_its_prior(subject: Subject, tmp_path: Path) -> None:
    source = make_fault_source(SamplingPlan("data-aware", margin=0.1), subject, tmp_path)
    assert source.plan is not None
    rates = {(row.layer, row.first): row.p for row in source.plan.prior}
    assert rates["fc1.weight", 30] == 0.5 > rates["fc1.weight", 22] > rates["fc1.weight", 3]
    assert not any(layer.endswith(("potential", "spike")) for layer, _ in rates)


def test_faults_in_memory_are_a_list_that_is_not_written(subject: Subject, tmp_path: Path) -> None:
    source = make_fault_source([FAULT], subject, tmp_path)
    source.write()
    assert (source.faults, source.record.scheme) == ([FAULT], "list")
    assert source.record.populations["lif2.spike"] == 4 * 32
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([], "the fault list is empty"),
        ([Fault(0, "fc9.weight", (0, 0), 1)], "unknown layer 'fc9.weight'; known: fc1.weight"),
        ([Fault(0, "fc1.weight", (8, 0), 1)], r"index \(8, 0\) is outside fc1.weight"),
        ([FAULT, FAULT], "injection 0 has the same fault twice"),
        ("no_such_list.csv", "there is no such list in .*; known: mine_fault_list.csv"),
        (SamplingPlan(sites=("fc9.*",)), "'fc9.\\*': that fits no site family; known: fc1.weight"),
    ],
)
def test_what_does_not_fit_is_named(
    subject: Subject, tmp_path: Path, given: object, message: str
) -> None:
    write_fault_list(tmp_path / "fault_list" / subject.name / "mine_fault_list.csv", [FAULT])
    with pytest.raises(UserError, match=message):
        make_fault_source(given, subject, tmp_path)  # type: ignore[arg-type]


def test_a_list_for_another_word_format_has_another_name(tmp_path: Path) -> None:
    plan, names = SamplingPlan(margin=0.2), set()
    for word_format in ("float32", "float16", "int8"):
        source = make_fault_source(plan, subject_of(SmallLinear, word_format=word_format), tmp_path)
        source.write()  # refused where another list has the name
        names.add(source.path.name)
    assert len(names) == 3
