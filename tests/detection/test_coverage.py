"""Coverage: the rule, the estimate and its interval, and the command."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from campaigns import Run, subject_of
from small_networks import SmallLinear
from torch import Tensor

from fi import coverage as command
from fi.base.errors import UserError
from fi.campaign.subject import Subject
from fi.coverage import load_samples
from fi.datamodules import SaccadeMNIST
from fi.detection.critical_coverage import Rule, detects, estimate_coverage
from fi.detection.set_choice import FaultSet, choose_set
from fi.detection.stored_pairs import StoredPairs
from fi.detection.subset_file import read_subset
from fi.faults.fault import Fault
from fi.report.test_sets.sample_frames import sum_events
from fi.statistics.survey_design import Design, FamilyFaults
from fi.test import main as run_test

SAMPLES = 8


def results(sdc: list[int]) -> pd.DataFrame:
    """Rows of faults with so many SDC-1."""
    rows = pd.DataFrame({"Injection": range(len(sdc)), "Layer": "fc1.weight", "Bit": "30"})
    masked = [SAMPLES - n for n in sdc]
    return rows.assign(Model="bit-flip", Step="", samples=SAMPLES, sdc_1=sdc, sdc_20=0,
                       fully_masked=masked,
                       correct=[5 - min(n, 5) for n in sdc], golden_correct=5)  # fmt: skip


def design(words: int) -> Design:
    return Design("network-wise", (FamilyFaults("fc1.weight", words, {"bit-flip": ("30",)}),))


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("sdc_1>0", [False, True, True]),
        ("sdc_1 >= 50%", [False, False, True]),
        ("facc_loss>0.15", [False, True, True]),
        ("facc_loss>=5e-1", [False, False, True]),
        ("unmasked>0", [False, True, True]),
    ],
)
def test_rules(text: str, wanted: list[bool]) -> None:
    assert Rule.parse(text).find(results([0, 2, 4])).tolist() == wanted


@pytest.mark.parametrize("text", ["sdc_1", "sdc_1<0", "accuracy>0", "sdc_1>.", "sdc_1>-1", ""])
def test_what_is_no_rule(text: str) -> None:
    with pytest.raises(UserError, match="--critical"):
        Rule.parse(text)


def test_the_estimate() -> None:
    sdc = [1] * 20 + [0] * 80
    found = np.arange(100) < 15
    critical = np.array(sdc) > 0
    made = estimate_coverage(results(sdc), critical, found, design(5000))
    assert (made.detected, made.critical) == (15, 20)
    assert made.rate == pytest.approx(0.75)
    assert 0 < made.low < 0.75 < made.high < 1
    nothing = estimate_coverage(results(sdc), critical & False, found, design(5000))
    assert (nothing.critical, nothing.low, nothing.high) == (0, 0.0, 1.0)
    assert np.isnan(nothing.rate)
    every = estimate_coverage(results(sdc), critical, found, design(100))  # all of them were run
    assert every.low == pytest.approx(0.75)
    assert every.high == pytest.approx(0.75)


def test_the_interval_covers() -> None:
    """Of 2,000 faults 240 are critical and 180 of these detected; 300 draws of 150 faults."""
    critical, found = np.arange(2000) < 240, np.arange(2000) < 180
    draw, missed = np.random.default_rng(3), 0
    for _ in range(300):
        rows = draw.permutation(2000)[:150]
        made = estimate_coverage(
            results(critical[rows].astype(int).tolist()), critical[rows], found[rows],
            design(2000), 0.9,
        )  # fmt: skip
        missed += not made.low <= 0.75 <= made.high
    assert missed <= 30


def test_a_set_is_chosen_on_some_faults_and_measured_on_others(
    campaign: Run, subject: Subject, faults: list[Fault]
) -> None:
    run = campaign(subject, faults, save_pairs="scores")
    run.run()
    first, second = FaultSet.read(StoredPairs(run.files.path), "class").split(3)
    made = choose_set(first, second, Rule.parse("sdc_1>0"), 3, seed=2)
    seen = [part.detected.toarray() for part in (first, second)]
    critical = [table[part.results["sdc_1"].to_numpy() > 0] for table, part in
                zip(seen, (first, second), strict=True)]  # fmt: skip
    assert min(map(len, critical)) >= 5
    assert sum(map(len, seen)) == len(faults)
    assert made.best is not None
    for k, row in made.curve.iterrows():
        own = made.samples[: int(k) + 1]
        assert row["chosen_on"] == pytest.approx(critical[0][:, own].any(axis=1).mean())
        assert row["coverage"] == pytest.approx(critical[1][:, own].any(axis=1).mean())
        assert row["low"] <= row["coverage"] <= row["high"]
        assert row["random low"] <= row["random"] <= row["random high"]
    assert made.whole.rate == 1.0
    assert detects(first.detected, made.samples).sum() <= detects(first.detected, made.best).sum()
    with pytest.raises(UserError, match="no sample detects any such fault"):
        choose_set(first, second, Rule.parse("sdc_1>=100%"), 3, seed=2)
    part = campaign(subject_of(SmallLinear, subset=[1, 2, 3]), faults, save_pairs="scores")
    part.run()
    other = FaultSet.read(StoredPairs(part.files.path), "class")
    with pytest.raises(UserError, match="the test sets must be the same"):
        choose_set(first, other, Rule.parse("sdc_1>0"), 3, seed=2)


def test_the_command(
    campaign: Run, subject: Subject, faults: list[Fault], capsys: pytest.CaptureFixture[str]
) -> None:
    run = campaign(subject, faults, save_pairs="scores")
    run.run()
    folder = run.files.path
    assert command.main([str(folder), "--samples", "3"]) == 0
    said = capsys.readouterr().out
    assert "3 chosen" in said
    assert "of faults" in said or "half of its faults" in said
    chosen = read_subset(folder / "samples_3.csv")
    curve = pd.read_csv(folder / "coverage.csv")
    assert curve["sample"].tolist() == chosen
    assert (folder / "coverage.svg").read_text().count("<svg") == 1
    assert "no pictures of the samples" in said  # it has no options that say what its data are
    page = (folder / "coverage.html").read_text()
    assert all(f'<td class="n">{sample}</td>' in page for sample in chosen)
    part = campaign(subject_of(SmallLinear, subset=chosen), faults, save_pairs="scores")
    part.run()
    whole, again = StoredPairs(folder).detected(), StoredPairs(part.files.path).detected()
    assert np.array_equal(whole[:, sorted(chosen)].toarray(), again.toarray())


def test_what_users_do_wrong(
    campaign: Run,
    subject: Subject,
    faults: list[Fault],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    run = campaign(subject, faults, save_pairs="scores")
    run.run()
    folder = str(run.files.path)
    for arguments, wanted in (
        ([str(tmp_path / "none")], "no such folder"),
        ([folder, "--detect", "colour"], "allowed are class, top-score, score"),
        ([folder, "--critical", "sdc>1"], "--critical sdc>1"),
        ([folder, "--samples", "0"], "--samples 0"),
        ([folder, "--samples", "1000"], "--samples 1000: the test set has"),
        ([folder, "--second", folder], "a second one has other faults"),
    ):
        assert command.main(arguments) == 2
        errors = capsys.readouterr().err.strip().splitlines()
        assert len(errors) == 1
        assert wanted in errors[0]


def test_pictures_are_of_the_samples(workplace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--model", "NMNIST", "--limit-samples", "30", "--margin", "0.05", "--no-figures"]
    assert (
        run_test([*arguments, "--save-pairs", "spikes", "--accelerator", "cpu", "--quiet"]) == 0
    ), capsys.readouterr().err
    (pairs,) = Path("output").glob("NMNIST/*/pairs.bin")
    folder = pairs.parent
    assert command.main([str(folder), "--samples", "3", "--detect", "spikes"]) == 0
    assert "no pictures" not in capsys.readouterr().out
    page, figure = (folder / "coverage.html").read_text(), (folder / "samples.svg").read_text()
    chosen = read_subset(folder / "samples_3.csv")
    data = SaccadeMNIST()
    data.setup("test")
    shown = [sample for batch in [data.test_dataloader()] for sample in zip_samples(batch)][:30]
    for place, (events, label) in zip(chosen, load_samples(folder, chosen), strict=True):
        assert torch.equal(events, shown[place][0])
        assert label == shown[place][1]
        assert f"{place}, class {label}" in figure
        assert f"{place}, class {label}" in page
    assert "<image" in figure
    summary = json.loads((folder / "summary.json").read_text())
    summary["hashes"]["data"] = "0" * 64
    (folder / "summary.json").write_text(json.dumps(summary))
    with pytest.raises(UserError, match="are not what they were"):
        load_samples(folder, chosen)


def zip_samples(loader: Iterable[tuple[Tensor, Tensor]]) -> Iterator[tuple[Tensor, int]]:
    for events, labels in loader:
        for place, label in enumerate(labels.tolist()):
            yield events[:, place], label


def test_frames_are_sums_over_time() -> None:
    events = np.arange(24.0).reshape(2, 3, 2, 2)  # of three channels: no polarities
    assert sum_events(events).tolist() == [
        [sum(events[t, c, y, x] for t in range(2) for c in range(3)) for x in range(2)]
        for y in range(2)
    ]
    both = events[:, :2]
    assert sum_events(both).tolist() == (both[0] + both[1]).tolist()
    assert sum_events(events[:, 0, 0]).tolist() == events[:, 0, 0].T.tolist()


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("Sample\n3\n3\n", "line 2"),
        ("Sample\n-1\n", "allowed is a place"),
        ("Place\n1\n", "the header is Place"),
        ("Sample\n", "no sample is in it"),
        ("", "the header is"),
    ],
)
def test_subset_files_that_are_none(tmp_path: Path, text: str, wanted: str) -> None:
    (tmp_path / "subset.csv").write_text(text)
    with pytest.raises(UserError, match=wanted):
        read_subset(tmp_path / "subset.csv")
