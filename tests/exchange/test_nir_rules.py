"""Neurons step as each framework's equations say, bit for bit; the engines agree on all of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nir_oracle
import numpy as np
import pytest
import torch
from nir_graphs import draw_events, make_graph, nir, write
from torch import Tensor

from fi.campaign.subject import Subject
from fi.engine.agreement import agreement, outcomes
from fi.engine.differential.engine import DifferentialEngine
from fi.engine.full import FullEngine
from fi.exchange.nir_reader import read_network
from fi.exchange.rules import RULES, Discretisation
from fi.sampling.fault_draw import draw
from fi.sampling.plan import SamplingPlan

WORDS = {
    "IF": {"r": 0.7, "v_threshold": 1.1, "v_reset": -0.2},
    "LIF": {"tau": 7.3, "r": 2.9, "v_leak": 0.05, "v_threshold": 0.9, "v_reset": 0.1},
    "LI": {"tau": 4.7, "r": 1.3, "v_leak": 0.2},
    "CubaLIF": {
        **{"tau_syn": 3.1, "tau_mem": 5.7, "r": 4.1, "v_leak": 0.03},
        **{"v_threshold": 1.0, "v_reset": -0.1, "w_in": 1.9},
    },
    "CubaLI": {"tau_syn": 2.3, "tau_mem": 9.1, "r": 3.3, "v_leak": 0.1, "w_in": 0.8},
}


@pytest.mark.parametrize("r", [None, 1.0])
@pytest.mark.parametrize("kind", WORDS)
@pytest.mark.parametrize("rule", RULES)
def test_a_neuron_is_that_of_the_equations(rule: str, kind: str, r: float | None) -> None:
    words = WORDS[kind] if r is None else {**WORDS[kind], "r": r}
    currents = np.random.default_rng(1).normal(0.5, 1, (60, 40)).astype(np.float32)
    outputs, membranes = nir_oracle.run(rule, kind, words, 1.0, currents)
    chosen = Discretisation(rule, 1.0, RULES[rule].reset)
    tensors = {name: torch.tensor(value, dtype=torch.float64) for name, value in words.items()}
    neuron = chosen.make_neuron(kind, tensors, chosen.reset)
    for step, current in enumerate(torch.from_numpy(currents)):
        output = neuron(current[None])
        assert torch.equal(output[0], torch.from_numpy(outputs[step])), step
        assert torch.equal(neuron.mem[0], torch.from_numpy(membranes[step])), step
    assert len(np.unique(outputs)) > 1


def test_a_float64_value_gives_its_constants_bit_for_bit() -> None:
    """Of float32 words alone many a ``1 - dt / tau`` is another float32."""
    tau = 1e-4 * (1 + 40 * torch.rand(500, dtype=torch.float64))
    off = 0
    for rule in sorted(RULES.keys() - {"sinabs"}):  # whose exponential is of float32
        chosen = Discretisation(rule, 1e-4, "value")
        words = {"tau": tau, "r": tau / 1e-4, "v_leak": 0 * tau}
        neuron = chosen.make_neuron("LI", words, "value")
        own = neuron.constants(torch.float64)
        for name, value in neuron.constants(torch.float32).items():
            assert torch.equal(value, own[name].float())
        rounded = {name: value.float().double() for name, value in words.items()}
        plain = chosen.make_neuron("LI", rounded, "value").constants(torch.float32)
        off += sum(int((plain[name] != own[name].float()).sum()) for name in plain)
    assert off > 100  # the case exists


def test_currents_go_in_as_they_are_where_snntorch_wrote_the_file() -> None:
    """It writes ``tau`` and ``r = tau / dt`` in float32: their quotient is 1 but for rounding."""
    beta = torch.rand(500) * 0.9
    tau = 1e-4 / (1 - beta)
    words = {"tau": tau, "r": tau / 1e-4, "v_leak": torch.zeros(500)}
    assert ((words["r"].double() * 1e-4 / tau.double()).float() != 1).any()
    neuron = Discretisation("snntorch", 1e-4, "value").make_neuron(
        "LI", {name: value.double() for name, value in words.items()}, "value"
    )
    assert (neuron.constants(torch.float32)["gain"] == 1).all()
    assert torch.equal(neuron.get_buffer("r"), words["r"])


def make_recurrent(neuron: Any) -> Any:
    """Input, affine, neurons with a recurrence in a graph within the graph, affine, neurons."""
    draw_weights = np.random.default_rng(2)
    inner = nir.NIRGraph(
        nodes={
            "input": nir.Input({"input": np.array([6])}),
            "lif": neuron,
            "w_rec": nir.Linear(draw_weights.normal(0, 0.7, (6, 6)).astype(np.float32)),
            "output": nir.Output({"output": np.array([6])}),
        },
        edges=[("input", "lif"), ("lif", "w_rec"), ("w_rec", "lif"), ("lif", "output")],
    )
    graph = make_graph([make_node("LIF", 6), make_node("LIF", 4)])
    graph.nodes["lif"] = inner
    return graph


def make_node(kind: str, count: int) -> Any:
    arrays = {name: np.full(count, value) for name, value in WORDS[kind].items()}
    return getattr(nir, kind)(**arrays)


def compare_engines(path: Path, rule: str, precision: torch.dtype = torch.float32) -> None:
    network = read_network(path, rule, 1.0).to(precision)
    events = draw_events(12, 10, (2, 4, 4)).to(precision)
    subject = Subject(network, [(events, torch.arange(10) % 4)])
    plan = SamplingPlan(
        scheme="layer-wise",
        margin=0.2,
        models=("bit-flip",),
        bits=tuple(range(20, 32)),
        sites=tuple(family.name for family in subject.families),
    )
    faults = draw(plan.space(subject.families, subject.steps), plan)
    batches = list(subject.batches)
    full = FullEngine(network, subject.infer)
    wanted = outcomes(full, faults, batches)
    found = outcomes(DifferentialEngine(network, subject.infer), faults, batches)
    report = agreement(wanted, found, faults)
    assert report.differing == 0, (str(report), report.examples)
    assert 0.02 < report.unmasked / report.pairs < 0.95
    assert len({fault.layer for fault in faults}) > 10


@pytest.mark.parametrize("rule", ["snntorch", "spikingjelly", "sinabs", "norse"])
def test_engines_agree_on_a_recurrent_network(tmp_path: Path, rule: str) -> None:
    path = write(tmp_path / "net.nir", make_recurrent(make_node("CubaLIF", 6)))
    names = {name for name, _ in read_network(path, rule, 1.0).named_buffers()}
    assert {"lif.lif.tau_syn", "lif.lif.w_in", "lif_1.v_threshold"} <= names
    compare_engines(path, rule)


def test_engines_agree_where_membranes_are_read(tmp_path: Path) -> None:
    path = write(tmp_path / "net.nir", make_graph([make_node("LIF", 6), make_node("LI", 4)]))
    compare_engines(path, "norse")


def test_a_layer_without_neurons_is_read(tmp_path: Path) -> None:
    graph = make_graph([make_node("LIF", 6), make_node("LIF", 4)])
    graph.edges = [edge for edge in graph.edges if "lif_1" not in edge] + [("affine_1", "output")]
    del graph.nodes["lif_1"]
    compare_engines(write(tmp_path / "net.nir", graph), "spikingjelly")


def test_a_threshold_is_a_neuron_that_keeps_nothing(tmp_path: Path) -> None:
    nodes = [nir.Threshold(np.full(6, 0.4)), make_node("LIF", 4)]
    path = write(tmp_path / "net.nir", make_graph(nodes))
    subject = Subject(read_network(path, "norse", 1.0), [(draw_events(5, 4, (2, 4, 4)), [0] * 4)])
    names = [family.name for family in subject.families]
    assert "threshold.spike" in names
    assert "threshold.threshold" in names
    assert "threshold.potential" not in names


def test_several_synapses_add_up(tmp_path: Path) -> None:
    """A residual branch with a layer of its own, beside one without."""
    graph = make_graph([make_node("LIF", 6), make_node("LIF", 6), make_node("LIF", 4)])
    weight = np.random.default_rng(5).normal(0, 1, (6, 6)).astype(np.float32)
    graph.nodes["skip"] = nir.Linear(weight)
    graph.edges += [("lif", "skip"), ("skip", "lif_1")]
    path = write(tmp_path / "net.nir", graph)
    network = read_network(path, "norse", 1.0)
    events = draw_events(6, 3, (2, 4, 4))
    first, second, _ = network.activities(events)
    affine = network.get_submodule("affine_1")
    wanted = affine(first.spikes) + first.spikes @ torch.from_numpy(weight).T
    assert torch.allclose(second.currents, wanted, atol=1e-6)
    compare_engines(path, "norse")


def test_kernels_take_what_snntorch_would_do(tmp_path: Path) -> None:
    lif = {name: np.full(6, value) for name, value in WORDS["LIF"].items()}
    lif |= {"r": lif["tau"], "v_leak": np.zeros(6), "v_reset": np.zeros(6)}
    plain = [nir.LIF(**lif), nir.LIF(**{name: value[:4] for name, value in lif.items()})]
    events: Tensor = draw_events(12, 4, (2, 4, 4))
    network = read_network(write(tmp_path / "net.nir", make_graph(plain)), "snntorch", 1.0)
    assert DifferentialEngine.why_no_kernels(network, events) is None
    compare_engines(tmp_path / "net.nir", "snntorch")
    other = read_network(tmp_path / "net.nir", "norse", 1.0)
    assert "NorseNeuron has no kernel" in str(DifferentialEngine.why_no_kernels(other, events))
