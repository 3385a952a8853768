"""``python -m fi.test`` as a user types it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from places import ROOT

from fi.cli.argv import put_config_first
from fi.cli.option_values import parse_bit_sets
from fi.test import main

HERE = ROOT
NETWORK = '''
import snntorch as snn
import torch
from torch import nn

class MyNet(nn.Module):
    """A network with a forward of its own.

    Args:
        hidden: neurons of the hidden layer.
    """

    def __init__(self, hidden: int = 6, beta: float = 0.9):
        super().__init__()
        self.fc1, self.lif1 = nn.Linear(10, hidden), snn.Leaky(beta=beta, threshold=1)
        self.fc2, self.lif2 = nn.Linear(hidden, 3), snn.Synaptic(alpha=0.5, beta=beta)
        with torch.no_grad():
            self.fc1.weight.mul_(4), self.fc2.weight.mul_(4)

    def forward(self, events):
        spikes = []
        mem1, (syn2, mem2) = self.lif1.reset_mem(), self.lif2.reset_mem()
        for step in events:
            hidden, mem1 = self.lif1(self.fc1(step), mem1)
            output, syn2, mem2 = self.lif2(self.fc2(hidden), syn2, mem2)
            spikes.append(output)
        return torch.stack(spikes)
'''
DATA = """
import torch

class MyData:
    def __init__(self, samples: int = 12, root: str = "data"):
        self.samples, self.root = samples, root

    def setup(self, stage=None):
        generator = torch.Generator().manual_seed(1)
        self.events = (torch.rand(5, self.samples, 10, generator=generator) < 0.4).float()
        self.labels = torch.arange(self.samples) % 3

    def test_dataloader(self):
        return [(self.events[:, :8], self.labels[:8]), (self.events[:, 8:], self.labels[8:])]
"""
MINE = ["--model", "models.mynet.MyNet", "--data", "datamodules.mydata.MyData"]
SMALL = [*MINE, "--margin", "0.2", "--accelerator", "cpu", "--no-figures"]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user's folder with ``models/`` and ``datamodules/`` of its own, first in the path."""
    for package, module, text in (("models", "mynet", NETWORK), ("datamodules", "mydata", DATA)):
        (tmp_path / package).mkdir()
        (tmp_path / package / "__init__.py").touch()
        (tmp_path / package / f"{module}.py").write_text(text)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    for name in [n for n in sys.modules if n.split(".")[0] in ("models", "datamodules")]:
        monkeypatch.delitem(sys.modules, name)
    return tmp_path


def results(home: Path) -> list[Path]:
    return sorted(home.glob("output/MyNet/*/results.csv"))


def test_a_users_network_from_a_users_folder(home: Path) -> None:
    command = [sys.executable, "-m", "fi.test", *SMALL, "--model.hidden", "5", "--margin=0.1"]
    environment = {**os.environ, "PYTHONPATH": str(HERE), "COLUMNS": "80", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        command, cwd=home, env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "golden accuracy" in done.stdout
    on_stages = "differential engine, a group of faults a test run: stage graph recorded from its"
    assert f"{on_stages} forward (2 stages)" in " ".join(done.stdout.split())
    warnings = [line for line in done.stderr.splitlines() if "arning" in line]
    assert warnings == [line for line in warnings if "an output layer that never fires" in line]
    (path,) = results(home)
    kinds = {layer.rpartition(".")[2] for layer in pd.read_csv(path)["Layer"]}
    assert kinds >= {"weight", "bias", "potential", "spike", "syn"}
    assert list((home / "output/fault_list/MyNet").glob("*_fault_list_result.csv"))


def test_our_own_network_beside_a_users_folders(home: Path) -> None:
    assert main(["--model", "NMNIST", "--data", "datamodules.mydata.MyData", "--dry-run"]) == 2
    with pytest.raises(SystemExit) as stop:
        main(["--model", "CSNN", "--help"])
    assert stop.value.code == 0


def test_a_dry_run_writes_nothing(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = sorted(home.rglob("*.csv"))
    assert main([*SMALL, "--dry-run"]) == 0
    text = capsys.readouterr().out
    assert "lif2.syn" in text
    assert "estimated time" in text
    assert sorted(home.rglob("*.csv")) == before
    assert not (home / "output").exists()


def test_replays(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*SMALL, "--margin", "0.3", "--quiet"]) == 0
    (path,) = results(home)
    wanted = path.read_bytes()
    assert main(["--config", str(path.parent / "config.yaml")]) == 0
    assert "finished already" in capsys.readouterr().out
    assert main(["--overwrite", "--config", str(path.parent / "config.yaml"), "--quiet"]) == 0
    assert path.read_bytes() == wanted
    config = (path.parent / "config.yaml").read_bytes()
    assert main(["--config", str(path.parent / "config.yaml"), "--output", "new", "--quiet"]) == 0
    (elsewhere,) = home.glob("new/MyNet/*/results.csv")
    assert elsewhere.parent.name == path.parent.name
    assert elsewhere.read_bytes() == wanted
    assert (elsewhere.parent / "config.yaml").read_bytes() == config.replace(
        b"output: output", b"output: new"
    )
    (listed,) = (home / "output/fault_list/MyNet").glob("*_fault_list.csv")
    assert main([*MINE, "--fault-list", listed.name, "--overwrite", "--quiet"]) == 0
    assert results(home) == [path]
    assert path.read_bytes() == wanted


def test_options_in_any_order(home: Path) -> None:
    assert main(["--quiet", "--data.samples", "9", "--model.hidden=4", *SMALL]) == 0
    (path,) = results(home)
    assert set(pd.read_csv(path)["samples"]) == {9}
    assert "hidden: 4" in (path.parent / "config.yaml").read_text()


def test_ctrl_c_keeps_what_is_done(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from fi.engine.full import FullEngine

    whole, calls = FullEngine.pairs, iter(range(1000))

    def stopping(engine: FullEngine, *args: object) -> object:
        if next(calls) == 9:
            raise KeyboardInterrupt
        return whole(engine, *args)

    with monkeypatch.context() as patch:
        patch.setattr(FullEngine, "pairs", stopping)
        assert main([*SMALL, "--engine", "full", "--overwrite"]) == 130
    text = capsys.readouterr()
    assert "what is done is kept. To continue:\n  python -m fi.test --model" in text.err
    assert "--overwrite" not in text.err
    assert len(pd.read_csv(results(home)[0])) == 4
    assert main([*SMALL, "--engine", "full"]) == 0
    assert "4 faults are done already: continuing" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--model", "Nothing"], "unknown model 'Nothing'; known: CSNN, MLP, NMNIST"),
        (["--data", "Nothing"], "unknown datamodule 'Nothing'; known: DVSGesture"),
        (["--checkpoint", "nothing.pt"], "--checkpoint nothing.pt: no such file"),
        (
            ["--margin=0.01", "--fault-list=nothing.csv"],
            "there is no such list in output/fault_list/MyNet",
        ),
        (["--engine", "warp"], "--engine warp: allowed are auto, full, differential"),
        (["--accelerator", "warp"], "--accelerator warp"),
        (["--devices", "x"], "--devices x"),
        (["--precision", "16-mixed"], "allowed are 32-true and 64-true"),
        (["--margin", "2"], "margin is 2.0; allowed"),
        (["--margin", "x"], "--margin x: wanted is float"),
        (["--limit-samples", "x"], "--limit-samples x: wanted is int"),
        (["--limit-samples", "0"], "at least 1 sample"),
        (["--model.hidden", "x"], "--model.hidden x: wanted is int"),
        (["--model.nothing", "3"], "--model.nothing"),
        (["--nothing", "3"], "--nothing"),
        (["--model.hidden", "-3"], "--model models.mynet.MyNet: RuntimeError"),
        (["--faults.models", "worm"], "unknown fault model 'worm'; known: bit-flip"),
        (["--faults.bits", "32"], "allowed: 0 to 31"),
        (["--faults.bits", "a"], "--faults.bits a"),
        (["--faults.layers", "fc9.*"], "fits no site family; known: fc1.weight"),
        (["--faults.steps", "never"], "allowed are permanent, transient, window:N, a step"),
        (["--faults.steps", "7-3"], "allowed are permanent, transient, window:N, a step"),
        (["--faults.steps", "5"], "step 5 is after the last one: the run has 5 steps"),
        (["--faults.bits", "3-x"], "--faults.bits 3-x: allowed are numbers, ranges and sets"),
        (["--faults.burst", "33"], "--faults.burst 33: allowed is 1 to 32"),
        (["--faults.together", "0"], "together is 0; allowed: 1 or more"),
        (["--faults.within", "me"], "--faults.within me: allowed are network, layer"),
        (["--faults.models", "scale"], "unknown fault model 'scale'; known: "),
        (["--faults.models", "scale:x"], "'scale:x': RHO must be a finite number, not 'x'"),
        *(
            (["--faults.models", f"{model}:{number}"], f"must be a finite number, not '{number}'")
            for model in ("scale", "stuck-value", "scale-leak", "scale-threshold", "refractory")
            for number in ("nan", "inf", "-inf", "1e999")
        ),
        *(
            (["--faults.models", f"{model}:{number}"], f"must be a finite number, not '{number}'")
            for model in ("drop", "add", "delay", "jitter")
            for number in ("nan", "inf")
        ),
        (
            ["--faults.rate", "1e-3", "--margin", "0.05"],
            "--margin 0.05: not with --faults.rate: --trials says how many; with --iterative each",
        ),
        (["--faults.models", "dead", "--faults.layers", "*.beta"], "the fault space is empty"),
        (["--readout", "scores"], "--readout scores: wanted scores [batch, classes]"),
        (["--config", "nothing.yaml"], "--config nothing.yaml cannot be read"),
        (["--config", "models/mynet.py"], "--config models/mynet.py"),
        (["--progress", "x"], "--progress x: allowed are predictions, scores"),
        (["--seed", "-1"], "seed is -1"),
    ],
)
def test_bad_input_is_one_line_and_writes_nothing(
    home: Path, capsys: pytest.CaptureFixture[str], options: list[str], message: str
) -> None:
    assert main([*SMALL, *options]) == 2
    text = capsys.readouterr()
    assert message in text.err
    assert text.err.count("\n") == 1
    assert not (home / "output").exists()


def test_a_gpu_that_is_not_there(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    assert main([*SMALL, "--accelerator", "gpu"]) == 2
    assert "--accelerator gpu" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ('0,fc7.weight,"(0, 0)",1', "fc7.weight"),
        ('0,fc1.weight,"(99, 0)",1', "(99, 0)"),
        ('0,fc1.weight,"(0, 0)",32', "32"),
        ("nonsense", "1 fields"),
        ("", "the list is empty"),
    ],
)
def test_a_bad_fault_list_names_file_and_line(
    home: Path, capsys: pytest.CaptureFixture[str], row: str, message: str
) -> None:
    (home / "mine.csv").write_text(f"Injection,Layer,TensorIndex,Bit\n{row}\n")
    assert main([*MINE, "--fault-list", "./mine.csv"]) == 2
    error = capsys.readouterr().err
    assert "mine.csv" in error
    assert message in error
    assert not (home / "output").exists()


def test_bits_are_numbers_and_ranges() -> None:
    assert parse_bit_sets("0,30-31,5") == (0, 5, 30, 31)


def test_a_config_comes_first_so_that_options_win() -> None:
    assert put_config_first(["--p", "0.1", "--config", "a.yaml", "--model.x=1"]) == [
        *("--config", "a.yaml", "--p", "0.1", "--model_args.x=1")
    ]


def test_help_fits_a_terminal(
    home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    with pytest.raises(SystemExit):
        main([*MINE, "--help"])
    text = capsys.readouterr().out
    assert "Arguments of MyNet:" in text
    assert "--model.hidden HIDDEN" in text
    assert "neurons of the hidden layer" in text
    assert "_args" not in text
    assert max(map(len, text.splitlines())) <= 80
