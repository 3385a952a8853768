"""Stored pairs against plain forwards under each fault, and how campaigns write them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from campaigns import Run, subject_of
from small_networks import SmallLinear

from fi.base.errors import UserError
from fi.campaign.subject import Subject
from fi.detection.stored_pairs import StoredPairs
from fi.faults.fault import Fault
from fi.faults.injection import injected
from fi.metrics.outcomes import OUTCOMES
from fi.sampling.shards import parse_shard
from fi.store.merging import merge


def expected(subject: Subject, fault: Fault) -> dict[str, list[Any]]:
    """Per sample, by plain forwards: outcome, and whether any score differs."""
    found: dict[str, list[Any]] = {"outcome": [], "differs": []}
    for events, _ in subject.batches:
        with torch.no_grad():
            golden = subject.network(events)
            with injected(subject.network, fault):
                faulty = subject.network(events)
        for before, after in zip(golden.tolist(), faulty.tolist(), strict=True):
            found["outcome"].append(outcome(before, after))
            found["differs"].append(before != after)
    return found


def outcome(before: list[float], after: list[float]) -> str:
    if any(np.isnan(after)) or before.index(max(before)) != after.index(max(after)):
        return "sdc_1"
    if max(before) == max(after):
        return "fully_masked"
    change = 100 * abs(max(after) - max(before)) / abs(max(before)) if max(before) else np.inf
    ends = {"sdc_0_5": 5, "sdc_5_10": 10, "sdc_10_20": 20}
    return next((name for name, end in ends.items() if change < end), "sdc_20")


@pytest.mark.parametrize("engine", ["full", "differential"])
def test_pairs_are_those_of_plain_forwards(
    campaign: Run, subject: Subject, faults: list[Fault], engine: str
) -> None:
    faults = faults[::3]
    run = campaign(subject, faults, save_pairs="scores", engine=engine)
    run.run()
    pairs = StoredPairs(run.files.path)
    seen = {by: pairs.detected(by).toarray() for by in ("class", "top-score", "score")}
    changed = 0
    for row, fault in enumerate(faults):
        wanted = expected(subject, fault)
        codes = [OUTCOMES.index(name) for name in wanted["outcome"]]
        assert pairs.outcomes(fault.injection).tolist() == codes, fault
        assert seen["class"][row].tolist() == [name == "sdc_1" for name in wanted["outcome"]]
        assert seen["top-score"][row].tolist() == [n != "fully_masked" for n in wanted["outcome"]]
        assert seen["score"][row].tolist() == wanted["differs"]
        changed += sum(wanted["differs"])
    assert changed > 20
    assert pairs.injections.tolist() == [fault.injection for fault in faults]


def test_pairs_add_up_to_the_counts(campaign: Run, subject: Subject, faults: list[Fault]) -> None:
    run = campaign(subject, faults, save_pairs="scores")
    results = run.run()
    pairs = StoredPairs(run.files.path)
    assert np.array_equal(pairs.results["Injection"], results["Injection"])
    assert np.array_equal(pairs.detected("class").sum(axis=1), results["sdc_1"])
    masked = pairs.samples - pairs.detected("top-score").sum(axis=1)
    assert np.array_equal(masked, results["fully_masked"])


def test_a_campaign_that_goes_on_has_all_pairs(
    campaign: Run, subject: Subject, faults: list[Fault]
) -> None:
    whole = campaign(subject, faults, save_pairs="scores")
    whole.run()
    wanted = StoredPairs(whole.files.path).detected("score").toarray()
    lines = whole.files.results.path.read_text().splitlines(keepends=True)
    whole.files.results.path.write_text("".join(lines[: len(lines) // 2]))
    campaign(subject, faults).run()  # it goes on keeping them
    found = StoredPairs(whole.files.path).detected("score").toarray()
    assert np.array_equal(found, wanted)


def test_a_campaign_without_pairs_is_not_continued_with_them(
    campaign: Run, subject: Subject, faults: list[Fault]
) -> None:
    campaign(subject, faults).run()
    run = campaign(subject, faults, save_pairs="scores")
    run.run()  # it is finished: nothing is run
    lines = run.files.results.path.read_text().splitlines(keepends=True)
    run.files.results.path.write_text("".join(lines[:-1]))
    with pytest.raises(UserError, match=r"--save-pairs: \d+ faults in .* were run without it"):
        campaign(subject, faults, save_pairs="scores").run()
    with pytest.raises(UserError, match="run without --save-pairs"):
        StoredPairs(run.files.path)
    campaign(subject, faults, save_pairs="scores", overwrite=True).run()
    assert StoredPairs(run.files.path).samples == run.golden.samples


def test_shards_are_put_together(
    campaign: Run, subject: Subject, faults: list[Fault], tmp_path: Path
) -> None:
    run = campaign(subject, faults, save_pairs="scores")
    run.run()
    wanted = StoredPairs(run.files.path).detected("score").toarray()
    for part in ("1/2", "2/2"):
        shard = campaign(
            subject,
            faults,
            save_pairs="scores",
            shard=parse_shard(part),
            output=tmp_path / "shards",
        )
        shard.run()
    merged = merge([shard.files.campaign])
    assert np.array_equal(StoredPairs(merged).detected("score").toarray(), wanted)


def test_a_subset_is_the_test_set_of_a_campaign(campaign: Run, faults: list[Fault]) -> None:
    whole = subject_of(SmallLinear)
    run = campaign(whole, faults, save_pairs="scores")
    run.run()
    chosen = [17, 2, 11, 23]
    part = subject_of(SmallLinear, subset=chosen)
    again = campaign(part, faults, save_pairs="scores")
    again.run()
    wanted = StoredPairs(run.files.path).detected("score").toarray()[:, sorted(chosen)]
    assert np.array_equal(StoredPairs(again.files.path).detected("score").toarray(), wanted)


def test_a_sample_that_is_not_there(campaign: Run, faults: list[Fault]) -> None:
    with pytest.raises(UserError, match=r"samples: there is no sample 5000 of the subset"):
        campaign(subject_of(SmallLinear, subset=[1, 5000]), faults).run()


def test_pairs_that_are_cut_are_refused(
    campaign: Run, subject: Subject, faults: list[Fault]
) -> None:
    run = campaign(subject, faults, save_pairs="scores")
    run.run()
    path = run.files.path / "pairs.bin"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(UserError, match="have no pairs, injection"):
        StoredPairs(run.files.path).detected("class")


def test_pairs_without_a_row_are_left_out(
    campaign: Run, subject: Subject, faults: list[Fault]
) -> None:
    """A kill behind the pairs of a group and before its rows."""
    run = campaign(subject, faults, save_pairs="scores")
    run.run()
    whole = StoredPairs(run.files.path).detected("score").toarray()
    lines = run.files.results.path.read_text().splitlines(keepends=True)
    run.files.results.path.write_text("".join(lines[: len(lines) // 2]))
    pairs = StoredPairs(run.files.path)
    count = len(lines) // 2 - 1
    assert pairs.results["Injection"].tolist() == pairs.injections.tolist()
    assert len(pairs.injections) == count
    assert np.array_equal(pairs.detected("score").toarray(), whole[:count])
