"""``--verify``: what the engine or the results file says is held against the full engine."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
import torch
from campaigns import Run, subject_of
from small_networks import SmallConv, SmallLinear
from torch import Tensor, nn

from fi import test as command
from fi.base.errors import ContractBroken, UserError
from fi.campaign.subject import Subject
from fi.campaign.verify import verify
from fi.cli.option_values import parse_size
from fi.engine.differential.engine import DifferentialEngine
from fi.faults.fault import Fault
from fi.metrics.pairs import Pairs


@pytest.mark.parametrize("precision", ["32-true", "64-true"])
@pytest.mark.parametrize("engine", ["full", "differential"])
@pytest.mark.parametrize("kind", [SmallLinear, SmallConv])
def test_a_sound_campaign_holds(
    campaign: Run, faults: list[Fault], kind: type[nn.Module], engine: str, precision: str
) -> None:
    faults = faults[::3]
    if kind is SmallConv:
        faults = [Fault(i, "conv1.weight", (0, 0, 0, i % 3), i % 32) for i in range(40)]
    run = campaign(subject_of(kind), faults, engine=engine, precision=precision)
    found = verify(run, run.run(), count=30, seed=1)
    assert (found.faults, found.compared.pairs) == (30, 30 * 24)
    assert found.compared.differing == 0
    assert found.compared.unmasked > 7
    assert not found.wrong_rows
    assert found.holds
    found.check()
    assert found.tolerated == (0 if precision == "64-true" else 1e-5)
    assert "their rows in results.csv are the same" in str(found)


def test_more_than_there_are_is_all_of_them(
    campaign: Run, subject: Subject, faults: list[Fault]
) -> None:
    run = campaign(subject, faults, engine="differential")
    assert verify(run, run.run(), count=10**6, seed=1).faults == len(faults)


def test_the_draw_is_seeded(campaign: Run, subject: Subject, faults: list[Fault]) -> None:
    run = campaign(subject, faults, engine="differential")
    results = run.run()
    results["sdc_1"] -= 1
    results["sdc_20"] += 1
    drawn = [verify(run, results, count=5, seed=seed).wrong_rows for seed in (1, 1, 2)]
    assert len(drawn[0]) == 5
    assert drawn[0] == drawn[1] != drawn[2]


def test_rows_that_say_something_else_are_named(
    campaign: Run, subject: Subject, faults: list[Fault]
) -> None:
    run = campaign(subject, faults, engine="differential")
    results = run.run()
    changed = results.index[results["sdc_1"] >= 3][:2]
    results.loc[changed, "sdc_1"] -= 3
    results.loc[changed, "fully_masked"] += 3
    found = verify(run, results, count=len(faults), seed=1)
    assert found.wrong_rows == tuple(results.loc[changed, "Injection"])
    assert found.compared.differing == 6
    with pytest.raises(ContractBroken, match=r"6 of .* pairs differ .* 1 in 100,000: \d+: "):
        found.check()


def test_one_pair_is_let_pass_in_float32_only(
    campaign: Run, subject: Subject, faults: list[Fault]
) -> None:
    for precision in ("32-true", "64-true"):
        run = campaign(subject, faults, engine="differential", precision=precision)
        results = run.run()
        row = int(results.index[results["correct"] > 0][0])
        results.loc[row, "correct"] -= 1
        found = verify(run, results, count=len(faults), seed=1)
        assert found.wrong_rows == (results.loc[row, "Injection"],)
        assert found.holds == (precision == "32-true")


class Broken(DifferentialEngine):
    """Forgets what an even sample did."""

    def pairs(
        self, events: Tensor, batch: int, golden: Tensor | None = None, first: int = 0
    ) -> Iterator[Pairs]:
        for pairs in super().pairs(events, batch, golden, first):
            kept = pairs.sample % 2 == 1
            yield Pairs(pairs.fault[kept], pairs.sample[kept], pairs.scores[kept])


def test_a_broken_engine_is_caught(campaign: Run, subject: Subject, faults: list[Fault]) -> None:
    run = campaign(subject, faults, engine="differential", check_first=False)
    run.engine = Broken(subject.network, subject.infer)
    found = verify(run, run.run(), count=40, seed=1)
    assert found.wrong_rows
    assert found.compared.differing > 20
    with pytest.raises(ContractBroken, match="differ from the full engine"):
        found.check()


def test_a_broken_engine_is_caught_before_the_first_fault(
    campaign: Run, subject: Subject, faults: list[Fault]
) -> None:
    run = campaign(subject, faults, engine="differential")
    run.engine = Broken(subject.network, subject.infer)
    with pytest.raises(ContractBroken, match=r"\w+: \d+ of \d+ pairs differ from the full engine"):
        run.run()
    assert not list(run.files.path.glob("results.csv"))


def test_the_full_engine_takes_over_from_a_broken_one(
    campaign: Run, subject: Subject, faults: list[Fault], capsys: pytest.CaptureFixture[str]
) -> None:
    run = campaign(subject, faults, engine="auto")
    run.engine = Broken(subject.network, subject.infer)
    found = run.run()
    assert run.engine.name == "full"
    assert "pairs differ from the full engine" in capsys.readouterr().err
    left = [path.name for path in run.files.path.parent.iterdir() if path.name != "pt"]
    assert left == [run.files.path.name]
    wanted = campaign(subject, faults, engine="full", overwrite=True).run()
    pd.testing.assert_frame_equal(found, wanted)


OPTIONS = [
    *("--model", "NMNIST", "--limit-samples", "6", "--margin", "0.3", "--accelerator", "cpu"),
    *("--quiet", "--no-figures", "--verify", "8", "--memory", "200MB"),
]


def test_the_command_verifies_what_it_ran_and_what_is_there(
    workplace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command.main(OPTIONS) == 0
    assert "verified 8 faults on the full engine: 48 of 48 pairs agree" in capsys.readouterr().out
    (path,) = workplace.glob("output/NMNIST/*/summary.json")
    summary = json.loads(path.read_text())
    assert summary["status"] == "finished"
    assert summary["verified"]["faults"] == 8
    assert summary["verified"]["holds"]
    rows = path.parent / "results.csv"
    wanted = rows.read_bytes()
    assert command.main(OPTIONS) == 0  # finished already
    assert "verified 8 faults" in capsys.readouterr().out
    assert rows.read_bytes() == wanted
    assert "verify" not in (path.parent / "config.yaml").read_text()

    lines = rows.read_text().splitlines()
    rows.write_text("\n".join([lines[0], *map(all_wrong, lines[1:])]) + "\n")
    assert command.main(OPTIONS) == 1
    text = capsys.readouterr()
    assert text.err.startswith("error: ")
    assert text.err.count("\n") == 1
    assert not json.loads(path.read_text())["verified"]["holds"]


def all_wrong(line: str) -> str:
    """A row of the results file in which every sample is SDC-1."""
    fault, samples, *_, non_finite, correct, golden, value, faulty = line.rsplit(",", 12)
    last = (non_finite, correct, golden, value, faulty)
    return ",".join([fault, samples, "0", samples, *["0"] * 4, *last])


@pytest.mark.parametrize(
    ("text", "size"),
    [("4GB", 4 * 10**9), ("512MiB", 2**29), ("1.5g", 15 * 10**8), ("2000000", 2 * 10**6)],
)
def test_sizes(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["much", "-4GB", "4XB", "100", "", "GB", "4 4GB"])
def test_what_is_no_size(text: str) -> None:
    with pytest.raises(UserError, match="as 512MB or 4GB"):
        parse_size(text)


@pytest.mark.parametrize("option", ["--threads", "--verify"])
def test_numbers_below_zero(
    option: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert command.main([*OPTIONS, f"{option}=-1"]) == 2
    assert f"{option} -1: allowed is 0 or more" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_threads_and_memory_reach_the_engine(
    campaign: Run, subject: Subject, faults: list[Fault]
) -> None:
    run = campaign(subject, faults, engine="differential", threads=2, memory=10**7)
    assert isinstance(run.engine, DifferentialEngine)
    assert (run.engine.threads, run.engine.memory) == (2, 10**7)
    few = run.run()
    assert torch.get_num_threads() == 1
    assert few.equals(campaign(subject, faults, engine="full").run())
