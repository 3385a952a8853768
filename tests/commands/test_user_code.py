"""Code of a user's that fails, or that makes networks in other ways than by a class."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
import torch

from fi.base.user_code import find_user_line, is_users_error
from fi.network.precision import computing_in
from fi.test import main

MODULE = """
import functools
import torch
import snntorch as snn
from torch import nn

class Data:
    def setup(self, stage=None):
        draw = torch.Generator().manual_seed(1)
        self.events = torch.poisson(torch.full((6, 20, 12), 0.4), generator=draw)
        self.labels = torch.randint(4, (20,), generator=draw)
    def test_dataloader(self):
        return [(self.events, self.labels)]

class Own(BaseException):
    pass

class Mute(Exception):
    def __str__(self):
        raise ValueError("has no text")

class Net(nn.Module):
    def __init__(self, hidden: int = 8):
        super().__init__()
        self.fc1, self.lif1 = nn.Linear(12, hidden), snn.Leaky(0.9)
        self.fc2, self.lif2 = nn.Linear(hidden, 4), snn.Leaky(0.8)
        with torch.no_grad():
            self.fc1.weight.mul_(3), self.fc2.weight.mul_(3)
    def hook(self, events):
        pass
    def forward(self, events):
        self.hook(events)
        return torch.stack([self.lif2(self.fc2(self.lif1(self.fc1(f))[0]))[0] for f in events])

def make(hidden: int = 5):
    return Net(hidden)

made = make(3)
partial = functools.partial(make, 7)
number = 3

class NeedsConfig(Net):
    def __init__(self, config):
        super().__init__(config.hidden)

class InConstructor(Net):
    def __init__(self):
        raise Own("no way")  # LINE InConstructor

class InTrial(Net):
    def hook(self, events):
        {}["hidden"]  # LINE InTrial

class Exits(Net):
    def hook(self, events):
        exit("enough")  # LINE Exits

class Silent(Net):
    def hook(self, events):
        raise Mute  # LINE Silent

class InGolden(Net):
    def hook(self, events):
        assert events.shape[1] < 5, "too many samples"  # LINE InGolden

class InLibrary(Net):
    def hook(self, events):
        torch.ones(3) @ torch.ones(4)  # LINE InLibrary

class InFault(Net):
    def hook(self, events):
        assert float(self.fc1.weight.detach().abs().max()) < 1e3, "too large"  # LINE InFault

class FaultExits(Net):
    def hook(self, events):
        if float(self.fc1.weight.detach().abs().max()) > 1e3:
            exit(7)  # LINE FaultExits

class BadSetup(Data):
    def setup(self, stage=None):
        open("nothing.h5")  # LINE BadSetup

class BadBatch(Data):
    def test_dataloader(self):
        return self
    def __iter__(self):
        yield self.events, self.labels
        raise RuntimeError("torn")  # LINE BadBatch

class Samples(torch.utils.data.Dataset):
    def __len__(self):
        return 8
    def __getitem__(self, number):
        if number > 5:
            raise ValueError("sample 6 is broken")  # LINE Workers
        return torch.ones(6, 12), 1

class Workers(Data):
    def test_dataloader(self):
        return torch.utils.data.DataLoader(Samples(), batch_size=2, num_workers=1)
"""
OPTIONS = ["--checkpoint=none", "--margin=0.3", "--no-figures", "--quiet", "--accelerator=cpu"]
BIT_30 = ["--faults.bits=30", "--faults.layers=fc1.weight"]


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user's folder with ``mine.py``."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text(MODULE)
    return tmp_path


def run(model: str = "Net", data: str = "Data", *more: str) -> int:
    return main(["--model", f"./mine.py:{model}", "--data", f"./mine.py:{data}", *OPTIONS, *more])


def line_of(name: str) -> str:
    """``mine.py:12``, where the module is marked with ``name``."""
    lines = MODULE.splitlines()
    (number,) = [n for n, text in enumerate(lines, 1) if text.endswith(f"# LINE {name}")]
    return f"mine.py:{number}"


@pytest.mark.parametrize(
    ("model", "data", "message"),
    [
        ("InConstructor", "Data", "--model ./mine.py:InConstructor: Own: no way"),
        ("InTrial", "Data", "InTrial cannot take the events of Data"),
        ("Exits", "Data", "SystemExit: enough"),
        ("Silent", "Data", ": Mute ("),
        ("InGolden", "Data", "the golden run, batch 0: AssertionError: too many samples"),
        ("InLibrary", "Data", "RuntimeError: "),
        ("Net", "BadSetup", "BadSetup: FileNotFoundError"),
        ("Net", "BadBatch", "BadBatch, batch 1: RuntimeError: torn"),
        ("Net", "Workers", "Workers, batch 3: ValueError: sample 6 is broken"),
    ],
)
def test_what_it_raises_is_a_line_with_the_place(
    mine: Path, capsys: pytest.CaptureFixture[str], model: str, data: str, message: str
) -> None:
    assert run(model, data) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert message in error
    assert f"({line_of(data if model == 'Net' else model)})" in error
    assert error.endswith("--traceback shows all of it\n")
    assert error.count("\n") == 1
    run(model, data, "--traceback")
    assert "Traceback (most recent call last)" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "line"), [("x = 1\ny = 1 / 0\n", 2), ("exit(3)\n", 1), ("x = (\n", 1)]
)
def test_of_a_module_that_cannot_be_imported(
    mine: Path, capsys: pytest.CaptureFixture[str], text: str, line: int
) -> None:
    (mine / "mine.py").write_text(text)
    assert run() == 2
    assert "cannot import ./mine.py: " in (error := capsys.readouterr().err)
    assert f"(mine.py:{line})" in error


@pytest.mark.parametrize(
    ("model", "message"),
    [("InFault", "AssertionError: too large"), ("FaultExits", "SystemExit: 7")],
)
def test_while_faults_run_the_traceback_is_in_the_folder(
    mine: Path, capsys: pytest.CaptureFixture[str], model: str, message: str
) -> None:
    assert run(model, "Data", *BIT_30) == 2
    error = capsys.readouterr().err
    (kept,) = (mine / "output").glob(f"{model}/*/traceback.txt")
    assert (
        f"a fault run: {message} ({line_of(model)}); all of it is in {kept.relative_to(mine)}"
        in error
    )
    assert f"line {line_of(model).partition(':')[2]}, in hook" in kept.read_text()


def test_an_error_of_ours_is_none_of_the_users() -> None:
    with pytest.raises(AttributeError) as of_ours:
        computing_in(None, "64-true").__enter__()  # type: ignore[arg-type]
    assert not is_users_error(of_ours.value)
    with pytest.raises(RuntimeError) as error:
        torch.ones(3) @ torch.ones(4)
    assert is_users_error(error.value)
    assert (find_user_line(error.value) or "").partition(":")[0].endswith("test_user_code.py")


def shape_of_fc1(mine: Path, name: str) -> int:
    """The neurons of the hidden layer in the results filed under ``name``."""
    (results,) = (mine / "output").glob(f"{name}/*/results.csv")
    indices = pd.read_csv(results).query("Layer == 'fc1.bias'")["TensorIndex"]
    return len(indices.unique())


@pytest.mark.parametrize(
    ("model", "more", "hidden"),
    [("make", (), 5), ("make", ("--model.hidden=4",), 4), ("made", (), 3), ("partial", (), 7)],
)
def test_a_function_or_an_instance_names_a_network(
    mine: Path, model: str, more: tuple[str, ...], hidden: int
) -> None:
    exhaustive = ["--scheme=exhaustive", "--faults.layers=fc1.bias", "--faults.bits=30"]
    argv = ["--model", f"./mine.py:{model}", "--data=./mine.py:Data", "--no-figures", "--quiet"]
    assert main([*argv, "--accelerator=cpu", *exhaustive, *more]) == 0
    assert shape_of_fc1(mine, model) == hidden


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("NeedsConfig", "wants an argument 'config': give --model.config VALUE"),
        ("number", "is a int; wanted is a class"),
        ("nothing", "no class 'nothing' there; classes: Data, Own, Mute, Net"),
        ("Own", "the arguments of Own cannot be read"),
        ("Data", "is no torch.nn.Module"),
    ],
)
def test_what_names_none(
    mine: Path, capsys: pytest.CaptureFixture[str], model: str, message: str
) -> None:
    assert run(model) == 2
    assert message in capsys.readouterr().err


def test_the_seed_draws_faults_and_nothing_else(mine: Path) -> None:
    golden = []
    for seeds in (["--seed=1"], ["--seed=2"], ["--seed=1", "--model-seed=2"]):
        assert run("Net", "Data", *seeds, "--output", f"out{len(golden)}") == 0
        (results,) = (mine / f"out{len(golden)}").glob("Net/*/results.csv")
        table = pd.read_csv(results).query("Layer == 'fc1.weight'")
        golden.append(dict(zip(table["TensorIndex"], table["GoldenValue"], strict=True)))
    torch.manual_seed(51196)
    weight = torch.nn.Linear(12, 8).weight.detach() * 3
    for place, values in enumerate(golden):
        same = [
            value == pytest.approx(weight[eval(index)].item(), rel=1e-6)
            for index, value in values.items()
        ]
        assert all(same) == (place < 2)
        assert same
    assert golden[0].keys() != golden[1].keys()
