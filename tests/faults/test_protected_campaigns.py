"""Campaigns on a memory with a code: both engines count what an oracle with matrices counts."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from campaigns import Run, subject_of
from oracle_codes import MatrixCode, ProtectedOracle
from oracle_formulas import count_scores, linear_step, scores_of
from rate_campaigns import merge_words, rate_campaign
from rate_oracle import list_words
from small_networks import SmallLinear
from stopping import StopAfter

from fi.analyse import main as analyse
from fi.base.errors import UserError
from fi.campaign.subject import Subject
from fi.campaign.verify import verify
from fi.detection.critical_coverage import UNMASKED
from fi.detection.stored_pairs import StoredPairs
from fi.faults.fault import Fault, Trial, group_trials
from fi.faults.fault_sites import Kind
from fi.merge import main as merge
from fi.report.error_rates.rate_findings import RateFindings
from fi.report.error_rates.rate_table import write_rate_table
from fi.report.findings import Findings
from fi.report.page import page
from fi.report.tables import write_table
from fi.report.terminal.campaign_end import describe_code
from fi.sampling.shards import parse_shard
from fi.statistics.result_table import merge_trials, result_table
from fi.statistics.survey_design import Design
from fi.store.campaign_reader import PastCampaign
from fi.store.results_file import ResultsFile
from fi.store.results_rows import HEADER, ResultsError, read_frame_by_row

BITS = (18, 22, 23, 26, 29, 30, 31)
ENGINES = ("full", "differential")


def random_trials(subject: Subject, count: int) -> Iterator[Fault]:
    """Trials of one to three faults, some near each other, of one to four bits; some of states."""
    choose = random.Random(11)
    words = [f for f in subject.families if f.kind in (Kind.SYNAPSE, Kind.NEURON)]
    for injection in range(count):
        found: list[Fault] = []
        family = choose.choice(words)
        index = tuple(choose.randrange(size) for size in family.shape)
        for _ in range(choose.choice((1, 1, 2, 3))):
            near = tuple((digit + choose.choice((0, 0, 1))) for digit in index)
            if all(digit < size for digit, size in zip(near, family.shape, strict=True)):
                index = near
            bits = tuple(sorted(choose.sample(BITS, choose.choice((1, 2, 3, 3, 4)))))
            model = choose.choice(("bit-flip", "bit-flip", "stuck-at-0", "stuck-at-1"))
            steps = choose.choice((None, None, range(1, 3), range(2, 5)))
            fault = Fault(injection, family.name, index, bits, model, steps)
            found += [fault] if fault not in found else []
        if choose.random() < 0.2:
            found.append(Fault(injection, "lif1.spike", (choose.randrange(8),), 31))
        yield from found


def expected(subject: Subject, code: MatrixCode, trial: Trial) -> tuple[dict[str, int], str]:
    """The counts of a trial on a memory with that code, and its fate."""
    oracle = ProtectedOracle(subject.network, code, *trial)
    faulty = [oracle.run(linear_step, lambda a, b: a + b, events) for events, _ in subject.batches]
    counts = count_scores(subject, scores_of(subject), faulty)
    wrong = any(
        (oracle.word(name, step) != words).any()
        for name, words in oracle.words.items()
        for step in range(subject.steps)
    )
    if oracle.reported:
        kept = {name: counts[name] for name in ("samples", "golden_correct")}
        return dict.fromkeys(counts, 0) | kept | {"detected": counts["samples"]}, "detected"
    stored = any(fault.layer != "lif1.spike" for fault in trial)
    clean = "corrected" if oracle.differs else "unchanged" if stored else "unprotected"
    return counts | {"detected": 0}, "missed" if wrong else clean


@pytest.mark.parametrize("name", ["secded:8", "secded:32", "secded:64", "parity:32"])
def test_both_engines_count_what_the_oracle_counts(campaign: Run, name: str) -> None:
    subject = subject_of(SmallLinear)
    faults = list(random_trials(subject, 60))
    kind, _, width = name.partition(":")
    code = MatrixCode(kind, int(width))
    found = [expected(subject, code, trial) for trial in group_trials(faults)]
    wanted = pd.DataFrame([counts for counts, _ in found])
    for engine in ENGINES:
        run = campaign(subject, faults, engine=engine, ecc=name)
        results = merge_trials(run.run()).reset_index(drop=True)
        pd.testing.assert_frame_equal(results[wanted.columns], wanted, check_dtype=False)
        summary = run.files.load_summary()
        fates = pd.Series([fate for _, fate in found]).value_counts().to_dict()
        assert {k: v for k, v in summary["ecc"].items() if k != "code" and v} == fates
        assert describe_code(summary).startswith(f"{name}: of 60 faults ")
        assert verify(run, results, 20, 0).holds
    assert len(fates) > 2
    assert (wanted["fully_masked"] < wanted["samples"] - wanted["detected"]).any()


@pytest.mark.parametrize("engine", ENGINES)
def test_what_is_corrected_or_detected_is_not_simulated(campaign: Run, engine: str) -> None:
    subject = subject_of(SmallLinear)
    faults = [Fault(0, "fc1.weight", (1, 2), 30), Fault(1, "fc1.weight", (3, 4), (29, 30))]
    run = campaign(subject, faults, engine=engine, ecc="secded:32")
    results = run.run()
    summary = run.files.load_summary()
    assert summary["decided"] == {"no_change": 2 * summary["samples"]}
    assert results["fully_masked"].tolist() == [summary["samples"], 0]
    assert results["detected"].tolist() == [0, summary["samples"]]
    assert results["correct"].tolist() == [results["golden_correct"][0], 0]
    assert verify(run, results, 5, 0).faults == 0  # nothing there that an engine could run


@pytest.mark.parametrize("engine", ENGINES)
def test_pairs_are_those_of_what_the_decoder_leaves(campaign: Run, engine: str) -> None:
    subject = subject_of(SmallLinear)
    faults = list(random_trials(subject, 60))
    run = campaign(subject, faults, engine=engine, ecc="secded:32", save_pairs="spikes")
    results = run.run().drop_duplicates("Injection")
    protection = run.schedule.protection
    assert protection is not None
    left = {trial[0].injection: protection.decode(trial).acting for trial in run.trials}
    moved = [
        replace(fault, injection=number) for number, acting in left.items() for fault in acting
    ]
    plain = campaign(subject, moved, save_pairs="spikes")
    plain.run()
    pairs, wanted = StoredPairs(run.files.path), StoredPairs(plain.files.path)
    acting = [number in wanted.injections for number in pairs.injections]
    assert 5 < sum(acting) < len(acting) - 5
    for by in ("class", "score", "spikes", "hidden"):
        found = pairs.detected(by).toarray()
        assert np.array_equal(found[acting], wanted.detected(by).toarray())
        assert not found[~np.array(acting)].any()
    assert pairs.detected("hidden").sum() > 10
    reported = results.loc[results["detected"] > 0, "Injection"].tolist()
    with pytest.raises(UserError, match=f"code reports injection {reported[0]}"):
        pairs.outcomes(reported[0])
    assert not UNMASKED.find(pairs.results)[~np.array(acting)].any()


def test_both_readers_take_the_file_and_refuse_a_wrong_count(campaign: Run) -> None:
    faults = [Fault(n, "fc1.weight", (1, n), (29, 30) if n else 30) for n in range(4)]
    run = campaign(subject_of(SmallLinear), faults, ecc="secded:32")
    results = run.run()
    path = run.files.results.path
    text = path.read_text()
    pd.testing.assert_frame_equal(read_frame_by_row(text, path), results)
    pd.testing.assert_frame_equal(PastCampaign(run.files.path).results.load(), results)
    assert text.splitlines()[0] == HEADER[:-1].replace(
        "golden_correct,", "golden_correct,detected,"
    )
    reported = next(i for i, row in enumerate(text.splitlines()) if ",24,0,0,0," in row)
    lines = text.splitlines()
    lines[reported] = lines[reported].replace(",24,0,0,0,", ",24,1,0,0,")
    path.write_text("\n".join([*lines, ""]))
    with pytest.raises(ResultsError, match=f":{reported + 1}: the outcomes do not add up"):
        ResultsFile(path).load()


def test_a_stopped_campaign_continues_and_shards_merge_to_the_same_bytes(
    campaign: Run, tmp_path: Path
) -> None:
    subject = subject_of(SmallLinear)
    faults = list(random_trials(subject, 40))
    whole = campaign(subject, faults, ecc="secded:32", output=tmp_path / "whole")
    whole.run()
    bytes_of_all = whole.files.results.path.read_bytes()
    stopped = campaign(
        subject,
        faults,
        callbacks=[StopAfter(KeyboardInterrupt(), runs=3)],
        ecc="secded:32",
        output=tmp_path / "stopped",
    )
    with pytest.raises(KeyboardInterrupt):
        stopped.run()
    assert 0 < len(stopped.files.results.done()) < len(faults)
    campaign(subject, faults, ecc="secded:32", output=tmp_path / "stopped").run()
    assert stopped.files.results.path.read_bytes() == bytes_of_all
    for part in ("1/2", "2/2"):
        shard = campaign(subject, faults, ecc="secded:32", shard=parse_shard(part))
        shard.run()
    assert merge([str(shard.files.campaign)]) == 0
    assert (shard.files.campaign / "results.csv").read_bytes() == bytes_of_all
    merged = json.loads((shard.files.campaign / "summary.json").read_text())
    assert merged["ecc"] == whole.files.load_summary()["ecc"]


def test_the_code_is_part_of_what_a_campaign_is(campaign: Run, faults: list[Fault]) -> None:
    runs = [
        campaign(subject_of(SmallLinear), faults, ecc=ecc)
        for ecc in ("", "secded:32", "secded:64", "parity:32")
    ]
    columns = [set(run.run().columns) for run in runs]
    assert len({run.folder for run in runs}) == 4
    assert "ecc" not in runs[0].files.load_summary()
    assert "ecc" not in runs[0].files.identity
    assert runs[0].files.results.path.read_text().startswith(HEADER)
    assert ["detected" in each for each in columns] == [False, True, True, True]
    tables = [write_table(run.files.path) for run in runs]
    assert ["detected" in table.index for table in tables] == [False, True, True, True]
    assert describe_code(runs[0].files.load_summary()) == ""
    pages = [page(Findings.of(PastCampaign(run.files.path))) for run in runs[:2]]
    assert ["detected" in text for text in pages] == [False, True]
    assert "secded:32: of" in pages[1]


def test_the_table_has_a_row_of_what_was_detected(campaign: Run) -> None:
    faults = [Fault(n, "fc1.weight", (1, n), (29, 30) if n else 30) for n in range(4)]
    results = campaign(subject_of(SmallLinear), faults, ecc="secded:32").run()
    table = result_table(results, Design.of_list(["fc1.weight", "fc2.weight"]), 3)
    assert table.loc["detected", "all"] == 0.75
    assert table.loc["detected low", "all"] < 0.75 < table.loc["detected high", "all"]
    assert table.loc["fully_masked", "fc1.weight"] == 0.25
    assert table.loc["SDC_1", "all"] == 0
    assert table.loc["detected", "fc2.weight"] != table.loc["detected", "fc2.weight"]  # NaN


@pytest.mark.parametrize(
    ("fault", "options", "message"),
    [
        (Fault(0, "fc1.weight", (0, 0), (), "dead"), {}, "fault model dead is of no bits"),
        (Fault(0, "fc1.weight", (0, 0), (), "scale:0.5"), {}, "allowed with --ecc secded:32: bit"),
        (Fault(0, "fc1.weight", (0, 0), 1), {"save_scores": True}, "--save-scores: not with --ecc"),
        (Fault(0, "fc1.weight", (0, 0), 1), {"ecc": "secded"}, "--ecc: 'secded'; allowed"),
    ],
)
def test_what_does_not_go_with_a_code_is_refused(
    campaign: Run, fault: Fault, options: dict[str, object], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        campaign(subject_of(SmallLinear), [fault], **{"ecc": "secded:32", **options})


PLANS: list[tuple[str, dict[str, Any]]] = [
    ("secded:32", {}),
    ("secded:8", {"models": ("stuck-at-1", "bit-flip")}),
    ("secded:64", {"transient": True, "window": 2}),
    ("parity:32", {"bits": (22, 26, 29, 30, 31)}),
    ("secded:32", {"group": "word-line:5", "sites": ("*.weight",), "bits": BITS}),
]


@pytest.mark.parametrize(("name", "plan"), PLANS)
def test_rates_count_what_the_oracle_counts(
    name: str, plan: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Single errors of a code word are corrected, double ones detected, others may act."""
    subject = subject_of(SmallLinear)
    kind, _, width = name.partition(":")
    code = MatrixCode(kind, int(width))
    sites = ("*.weight", "*.bias", "*.beta", "*.threshold", "lif1.spike")
    plan = {"sites": sites, **plan}
    rates = (1e-3, 5e-3, 3e-2) if "group" in plan else (1e-4, 1e-3, 4e-3)
    found: list[tuple[dict[str, int], str]] = []
    for engine in (*ENGINES, "auto"):
        options = {"plan": plan, "ecc": name, "engine": engine}
        run = rate_campaign(subject, tmp_path / engine, rates, 10, **options)
        results = run.run().reset_index(drop=True)
        if not found:
            space = run.schedule.space
            trials = [list(trial.list_faults(space)) for trial in run.schedule.listed]
            words = [merge_words(list_words(trial, subject)) for trial in trials]
            found = [expected(subject, code, trial) for trial in words]
        wanted = pd.DataFrame([counts for counts, _ in found])
        pd.testing.assert_frame_equal(results[wanted.columns], wanted, check_dtype=False)
        fates = pd.Series([fate for _, fate in found]).value_counts().to_dict()
        summary = run.files.load_summary()
        assert {k: v for k, v in summary["ecc"].items() if k != "code" and v} == fates
        pairs = 5 * summary["samples"]
        assert f"{pairs} of {pairs} pairs agree" in run.verify(results, 5, 0)
    assert len(fates) > (name != "parity:32") + 1
    table = write_table_of_rates(run.files.path)
    assert "detected" in table.columns
    assert table["detected"].iloc[-1] == pytest.approx(
        wanted["detected"][-10:].sum() / wanted["samples"][-10:].sum()
    )
    assert analyse([str(run.files.path)]) == 0
    assert "detected" in capsys.readouterr().out


def write_table_of_rates(path: Path) -> pd.DataFrame:
    """The table of a campaign of rates as CSV has it."""
    return pd.read_csv(write_rate_table(RateFindings.of(PastCampaign(path))))


def test_shards_of_rates_with_a_code_are_put_together(tmp_path: Path) -> None:
    subject = subject_of(SmallLinear)
    options = {"ecc": "secded:32", "plan": {"sites": ("*.weight",)}}
    whole = rate_campaign(subject, tmp_path / "whole", (1e-3,), 10, **options)
    whole.run()
    for number in (1, 2):
        shard = parse_shard(f"{number}/2")
        part = rate_campaign(subject, tmp_path / "parts", (1e-3,), 10, shard=shard, **options)
        part.run()
    assert merge([str(part.files.campaign)]) == 0
    (merged,) = (tmp_path / "parts").glob("*/*/results.csv")
    assert merged.read_bytes() == whole.files.results.path.read_bytes()
