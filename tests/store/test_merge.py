"""Shards: disjoint, complete, and put together byte for byte what one campaign writes."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from campaigns import Run, subject_of
from hypothesis import given
from hypothesis import strategies as st
from small_networks import SmallConv, SmallLinear

from fi.base.errors import UserError
from fi.campaign.runner import Campaign
from fi.campaign.settings import Settings
from fi.campaign.subject import Subject
from fi.faults.fault import Fault, group_trials
from fi.merge import main
from fi.sampling.fault_draw import draw
from fi.sampling.plan import SamplingPlan
from fi.sampling.shards import Shard, interleave, parse_shard, parse_shard_folder
from fi.store.merging import MergeError, merge

NUMBERS = st.lists(st.integers(1, 3), min_size=1, max_size=60)


def listed(sizes: list[int]) -> list[Fault]:
    """Trials of these many faults."""
    return [Fault(n, "fc1.bias", (k,), 0) for n, size in enumerate(sizes) for k in range(size)]


@given(NUMBERS, st.integers(1, 9))
def test_shards_are_disjoint_complete_and_balanced(sizes: list[int], count: int) -> None:
    faults = listed(sizes)
    parts = [Shard(n, count).select(faults) for n in range(1, count + 1)]
    assert sorted(f.injection for part in parts for f in part) == [f.injection for f in faults]
    lengths = [len({fault.injection for fault in part}) for part in parts]
    assert max(lengths) - min(lengths) <= 1
    assert interleave([group_trials(part) for part in parts]) == faults


@pytest.mark.parametrize("text", ["0/3", "4/3", "3", "1/0", "a/b", "-1/3", "1/3/5", ""])
def test_a_shard_that_is_none(text: str) -> None:
    with pytest.raises(UserError, match="--shard"):
        parse_shard(text)


def test_a_shard_by_name() -> None:
    assert str(parse_shard("3/16")) == "3/16"
    assert parse_shard_folder(parse_shard("3/16").folder) == Shard(3, 16)
    assert parse_shard_folder("shard-17-of-16") is None
    assert parse_shard_folder("tensorboard") is None


def run_shards(campaign: Run, subject: Subject, faults: list[Fault], **options: object) -> Path:
    """Three shards; the folder of the campaign."""
    for number in (2, 3, 1):
        part = campaign(subject, faults, shard=Shard(number, 3), **options)
        part.run()
    return part.files.campaign


@pytest.fixture(scope="module")
def finished_shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    subject = subject_of(SmallLinear)
    faults = [Fault(n, "fc1.weight", (n % 8, n % 12), n % 32) for n in range(47)]

    def run(subject: Subject, faults: list[Fault], shard: Shard) -> Campaign:
        settings = Settings(output=tmp_path_factory.getbasetemp() / "m", progress=None, shard=shard)
        return Campaign(subject, faults, settings, say=lambda line: None)

    return run_shards(run, subject, faults)


@pytest.fixture
def shards(finished_shards: Path, tmp_path: Path) -> Path:
    """The three shards of 47 faults."""
    folder = tmp_path / "shards" / finished_shards.parent.name / finished_shards.name
    return Path(shutil.copytree(finished_shards, folder))


@pytest.mark.parametrize("engine", ["full", "differential"])
@pytest.mark.parametrize("kind", [SmallLinear, SmallConv])
def test_merged_shards_are_the_bytes_of_one_campaign(
    campaign: Run, tmp_path: Path, kind: type[SmallLinear], engine: str
) -> None:
    subject = subject_of(kind)
    plan = SamplingPlan(margin=0.2, models=("bit-flip", "stuck-at-1"))
    faults = draw(plan.space(subject.families, subject.steps), plan)
    whole = campaign(subject, faults, engine=engine, output=tmp_path / "whole")
    whole.run()
    target = merge([run_shards(campaign, subject, faults, engine=engine)])
    assert target.name == whole.files.path.name
    assert (target / "results.csv").read_bytes() == whole.files.results.path.read_bytes()
    one, other = whole.files.load_summary(), json.loads((target / "summary.json").read_text())
    same = ("status", "faults", "listed", "done", "pairs", "hashes", "samples", "shard", "families")
    assert {key: one[key] for key in same} == {key: other[key] for key in same}
    assert [run["shard"] for run in other["runs"]] == ["1/3", "2/3", "3/3"]
    again = campaign(subject, faults, engine=engine)
    assert len(again.run()) == len(faults)
    assert json.loads((target / "summary.json").read_text()) == other  # it was not run again


def test_outputs_of_several_machines(shards: Path, tmp_path: Path) -> None:
    folders = [tmp_path / f"machine{number}" / shards.name for number in (1, 2)]
    for folder, numbers in zip(folders, ((1, 2), (2, 3)), strict=True):
        for number in numbers:
            name = Shard(number, 3).folder
            shutil.copytree(shards / name, folder / name)
    wanted = merge([shards]) / "results.csv"
    found = merge(folders, tmp_path / "output") / "results.csv"
    assert found == tmp_path / "output" / "SmallLinear" / shards.name / "results.csv"
    assert found.read_bytes() == wanted.read_bytes()


def edit_summary(folder: Path, **entries: object) -> None:
    path = folder / "summary.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **entries}))


def lose_one(shards: Path) -> None:
    shutil.rmtree(shards / "shard-2-of-3")


def stop_one(shards: Path) -> None:
    edit_summary(shards / "shard-3-of-3", status="interrupted", done=4)


def other_weights(shards: Path) -> None:
    path = shards / "shard-3-of-3"
    hashes = json.loads((path / "summary.json").read_text())["hashes"]
    edit_summary(path, hashes={**hashes, "weights": "01234567" * 8})


def drop_a_row(shards: Path) -> None:
    path = shards / "shard-3-of-3" / "results.csv"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-1]))


def cut_a_row(shards: Path) -> None:
    path = shards / "shard-3-of-3" / "results.csv"
    path.write_bytes(path.read_bytes()[:-5])


def split_otherwise(shards: Path) -> None:
    (shards / "shard-3-of-3").rename(shards / "shard-3-of-4")


def two_of_one(shards: Path) -> None:
    shutil.rmtree(shards / "shard-3-of-3")
    shutil.copytree(shards / "shard-2-of-3", shards / "shard-3-of-3")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lose_one, r"shards are missing: 2/3$"),
        (stop_one, r"not finished: 3/3 \(4 of 15 faults, interrupted, on "),
        (other_weights, r"shard-3-of-3 does not belong to .*: other weights \(01234567 there, "),
        (drop_a_row, "are not the fault list"),
        (cut_a_row, "the last line is cut off"),
        (split_otherwise, "split into 3 shards and 4 shards"),
        (two_of_one, "are not the fault list"),
    ],
)
def test_what_is_missing_or_does_not_belong_is_named(
    shards: Path,
    capsys: pytest.CaptureFixture[str],
    spoil: Callable[[Path], None],
    message: str,
) -> None:
    spoil(shards)
    with pytest.raises(UserError, match=message):
        merge([shards])
    assert main([str(shards)]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert not (shards / "results.csv").exists()


def test_copies_of_a_shard_that_differ_are_refused(shards: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(shards, other)
    path = other / "shard-1-of-3" / "results.csv"
    path.write_text(path.read_text().replace(",24,24,0,", ",24,23,1,", 1))
    with pytest.raises(MergeError, match=r"shard 1/3 is in .* and in .*: other rows"):
        merge([shards, other])


def test_folders_without_shards(tmp_path: Path) -> None:
    with pytest.raises(MergeError, match="no shard is there"):
        merge([tmp_path])
    with pytest.raises(MergeError, match="no such folder"):
        merge([tmp_path / "nothing"])


def test_a_shard_without_a_fault(campaign: Run, subject: Subject, faults: list[Fault]) -> None:
    with pytest.raises(UserError, match="--shard 7/9: nothing is left, the list has 5"):
        campaign(subject, faults[:5], shard=Shard(7, 9))
