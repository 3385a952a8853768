"""What to protect: the choice against all choices, the prediction against campaigns under it."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from small_networks import INPUT_SHAPES, SmallLinear, event_batches, small

import fi
from fi import protect as command
from fi.base.errors import UserError
from fi.faults.protection.protection_plan import ProtectionPlan
from fi.faults.protection.schemes import SCHEMES
from fi.hardening.protection_choice import Goal, choose_protection
from fi.hardening.protection_report import FOLDER, measure_protection
from fi.hardening.residual_risk import RiskSample
from fi.hardening.stratum_rates import PSEUDO_FAULTS, shrink_rates
from fi.sampling.plan import SamplingPlan
from fi.statistics.survey_design import Design, FamilyFaults
from fi.store.campaign_reader import PastCampaign

EVERY = SamplingPlan(scheme="exhaustive", bits=(26, 29, 30, 31))
SAMPLES = 10


def run(output: Path, plan: SamplingPlan, protect: ProtectionPlan | None = None) -> Path:
    """The folder of a finished campaign on a small network."""
    batches = event_batches(INPUT_SHAPES[SmallLinear])
    made = fi.Campaign(
        small(SmallLinear), batches, plan, output=output, protect=protect, quiet=True
    )
    made.run()
    assert made.campaign.folder is not None
    return made.campaign.folder


@pytest.fixture(scope="module")
def exhaustive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run(tmp_path_factory.mktemp("exhaustive"), EVERY)


def sample_of(rates: dict[tuple[str, int], list[float]], words: dict[str, int]) -> RiskSample:
    """Faults with these rates, by family and bit, in words 0, 1, ...."""
    rows = [
        (name, f"({word},)", str(bit), round(rate * SAMPLES))
        for (name, bit), found in rates.items()
        for word, rate in enumerate(found)
    ]
    results = pd.DataFrame(rows, columns=["Layer", "TensorIndex", "Bit", "sdc_1"])
    results = results.assign(
        Injection=range(len(rows)), Model="bit-flip", Step="", samples=SAMPLES, golden_correct=8
    )
    results = results.assign(correct=8 - results["sdc_1"].clip(upper=8))
    bits = {name: tuple(str(b) for family, b in rates if family == name) for name in words}
    families = tuple(FamilyFaults(name, n, {"bit-flip": bits[name]}) for name, n in words.items())
    shapes = {name: (n,) for name, n in words.items()}
    return RiskSample("all", results, Design("network-wise", families), shapes)


def test_shrunk_rates_by_hand() -> None:
    drawn = {("a.weight", 30): [0.5, 0.7], ("a.weight", 31): [], ("b.bias", 30): [0.1]}
    cells = shrink_rates(sample_of(drawn, {"a.weight": 100, "b.bias": 10})).set_index(
        ["family", "bit"]
    )
    k = PSEUDO_FAULTS
    whole = 1.3 / 3
    weight = (1.2 + k * (1 - 2 / 200) * whole) / (2 + k * (1 - 2 / 200))
    bit = (1.2 + k * 0.98 * weight) / (2 + k * 0.98)
    assert cells["rate"]["a.weight", 30] == pytest.approx((1.2 + k * 0.98 * bit) / (2 + k * 0.98))
    assert cells["rate"]["a.weight", 31] == pytest.approx(weight)
    assert cells["rate"]["a.weight", 31] > 0
    assert (cells["faults"] == [2, 0, 1]).all()


def test_what_was_run_whole_has_its_own_rate() -> None:
    drawn = {("a.weight", 30): [0.5, 0.7], ("a.weight", 31): [0.0, 0.1]}
    cells = shrink_rates(sample_of(drawn, {"a.weight": 2}))
    assert cells["rate"].tolist() == pytest.approx([0.6, 0.05])


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("seed", range(4))
def test_no_choice_of_bits_is_better_at_the_costs_that_are_reached(scheme: str, seed: int) -> None:
    generator = np.random.default_rng(seed)
    words = {"a.weight": 3, "b.weight": 5}
    drawn = {
        (name, bit): generator.integers(0, SAMPLES, size) / SAMPLES
        for name, size in words.items()
        for bit in (1, 2, 3)
    }
    sample = sample_of({key: list(rates) for key, rates in drawn.items()}, words)
    chosen = choose_protection(sample, SCHEMES[scheme], "bits", Goal())
    total = sum(size * 3 for size in words.values())
    each = {key: float(rates.sum()) / total for key, rates in drawn.items()}
    sets = [bits for n in range(8) for bits in [[b for b in (1, 2, 3) if n >> (b - 1) & 1]]]
    gains = np.cumsum([unit.gain for unit in chosen.units])
    assert chosen.units
    for cost, gain in zip(chosen.costs * chosen.full, gains, strict=True):
        best = max(
            sum(each["a.weight", b] for b in first) + sum(each["b.weight", b] for b in other)
            for first, other in product(sets, sets)
            if 3 * SCHEMES[scheme].added_bits(len(first))
            + 5 * SCHEMES[scheme].added_bits(len(other))
            <= cost + 1e-9
        )
        assert gain == pytest.approx(best)


@pytest.mark.parametrize("by", ["bits", "words", "families"])
@pytest.mark.parametrize("scheme", SCHEMES)
def test_the_prediction_is_what_a_campaign_under_the_plan_finds(
    exhaustive: Path, tmp_path: Path, scheme: str, by: str
) -> None:
    sample = RiskSample.read(PastCampaign(exhaustive), "sdc1")
    choice = choose_protection(sample, SCHEMES[scheme], by, Goal(cost=0.1))
    found = measure_protection(choice, sample, 0.99, "gaffke")
    under = run(tmp_path, EVERY, ProtectionPlan.parse(found.plan.text()))
    results = PastCampaign(under).results.load()
    assert found.after.rate == pytest.approx((results["sdc_1"] / results["samples"]).mean())
    assert found.after.rate < found.before.rate
    assert found.ranking["residual"].iloc[-1] == pytest.approx(found.after.rate)
    assert 0 < found.ranking["total_cost"].iloc[-1] <= 0.1
    subject = fi.Campaign(small(SmallLinear), event_batches(INPUT_SHAPES[SmallLinear])).subject
    assert choice.costs[-1] * choice.full == pytest.approx(found.plan.added_bits(subject.families))


def test_accuracy_loss_is_predicted_too(exhaustive: Path, tmp_path: Path) -> None:
    sample = RiskSample.read(PastCampaign(exhaustive), "facc")
    choice = choose_protection(sample, SCHEMES["tmr"], "bits", Goal(cost=0.02))
    found = measure_protection(choice, sample, 0.99, "gaffke")
    results = PastCampaign(run(tmp_path, EVERY, found.plan)).results.load()
    lost = (results["golden_correct"] - results["correct"]) / results["samples"]
    assert found.after.rate == pytest.approx(lost.mean())
    assert found.before.rate > found.after.rate


def test_the_cheapest_that_leaves_so_much(exhaustive: Path) -> None:
    sample = RiskSample.read(PastCampaign(exhaustive), "sdc1")
    scheme = SCHEMES["tmr"]
    for by in ("bits", "words"):
        choice = choose_protection(sample, scheme, by, Goal(residual=0.01))
        left = choice.before - np.cumsum([unit.gain for unit in choice.units])
        assert left[-1] <= 0.01 < left[-2]


def test_halves_are_disjoint_and_seeded(tmp_path: Path) -> None:
    sample = RiskSample.read(PastCampaign(run(tmp_path, SamplingPlan(margin=0.05))), "sdc1")
    first, second = sample.split(3)
    numbers = [set(half.results["Injection"]) for half in (first, second)]
    assert not numbers[0] & numbers[1]
    assert len(numbers[0] | numbers[1]) == len(sample.results)
    assert sample.split(3)[0].results.equals(first.results)
    assert not sample.split(4)[0].results.equals(first.results)
    assert first.weights.sum() == pytest.approx(1)


def test_the_split_is_unbiased_where_the_same_faults_flatter_the_plan(exhaustive: Path) -> None:
    """Samples of an exhaustive campaign, whose truth under each plan is known."""
    every = RiskSample.read(PastCampaign(exhaustive), "sdc1")
    design = replace(every.design, scheme="network-wise")
    off: dict[str, list[float]] = {"split": [], "same": []}
    inside = 0
    for seed in range(60):
        rows = np.random.default_rng(seed).choice(len(every.results), 160, replace=False)
        drawn = every.results.iloc[np.sort(rows)].reset_index(drop=True)
        sample = replace(every, results=drawn, design=design)
        first, second = sample.split(seed)
        for name, on, by in (("split", first, second), ("same", sample, sample)):
            choice = choose_protection(on, SCHEMES["tmr"], "words", Goal(0.1))
            truth = float(every.rates[choice.rank(every) == len(choice.units)].sum())
            truth /= len(every.results)
            found = by.estimate(choice.rank(by) < len(choice.units), 0.99, "gaffke")
            off[name].append(found.rate - truth)
            inside += name == "split" and found.low <= truth <= found.high
    errors = {name: np.std(values) / np.sqrt(len(values)) for name, values in off.items()}
    assert np.mean(off["same"]) < -3 * errors["same"]
    assert abs(np.mean(off["split"])) < 3 * errors["split"]
    assert inside >= 58


def test_the_command_writes_a_plan_and_a_section(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = run(tmp_path, SamplingPlan(margin=0.05))
    (folder / "report.html").write_text("old")
    assert command.main([str(folder), "--budget", "10%", "--scheme", "secded"]) == 0
    told = capsys.readouterr().out
    assert "which the choice did not see" in " ".join(told.split())
    plan = ProtectionPlan.read(folder / FOLDER / "plan.yaml")
    assert {rule.scheme for rule in plan.rules} == {"secded"}
    page = (folder / "report.html").read_text()
    assert '<section id="protection"' in page
    assert "What protection leaves" in page
    assert (folder / FOLDER / "residual.svg").read_text().startswith("<?xml")
    curve = pd.read_csv(folder / FOLDER / "curve.csv")
    assert (curve["low"] <= curve["residual"]).all()
    assert (curve["residual"] <= curve["high"]).all()
    assert curve["cost"].iloc[-1] <= 0.1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--budget", "0"], "--budget 0: allowed is above 0"),
        (["--budget", "5%", "--residual", "1%"], "--residual 1%: not with --budget 5%"),
        (["--scheme", "magic"], "--scheme: scheme 'magic'; allowed: tmr"),
        (["--by", "rows"], "--by rows: allowed are bits, words, families"),
        (["--of", "sdc2"], "--of sdc2: allowed are sdc1, facc"),
        (["--of", "facc", "--scheme", "parity"], "under which a fault gives no answer"),
        (["--cost", "3", "--scheme", "secded"], "--cost 3: not with secded"),
    ],
)
def test_wrong_options_are_one_line(exhaustive: Path, options: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        command.run([str(exhaustive), *options])


def test_campaigns_that_no_plan_follows_from(exhaustive: Path, tmp_path: Path) -> None:
    plan = choose_protection(
        RiskSample.read(PastCampaign(exhaustive), "sdc1"), SCHEMES["tmr"], "bits", Goal(0.01)
    ).plan({})
    for folder, message in (
        (run(tmp_path / "a", EVERY, plan), "protected already, by plan"),
        (run(tmp_path / "b", SamplingPlan(margin=0.1, bits=((3, 7),))), r"bits 3\+7; allowed"),
        (run(tmp_path / "c", SamplingPlan(margin=0.1, models=("dead",))), "dead of whole words"),
        (run(tmp_path / "d", SamplingPlan(margin=0.1, together=2)), "trials of 2 faults"),
        (tmp_path, "is no folder of a campaign"),
    ):
        with pytest.raises(UserError, match=message):
            command.run([str(folder)])
