"""Campaigns under a plan of protection: both engines count what an oracle by hand counts."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from campaigns import Run, subject_of
from oracle_formulas import FOLD, FORWARD, count_scores, encoded, scores_of
from oracle_plans import Guard, GuardedOracle
from rate_campaigns import merge_words, rate_campaign
from rate_oracle import list_words
from shipped_networks import shipped
from small_networks import SmallConv, SmallLinear
from torch import nn

from fi.analyse import main as analyse
from fi.base.errors import UserError
from fi.base.text_files import FileError
from fi.campaign.rates.rate_schedule import RateTrials
from fi.campaign.subject import Subject
from fi.faults.fault import Fault, Trial, group_trials
from fi.faults.hits.random_numbers import derive_seed
from fi.faults.protection.protection_plan import ProtectionPlan, Rule
from fi.faults.protection.schemes import SCHEMES
from fi.merge import main as merge
from fi.report.comparison import Side, compare
from fi.report.terminal.campaign_end import describe_code
from fi.sampling.shards import parse_shard
from fi.statistics.result_table import merge_trials

BITS = (18, 22, 23, 26, 29, 30, 31)
TOP = tuple(range(23, 32))
ENGINES = ("full", "differential")


def random_trials(subject: Subject, count: int, models: tuple[str, ...]) -> Iterator[Fault]:
    """Trials of one to three faults of one to three bits, often of one word."""
    choose = random.Random(5)
    for injection in range(count):
        found: list[Fault] = []
        family = choose.choice(subject.families)
        index = tuple(choose.randrange(size) for size in family.shape)
        for _ in range(choose.choice((1, 1, 1, 2, 3))):
            if choose.random() < 0.3:
                family = choose.choice(subject.families)
                index = tuple(choose.randrange(size) for size in family.shape)
            bits = tuple(sorted(choose.sample(BITS, choose.choice((1, 1, 2, 3)))))
            steps = choose.choice((None, None, range(1, 3), range(2, 5)))
            fault = Fault(injection, family.name, index, bits, choose.choice(models), steps)
            found += [fault] if fault not in found else []
        yield from found


def as_plan(guards: list[Guard]) -> ProtectionPlan:
    return ProtectionPlan(tuple(Rule(g.family, g.scheme, g.bits, g.words) for g in guards))


def guards_of(subject: Subject, schemes: tuple[str, ...], states: bool) -> list[Guard]:
    """Some families whole, of some the first half of the words, with the schemes in turn."""
    guards = []
    for place, family in enumerate(subject.families):
        scheme = schemes[place % len(schemes)]
        if family.name.endswith((".potential", ".spike")) and not states:
            scheme = "tmr"
        words = None
        if place % 3 == 1:
            every = torch.ones(family.shape).nonzero().tolist()
            words = tuple(map(tuple, every[: max(1, len(every) // 2)]))
        guards.append(Guard(family.name, scheme, TOP if place % 2 else (22, 29, 30), words))
        if place % 4 == 0:
            guards.append(Guard(family.name, "tmr", (18, 31)))
    return guards


def expected(
    subject: Subject,
    guards: list[Guard],
    trial: Trial,
    copies: Sequence[Sequence[Fault]] = ((), ()),
) -> dict[str, int]:
    """The counts of a trial under a plan, by hand."""
    oracle = GuardedOracle(subject.network, guards, *trial, copies=copies)
    forward = FORWARD[subject.name]
    fold, faulty = FOLD.get(subject.name, torch.add), []
    for events, _ in subject.batches:
        faulty.append(oracle.run(forward, fold, encoded(subject, events)))
    counts = count_scores(subject, scores_of(subject), faulty)
    if oracle.reported:
        kept = {name: counts[name] for name in ("samples", "golden_correct")}
        return dict.fromkeys(counts, 0) | kept | {"detected": counts["samples"]}
    return counts | {"detected": 0}


@pytest.mark.parametrize("kind", [SmallLinear, SmallConv])
@pytest.mark.parametrize("scheme", [*SCHEMES, "all"])
def test_both_engines_count_what_the_oracle_counts(
    campaign: Run, kind: type[nn.Module], scheme: str
) -> None:
    subject = subject_of(kind)
    schemes = tuple(SCHEMES) if scheme == "all" else (scheme,)
    flips = ("bit-flip",)
    models = flips if scheme in ("parity", "secded") else (*flips, "stuck-at-0", "stuck-at-1")
    faults = list(random_trials(subject, 60, models))
    guards = guards_of(subject, schemes, states=models == flips)
    wanted = pd.DataFrame([expected(subject, guards, trial) for trial in group_trials(faults)])
    for engine in ENGINES:
        run = campaign(subject, faults, engine=engine, protection=as_plan(guards))
        results = merge_trials(run.run()).reset_index(drop=True)
        pd.testing.assert_frame_equal(results[wanted.columns], wanted, check_dtype=False)
        fates = run.files.load_summary()["protect"]
        assert sum(count for name, count in fates.items() if name != "code") == 60
        assert describe_code(run.files.load_summary()).startswith("plan ")
    assert 0 < wanted["fully_masked"].sum() < wanted["samples"].sum()
    assert wanted["sdc_1"].any()
    assert wanted["detected"].any() == (scheme in ("parity", "secded", "all"))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["NMNIST", "CSNN"])
def test_shipped_networks_count_as_the_oracle(campaign: Run, name: str) -> None:
    digits = shipped(name, 4)
    subject = Subject(digits.network, digits.batches)
    faults = list(random_trials(subject, 40, ("bit-flip",)))
    guards = guards_of(subject, tuple(SCHEMES), states=True)
    wanted = pd.DataFrame([expected(subject, guards, trial) for trial in group_trials(faults)])
    for engine in ENGINES:
        run = campaign(subject, faults, engine=engine, protection=as_plan(guards))
        results = merge_trials(run.run()).reset_index(drop=True)
        pd.testing.assert_frame_equal(results[wanted.columns], wanted, check_dtype=False)
    assert 0 < wanted["fully_masked"].sum() < wanted["samples"].sum()


def test_every_single_flip_of_a_protected_bit_has_the_fate_of_its_scheme(campaign: Run) -> None:
    subject = subject_of(SmallLinear)
    faults = [Fault(n, "fc1.weight", (1, n % 4), bit) for n, bit in enumerate((30, 30, 29, 3))]
    for scheme, fate in (("tmr", "corrected"), ("secded", "corrected"), ("parity", "detected")):
        plan = ProtectionPlan((Rule("fc1.weight", scheme, (29, 30)),))
        run = campaign(subject, faults, protection=plan)
        results, entry = run.run(), run.files.load_summary()["protect"]
        assert (entry[fate], entry["unprotected"], entry["missed"]) == (3, 1, 0)
        masked = results["fully_masked"].tolist()[:3]
        assert masked == [0 if fate == "detected" else run.golden.samples] * 3


def test_a_hardened_cell_does_not_flip_but_may_be_stuck(campaign: Run) -> None:
    subject = subject_of(SmallLinear)
    faults = [
        Fault(n, "fc1.weight", (1, 2), 30, m) for n, m in enumerate(("bit-flip", "stuck-at-1"))
    ]
    plain = campaign(subject, faults).run()
    found = campaign(
        subject, faults, protection=ProtectionPlan((Rule("*.weight", "hardened-cell"),))
    ).run()
    assert (plain["fully_masked"] < plain["samples"]).all()
    assert found["fully_masked"][0] == found["samples"][0]
    assert found["fully_masked"][1] == plain["fully_masked"][1]


def test_before_and_after_are_compared_fault_by_fault(campaign: Run) -> None:
    subject = subject_of(SmallLinear)
    faults = [Fault(n, "fc1.weight", (n % 8, n % 5), 30 if n % 2 else 26) for n in range(40)]
    before = campaign(subject, faults)
    after = campaign(
        subject, faults, protection=ProtectionPlan((Rule("fc1.weight", "tmr", (30,)),))
    )
    for run in (before, after):
        run.run()
    found = compare(Side.read(before.files.path), Side.read(after.files.path))
    assert found.paired
    row = found.table[(found.table["family"] == "all") & (found.table["rate"] == "SDC-1")].iloc[0]
    flipped = before.files.results.load()
    wanted = (flipped["sdc_1"] / flipped["samples"]).where(flipped["Bit"] == "30", 0).mean()
    assert row["difference"] == pytest.approx(-wanted)
    assert row["low"] <= row["difference"] <= row["high"]
    assert wanted > 0


def test_the_plan_is_part_of_what_a_campaign_is(campaign: Run, faults: list[Fault]) -> None:
    plans = [None, *(ProtectionPlan((Rule("fc1.*", name, (30,)),)) for name in ("tmr", "parity"))]
    runs = [campaign(subject_of(SmallLinear), faults, protection=plan) for plan in plans]
    for run in runs:
        run.run()
    assert len({run.folder for run in runs}) == 3
    assert [run.files.identity.get("protect") for run in runs] == [
        None if plan is None else plan.digest for plan in plans
    ]
    assert runs[1].files.load_summary()["hashes"]["protect"] == plans[1].digest


def test_shards_add_up_the_fates(campaign: Run) -> None:
    subject = subject_of(SmallLinear)
    faults = [Fault(n, "fc1.weight", (n % 8, n % 5), 30 if n % 2 else 26) for n in range(20)]
    plan = ProtectionPlan((Rule("fc1.weight", "tmr", (30,)),))
    for part in ("1/2", "2/2"):
        shard = campaign(subject, faults, protection=plan, shard=parse_shard(part))
        shard.run()
    assert merge([str(shard.files.campaign)]) == 0
    merged = json.loads((shard.files.campaign / "summary.json").read_text())["protect"]
    assert (merged["code"], merged["corrected"], merged["unprotected"]) == (plan.name, 10, 10)


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        ("[{families: fc9.weight, scheme: tmr}]", "fc9.weight is no site family; there are: fc1"),
        ("[{families: fc1.weight, scheme: tmr, bits: 32}]", "words of 32 bits, none is 32"),
        ("[{families: fc1.weight, scheme: tmr, words: [[99, 0]]}]", r"has no word \[99, 0\]"),
        ("[{families: fc1.weight, scheme: tmr, words: [3]}]", "words are a list of indices"),
        ("[{families: fc1.weight, scheme: magic}]", "scheme 'magic'; allowed: tmr, hardened-cell"),
        ("[{families: fc1.weight}]", "rule 1 is .* it has families, scheme"),
        ("[{families: '*.weight', scheme: tmr}, {families: fc1.*, scheme: parity}]", "twice"),
        ("3", "no plan of protection"),
    ],
)
def test_a_plan_that_does_not_fit_is_refused(
    campaign: Run, faults: list[Fault], tmp_path: Path, rules: str, message: str
) -> None:
    path = tmp_path / "plan.yaml"
    path.write_text(f"protect: {rules}\n")
    with pytest.raises((UserError, FileError), match=message):
        campaign(subject_of(SmallLinear), faults, protection=ProtectionPlan.read(path))


@pytest.mark.parametrize(
    ("fault", "options", "message"),
    [
        (Fault(0, "fc1.weight", (0, 0), (), "dead"), {}, "fault model dead is of no bits"),
        (
            Fault(0, "fc1.weight", (0, 0), 1),
            {"ecc": "secded:32"},
            "--ecc secded:32: not with",
        ),
        (Fault(0, "fc1.weight", (0, 0), 1), {"save_scores": True}, "--save-scores: not with --p"),
        (Fault(0, "lif1.spike", (0,), 1, "stuck-at-1"), {}, "stuck-at-1 needs tmr"),
    ],
)
def test_what_does_not_go_with_a_plan_is_refused(
    campaign: Run, fault: Fault, options: dict[str, object], message: str
) -> None:
    plan = ProtectionPlan((Rule("*", "parity", (30,)),))
    with pytest.raises(UserError, match=message):
        campaign(subject_of(SmallLinear), [fault], protection=plan, **options)


RATE_PLANS: list[tuple[str, dict[str, Any]]] = [
    ("tmr", {"models": ("bit-flip", "stuck-at-0", "stuck-at-1")}),
    ("hardened-cell", {"models": ("stuck-at-1", "bit-flip")}),
    ("parity", {}),
    ("secded", {"transient": True, "window": 2}),
    ("all", {"bits": BITS}),
    ("all", {"group": "word-line:5", "sites": ("*.weight",), "bits": BITS}),
]


@pytest.mark.parametrize(("scheme", "plan"), RATE_PLANS)
def test_rates_count_what_the_oracle_counts(
    scheme: str, plan: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Copies have faults of their own; code words have several errors."""
    subject = subject_of(SmallLinear)
    schemes = tuple(SCHEMES) if scheme == "all" else (scheme,)
    guards = guards_of(subject, schemes, states=True)
    coded = scheme in ("parity", "secded", "all")
    if plan.get("sites"):
        guards = [guard for guard in guards if guard.family.endswith(".weight")]
    rates, trials = ((0.0005, 0.003, 0.03), 8) if coded else ((0.01, 0.05, 0.2), 4)
    wanted: pd.DataFrame | None = None
    for engine in (*ENGINES, "auto"):
        options = {"plan": plan, "protection": as_plan(guards), "engine": engine}
        run = rate_campaign(subject, tmp_path / engine, rates, trials, **options)
        results = run.run().reset_index(drop=True)
        if wanted is None:
            wanted = pd.DataFrame(list(expected_rates(subject, guards, run.schedule)))
        pd.testing.assert_frame_equal(results[wanted.columns], wanted, check_dtype=False)
        summary = run.files.load_summary()
        fates = {name: n for name, n in summary["protect"].items() if name != "code"}
        assert sum(fates.values()) == 3 * trials
        assert fates["detected"] == (wanted["detected"] > 0).sum()
        pairs = 5 * summary["samples"]
        assert f"{pairs} of {pairs} pairs agree" in run.verify(results, 5, 0)
    assert wanted is not None
    assert wanted["detected"].any() == coded
    assert fates["missed"] + fates["corrected"] > 0
    assert analyse([str(run.files.path)]) == 0
    assert "detected" in capsys.readouterr().out


def expected_rates(
    subject: Subject, guards: list[Guard], schedule: RateTrials
) -> Iterator[dict[str, int]]:
    """The counts of trials by hand, each with the faults of three copies."""
    for trial in schedule.rate_trials:
        seeds = [trial.seed, *(derive_seed(trial.seed, "copy", number) for number in (1, 2))]
        drawn = [list(replace(trial, seed=s).list_faults(schedule.space)) for s in seeds]
        first, *copies = (merge_words(list_words(faults, subject)) for faults in drawn)
        yield expected(subject, guards, first, copies)


def test_two_copies_that_are_wrong_outvote_the_third(tmp_path: Path) -> None:
    """At a rate p a bit under TMR is wrong with probability 3 p^2 - 2 p^3."""
    subject = subject_of(SmallLinear)
    sites, rate = ("fc1.weight",), 0.1
    plan = ProtectionPlan((Rule("fc1.weight", "tmr"),))
    run = rate_campaign(subject, tmp_path, [rate], 40, plan={"sites": sites}, protection=plan)
    protection = run.schedule.protected_hits
    assert protection is not None
    drawn = [protection.decode(trial).hits for trial in run.schedule.rate_trials]
    found = sum(len(hits) for trial in drawn for hits in trial)
    bits = 40 * run.schedule.space.size
    chance = 3 * rate**2 - 2 * rate**3
    assert found / bits == pytest.approx(chance, abs=5 * (chance / bits) ** 0.5)


def test_costs_are_added_bits() -> None:
    subject = subject_of(SmallLinear)
    words = {family.name: family.words for family in subject.families}
    rules = (Rule("fc1.weight", "secded", TOP), Rule("fc2.weight", "tmr", (30,), ((0, 1), (1, 2))))
    added = ProtectionPlan(rules).added_bits(subject.families)
    assert added == words["fc1.weight"] * 5 + 2 * 2
    halved = ProtectionPlan(rules).added_bits(subject.families, {"tmr": 1.5})
    assert halved == words["fc1.weight"] * 5 + 2 * 1.5
