"""``python -m fi.benchmark``: a table, then one JSON line."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from fi.benchmark import main
from fi.benchmarking import plain_forward, scaling
from fi.benchmarking.plain_forward import PlainForward, find_best_forward
from fi.engine import timing

TINY = ["--model", "NMNIST", "--faults", "40", "--samples", "6", "--check", "10"]
#: What issue reports compare; more fields may follow.
FIELDS = (
    *("model", "device", "threads", "faults", "samples", "steps"),
    *("full_us_per_pair", "differential_us_per_pair", "speedup", "agreement"),
    *("masked_without_simulation", "diverged", "peak_memory_mb"),
)


@pytest.fixture(autouse=True)
def _quick(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """One round, two batch sizes; the threads stay as they were."""
    monkeypatch.setattr(timing, "ROUNDS", 1)
    monkeypatch.setattr(plain_forward, "BATCH_SIZES", (1, 4))
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


def measured(capsys: pytest.CaptureFixture[str], *options: str) -> tuple[str, dict]:
    """The table and the JSON line."""
    assert main([*TINY, *options]) == 0
    table, _, line = capsys.readouterr().out.rstrip("\n").rpartition("\n")
    return table, json.loads(line)


@pytest.mark.parametrize("precision", ["32-true", "64-true"])
def test_a_table_and_one_json_line(capsys: pytest.CaptureFixture[str], precision: str) -> None:
    table, report = measured(capsys, "--precision", precision, "--threads", "1")
    assert set(report) >= set(FIELDS)
    assert [report[name] for name in FIELDS[:6]] == ["NMNIST", "cpu", 1, 40, 6, 25]
    assert report["agreement"] == 1
    assert report["checked_pairs"] == 60
    assert 0 <= report["diverged"] < 1 - report["masked_without_simulation"] < 1
    assert report["peak_memory_mb"] > 50
    for name in ("full_us_per_pair", "differential_us_per_pair", "speedup"):
        assert report[name] > 0
    for what in ("NMNIST: 40 faults x 6 samples", "plain forward", "speedup", "us/pair"):
        assert what in table


def test_the_speedup_is_that_of_the_two_times(capsys: pytest.CaptureFixture[str]) -> None:
    _, report = measured(capsys)
    ratio = report["full_us_per_pair"] / report["differential_us_per_pair"]
    assert report["speedup"] == pytest.approx(ratio, rel=0.01, abs=0.06)  # one decimal


def test_one_fault(capsys: pytest.CaptureFixture[str]) -> None:
    _, report = measured(capsys, "--faults", "1")
    assert (report["faults"], report["checked_pairs"]) == (1, 10 * 6)  # of other families, too


def test_transient_faults_of_some_families(capsys: pytest.CaptureFixture[str]) -> None:
    _, report = measured(capsys, "--transient", "--layers", "lif1.*,fc2.*", "--models", "bit-flip")
    assert report["agreement"] == 1
    assert report["diverged"] > 0


@pytest.mark.parametrize(
    "sizes",
    [((20, 3),), pytest.param(((20, 3), (40, 6)), marks=pytest.mark.slow)],
    ids=["one", "two"],
)
def test_a_row_for_each_size(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    sizes: tuple[tuple[int, int], ...],
) -> None:
    """Each is measured in a process of its own, which takes seconds to start."""
    monkeypatch.setattr(scaling, "SIZES", sizes)
    assert main(["--model", "NMNIST", "--scaling", "--threads", "1"]) == 0
    rows = [re.findall(r"[\d.,]+", line) for line in capsys.readouterr().out.splitlines()]
    found = [row for row in rows if len(row) == 6]
    assert [row[:2] for row in found] == [[str(number) for number in size] for size in sizes]
    for row in found:
        _, pair, events, peak = (float(number.replace(",", "")) for number in row[2:])
        assert pair > 0
        assert 50 < peak > events > 0


def test_the_best_plain_forward_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    def seconds(network: object, events: object, way: PlainForward) -> float:
        return 1.0 + way.layer_by_layer + abs(way.size - 4) + 0.5 * (way.threads == 1)

    monkeypatch.setattr(plain_forward, "time_forward", seconds)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    best, other = find_best_forward(None, torch.zeros(2, 9, 1))
    assert best == PlainForward(1.0, 3, False, 4)
    assert other == PlainForward(2.0, 3, True, 4)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--model", "Nothing"], "unknown model 'Nothing'"),
        (["--device", "warp"], "--device warp: "),
        (["--device", "cuda:99"], "--device cuda:99: "),
        (["--faults", "0"], "--faults 0: allowed is 1 or more"),
        (["--samples", "0"], "--samples 0: allowed is 1 or more"),
        (["--check", "0"], "--check 0: allowed is 1 or more"),
        (["--threads", "-1"], "--threads -1: allowed is 0 or more"),
        (["--precision", "16-mixed"], "allowed are 32-true and 64-true"),
        (["--models", "worm"], "unknown fault model 'worm'"),
        (["--layers", "fc9.*"], "fits no site family"),
        (["--faults", "x"], "--faults x: wanted is int"),
        (["--checkpoint", "nothing.pt"], "--checkpoint nothing.pt: no such file"),
        (["--nothing", "3"], "--nothing"),
    ],
)
def test_errors_are_one_line(
    capsys: pytest.CaptureFixture[str], options: list[str], message: str
) -> None:
    assert main([*TINY, *options]) == 2
    text = capsys.readouterr()
    assert message in text.err
    assert text.err.count("\n") == 1
    assert not text.out
