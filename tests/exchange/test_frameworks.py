"""Networks made in other frameworks: what they fire there, step by step, they fire here.

Each test needs its framework, which is no dependency of ours: an environment with ``spikingjelly``,
``sinabs`` or ``norse``, and ``nir``, runs them; elsewhere they are skipped and say so.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from campaigns import Run
from nir_graphs import draw_events, nir, write
from places import ROOT
from torch import Tensor, nn

from fi.campaign.subject import Subject
from fi.campaign.verify import verify
from fi.exchange.nir_reader import read_network
from fi.network.stages import SpikingNetwork
from fi.sampling.fault_draw import draw
from fi.sampling.plan import SamplingPlan

pytestmark = pytest.mark.slow
STEPS, SAMPLES, SHAPE = 50, 16, (2, 12, 12)
FORMS = ["linear", "convolutional"]


def enlarge(network: nn.Module, factor: float) -> nn.Module:
    """Larger weights, so that untrained neurons fire."""
    with torch.no_grad():
        for name, word in network.named_parameters():
            if name.endswith(("weight", "bias")):
                word.mul_(factor)
    return network.eval()


def check(network: SpikingNetwork, events: Tensor, fired: Tensor, campaign: Run) -> None:
    """The same outputs at every step; then a campaign, verified on the full engine."""
    with torch.no_grad():
        *_, last = network.activities(events)
    differing = int((last.spikes != fired).sum())
    assert differing == 0, f"{differing} of {fired.numel()} outputs differ"
    assert 0 < fired.count_nonzero() < fired.numel()
    subject = Subject(network, [(events[:12, :8], torch.arange(8) % 5)])
    plan = SamplingPlan(margin=0.1, bits=tuple(range(20, 32)))
    faults = draw(plan.space(subject.families, subject.steps), plan)
    run = campaign(subject, faults, engine="differential")
    results = run.run()
    assert 0 < (results["fully_masked"] < 8).sum() < len(faults)
    assert verify(run, results, 40, 0).compared.differing == 0


JELLY: dict[str, Callable[[Any], Any]] = {
    "IF": lambda n: n.IFNode(),
    "LIF": lambda n: n.LIFNode(tau=2.3),
    "LIF-undecayed": lambda n: n.LIFNode(tau=3.7, decay_input=False, v_reset=-0.1),
    "parametric": lambda n: n.ParametricLIFNode(2.7),
    "synaptic": lambda n: n.CUBALIFNode(0.4, 0.8),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("kind", JELLY)
@pytest.mark.filterwarnings("ignore")
def test_spikingjelly(tmp_path: Path, campaign: Run, kind: str, form: str) -> None:
    pytest.importorskip("spikingjelly", reason="spikingjelly is not installed")
    from spikingjelly.activation_based import functional, layer, neuron
    from spikingjelly.activation_based.nir_exchange.to_nir import export_to_nir

    torch.manual_seed(0)
    one, other = (JELLY[kind](neuron) for _ in range(2))
    if form == "linear":
        parts = [layer.Flatten(), layer.Linear(288, 20), one, layer.Linear(20, 5, bias=False)]
    else:
        parts = [layer.Conv2d(2, 4, 3), one, layer.AvgPool2d(2, 2), layer.Flatten()]
        parts.append(layer.Linear(100, 5))
    network = enlarge(nn.Sequential(*parts, other), 8)
    events = draw_events(STEPS, SAMPLES, SHAPE)
    export_to_nir(network, events[0], tmp_path / "net.nir")
    functional.reset_net(network)
    with torch.no_grad():
        fired = torch.stack([network(frame) for frame in events])
    check(read_network(tmp_path / "net.nir", "spikingjelly"), events, fired, campaign)


SINABS: dict[str, tuple[str, Callable[[Any, Any], Any]]] = {
    "IF": ("sinabs", lambda sl, sa: sl.IAFSqueeze(batch_size=SAMPLES)),
    "LIF": ("sinabs", lambda sl, sa: sl.LIFSqueeze(tau_mem=7.3, batch_size=SAMPLES)),
    "single-spike": (
        "sinabs:single-spike",
        lambda sl, sa: sl.LIFSqueeze(tau_mem=5.0, spike_fn=sa.SingleSpike, batch_size=SAMPLES),
    ),
    "no-norm": (
        "sinabs:no-norm",
        lambda sl, sa: sl.LIFSqueeze(tau_mem=5.0, norm_input=False, batch_size=SAMPLES),
    ),
    "synaptic": (
        "sinabs",
        lambda sl, sa: sl.LIFSqueeze(tau_mem=7.3, tau_syn=3.1, batch_size=SAMPLES),
    ),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("kind", SINABS)
@pytest.mark.filterwarnings("ignore")
def test_sinabs(tmp_path: Path, campaign: Run, kind: str, form: str) -> None:
    """Its exporter leaves ``tau_syn`` out: there the node is made of the neuron by hand."""
    pytest.importorskip("sinabs", reason="sinabs is not installed")
    import sinabs.activation as sa
    import sinabs.layers as sl
    from sinabs.nir import to_nir

    torch.manual_seed(0)
    rule, make = SINABS[kind]
    one, other = make(sl, sa), make(sl, sa)
    if form == "linear":
        parts = [nn.Flatten(), nn.Linear(288, 20), one, nn.Linear(20, 5)]
    else:
        parts = [nn.Conv2d(2, 4, 3), one, sl.SumPool2d(2), nn.Flatten(), nn.Linear(100, 5)]
    network = enlarge(nn.Sequential(*parts, other), 12 if form == "linear" else 9)
    events = draw_events(STEPS, SAMPLES, SHAPE)
    squeezed = events.transpose(0, 1).flatten(0, 1)
    with torch.no_grad():
        fired = network(squeezed).unflatten(0, (SAMPLES, STEPS)).transpose(0, 1)
    graph = to_nir(network, squeezed)
    if kind == "synaptic":
        for name, node in graph.nodes.items():
            if isinstance(node, nir.LIF):
                words = {"tau_mem": node.tau, "tau_syn": torch.tensor(3.1), "r": node.r}
                words |= {"v_leak": node.v_leak, "v_threshold": node.v_threshold}
                arrays = {key: value.reshape(1).numpy() for key, value in words.items()}
                graph.nodes[name] = nir.CubaLIF(**arrays)
    check(read_network(write(tmp_path / "net.nir", graph), rule), events, fired, campaign)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("kind", ["IF", "LIF", "LIF-leak", "synaptic"])
@pytest.mark.filterwarnings("ignore")
def test_norse(tmp_path: Path, campaign: Run, kind: str, form: str) -> None:
    """It writes ``tau dt`` for ``tau``: its files are read with ``--dt`` of its step squared."""
    pytest.importorskip("norse", reason="norse is not installed")
    import norse.torch as norse
    from norse.torch.functional.iaf import IAFParameters
    from norse.torch.module.iaf import IAFCell
    from norse.torch.utils.export_nir import to_nir

    def make() -> Any:
        rate, fast, leak = torch.tensor(130.0), torch.tensor(230.0), torch.tensor(0.1)
        return {
            "IF": lambda: IAFCell(IAFParameters()),
            "LIF": lambda: norse.LIFBoxCell(norse.LIFBoxParameters(tau_mem_inv=rate)),
            "LIF-leak": lambda: norse.LIFBoxCell(
                norse.LIFBoxParameters(tau_mem_inv=rate, v_leak=leak)
            ),
            "synaptic": lambda: norse.LIFCell(
                norse.LIFParameters(tau_mem_inv=rate, tau_syn_inv=fast)
            ),
        }[kind]()

    torch.manual_seed(0)
    events = draw_events(STEPS, SAMPLES, SHAPE)
    if form == "linear":
        parts, events = [nn.Linear(288, 20), make(), nn.Linear(20, 5)], events.flatten(2)
    else:
        parts = [nn.Conv2d(2, 4, 3), make(), nn.Conv2d(4, 5, 10)]
    network = enlarge(norse.SequentialState(*parts, make()), 12)
    state, steps = None, []
    with torch.no_grad():
        for frame in events:
            spikes, state = network(frame, state)
            steps.append(spikes.flatten(1))
    path = write(tmp_path / "net.nir", to_nir(network, events[0]))
    check(read_network(path, "norse", 1e-6), events, torch.stack(steps), campaign)


@pytest.mark.parametrize("framework", ["spikingjelly", "sinabs"])
def test_a_script_leads_to_a_report(workplace: Path, framework: str) -> None:
    pytest.importorskip(framework, reason=f"{framework} is not installed")
    script = ROOT / "docs" / f"from_{framework}.py"
    options = ["--limit-samples", "4", "--margin", "0.1"]
    done = subprocess.run(
        [sys.executable, str(script), *options], capture_output=True, text=True, timeout=500
    )
    assert done.returncode == 0, done.stderr
    assert "Report in " in done.stdout
    assert list(workplace.glob("output/*/*/report.html"))
