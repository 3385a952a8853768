"""Trials of several faults: lists, draws, results, tables, and a run that was killed in one."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from campaigns import Run, subject_of
from small_networks import SmallLinear

from fi.campaign.fault_source import make_fault_source
from fi.campaign.running_rates import RunningRates
from fi.campaign.subject import Subject
from fi.campaign.verify import verify
from fi.faults.family_names import SEVERAL, common_family, layer_of
from fi.faults.fault import Fault, family_of, group_trials
from fi.faults.fault_list import FaultListError, read_fault_list, write_fault_list
from fi.metrics.counts import COUNT_COLUMNS
from fi.sampling.fault_draw import draw
from fi.sampling.plan import SamplingPlan
from fi.sampling.strata import describe_design
from fi.statistics.group_estimates import estimate_groups
from fi.statistics.histogram import Histogram
from fi.statistics.intervals import interval
from fi.statistics.result_table import FAULTS, OVERALL, merge_trials, result_table
from fi.statistics.survey_design import STRATUM, Design, FamilyFaults, stratum_name


@pytest.fixture
def faults(subject: Subject) -> list[Fault]:
    plan = SamplingPlan(margin=0.15, together=3, models=("bit-flip", "dead"))
    return draw(plan.space(subject.families, subject.steps), plan)


def test_a_draw_has_different_faults_and_no_trial_twice(subject: Subject) -> None:
    plan = SamplingPlan(margin=0.05, together=2)
    found = group_trials(draw(plan.space(subject.families, subject.steps), plan))
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
    found = group_trials(draw(plan.space(subject.families, subject.steps), plan))
    layers = [{fault.layer.split(".")[0] for fault in trial} for trial in found]
    assert all(len(names) == 1 for names in layers)
    assert len(Counter(frozenset(names) for names in layers)) > 2


def test_a_list_of_trials_comes_back(tmp_path: Path, faults: list[Fault]) -> None:
    path = tmp_path / "list.csv"
    write_fault_list(path, faults)
    assert read_fault_list(path) == faults
    assert len(group_trials(faults)) == len(faults) / 3
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
    once = merge_trials(results)
    assert once["Injection"].tolist() == [trial[0].injection for trial in group_trials(faults)]
    assert once["Layer"].tolist() == [family_of(trial) for trial in group_trials(faults)]
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
    path = run.files.results.path
    lines = path.read_bytes().splitlines(keepends=True)
    for kept in (2, 3, 5, 3 * 7 + 2):  # the header, then rows; most of these end within a trial
        path.write_bytes(b"".join(lines[:kept]))
        run.files.add_to_summary(status="interrupted")
        said: list[str] = []
        again = campaign(subject, faults, engine="differential", say=said.append).run()
        assert said[1].startswith(f"{len(faults) // 3} trials of {len(faults)} faults of ")
        if kept > 3:
            assert said[2].startswith(f"{(kept - 1) // 3} trials are done already: continuing")
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


#: Layer a has 6 faults, layer b 3.
FAMILIES = (
    FamilyFaults("a.weight", 2, {"bit-flip": ("0", "30")}),
    FamilyFaults("a.bias", 1, {"bit-flip": ("0", "30")}),
    FamilyFaults("b.beta", 1, {"bit-flip": ("0", "1", "30")}),
)
BIG = 10**6
Part = tuple[str, str, int]  # family, bit, word


def every_trial(design: Design) -> list[tuple[Part, ...]]:
    """All that may be drawn, one by one."""
    faults = [
        (family.name, bit, word)
        for family in design.families
        for word in range(family.words)
        for bit in family.bits["bit-flip"]
    ]
    found = itertools.combinations(faults, design.together)
    inside = design.within_layer or design.scheme == "layer-wise"
    return [t for t in found if not inside or len({layer_of(part[0]) for part in t}) == 1]


@pytest.mark.parametrize("within", [False, True])
@pytest.mark.parametrize("scheme", ["network-wise", "layer-wise"])
@pytest.mark.parametrize("together", [2, 3])
def test_populations_of_trials_are_those_of_a_list_of_all(
    scheme: str, within: bool, together: int
) -> None:
    design = Design(scheme, FAMILIES, together=together, within_layer=within)
    listed = every_trial(design)
    stratum = [stratum_name(scheme, trial[0][0], "") for trial in listed]
    for key, place in (("family", 0), ("bit", 1)):
        seen = Counter(
            (part, name)
            for trial, name in zip(listed, stratum, strict=True)
            for part in {part[place] for part in trial}
        )
        counted = design.populations([key])
        found = zip(counted[key], counted[STRATUM], strict=True)
        assert dict(zip(found, counted["population"], strict=True)) == seen
    by_trial = design.by_trial()
    counted = by_trial.populations(["family"])
    found = zip(counted["family"], counted[STRATUM], strict=True)
    pairs = zip(listed, stratum, strict=True)
    labels = Counter((common_family(part[0] for part in t), name) for t, name in pairs)
    sizes = dict(zip(found, counted["population"], strict=True))
    assert {key: size for key, size in sizes.items() if size} == labels
    assert sum(design.populations()["population"]) == len(listed)


def trial_results(*rows: tuple[tuple[str, str], int]) -> pd.DataFrame:
    """Results of trials of two faults ``family:bit``, with so much SDC-1 of 10 samples."""
    table = [
        [n, *part.split(":"), "bit-flip", "", 10, 10 - sdc, sdc, *[0] * 7]
        for n, (parts, sdc) in enumerate(rows)
        for part in parts
    ]
    columns = ["Injection", "Layer", "Bit", "Model", "Step", *COUNT_COLUMNS]
    return pd.DataFrame(table, columns=columns)


SEEN = trial_results(
    (("a.weight:0", "a.weight:30"), 2),
    (("a.weight:0", "a.bias:0"), 4),
    (("a.bias:0", "a.bias:30"), 0),
    (("b.beta:1", "b.beta:30"), 10),
)


def test_a_layer_wise_draw_of_trials_by_hand() -> None:
    """Of layer a there are comb(6, 2) = 15 trials of two, of layer b comb(3, 2) = 3."""
    design = Design("layer-wise", FAMILIES, together=2)
    table = result_table(SEEN, design, batches=1)
    assert table[OVERALL]["SDC_1"] == pytest.approx((15 * 0.2 + 3 * 1.0) / 18)
    samples = [Histogram.of([0.2, 0.4, 0.0], 15, 15 / 18), Histogram.of([1.0], 3, 3 / 18)]
    low, high = interval(samples)
    assert table[OVERALL]["SDC_1 low"] == pytest.approx(low)
    assert table[OVERALL]["SDC_1 high"] == pytest.approx(high)
    # comb(4, 2) in a.weight, 1 in a.bias, 15 - 6 - 1 = 8 over both
    for name, rate, size in (("a.weight", 0.2, 6), ("a.bias", 0.0, 1), ("a.several", 0.4, 8)):
        assert table[name]["SDC_1"] == rate
        ends = interval([Histogram.of([rate], size)])
        assert (table[name]["SDC_1 low"], table[name]["SDC_1 high"]) == pytest.approx(ends)
    by_bit = estimate_groups(SEEN, design, ["bit"]).set_index("bit")
    # with a fault of bit 0: 15 - comb(3, 2) = 12 in a at 0.2; of b none was run
    # of bit 30: 15 - comb(3, 2) = 12 in a at 0.1, 3 - comb(2, 2) = 2 in b at 1
    assert by_bit["sdc_1"]["0"] == pytest.approx(0.2)
    assert by_bit["sdc_1"]["30"] == pytest.approx((12 * 0.1 + 2 * 1.0) / 14)
    assert by_bit["population"].to_dict() == {"0": 14, "1": 2, "30": 14}


def test_running_rates_of_trials_are_those_of_the_table() -> None:
    design = Design("layer-wise", FAMILIES, together=2)
    table, rates = result_table(SEEN, design, batches=1), RunningRates(design)
    once = merge_trials(SEEN)
    rates.add(list(zip(once["Layer"], once["Bit"], strict=True)), once[[*COUNT_COLUMNS]].to_numpy())
    for family in ("a.weight", "a.several", "b.beta", OVERALL):
        found = rates.compute_scalars(family)
        for end in ("", "_low", "_high"):
            wanted = table[family][f"SDC_1{end.replace('_', ' ')}"]
            assert found[f"sdc_1{end}"] == pytest.approx(wanted)


def test_more_trials_than_a_float_can_say() -> None:
    families = [FamilyFaults(f.name, BIG * f.words, f.bits) for f in FAMILIES]
    design = Design("layer-wise", tuple(families), together=100)
    assert math.comb(6 * BIG, 100) > 10**309
    found = estimate_groups(SEEN, design).iloc[0]
    # comb(3e6, 100) / comb(6e6, 100) is practically 0: layer a alone counts
    assert found["sdc_1"] == pytest.approx(0.2)
    assert found["sdc_1 low"] == pytest.approx(
        interval([Histogram.of([0.2, 0.4, 0.0])])[0], abs=0.05
    )


def test_a_drawn_list_of_trials_keeps_its_design(subject: Subject, tmp_path: Path) -> None:
    plan = SamplingPlan("layer-wise", margin=0.2, together=3)
    source = make_fault_source(plan, subject, tmp_path)
    source.write()
    again = make_fault_source(source.path.name, subject, tmp_path)
    assert again.design is not None
    assert again.design.together == 3
    assert again.design.record() == describe_design(source.space, "layer-wise", 3).record()
    sizes = again.design.populations()["population"]
    layers = {family.layer for family in source.space.families}
    words = [
        sum(source.space.size_of(f) for f in source.space.families if f.layer == layer)
        for layer in layers
    ]
    assert sorted(sizes) == sorted(math.comb(size, 3) for size in words)
