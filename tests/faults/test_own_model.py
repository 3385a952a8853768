"""A fault model of a user's: the README's, named on the command line, on both engines."""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd
import pytest
import torch
from places import ROOT

from fi.faults.models import FAULT_MODELS, FaultModel, fault_model, register_model
from fi.faults.user_models import load_model
from fi.test import main

README = (ROOT / "README.md").read_text()


def readme_model() -> str:
    """The code block of the README that defines a fault model."""
    (block,) = re.findall(r"```python\n([^`]*\(FaultModel\)[^`]*)```", README)
    return block


def test_it_has_ten_lines_or_fewer() -> None:
    assert len(readme_model().strip().splitlines()) <= 10


def test_the_command_of_the_readme_runs_on_both_engines(
    workplace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("my_model.py").write_text(readme_model())
    (command,) = re.findall(r"python -m fi\.test (.*my_model\.py:.*)", README)
    arguments = command.split("#")[0].split()
    quick = ["--limit-samples", "16", "--margin", "0.2", "--accelerator", "cpu"]
    quick += ["--quiet", "--no-figures"]
    results = []
    for engine in ("differential", "full"):
        assert main([*arguments, *quick, "--engine", engine]) == 0, capsys.readouterr().err
        (found,) = Path("output").glob("*/*/results.csv")
        results.append(pd.read_csv(found))
        changed = results[-1]["GoldenValue"] != results[-1]["FaultyValue"]
        assert changed.any()
        config = found.parent / "config.yaml"
        assert "my_model.py:" in config.read_text()
        assert main(["--config", str(config), "--quiet"]) == 0, capsys.readouterr().err
        found.rename(workplace / f"{engine}.csv")
        for left in found.parent.iterdir():
            left.unlink() if left.is_file() else None
    assert results[0].equals(results[1])
    assert results[0]["fully_masked"].sum() < results[0]["samples"].sum()


@pytest.fixture
def no_new_models() -> None:
    known = dict(FAULT_MODELS)
    yield
    FAULT_MODELS.clear()
    FAULT_MODELS.update(known)


def test_a_parameter_stands_behind_the_class(tmp_path: Path, no_new_models: None) -> None:
    file = tmp_path / "drift.py"
    file.write_text(
        "from fi.fault_models import FaultModel\n"
        "class Drift(FaultModel):\n"
        "    takes_bits, parameter = False, 'BY'\n"
        "    def __init__(self, by):\n"
        "        self.by = by\n"
        "    def value(self, golden, tensor):\n"
        "        return golden + self.by\n"
    )
    name = load_model(f"{file}:Drift:0.25")
    assert name == "drift:0.25"
    values = torch.tensor([1.0, -2.0])
    assert fault_model(name).value(values, values).tolist() == [1.25, -1.75]


def test_names_of_ours_are_not_taken(tmp_path: Path, no_new_models: None) -> None:
    class Dead(FaultModel):
        pass

    with pytest.raises(ValueError, match="Dead is called 'dead'; allowed: a name of its own"):
        register_model(Dead)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("./none.py:Mine", "no such file"),
        ("no_such_package.Mine", "cannot import 'no_such_package'"),
        ("fi.faults.fault.Fault", "Fault is no FaultModel"),
        ("fi.faults.models.Nothing", "no class 'Nothing' there"),
    ],
)
def test_a_bad_name_is_one_line(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, given: str, message: str
) -> None:
    output = ["--output", str(tmp_path)]
    assert main(["--model", "NMNIST", "--faults.models", given, *output]) == 2
    text = capsys.readouterr().err
    assert message in text
    assert text.count("\n") == 1
