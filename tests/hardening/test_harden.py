"""The command that finds bounds, and what it refuses."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from fi.faults.fault_sites import named_words
from fi.faults.formats.clamps import Clamps
from fi.harden import main
from fi.models import NMNIST
from fi.network.checkpoint import load_checkpoint

USUAL = ("--model", "NMNIST", "--limit-samples", "20")


def test_bounds_are_the_extremes_of_each_channel(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "bounds.yaml"
    assert main([*USUAL, "--save", str(path)]) == 0
    told = capsys.readouterr().out
    before, after = (told.split("golden accuracy ")[1].split()[n] for n in (0, 2))
    assert before == after
    clamps = Clamps.read(path)
    network = NMNIST()
    load_checkpoint(network, tmp_path / "bounds.pt")
    words = named_words(network)
    assert set(clamps.by_family) == {"fc1.weight", "fc1.bias", "fc2.weight", "fc2.bias"}
    bounds = clamps.by_family["fc1.weight"]
    assert bounds.low == pytest.approx(words["fc1.weight"].amin(1).clamp(max=0).tolist())
    assert bounds.high == pytest.approx(words["fc1.weight"].amax(1).clamp(min=0).tolist())
    assert len(clamps.by_family["fc1.bias"].low) == 1


def test_a_percentile_changes_golden_words_and_says_so(tmp_path: Path) -> None:
    path = tmp_path / "bounds.yaml"
    options = ["--clamp", "fc1.weight", "--percentile", "90", "--beyond", "bound"]
    assert main([*USUAL, "--save", str(path), "--per", "tensor", *options]) == 0
    network = NMNIST()
    load_checkpoint(network, tmp_path / "bounds.pt")
    clamp = Clamps.read(path).by_family["fc1.weight"]
    words = named_words(network)["fc1.weight"]
    part = ((words == clamp.low[0]) | (words == clamp.high[0])).double().mean()
    assert float(part) == pytest.approx(0.1, abs=0.01)
    assert torch.equal(words.clamp(clamp.low[0], clamp.high[0]), words)


def test_neurons_are_bounded_on_training_data(tmp_path: Path) -> None:
    path = tmp_path / "bounds.yaml"
    families = "*.potential,*.current,lif1.spike"
    options = ["--clamp", families, "--training-samples", "20", "--save", str(path)]
    assert main([*USUAL, *options]) == 0
    found = Clamps.read(path).by_family
    names = ["lif1.potential", "lif1.current", "lif1.spike", "lif2.potential", "lif2.current"]
    assert list(found) == names
    assert (found["lif1.spike"].low, found["lif1.spike"].high) == ((0.0,), (1.0,))
    assert all(
        found[name].low[0] < 0 < found[name].high[0] for name in names if "spike" not in name
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--clamp", "fc9.*"], "--clamp: fc9.* fits nothing that can be clamped; there are: fc1."),
        (["--clamp", "*.syn"], "*.syn fits nothing that can be clamped"),
        (["--clamp", "fc1.current"], "fc1.current fits nothing that can be clamped"),
        (["--percentile", "30"], "--percentile 30: allowed is above 50"),
        (["--per", "neuron"], "--per neuron: allowed are tensor, channel"),
        (["--beyond", "nan"], "--beyond nan: allowed are zero, bound"),
        (["--training-samples", "0"], "--training-samples 0: at least 1"),
    ],
)
def test_wrong_options_are_one_line(
    options: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*USUAL, *options]) == 2
    assert message in capsys.readouterr().err
