"""Faults of the last layer where a membrane is read out: bit for bit what the network computes."""

from __future__ import annotations

import pytest
import torch
from engine_scores import scores
from small_networks import spread
from torch import Tensor

from fi.engine.compiled import output_layer as rows
from fi.engine.differential.engine import DifferentialEngine
from fi.engine.differential.path_choice import choose_kernels
from fi.faults.fault import Fault
from fi.faults.injection import injected
from fi.models import SHD

STEPS, SAMPLES = 20, 6


def network() -> SHD:
    """A small one of twenty outputs."""
    torch.manual_seed(4)
    made = SHD(inputs=40, hidden=30, softmax=False).eval()
    spread(made, 3.0)
    return made


def events() -> Tensor:
    draw = torch.Generator().manual_seed(5)
    return torch.poisson(torch.full((STEPS, SAMPLES, 40), 0.3), generator=draw)


def faults() -> list[Fault]:
    """Weights and biases of all outputs, some of them in one row, permanent and at one step."""
    found: list[Fault] = []
    for bit, step in ((0, None), (12, None), (23, None), (30, None), (20, 3), (31, 0)):
        for output in range(20):
            places = [("fc2.weight", (output, source)) for source in (output, 7, 29)]
            for layer, index in (*places, ("fc2.bias", (output,))):
                found.append(Fault(len(found), layer, index, bit, "bit-flip", step))
    return found


def reference(made: SHD, chosen: list[Fault]) -> Tensor:
    """Scores ``[faults, samples, classes]`` of the network itself, one fault at a time."""
    found = []
    for fault in chosen:
        with injected(made, fault), torch.inference_mode():
            found.append(made(events()))
    return torch.stack(found)


@pytest.fixture(scope="module")
def wanted() -> Tensor:
    """The network's own scores of all the faults."""
    return reference(network(), faults())


@pytest.mark.parametrize("stacked", [rows.STACKED, 20])
def test_scores_are_the_networks_own(
    stacked: int, wanted: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rows, "STACKED", stacked)
    made, chosen = network(), faults()
    engine = DifferentialEngine(made, made)
    found = scores(engine, chosen, [(events(), torch.zeros(SAMPLES))], group=len(chosen))
    kernels = engine.prepare(events()).kernels
    assert kernels is not None
    assert choose_kernels(kernels.single, chosen).all()
    assert torch.equal(found, wanted)
    assert kernels.single.last_layer is not None
    assert max(copies for _, copies in kernels.single.last_layer.exact) == stacked // 20
    assert all(kernels.single.last_layer.exact.values())
    with torch.inference_mode():
        differ = (wanted != made(events())).any(dim=2).float().mean()
    assert 0.2 < differ < 0.9


def test_where_a_stacked_product_sums_otherwise_each_product_is_the_networks(
    wanted: Tensor,
) -> None:
    made, chosen = network(), faults()
    engine = DifferentialEngine(made, made)
    batches = [(events(), torch.zeros(SAMPLES))]
    scores(engine, chosen[:1], batches, group=1)
    kernels = engine.prepare(events()).kernels
    assert kernels is not None
    assert kernels.single.last_layer is not None
    kernels.single.last_layer.exact[STEPS * SAMPLES, 12] = False
    found = scores(engine, chosen, batches, group=len(chosen))
    assert torch.equal(found, wanted)
