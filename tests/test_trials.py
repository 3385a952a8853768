"""Trials of several faults: lists, draws, results, tables, and a run that was killed in one."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from conftest import Run, subject_of
from small_networks import SmallLinear

from fi.counts import COUNT_COLUMNS
from fi.design import Design
from fi.fault_list import FaultListError, read_fault_list, write_fault_list
from fi.faults import SEVERAL, Fault, family_of, trials
from fi.sampling import SamplingPlan, draw
from fi.subject import Subject
from fi.table import FAULTS, OVERALL, one_row_a_trial, result_table
from fi.verify import verify


@pytest.fixture
def faults(subject: Subject) -> list[Fault]:
    plan = SamplingPlan(margin=0.15, together=3, models=("bit-flip", "dead"))
    return draw(plan.space(subject.families, subject.steps), plan)


def test_a_draw_has_different_faults_and_no_trial_twice(subject: Subject) -> None:
    plan = SamplingPlan(margin=0.05, together=2)
    found = trials(draw(plan.space(subject.families, subject.steps), plan))
    assert len(found) == 665  # of all pairs of faults, practically infinite
    assert {len(set(trial)) for trial in found} == {2}
    bare = [frozenset((f.layer, f.index, f.bits) for f in trial) for trial in found]
    assert len(set(bare)) == len(found)
    assert any(family_of(trial) == SEVERAL for trial in found)
    assert draw(plan.space(subject.families, subject.steps), plan) == [
        fault for trial in found for fault in trial
    ]


def test_within_a_layer(subject: Subject) -> None:
    plan = SamplingPlan(margin=0.08, together=2, within_layer=True)
    found = trials(draw(plan.space(subject.families, subject.steps), plan))
    layers = [{fault.layer.split(".")[0] for fault in trial} for trial in found]
    assert all(len(names) == 1 for names in layers)
    assert len(Counter(frozenset(names) for names in layers)) > 2


def test_a_list_of_trials_comes_back(tmp_path: Path, faults: list[Fault]) -> None:
    path = tmp_path / "list.csv"
    write_fault_list(path, faults)
    assert read_fault_list(path) == faults
    assert len(trials(faults)) == len(faults) / 3
    torn = [*faults[:1], *faults[3:], *faults[1:3]]
    with pytest.raises(FaultListError, match="comes twice; allowed: its faults side by side"):
        write_fault_list(tmp_path / "torn.csv", torn)
    with pytest.raises(FaultListError, match="has the same fault twice"):
        write_fault_list(tmp_path / "double.csv", [faults[0], faults[0]])


def test_rows_repeat_the_counts_and_tables_count_once(
    campaign: Run, subject: Subject, faults: list[Fault]
) -> None:
    run = campaign(subject, faults, engine="differential")
    results = run.run()
    assert len(results) == len(faults)
    assert (results.groupby("Injection")[list(COUNT_COLUMNS)].nunique() == 1).all(axis=None)
    once = one_row_a_trial(results)
    assert once["Injection"].tolist() == [trial[0].injection for trial in trials(faults)]
    assert once["Layer"].tolist() == [family_of(trial) for trial in trials(faults)]
    design = Design.of_list([family.name for family in subject.families])
    table = result_table(results, design, batches=3)
    assert table[OVERALL][FAULTS] == len(once)
    assert table[SEVERAL][FAULTS] == (once["Layer"] == SEVERAL).sum() > 0
    rate = (once["sdc_1"] / once["samples"]).mean()
    assert table[OVERALL]["SDC_1"] == pytest.approx(rate)
    assert verify(run, results, 10, seed=1).wrong_rows == ()


def test_a_run_killed_within_a_trial_goes_on(
    campaign: Run, subject: Subject, faults: list[Fault]
) -> None:
    run = campaign(subject, faults, engine="differential")
    whole = run.run()
    assert run.files is not None
    path = run.files.results.path
    lines = path.read_bytes().splitlines(keepends=True)
    for kept in (2, 3, 5, 3 * 7 + 2):  # the header, then rows; most of these end within a trial
        path.write_bytes(b"".join(lines[:kept]))
        run.files.add_to_summary(status="interrupted")
        again = campaign(subject, faults, engine="differential").run()
        assert path.read_bytes() == b"".join(lines), f"{kept} lines"
        assert np.array_equal(again["sdc_1"], whole["sdc_1"])


def test_a_trial_of_two_is_not_its_parts(campaign: Run) -> None:
    """Two faults of one weight act in the order of their rows."""
    subject = subject_of(SmallLinear)
    one = Fault(0, "fc1.weight", (0, 0), (), "stuck-value:5")
    two = Fault(0, "fc1.weight", (0, 0), (), "scale:0")
    for engine in ("full", "differential"):
        there = campaign(subject, [one, two], engine=engine).run()
        back = campaign(subject, [two, one], engine=engine).run()
        zero = campaign(subject, [two], engine=engine).run()
        five = campaign(subject, [one], engine=engine).run()
        counts = list(COUNT_COLUMNS)
        assert there[counts].iloc[0].equals(zero[counts].iloc[0])
        assert back[counts].iloc[0].equals(five[counts].iloc[0])
        assert not zero[counts].iloc[0].equals(five[counts].iloc[0])
