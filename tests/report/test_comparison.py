"""``fi.compare``: differences of two campaigns, paired where the faults are the same."""

from __future__ import annotations

import io
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from past_campaigns import FAMILIES, SAMPLES, design, some_faults, write_campaign
from rich.console import Console

from fi.base.text_files import FileError
from fi.compare import main
from fi.faults.fault import Fault
from fi.report.comparison import Comparison, Side, compare, corrected
from fi.report.comparison_page import sentences
from fi.report.terminal.comparison_view import comparison_csv, view
from fi.statistics.estimators import Estimate, wilson
from fi.statistics.histogram import Histogram
from fi.statistics.intervals import interval
from fi.statistics.rate_differences import PairedSample, compare_independent, compare_paired
from fi.statistics.result_table import result_table
from fi.statistics.survey_design import Design, FamilyFaults

FAULTS = some_faults(240)
BEFORE = [(fault.injection % 5) * (fault.bits[0] > 20) for fault in FAULTS]
#: Hardening spares the weights of fc1.
AFTER = [0 if f.layer == "fc1.weight" else n for f, n in zip(FAULTS, BEFORE, strict=True)]


@pytest.fixture
def sides(tmp_path: Path) -> tuple[Side, Side]:
    write_campaign(tmp_path / "Net" / "before-ab", FAULTS, BEFORE)
    write_campaign(tmp_path / "Net" / "after-cd", FAULTS[::-1], AFTER[::-1])
    return Side.read(tmp_path / "Net" / "before-ab"), Side.read(tmp_path / "Net" / "after-cd")


def row(found: Comparison, family: str, rate: str = "SDC-1") -> pd.Series:
    table = found.table
    return table[(table["family"] == family) & (table["rate"] == rate)].iloc[0]


def test_the_same_faults_are_compared_one_by_one(sides: tuple[Side, Side]) -> None:
    found = compare(*sides)
    assert found.paired
    weights = row(found, "fc1.weight")
    mine = [n for f, n in zip(FAULTS, BEFORE, strict=True) if f.layer == "fc1.weight"]
    assert weights["difference"] == pytest.approx(-np.mean(mine) / SAMPLES)
    assert (weights["a"], weights["b"]) == (pytest.approx(np.mean(mine) / SAMPLES), 0)
    assert row(found, "lif1.beta")["difference"] == 0
    assert not row(found, "lif1.beta")["certain"]
    assert row(found, "all")["faults_a"] == 240
    assert row(found, "fc1.weight", "accuracy")["difference"] == pytest.approx(
        np.mean(mine) / SAMPLES
    )


def test_a_large_difference_is_certain_and_said(tmp_path: Path) -> None:
    bad = [40 if fault.layer == "lif1.potential" else 0 for fault in FAULTS]
    write_campaign(tmp_path / "one-ab", FAULTS, bad)
    write_campaign(tmp_path / "two-ab", FAULTS, [0] * len(FAULTS))
    found = compare(Side.read(tmp_path / "one-ab"), Side.read(tmp_path / "two-ab"))
    assert row(found, "lif1.potential")["certain"]
    assert not row(found, "lif2.spike")["certain"]
    assert any(s.startswith("SDC-1 of lif1.potential is lower in B") for s in sentences(found))
    backwards = compare(found.second, found.first)
    forth, back = row(found, "lif1.potential"), row(backwards, "lif1.potential")
    ends = (-forth["difference"], -forth["high"], -forth["low"])
    assert (back["difference"], back["low"], back["high"]) == pytest.approx(ends)


def test_a_part_of_a_list_is_compared_with_that_part(sides: tuple[Side, Side]) -> None:
    first, second = sides
    part = Side("part", second.results.iloc[:100], second.design)
    found = compare(first, part)
    assert found.paired
    assert row(found, "all")["faults_a"] == row(found, "all")["faults_b"] == 100


def test_other_faults_are_independent_samples(tmp_path: Path) -> None:
    others = some_faults(180, seed=1)
    write_campaign(tmp_path / "one-ab", FAULTS, BEFORE)
    write_campaign(tmp_path / "two-ab", others, [f.injection % 3 for f in others])
    found = compare(Side.read(tmp_path / "one-ab"), Side.read(tmp_path / "two-ab"))
    assert not found.paired
    one, other = row(found, "all")[["a", "b"]]
    assert row(found, "all")["difference"] == pytest.approx(other - one)
    total = sum(family.words for family in found.first.design.families) * 32
    (low1, high1), (low2, high2) = (
        interval([Histogram.of(side.results["sdc_1"] / SAMPLES, total)])
        for side in (found.first, found.second)
    )
    below = ((other - low2) ** 2 + (high1 - one) ** 2) ** 0.5
    above = ((high2 - other) ** 2 + (one - low1) ** 2) ** 0.5
    ends = (other - one - below, other - one + above)
    assert tuple(row(found, "all")[["low", "high"]]) == pytest.approx(ends)


def test_families_share_the_risk_of_an_error(sides: tuple[Side, Side]) -> None:
    found = compare(*sides)
    assert found.each == pytest.approx(1 - 0.01 / len(found.families))
    assert corrected(0.95, 10) == pytest.approx(0.995)
    only = compare(*sides, confidence=found.each)
    assert row(only, "all")["high"] > row(found, "all")["high"]
    text = io.StringIO()
    Console(file=text, width=80).print(view(found))
    assert f"{len(found.families)} families have {100 * found.each:.6g} %" in " ".join(
        text.getvalue().split()
    )


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("rates", [(0.02, 0.3), (0.1, 1.0)], ids=["few change", "whole samples"])
def test_paired_intervals_cover(seed: int, rates: tuple[float, float]) -> None:
    """Of 99 % intervals, at least 98 % of 300 hold the population's difference."""
    part, size = rates
    draw = np.random.default_rng(seed)
    first = np.where(draw.random(20_000) < part, draw.random(20_000) * size, 0)
    second = np.where(draw.random(20_000) < 0.5, first, 0) + (draw.random(20_000) < part / 2) * 0.2
    second = np.minimum(1, second)
    truth = float((second - first).mean())
    held = 0
    for _ in range(300):
        chosen = draw.choice(20_000, 200, replace=False)
        found = compare_paired([PairedSample(first[chosen], second[chosen], 20_000)], 0.99)
        held += found.low <= truth <= found.high
    assert held >= 294
    assert truth != 0


def test_the_paired_interval_is_the_narrower_one() -> None:
    draw = np.random.default_rng(0)
    first = draw.random(400)
    second = np.where(draw.random(400) < 0.1, 0, first)
    near = compare_paired([PairedSample(first, second, None)], 0.99)
    ends = [Estimate(float(v.mean()), *wilson(float(v.mean()), 400)) for v in (first, second)]
    far = compare_independent(*ends)
    assert near.value == pytest.approx(far.value)
    assert near.high - near.low < 0.6 * (far.high - far.low)
    assert near.is_certain
    assert not far.is_certain


def test_every_fault_run_is_no_estimate() -> None:
    first, second = np.array([0.0, 0.5, 1.0]), np.array([0.5, 0.5, 0.0])
    found = compare_paired([PairedSample(first, second, 3)], 0.99)
    assert found == pytest.approx((-0.5 / 3, -0.5 / 3, -0.5 / 3))


def test_strata_are_weighed() -> None:
    one = PairedSample(np.array([0.0] * 50), np.array([0.4] * 50), 100, 0.25)
    other = PairedSample(np.array([0.2] * 50), np.array([0.2] * 50), 300, 0.75)
    assert compare_paired([one, other], 0.99).value == pytest.approx(0.1)


def test_a_layer_wise_draw_is_weighed_by_its_layers(tmp_path: Path) -> None:
    for name, sdc in (("one-ab", BEFORE), ("two-ab", AFTER)):
        write_campaign(tmp_path / name, FAULTS, sdc, draw=design("layer-wise").record())
    first = Side.read(tmp_path / "one-ab")
    found = compare(first, Side.read(tmp_path / "two-ab"))
    layers = first.results["Layer"].str.partition(".")[0]
    means = (first.results["sdc_1"] / SAMPLES).groupby(layers).mean()
    words = pd.Series({family.name: family.words for family in first.design.families})
    sizes = words.groupby(lambda name: name.partition(".")[0]).sum()
    assert row(found, "all")["a"] == pytest.approx((means * sizes / sizes.sum()).sum())
    part = sizes["fc1"] / sizes.sum()
    assert row(found, "all")["difference"] == pytest.approx(-means["fc1"] * part)


#: Three faults of lif1.beta (5 words) and one of fc1.weight (240): of bit 30, but for one.
FEW = [
    Fault(0, "lif1.beta", (0,), 30),
    Fault(1, "lif1.beta", (1,), 30),
    Fault(2, "lif1.beta", (2,), 3),
    Fault(3, "fc1.weight", (0, 0), 30),
]


@pytest.mark.parametrize(
    ("scheme", "wanted", "beta"),
    [
        ("network-wise", (10 + 20 + 0 + 5) / 4, 10),
        # lif1 has 65 words, of which 5 are of beta, fc1 has 240; nothing was run of the others
        ("layer-wise", (65 * 10 + 240 * 5) / 305, 10),
        # 5 words of beta, 240 of fc1.weight
        ("family-wise", (5 * 10 + 240 * 5) / 245, 10),
        # of beta bit 30 stands for 5 faults and bit 3 for 5, of fc1.weight bit 30 for 240
        ("data-unaware", (5 * 15 + 5 * 0 + 240 * 5) / 250, 7.5),
        ("data-aware", (5 * 15 + 5 * 0 + 240 * 5) / 250, 7.5),
        ("list", (10 + 20 + 0 + 5) / 4, 10),
    ],
)
def test_every_scheme_weighs_its_strata(
    tmp_path: Path, scheme: str, wanted: float, beta: float
) -> None:
    draw = Design.of_list(FAMILIES) if scheme == "list" else design(scheme)
    for name, sdc in (("one-ab", [10, 20, 0, 5]), ("two-ab", [0] * 4)):
        write_campaign(tmp_path / name, FEW, sdc, scheme=scheme, draw=draw.record())
    one, two = Side.read(tmp_path / "one-ab"), Side.read(tmp_path / "two-ab")
    for found in (compare(one, two), compare(one, renumbered(two))):
        assert row(found, "all")["a"] == pytest.approx(wanted / SAMPLES)
        assert row(found, "all")["difference"] == pytest.approx(-wanted / SAMPLES)
        assert row(found, "lif1.beta")["difference"] == pytest.approx(-beta / SAMPLES)
        table = result_table(one.results, draw, 1)
        assert row(found, "all")["a"] == pytest.approx(table["all"]["SDC_1"])
        assert row(found, "lif1.beta")["a"] == pytest.approx(table["lif1.beta"]["SDC_1"])


def renumbered(side: Side) -> Side:
    """The same results under other numbers: no pairs."""
    return replace(side, results=side.results.assign(Injection=side.results["Injection"] + 100))


def test_a_replay_of_which_no_design_is_known_is_weighed_as_its_list_was_drawn(
    tmp_path: Path,
) -> None:
    write_campaign(tmp_path / "one-ab", FEW, [10, 20, 0, 5], draw=design("data-unaware").record())
    replayed = Design.of_list(FAMILIES).record()
    write_campaign(tmp_path / "two-ab", FEW, [0] * 4, scheme="list", draw=replayed)
    one, two = Side.read(tmp_path / "one-ab"), Side.read(tmp_path / "two-ab")
    for pair in ((one, two), (two, one)):
        found = compare(*pair)
        assert found.paired
        moved = abs(row(found, "all")["difference"])
        assert moved == pytest.approx((5 * 15 + 240 * 5) / 250 / SAMPLES)


def test_results_that_are_not_of_the_draw_are_named(tmp_path: Path) -> None:
    bits = {"bit-flip": ("30",)}
    draw = Design("data-unaware", (FamilyFaults("lif1.beta", 5, bits),))
    write_campaign(tmp_path / "one-ab", FEW[:3], [0] * 3, draw=draw.record())
    with pytest.raises(FileError, match=r"one-ab: results of lif1.beta bit 3; the faults that"):
        Side.read(tmp_path / "one-ab")


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one = write_campaign(tmp_path / "Net" / "before-ab", FAULTS, BEFORE)
    other = write_campaign(tmp_path / "Net" / "after-cd", FAULTS, AFTER)
    csv, html = tmp_path / "c.csv", tmp_path / "c.html"
    assert main([str(one), str(other / "results.csv"), f"--csv={csv}", f"--html={html}"]) == 0
    printed = capsys.readouterr().out
    assert "Both ran the same faults" in printed
    assert max(map(len, printed.splitlines()[:-2])) <= 80
    written = pd.read_csv(csv)
    found = compare(Side.read(one), Side.read(other))
    assert csv.read_text() == comparison_csv(found)
    np.testing.assert_allclose(written["low"], found.table["low"], atol=1e-9)
    text = html.read_text()
    assert 'id="difference"' in text
    assert "Net/after-cd" in text
    assert text.replace("&#39;", "'").count("Bonferroni") == 1


def test_results_without_a_summary_have_no_population(tmp_path: Path) -> None:
    one = write_campaign(tmp_path / "a-ab", FAULTS, BEFORE)
    (tmp_path / "copy.csv").write_bytes((one / "results.csv").read_bytes())
    bare, whole = Side.read(tmp_path / "copy.csv"), Side.read(one)
    assert not bare.design.known
    wide, narrow = row(compare(bare, bare), "lif1.beta"), row(compare(whole, whole), "lif1.beta")
    assert wide["high"] > narrow["high"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["none", "none"], "none: no such file"),
        (["one-ab", "one-ab", "--confidence=1"], "--confidence 1.0: allowed is above 0"),
        (["one-ab", "empty-ab"], "no fault is finished, there is nothing to compare"),
        (["one-ab", "other-ab"], "nothing to compare: .* has faults in"),
        (["one-ab"], "two campaigns are compared, A and B; given: one-ab"),
    ],
)
def test_errors_are_one_line(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    weights = [f for f in FAULTS if f.layer == "fc1.weight"]
    others = [f for f in FAULTS if f.layer == "lif1.beta"]
    write_campaign(tmp_path / "one-ab", weights, [0] * len(weights))
    write_campaign(tmp_path / "other-ab", others, [0] * len(others))
    empty = write_campaign(tmp_path / "empty-ab", others, [0] * len(others)) / "results.csv"
    empty.write_text(empty.read_text().split("\n")[0] + "\n")
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert re.search(message, error)
