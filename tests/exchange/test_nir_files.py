"""NIR files: what is refused, in one line; nothing is lost from a network to a file and back."""

from __future__ import annotations

import random
import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
import pytest
import snntorch as snn
import torch
from campaigns import Run
from nir_graphs import draw_events, make_graph, make_lif, nir, write
from shipped_networks import first_digits
from torch import Tensor, nn

from fi.base.errors import UserError
from fi.campaign.subject import Subject
from fi.exchange.exporting import export_network
from fi.exchange.nir_reader import read_network
from fi.exchange.rules import Discretisation
from fi.export import main as export
from fi.faults.fault import Fault
from fi.models import NMNIST
from fi.network.checkpoint import checkpoint_of, load_checkpoint
from fi.network.stages import SpikingNetwork, Stage
from fi.sampling.fault_draw import draw
from fi.sampling.plan import SamplingPlan
from fi.test import main as run_test

SNNTORCH = Discretisation("snntorch", 1e-4, "subtract")


def make_small() -> Any:
    return make_graph([make_lif((6,), 2e-3, 1e-4), make_lif((4,), 1e-3, 1e-4)])


class Pooled(SpikingNetwork):
    """CSNN with mean pools, synaptic and leaky neurons that share words, and a recurrence."""

    def __init__(self, reset: str = "subtract") -> None:
        super().__init__()
        draw_words = torch.Generator().manual_seed(1)
        self.conv1, self.pool1 = nn.Conv2d(2, 6, 3, padding=1), nn.AvgPool2d(2)
        self.lif1 = snn.Synaptic(
            alpha=torch.tensor(0.7),
            beta=torch.rand(5, generator=draw_words) / 4 + 0.7,
            threshold=torch.full((6, 1, 1), 0.3),
            reset_mechanism=reset,
        )
        self.fc1 = nn.Linear(150, 20, bias=False)
        self.lif2 = snn.Leaky(beta=0.85, threshold=0.4, reset_mechanism=reset)
        self.rec2 = nn.Linear(20, 20)
        self.fc2 = nn.Linear(20, 4)
        self.lif3 = snn.Leaky(beta=torch.tensor([0.0, 0.5, 1.0, 0.99]), threshold=0.2)

    def stages(self) -> list[Stage]:
        return [
            Stage([self.conv1, self.pool1], self.lif1),
            Stage([nn.Flatten(), self.fc1], self.lif2, self.rec2),
            Stage(self.fc2, self.lif3),
        ]


def make_pooled(reset: str = "subtract") -> Pooled:
    torch.manual_seed(0)
    network = Pooled(reset).eval()
    with torch.no_grad():
        network.fc1.weight.mul_(3)
    return network


def make_nmnist() -> NMNIST:
    network = NMNIST().eval()
    path = checkpoint_of(network, None)
    assert path is not None
    load_checkpoint(network, path)
    return network


@pytest.mark.parametrize("reset", ["subtract", "zero"])
def test_spikes_of_a_network_read_back_are_the_same(tmp_path: Path, reset: str) -> None:
    network, events = make_pooled(reset), draw_events(15, 6, (2, 10, 10))
    lines = export_network(network, network, events, tmp_path / "net.nir", SNNTORCH)
    assert "outputs of neurons, 6 samples are the same" in lines[-1]
    assert "constants" not in lines[-1]
    back = read_network(tmp_path / "net.nir")
    for one, other in zip(network.activities(events), back.activities(events), strict=True):
        assert torch.equal(one.spikes, other.spikes)
        assert 0.02 < one.spikes.mean() < 0.98
        for before, after in zip(one.states, other.states, strict=True):
            assert torch.equal(before["mem"], after["mem"])
    assert torch.equal(network(events), back(events))
    assert back.get_submodule("lif1").get_buffer("tau_mem").shape == (5,)
    assert back.get_submodule("lif2").get_buffer("v_threshold").shape == ()


@pytest.mark.parametrize("kind", ["NMNIST", "pooled"])
def test_counts_of_a_campaign_are_the_same(tmp_path: Path, campaign: Run, kind: str) -> None:
    if kind == "NMNIST":
        network: SpikingNetwork = make_nmnist()
        batch = first_digits(24)
    else:
        network, batch = make_pooled(), (draw_events(10, 24, (2, 10, 10)), torch.arange(24) % 4)
    path = tmp_path / "net.nir"
    export_network(network, network, batch[0], path, SNNTORCH)
    subject = Subject(network, [batch])
    words = ("weight", "bias", "threshold", "potential", "syn", "spike")
    plan = SamplingPlan(
        scheme="layer-wise",
        margin=0.12,
        bits=tuple(range(20, 32)),
        sites=tuple(f.name for f in subject.families if f.attribute in words),
    )
    faults = draw(plan.space(subject.families, subject.steps), plan)
    wanted = campaign(subject, faults, engine="differential", output=tmp_path / "one").run()
    renamed = [rename(fault) for fault in faults]
    other = Subject(read_network(path), [batch])
    run = campaign(other, renamed, engine="differential", output=tmp_path / "other")
    found = run.run()
    assert "in torch" not in run.why or kind == "pooled"
    counts = [name for name in wanted.columns if wanted[name].dtype.kind == "i"]
    pd.testing.assert_frame_equal(found[counts], wanted[counts])
    assert 0.03 * len(faults) < (wanted["fully_masked"] < 24).sum() < len(faults)


def rename(fault: Fault) -> Fault:
    """The same word as NIR calls it."""

    return replace(fault, layer=fault.layer.replace(".threshold", ".v_threshold"))


def test_a_recorded_network_is_exported(tmp_path: Path) -> None:
    fc1, fc2 = nn.Linear(32, 8), nn.Linear(8, 4)
    lif1, lif2 = (snn.Leaky(beta=0.9, threshold=0.5, init_hidden=True) for _ in range(2))
    network = nn.Sequential(nn.Flatten(), fc1, lif1, fc2, lif2).eval()
    events = draw_events(8, 5, (2, 4, 4))
    subject = Subject(network, [(events, torch.arange(5) % 4)])
    assert subject.staged is not None, subject.why_not_recorded
    lines = export_network(network, subject.staged, events, tmp_path / "net.nir", SNNTORCH)
    assert "are the same" in lines[-1]
    back = read_network(tmp_path / "net.nir")
    assert {"1.weight", "2.tau", "4.v_threshold"} <= set(back.state_dict())


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda n: setattr(n, "pool1", nn.MaxPool2d(2)), "pool1 is a MaxPool2d, for which NIR"),
        (lambda n: setattr(n, "lif2", snn.Leaky(0.9, reset_delay=False)), "lif2 resets never, or"),
        (lambda n: setattr(n, "lif2", snn.Lapicque(0.9)), "lif2 is a Lapicque; NIR has what"),
        (lambda n: setattr(n.pool1, "ceil_mode", True), "pool1 rounds sizes up"),
    ],
)
def test_what_nir_cannot_say_is_named(
    tmp_path: Path, change: Callable[[Any], None], said: str
) -> None:
    network = make_pooled()
    change(network)
    with pytest.raises(UserError, match=said):
        export_network(
            network, network, draw_events(4, 2, (2, 10, 10)), tmp_path / "net.nir", SNNTORCH
        )


def test_the_file_is_one_of_nir(tmp_path: Path) -> None:
    """The ``nir`` package reads it, with its own check of shapes."""
    network = make_pooled()
    export_network(network, network, draw_events(4, 2, (2, 10, 10)), tmp_path / "n.nir", SNNTORCH)
    graph = nir.read(tmp_path / "n.nir")
    assert graph.nodes["lif1"].tau_mem.shape == (6, 5, 5)
    assert np.allclose(1 - 1e-4 / graph.nodes["lif2"].tau, 0.85)


@pytest.fixture
def written(tmp_path: Path) -> Path:
    return write(tmp_path / "net.nir", make_small())


def edit(path: Path, name: str, value: Any) -> None:
    with h5py.File(path, "r+") as file:
        if name in file:
            del file[name]
        if value is not None:
            file[name] = value


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("node/nodes/lif/type", "Delay", r"node 'lif' \(Delay\) is not known; known: Affine"),
        ("node/nodes/lif/type", None, "node 'lif' has no type"),
        ("node/nodes/lif/tau", None, r"node 'lif' \(LIF\): tau is missing"),
        ("node/nodes/lif/tau", np.ones(5), r"node 'lif' \(LIF\): r has shape \[6\], tau has \[5\]"),
        ("node/nodes/lif/r", np.full(6, np.nan), "r is empty, or not a number"),
        ("node/nodes/affine/weight", np.ones((6, 9)), r"weight has shape \[6, 9\], but \[32\]"),
        ("node/nodes/affine/bias", np.full(6, 1e300), "bias is beyond float32"),
        ("node/edges", np.ones(3), "its edges are no pairs of names"),
        ("node/nodes/flatten/start_dim", 7, r"node 'flatten' \(Flatten\): axes 7 to -1"),
        ("node/nodes/input/shape", np.array([2, 0]), "node 'input'"),
        ("node/nodes", None, "the graph has no nodes"),
        ("node", None, "no group 'node'"),
        ("node/nodes/lif/tau", h5py.SoftLink("/node/nodes/lif/r"), "a link to another place"),
        ("node/nodes/lif/tau", h5py.ExternalLink("/etc/hostname", "/"), "a link to another"),
    ],
)
def test_a_file_is_refused_in_one_line(written: Path, name: str, value: Any, said: str) -> None:
    edit(written, name, value)
    with pytest.raises(UserError, match=said) as refused:
        read_network(written, "snntorch")
    assert "\n" not in str(refused.value)
    assert "net.nir" in str(refused.value)


def test_an_array_larger_than_memory_is_refused_before_it_is_made(written: Path) -> None:
    with h5py.File(written, "r+") as file:
        del file["node/nodes/affine/weight"]
        huge = (1 << 20, 1 << 22)
        file.create_dataset("node/nodes/affine/weight", huge, "f8", chunks=(8, 8))
    with pytest.raises(UserError, match=r"an array of \[1048576, 4194304\] needs 35184372088832"):
        read_network(written, "snntorch")


def test_a_layer_larger_than_memory_is_refused(tmp_path: Path) -> None:
    """A convolution whose padding makes an image of thousands of millions of pixels."""
    image = np.array([1, 4, 4])
    conv = nir.Conv2d(
        (4, 4), np.ones((2, 1, 3, 3), "f"), (1, 1), (99999, 99999), (1, 1), 1, np.zeros(2, "f")
    )
    lif = {name: np.ones(1) for name in ("tau", "r", "v_leak", "v_threshold")}
    graph = nir.NIRGraph(
        {"input": nir.Input({"input": image}), "conv": conv, "lif": nir.LIF(**lif),
         "output": nir.Output({"output": image})},
        [("input", "conv"), ("conv", "lif"), ("lif", "output")],
        type_check=False,
    )  # fmt: skip
    with pytest.raises(UserError, match=r"node 'conv' \(Conv2d\): \[1, 4, 4\] would become \[2, 2"):
        read_network(write(tmp_path / "net.nir", graph), "snntorch")


def mutate(content: bytes, seed: int) -> bytes:
    """Some bytes changed, cut off, overwritten, or moved."""
    draw_kind = random.Random(seed)
    changed = bytearray(content)
    at, kind = draw_kind.randrange(len(changed)), draw_kind.random()
    if kind < 0.6:
        for _ in range(draw_kind.choice([1, 1, 2, 4, 16])):
            changed[draw_kind.randrange(len(changed))] = draw_kind.randrange(256)
    elif kind < 0.75:
        del changed[at:]
    elif kind < 0.9:
        changed[at : at + 40] = draw_kind.choice([b"\xff", b"\0"]) * 40
    else:
        changed[at : at + 64] = changed[: len(changed[at : at + 64])]
    return bytes(changed)


def read_mutated(path: Path, seeds: range) -> Iterator[str]:
    """What becomes of each: ``read``, or the line."""
    content = path.read_bytes()
    for seed in seeds:
        path.write_bytes(mutate(content, seed))
        try:
            with warnings.catch_warnings(action="ignore", category=UserWarning):
                read_network(path, "snntorch")
            yield "read"
        except UserError as error:
            yield str(error)


@pytest.mark.parametrize(
    "seeds", [range(15), pytest.param(range(1000), marks=pytest.mark.slow)], ids=["few", "1000"]
)
def test_a_mutated_file_is_read_or_refused_in_one_line(written: Path, seeds: range) -> None:
    found = list(read_mutated(written, seeds))
    assert len(found) == len(seeds)
    assert not any("\n" in line for line in found)
    assert 0.1 * len(seeds) < found.count("read") < 0.9 * len(seeds)


DATA = """
import torch
class Data:
    def setup(self, stage=None): pass
    def test_dataloader(self):
        draw = torch.Generator().manual_seed(0)
        events = (torch.rand(6, 8, 2, 4, 4, generator=draw) < 0.4).float()
        return [(events, torch.arange(8) % 4)]
"""


def test_commands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A file is tested and verified; its options are in the config; others are refused."""
    monkeypatch.chdir(tmp_path)
    Path("data.py").write_text(DATA)
    write(Path("net.nir"), make_small())
    argv = ["--model", "net.nir", "--data", "data.py:Data", "--margin", "0.1", "--no-figures"]
    options = ["--nir-rule", "spikingjelly", "--dt", "0.0002", "--verify", "10"]
    assert run_test([*argv, *options]) == 0
    said = capsys.readouterr().out
    assert "net on Data" in said
    assert "SpikingJellyNeuron has no kernel" in said
    assert "(0 differ" in said
    (config,) = Path("output/net").glob("*/config.yaml")
    assert "nir_rule: spikingjelly" in config.read_text()
    assert run_test(["--config", str(config), "--overwrite", "--quiet"]) == 0
    capsys.readouterr()
    for more, line in [
        (["--nir-rule", "lava"], "--nir-rule lava: allowed are snntorch, spikingjelly"),
        (["--nir-rule", "sinabs:fast"], "variants of sinabs are no-norm, single-spike"),
        (["--nir-rule", "norse", "--dt", "0"], "--dt 0.0: allowed is a number above 0"),
        (
            ["--nir-rule", "norse", "--nir-reset", "soft"],
            "--nir-reset soft: allowed are value, subtract",
        ),
        (["--model", "NMNIST", "--dt", "1"], "--dt: for a network from a NIR file"),
    ]:
        assert run_test([*argv, *more]) == 2
        assert line in capsys.readouterr().err


def test_export_command(workplace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert export(["--model", "NMNIST", "--limit-samples", "20", "--save", "net.nir"]) == 0
    said = capsys.readouterr().out
    assert "not in the file: the readout, SpikeCount, a softmax of it" in said
    assert "20 samples are the same" in said
    assert export(["--model", "CSNN", "--limit-samples", "2", "--save", "net.nir"]) == 2
    assert "pool1 is a MaxPool2d, for which NIR has no node" in capsys.readouterr().err


def test_a_file_that_says_no_rule_is_read_with_a_warning(written: Path) -> None:
    with pytest.warns(UserWarning, match="does not say by which rule .* --nir-rule snntorch"):
        read_network(written)


def test_nodes_may_be_named_as_methods_are(tmp_path: Path) -> None:
    graph = make_small()
    names = {"affine": "readout", "lif": "block.forward"}
    graph.nodes = {names.get(name, name): node for name, node in graph.nodes.items()}
    graph.edges = [tuple(names.get(name, name) for name in edge) for edge in graph.edges]
    network = read_network(write(tmp_path / "net.nir", graph), "snntorch")
    events: Tensor = draw_events(3, 2, (2, 4, 4))
    families = {f.name for f in Subject(network, [(events, torch.zeros(2))]).families}
    assert {"readout.weight", "block.forward.tau", "block.forward.spike"} <= families
