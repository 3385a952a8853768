"""``python -m fi.pt_to_csv``: score tensors and labels come back from CSV as they were."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from fi.pt_to_csv import main


def save(output: Path, place: str, value: Any) -> Path:
    path = output / "CSNN" / "pt" / place
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(value, path)
    return path


@pytest.fixture
def scores() -> Tensor:
    torch.manual_seed(0)
    values = torch.randn(5, 3).softmax(-1)
    values[0, 0], values[1, 1], values[2, 2] = float("nan"), float("inf"), 1e-38
    return values


@pytest.fixture
def output(tmp_path: Path, scores: Tensor) -> Path:
    save(tmp_path, "clean/batch_size_5/batch_0.pt", scores)
    save(tmp_path, "label/batch_size_5/batch_0.pt", torch.tensor([2, 0, 1, 1, 2]))
    save(tmp_path, "faulty/batch_size_5/fault_17_batch_0.pt", -scores)
    save(tmp_path, "clean/batch_size_2/batch_0.pt", scores[:2])
    return tmp_path


def command(output: Path, batch_size: int = 5) -> int:
    return main(["--model=CSNN", f"--batch-size={batch_size}", f"--output={output}"])


def test_the_layout_stays(output: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command(output) == 0
    folder = output / "CSNN" / "csv"
    assert sorted(str(p.relative_to(folder)) for p in folder.rglob("*.csv")) == [
        "clean/batch_size_5/batch_0.csv",
        "faulty/batch_size_5/fault_17_batch_0.csv",
        "label/batch_size_5/batch_0.csv",
    ]
    assert capsys.readouterr().out.startswith("3 files written to ")


def test_values_are_not_rounded(output: Path, scores: Tensor) -> None:
    command(output)
    folder = output / "CSNN" / "csv"
    found = np.genfromtxt(folder / "faulty/batch_size_5/fault_17_batch_0.csv", delimiter=",")[1:]
    assert np.array_equal(found.astype(np.float32), (-scores).numpy(), equal_nan=True)
    clean = (folder / "clean/batch_size_5/batch_0.csv").read_text().splitlines()
    assert clean[0] == "class_0,class_1,class_2"
    assert clean[1].startswith("nan,")
    label = (folder / "label/batch_size_5/batch_0.csv").read_text()
    assert label == "label\n2\n0\n1\n1\n2\n"


def test_float64_is_not_rounded(output: Path) -> None:
    scores = torch.rand(4, 3, dtype=torch.float64)
    save(output, "clean/batch_size_5/batch_0.pt", scores)
    command(output)
    found = np.loadtxt(
        output / "CSNN/csv/clean/batch_size_5/batch_0.csv", delimiter=",", skiprows=1
    )
    assert np.array_equal(found, scores.numpy())


def failure(output: Path, capsys: pytest.CaptureFixture[str], batch_size: int = 5) -> str:
    assert command(output, batch_size) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    return error


def test_another_batch_size_names_those_there(
    output: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert failure(output, capsys, 7).endswith("batch sizes there: 2, 5\n")
    assert failure(output / "none", capsys).endswith("batch sizes there: none\n")


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (torch.zeros(3), r"found (3,); allowed: a tensor [batch, classes]"),
        ({"scores": torch.zeros(3, 2)}, "found dict; allowed: a tensor [batch, classes]"),
    ],
)
def test_another_content_is_named(
    output: Path, capsys: pytest.CaptureFixture[str], value: Any, message: str
) -> None:
    path = save(output, "clean/batch_size_5/batch_0.pt", value)
    assert f"{path}: {message}" in failure(output, capsys)


class Harmful:
    """Unpickling it would make a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


def test_no_pickle_is_executed(output: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save(output, "clean/batch_size_5/batch_0.pt", Harmful(output / "harm"))
    assert "no tensor can be loaded: UnpicklingError" in failure(output, capsys)
    assert not (output / "harm").exists()


@pytest.mark.parametrize("content", [b"", b"no tensor", b"PK\x03\x04"])
def test_a_damaged_file_is_named(
    output: Path, capsys: pytest.CaptureFixture[str], content: bytes
) -> None:
    path = output / "CSNN/pt/clean/batch_size_5/batch_0.pt"
    path.write_bytes(content)
    assert f"{path}: no tensor can be loaded" in failure(output, capsys)
