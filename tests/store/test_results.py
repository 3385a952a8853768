"""The results file: the same bytes for the same results, a killed run loses only its last line."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fi.faults.fault import Fault
from fi.metrics.counts import COUNT_COLUMNS
from fi.store.results_file import ResultsFile
from fi.store.results_rows import ResultsError, read_frame_by_row

FAULTS = [
    Fault(0, "fc1.weight", (3, 101), 31),
    Fault(1, "lif1.potential", (4,), 0, "stuck-at-1", 7),
    Fault(2, "lif1.beta", (), 5, "stuck-at-0"),
]
ROWS = [
    [10, 6, 1, 1, 1, 1, 0, 0, 7, 8],
    [10, 0, 10, 0, 0, 0, 0, 10, 0, 8],
    [10, 9, 0, 0, 0, 0, 1, 1, 8, 8],
]
VALUES = [(float(np.float32(0.1)), float("nan")), None, (0.5, float("-inf"))]
HEADER = (
    "Injection,Layer,TensorIndex,Bit,Model,Step,samples,fully_masked,sdc_1,sdc_0_5,sdc_5_10,"
    "sdc_10_20,sdc_20,non_finite,correct,golden_correct,GoldenValue,FaultyValue\n"
)
TEXT = (
    HEADER + '0,fc1.weight,"(3, 101)",31,bit-flip,,10,6,1,1,1,1,0,0,7,8,0.10000000149011612,nan\n'
    '1,lif1.potential,"(4,)",0,stuck-at-1,7,10,0,10,0,0,0,0,10,0,8,,\n'
    "2,lif1.beta,(),5,stuck-at-0,,10,9,0,0,0,0,1,1,8,8,0.5,-inf\n"
)


def counts(*rows: list[int]) -> dict[str, np.ndarray]:
    return dict(zip(COUNT_COLUMNS, np.array(rows, dtype=np.int64).T, strict=True))


@pytest.fixture
def results(tmp_path: Path) -> ResultsFile:
    file = ResultsFile(tmp_path / "results.csv")
    file.append(FAULTS[:2], counts(*ROWS[:2]), VALUES[:2])
    file.append(FAULTS[2:], counts(*ROWS[2:]), VALUES[2:])
    return file


def test_the_file_is_as_documented(results: ResultsFile) -> None:
    assert results.path.read_bytes().decode() == TEXT


def test_groups_leave_no_trace(results: ResultsFile, tmp_path: Path) -> None:
    other = ResultsFile(tmp_path / "other.csv")
    other.append(FAULTS, counts(*ROWS), VALUES)
    assert other.path.read_bytes() == results.path.read_bytes()


def test_counts_may_be_tensors(tmp_path: Path) -> None:
    file = ResultsFile(tmp_path / "results.csv")
    tensors = {name: torch.from_numpy(v) for name, v in counts(*ROWS).items()}
    file.append(FAULTS, tensors, VALUES)
    assert file.path.read_text() == TEXT


def test_load_gives_what_was_appended(results: ResultsFile) -> None:
    found = results.load()
    assert found[list(COUNT_COLUMNS)].to_numpy().tolist() == ROWS
    assert found["TensorIndex"].tolist() == ["(3, 101)", "(4,)", "()"]
    assert found["Step"].tolist() == ["", "7", ""]
    assert (found.dtypes[list(COUNT_COLUMNS)] == np.int64).all()
    golden, faulty = found["GoldenValue"], found["FaultyValue"]
    assert np.array_equal(golden, [np.float32(0.1), np.nan, 0.5], equal_nan=True)
    assert np.array_equal(faulty, [np.nan, np.nan, -np.inf], equal_nan=True)
    assert results.done() == [0, 1, 2]


def test_nothing_is_done_before_the_first_group(tmp_path: Path) -> None:
    file = ResultsFile(tmp_path / "results.csv")
    assert file.done() == []
    assert file.repair() == 0
    with pytest.raises(ResultsError, match="no such file"):
        file.load()
    file.append([], dict.fromkeys(COUNT_COLUMNS, np.zeros(0, dtype=np.int64)))
    assert file.load().empty
    assert list(file.load().columns) == HEADER.strip().split(",")


def test_a_file_that_is_cut_anywhere_is_repaired(results: ResultsFile) -> None:
    data = results.path.read_bytes()
    ends = [n + 1 for n, byte in enumerate(data) if byte == ord("\n")]
    for length in sorted({*range(0, len(data), 11), *ends[:-1], *(end - 1 for end in ends)}):
        results.path.write_bytes(data[:length])
        whole = data[:length].endswith(b"\n") or not length
        if not whole:
            with pytest.raises(ResultsError, match=r"results\.csv:\d: the last line is cut off"):
                results.load()
        readable = results.load(whole=False)["Injection"].tolist()
        assert results.repair() == length - (data[:length].rfind(b"\n") + 1)
        done = results.done()
        assert done == readable == [0, 1, 2][: len(done)]
        rest = [FAULTS[n] for n in range(len(done), 3)]
        results.append(rest, counts(*ROWS[len(done) :]), VALUES[len(done) :])
        assert results.path.read_bytes() == data


def test_a_group_is_not_glued_to_a_cut_line(results: ResultsFile) -> None:
    results.path.write_bytes(results.path.read_bytes()[:-3])
    before = results.path.read_bytes()
    with pytest.raises(ResultsError, match="cut off"):
        results.append([Fault(3, "lif1.beta", (), 1)], counts(ROWS[0]))
    assert results.path.read_bytes() == before


def test_a_full_disk_leaves_whole_lines(
    results: ResultsFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        results.append([Fault(3, "lif1.beta", (), 1)], counts(ROWS[0]))
    assert results.path.read_text() == TEXT


def drop_column(group: dict[str, np.ndarray]) -> None:
    del group["sdc_5_10"]


def lose_a_pair(group: dict[str, np.ndarray]) -> None:
    group["fully_masked"][1] -= 1


def one_more_fault(group: dict[str, np.ndarray]) -> None:
    group["correct"] = np.append(group["correct"], 1)


def use_rates(group: dict[str, np.ndarray]) -> None:
    group["correct"] = group["correct"] / 10


def too_many_correct(group: dict[str, np.ndarray]) -> None:
    group["correct"][0] = 11


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (drop_column, "no counts for the columns sdc_5_10"),
        (lose_a_pair, "fault 1 of the group: the outcomes do not add up to samples: samples=10"),
        (one_more_fault, r"correct is int64 of shape \(3,\); allowed: integers of shape \(2,\)"),
        (use_rates, "correct is float64"),
        (too_many_correct, "fault 0 of the group: a count is above samples"),
    ],
)
def test_wrong_counts_are_not_written(
    tmp_path: Path, change: Callable[[dict[str, np.ndarray]], None], message: str
) -> None:
    group = counts([10, 6, 1, 1, 1, 1, 0, 0, 7, 8], [10, 0, 10, 0, 0, 0, 0, 10, 0, 8])
    change(group)
    file = ResultsFile(tmp_path / "results.csv")
    with pytest.raises(ResultsError, match=message):
        file.append(FAULTS[:2], group)
    assert not file.path.exists()


BAD_LINES = {
    "2,lif1.beta,(),5,stuck-at-0,,10,9,0,0,0,0,1,1,8,8,1.0\n": ":4: 17 fields; allowed: 18",
    "2,lif1.beta,(),5,stuck-at-0,,10,8,0,0,0,0,1,1,8,8,,\n": ":4: the outcomes do not add up",
    "2,lif1.beta,(),5,stuck-at-0,,10,9,0,0,0,0,1,1,8,x,,\n": ":4: golden_correct is 'x'",
    "2,lif1.beta,(),5,stuck-at-0,,10,9,0,0,0,0,1,1,8,-8,,\n": ":4: golden_correct is '-8'",
    "2,lif1.beta,(),5,stuck-at-0,,0,0,0,0,0,0,0,0,0,0,,\n": ":4: samples is not positive",
    "2,lif1.beta,(),99,stuck-at-0,,10,9,0,0,0,0,1,1,8,8,,\n": ":4: bit 99 is outside",
    "1,lif1.beta,(),5,stuck-at-0,,10,9,0,0,0,0,1,1,8,8,,\n": ":4: injection 1 is on line 3",
    "2,lif1.beta,(),5,stuck-at-0,,10,9,0,0,0,0,1,1,8,8,0.5,\n": ":4: FaultyValue is ''; allowed",
    "2,lif1.beta,(),5,stuck-at-0,,10,9,0,0,0,0,1,1,8,8,1,1.0\n": ":4: GoldenValue is '1'",
}


@pytest.mark.parametrize("line", BAD_LINES)
def test_a_malformed_line_is_named(results: ResultsFile, line: str) -> None:
    results.path.write_text("".join([*TEXT.splitlines(keepends=True)[:3], line]))
    with pytest.raises(ResultsError, match=BAD_LINES[line]):
        results.load()


TRIAL = (
    "2,lif1.beta,(),5,stuck-at-0,,10,9,0,0,0,0,1,1,8,8,,\n",
    "2,lif1.beta,(),6,stuck-at-0,,10,9,0,0,0,0,1,1,8,8,,\n",
    "2,lif1.beta,(),7,stuck-at-0,,10,9,0,0,0,0,1,1,8,8,,\n",
)


def test_a_trial_of_several_faults_loads(results: ResultsFile) -> None:
    text = "".join([*TEXT.splitlines(keepends=True)[:3], *TRIAL])
    results.path.write_text(text)
    loaded = results.load()
    assert loaded["Injection"].tolist() == [0, 1, 2, 2, 2]
    pd.testing.assert_frame_equal(read_frame_by_row(text, results.path), loaded)


@pytest.mark.parametrize("rows", [(0, 0), (0, 1, 1), (0, 1, 0), (0, 1, 2, 0)])
@pytest.mark.parametrize("bit", ["5", "05"])
def test_a_fault_twice_in_one_trial_is_named(
    results: ResultsFile, rows: tuple[int, ...], bit: str
) -> None:
    trial = [TRIAL[row] for row in rows]
    trial[-1] = trial[-1].replace(",5,stuck", f",{bit},stuck")
    results.path.write_text("".join([*TEXT.splitlines(keepends=True)[:3], *trial]))
    with pytest.raises(ResultsError, match=rf":{3 + len(rows)}: "):
        results.load()


def test_another_header_is_named(results: ResultsFile) -> None:
    results.path.write_text(TEXT.replace("sdc_20", "sdc_21"))
    with pytest.raises(ResultsError, match=r"results\.csv:1: the header is"):
        results.load()


def test_results_of_another_list_are_refused(results: ResultsFile) -> None:
    results.check_belongs(FAULTS)
    with pytest.raises(ResultsError, match=r":4: injection 2 is .* it is not in the list"):
        results.check_belongs(FAULTS[:2])
    other = [*FAULTS[:2], Fault(2, "lif1.beta", (), 6, "stuck-at-0")]
    with pytest.raises(ResultsError, match="it is stuck-at-0 of bit 6 in lif1"):
        results.check_belongs(other)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, len(TEXT)), st.integers(0, 3), st.binary(max_size=3))
def test_a_mutated_file_loads_or_is_refused(
    results: ResultsFile, start: int, length: int, piece: bytes
) -> None:
    data = TEXT.encode()
    results.path.write_bytes(data[:start] + piece + data[start + length :])
    try:
        numbers = results.load()["Injection"].tolist()
    except ResultsError as problem:
        numbers = []
        place = str(problem)
    else:
        place = ""
    assert len(numbers) == len(set(numbers))
    assert not place or place.startswith(str(results.path))
