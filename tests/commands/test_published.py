"""SpikingJET's networks with their own weights, fault lists and data."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from campaigns import Run
from event_files import write_gestures, write_nmnist, write_shd
from oracle_formulas import assert_oracle_agrees, every_case
from places import SHARED
from small_networks import spread
from torch import Tensor

from fi.campaign.subject import Subject
from fi.datamodules.nmnist import NMNIST as Recorded
from fi.faults.fault_list import read_fault_list
from fi.models import CSNN, NMNIST, SHD
from fi.network.checkpoint import load_checkpoint
from fi.network.stages import SpikingNetwork
from fi.test import main

WEIGHTS, RECORDINGS = SHARED / "spikingjet", SHARED / "nmnist"
SHAPES: dict[str, tuple[int, ...]] = {
    "NMNIST": (2, 34, 34),
    "CSNN": (2, 128, 128),
    "SHD": (700,),
}
ALL_STEPS = {"NMNIST": 100, "CSNN": 25, "SHD": 100}
RATES = {"NMNIST": 0.1, "CSNN": 0.25, "SHD": 0.02}

needs_weights = pytest.mark.skipif(not WEIGHTS.exists(), reason="SpikingJET's files are not here")
needs_recordings = pytest.mark.skipif(
    not (WEIGHTS.exists() and RECORDINGS.exists()), reason="the N-MNIST recordings are not here"
)


def built(name: str) -> SpikingNetwork:
    """A network of the published shape."""
    if name == "CSNN":
        return CSNN(input_shape=(2, 128, 128), num_classes=11)
    return {"NMNIST": NMNIST, "SHD": SHD}[name]()


def published(name: str) -> SpikingNetwork:
    """With the published weights."""
    network = built(name).eval()
    load_checkpoint(network, WEIGHTS / f"{name}.th")
    return network


def events(name: str, steps: int, samples: int) -> tuple[Tensor, Tensor]:
    """Random event counts of the genuine shape, and labels."""
    generator = torch.Generator().manual_seed(3)
    rate = torch.full((steps, samples, *SHAPES[name]), RATES[name])
    labels = torch.randint(0, 10, (samples,), generator=generator)
    return torch.poisson(rate, generator=generator), labels


@needs_weights
@pytest.mark.parametrize("name", SHAPES)
def test_the_state_dict_is_the_networks_own(name: str) -> None:
    state = torch.load(WEIGHTS / f"{name}.th", weights_only=True, map_location="cpu")
    network = built(name)
    assert list(state) == list(network.state_dict())
    network.load_state_dict(state, strict=True)
    assert all(torch.equal(value, state[key]) for key, value in network.state_dict().items())


@needs_weights
@pytest.mark.parametrize(("name", "faults"), [("NMNIST", 15_944), ("CSNN", 16_307)])
def test_the_fault_list_fits_the_network(name: str, faults: int) -> None:
    subject = Subject(published(name), [events(name, 2, 1)])
    path = WEIGHTS / "fault_list" / name / "51196_fault_list.csv"
    read = read_fault_list(path, subject.families, subject.steps)
    assert len(read) == faults
    assert {fault.layer for fault in read} == {family.name for family in subject.families}


@needs_weights
@pytest.mark.parametrize(
    ("name", "steps", "samples"),
    [
        *[("NMNIST", 30, 10), ("CSNN", 10, 4), ("SHD", 30, 10)],
        *(pytest.param(*each, 20, marks=pytest.mark.slow) for each in ALL_STEPS.items()),
    ],
)
def test_both_engines_count_as_the_oracle(
    campaign: Run, name: str, steps: int, samples: int
) -> None:
    network = published(name)
    subject = Subject(network, [events(name, steps, samples)])
    assert_informative(assert_oracle_agrees(campaign, subject, list(every_case(subject, each=1))))


def test_a_recurrent_network_counts_as_the_oracle(campaign: Run) -> None:
    torch.manual_seed(4)
    network = SHD(hidden=30).eval()
    spread(network, 2.0)
    subject = Subject(network, [events("SHD", 20, 20)])
    families = {family.name for family in subject.families}
    assert {"fb1.weight", "lif1.syn", "lif1.alpha", "lif2.potential"} <= families
    assert_informative(assert_oracle_agrees(campaign, subject, list(every_case(subject, each=2))))


def assert_informative(wanted: Any) -> None:
    """Some pairs are masked and some are not."""
    masked = wanted["fully_masked"].sum() / wanted["samples"].sum()
    assert 0.1 < masked < 0.99
    assert wanted["sdc_1"].sum() > 0


@needs_recordings
@torch.no_grad()
def test_golden_accuracy_on_the_recordings(tmp_path: Path) -> None:
    pytest.importorskip("tonic")
    data = Recorded(RECORDINGS, cache=tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that these are 100 of 10,000
        data.setup("test")
    subject = Subject(published("NMNIST"), data)
    right = [subject.infer(x).argmax(dim=1) == y for x, y in data.test_dataloader()]
    assert torch.cat(right).sum() == 83
    assert len(torch.cat(right)) == 100


def test_shd_wants_its_channels() -> None:
    with pytest.raises(ValueError, match=r"built for events \[time, batch, 700\], not \[5, 2, 34"):
        SHD()(torch.zeros(5, 2, 34))
    assert SHD()(torch.zeros(5, 2, 1, 700)).shape == (2, 20)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"alpha": 1.5}, r"alpha must lie in 0\.\.1, got 1\.5"),
        ({"beta": -0.5}, r"beta must lie in 0\.\.1, got -0\.5"),
        ({"threshold": 0.0}, "threshold must be above 0, got 0"),
    ],
)
def test_arguments_out_of_range_are_errors(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SHD(**arguments)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("nmnist", ["NMNIST on NMNIST, 4 time steps", "381120", "15944"]),
        ("dvsgesture", ["CSNN on DVSGesture, 4 time steps", "814112", "16307"]),
        ("shd", ["SHD on SHD, 4 time steps", "fb1.weight", "lif2.syn"]),
    ],
)
@pytest.mark.filterwarnings("ignore:.*published test recordings")
def test_presets(
    name: str,
    words: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    pytest.importorskip("tonic")
    monkeypatch.chdir(tmp_path)
    write_nmnist(tmp_path / "data", [0, 1])
    write_gestures(tmp_path / "data", [0, 1])
    write_shd(tmp_path / "data", [0, 1])
    options = ["--checkpoint", "none", "--data.num_steps", "4", "--dry-run"]
    assert main(["--config", name, *options]) == 0
    printed = capsys.readouterr().out
    assert all(word in printed for word in words)


def test_random_weights_are_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--model", "SHD", "--data", "SaccadeMNIST"]) == 2
    assert "SHD comes without weights: give --checkpoint FILE" in capsys.readouterr().err


@needs_weights
def test_shd_is_what_a_plain_loop_computes() -> None:
    network = published("SHD").double()
    x = events("SHD", 25, 4)[0].double()
    assert isinstance(network, SHD)
    membranes, hidden = [], torch.zeros(4, 200, dtype=torch.float64)
    (syn1, mem1), (syn2, mem2) = (
        [torch.zeros(4, n, dtype=torch.float64) for _ in range(2)] for n in (200, 20)
    )
    with torch.no_grad():
        for step in x:
            now = network.fc1(step) + network.fb1(hidden)
            hidden, syn1, mem1 = network.lif1(now, syn1, mem1)
            hidden = hidden.double()
            _, syn2, mem2 = network.lif2(network.fc2(hidden), syn2, mem2)
            membranes.append(mem2)
        wanted = torch.softmax(torch.stack(membranes).max(dim=0).values, dim=1)
        assert torch.allclose(network(x), wanted, rtol=0, atol=1e-12)
    assert wanted.max() > 0.2
