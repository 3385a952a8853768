"""A fault model of a user's: the README's, named on the command line, on both engines."""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd
import pytest
import torch
from places import ROOT

from fi.faults.fault import Fault, signed_masks
from fi.faults.groups.element_maps import WORD_MAPS
from fi.faults.models import (
    FAULT_MODELS,
    FaultModel,
    fault_model,
    register_model,
    user_model_sources,
)
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
    known, maps = dict(FAULT_MODELS), dict(WORD_MAPS)
    yield
    FAULT_MODELS.clear()
    FAULT_MODELS.update(known)
    WORD_MAPS.clear()
    WORD_MAPS.update(maps)


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


BESIDE = """
from fi.fault_models import FaultModel
{constant}
class Shifted(FaultModel):
    takes_bits = {takes_bits}
    def value(self, golden, tensor):
        return golden + BY
    def masks(self, bits):
        from fi.faults.bits import WordMasks
        return WordMasks.{masks}
"""


def test_what_stands_beside_a_model_is_part_of_its_hash(
    tmp_path: Path, no_new_models: None
) -> None:
    hashes = []
    for constant in ("BY = 0.5", "BY = 2.5", "BY = 0.5"):
        text = BESIDE.format(constant=constant, takes_bits=False, masks="holding(0)")
        (tmp_path / "beside.py").write_text(text)
        name = load_model(f"{tmp_path}/beside.py:Shifted")
        hashes.append("\n".join(user_model_sources([name])))
        shift = float(constant.partition("=")[2])  # a file of the same size, of the same second
        assert fault_model(name).value(torch.zeros(1), torch.zeros(1)).item() == shift
    assert hashes[0] == hashes[2] != hashes[1]


def test_the_same_model_in_another_folder_is_the_same(tmp_path: Path, no_new_models: None) -> None:
    sources = []
    for folder in (tmp_path / "a", tmp_path / "b"):
        folder.mkdir()
        text = BESIDE.format(constant="BY = 0.5", takes_bits=False, masks="holding(0)")
        (folder / "beside.py").write_text(text)
        sources.append(user_model_sources([load_model(f"{folder}/beside.py:Shifted")]))
    assert sources[0] == sources[1]


def test_a_model_that_takes_the_place_of_another_is_the_one_that_runs(
    tmp_path: Path, no_new_models: None
) -> None:
    signed = []
    for place, masks in enumerate(("clearing(bits)", "setting(bits)")):
        text = BESIDE.format(constant=f"BY = {place}", takes_bits=True, masks=masks)
        (tmp_path / "beside.py").write_text(text)
        name = load_model(f"{tmp_path}/beside.py:Shifted")
        Fault(0, "fc1.weight", (0,), 2, model=name)  # a model that takes a bit
        signed.append(signed_masks(name, (2,)))
    assert signed == [(~4, 0, 0), (~0, 4, 0)]
    text = BESIDE.format(constant="BY = 3", takes_bits=False, masks="holding(0)")
    (tmp_path / "beside.py").write_text(text)
    name = load_model(f"{tmp_path}/beside.py:Shifted")
    with pytest.raises(ValueError, match="takes no bit"):
        Fault(0, "fc1.weight", (0,), 2, model=name)


LIST = "Injection,Layer,TensorIndex,Bit,Model,Step\n"
DRIFT = """
import numpy as np
from fi.fault_models import FaultModel
from fi.word_maps import WordMap

class Drift(FaultModel):
    takes_bits, parameter = False, "BY"
    def __init__(self, by):
        self.by = by
    def value(self, golden, tensor):
        return golden + self.by

class Banks(WordMap):
    parameter = "N"
    def __init__(self, text):
        self.banks = int(text)
    def locate(self, word, shape, kind):
        return (word[-1] % self.banks,)
"""


def test_a_list_with_a_model_and_a_map_of_ones_own_is_replayed(
    workplace: Path, capsys: pytest.CaptureFixture[str], no_new_models: None
) -> None:
    """Both are named beside the list; what no fault of it needs is refused."""
    Path("drift.py").write_text(DRIFT)
    common = ["--model", "NMNIST", "--limit-samples", "16", "--accelerator", "cpu"]
    common += ["--quiet", "--no-figures"]
    named = ["--faults.models", "./drift.py:Drift:0.5", "--faults.group", "./drift.py:Banks:40"]
    drawn = [*named, "--faults.layers", "*.weight", "--margin", "0.2"]
    assert main([*common, *drawn, "--output", "drawn"]) == 0, capsys.readouterr().err
    (path,) = Path("drawn/fault_list/NMNIST").glob("*_fault_list.csv")
    assert "fc1.weight@banks:40" in path.read_text()
    replay = [*common, "--fault-list", str(path), "--output", "replayed"]
    assert main([*replay, *named]) == 0, capsys.readouterr().err
    found = [pd.read_csv(next(Path(p).glob("NMNIST/*/results.csv"))) for p in ("drawn", "replayed")]
    pd.testing.assert_frame_equal(*found)
    plain = Path("plain.csv")
    plain.write_text(LIST + '0,fc1.weight,"(0, 290)",11,bit-flip,\n')
    replay[replay.index(str(path))] = str(plain)
    assert main([*replay, *named[:2]]) == 2
    message = "--faults.models ./drift.py:Drift:0.5: no fault of --fault-list plain.csv needs it"
    assert message in capsys.readouterr().err
    assert main([*replay, *named[2:]]) == 2
    assert "Banks:40: no fault of --fault-list plain.csv needs it" in capsys.readouterr().err
