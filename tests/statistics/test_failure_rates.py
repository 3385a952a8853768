"""Failures in time, worked out by hand."""

from __future__ import annotations

import math
from pathlib import Path

import pandas as pd
import pytest
from past_campaigns import some_faults, write_campaign

from fi.analyse import main
from fi.statistics.failure_rates import compute_failure_rates, match_rates
from fi.statistics.group_estimates import estimate_groups
from fi.statistics.survey_design import Design, FamilyFaults

BITS = tuple(map(str, range(32)))
WEIGHTS = FamilyFaults("fc1.weight", 50_000, {"bit-flip": BITS})
BETA = FamilyFaults("lif1.beta", 10, {"bit-flip": BITS})
DESIGN = Design("layer-wise", (WEIGHTS, BETA))


def results_of(**sdc: list[int]) -> pd.DataFrame:
    """Faults that give ``sdc`` of 100 samples another class."""
    rows = [(name.replace("_", ".", 1), hits) for name, all_ in sdc.items() for hits in all_]
    columns = {"Injection": range(len(rows)), "Layer": [name for name, _ in rows]}
    fixed = {"Bit": "3", "Model": "bit-flip", "Step": "", "samples": 100}
    return pd.DataFrame({**columns, **fixed, "sdc_1": [hits for _, hits in rows]})


def test_the_rates_are_those_by_hand() -> None:
    results = results_of(fc1_weight=[0, 0, 0, 8], lif1_beta=[50, 30])
    weights, beta, whole = compute_failure_rates(
        results, DESIGN, {"*.weight": 700, "*": 300.0}, 0.95
    )
    # 1,600,000 bits are 1.6 Mbit: 1,120 upsets; 2 % of them are failures. 320 bits: 0.096 upsets.
    assert weights.bits == 1_600_000
    assert weights.upsets == pytest.approx(1120)
    assert weights.failures.rate == pytest.approx(22.4)
    assert weights.hours.rate == pytest.approx(1e9 / 22.4)
    assert beta.upsets == pytest.approx(0.096)
    assert beta.failures.rate == pytest.approx(0.096 * 0.4)
    assert whole.name == "all"
    assert whole.upsets == pytest.approx(1120.096)
    assert whole.failures.rate == pytest.approx(22.4 + 0.0384)
    assert whole.hours.rate == pytest.approx(1e9 / 22.4384)


def test_the_intervals_are_those_of_sdc_1() -> None:
    results = results_of(fc1_weight=[0, 0, 0, 8] * 10, lif1_beta=[50, 30] * 5)
    rates = compute_failure_rates(results, DESIGN, {"*": 500}, 0.95)
    wanted = estimate_groups(results, DESIGN, ["family"], 0.95, ["sdc_1"])
    for each, (_, row) in zip(rates, wanted.iterrows(), strict=False):
        assert each.failures.low == pytest.approx(each.upsets * row["sdc_1 low"])
        assert each.failures.high == pytest.approx(each.upsets * row["sdc_1 high"])
        assert each.hours.high == pytest.approx(1e9 / each.failures.low)
        assert each.hours.low == pytest.approx(1e9 / each.failures.high)
    # with one raw rate for all, the network's is that of the network's own SDC-1
    overall = estimate_groups(results, DESIGN, [], 0.95, ["sdc_1"]).iloc[0]
    for mine, name in zip(rates[-1].sdc, ("sdc_1", "sdc_1 low", "sdc_1 high"), strict=True):
        assert mine == pytest.approx(overall[name])


def test_a_memory_without_upsets_never_fails() -> None:
    results = results_of(fc1_weight=[0, 8], lif1_beta=[50, 30])
    weights, beta, whole = compute_failure_rates(
        results, DESIGN, {"*.weight": 0, "lif1.beta": 1000}
    )
    assert weights.failures == (0, 0, 0)
    assert weights.hours.rate == math.inf
    assert whole.failures.rate == pytest.approx(beta.failures.rate)
    assert whole.failures.high == pytest.approx(beta.failures.high)


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        ({"*.weight": 700}, "lif1.beta has no raw rate"),
        ({"*": -1}, "allowed: FIT per Mbit"),
        ({"*": "many"}, "'many'"),
        ({"*": True}, "allowed: FIT per Mbit"),
        ({"*": math.nan}, "allowed: FIT per Mbit"),
        ({"*": 1, "fc9.*": 2}, r"fc9.\*: fits no site family"),
    ],
)
def test_raw_rates_that_cannot_be_used(raw: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        match_rates(raw, ["fc1.weight", "lif1.beta"])


@pytest.mark.parametrize(
    ("design", "message"),
    [
        (Design.of_list(["fc1.weight"]), "not known"),
        (Design("network-wise", (WEIGHTS,), together=3), "3 faults"),
        (Design("network-wise", (FamilyFaults("a.b", 1, {"dead": ("",)}),)), "dead"),
        (Design("network-wise", (FamilyFaults("a.b", 1, {"bit-flip": ("3-5",)}),)), "one bit"),
    ],
)
def test_campaigns_that_are_not_of_upsets(design: Design, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        compute_failure_rates(results_of(fc1_weight=[1]), design, {"*": 1})


def test_the_command_prints_and_writes_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "Net" / "7_fault_list-ab"
    write_campaign(folder, some_faults(60), [n % 5 for n in range(60)])
    raw = tmp_path / "raw.yaml"
    raw.write_text("'*.weight': 700\n'*': 250.5\n")
    assert main([str(folder), "--fit", str(raw)]) == 0
    printed = capsys.readouterr().out
    assert "Failures in 10^9 hours (FIT)" in printed
    rows = printed[printed.index("Failures in 10^9") :].splitlines()
    assert sum(row.startswith(("fc1.weight ", "all ")) for row in rows) == 4  # of two tables
    assert not [row for row in rows if row.startswith("  ") and row.strip()]  # a line each
    table = pd.read_csv(tmp_path / "fault_list" / "Net" / "7_fault_list_fit.csv")
    assert table["family"].iloc[-1] == "all"
    by_hand = table["raw"] * table["bits"] / 1e6 * table["SDC_1"]
    assert table["FIT"].to_numpy() == pytest.approx(by_hand.to_numpy())
    assert table["FIT"].iloc[-1] == pytest.approx(table["FIT"][:-1].sum(), rel=1e-6)
    capsys.readouterr()
    for text, message in (("- 700\n", "allowed are lines"), ("'*.wait': 7\n", "fits no site")):
        raw.write_text(text)
        assert main([str(folder), "--fit", str(raw)]) == 2
        out, error = capsys.readouterr()
        assert message in error
        assert not out  # it is read before the table is made
