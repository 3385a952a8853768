"""Faults before a last layer whose largest membrane is read: masked exactly where they are."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from engine_scores import scores
from small_networks import spread
from torch import Tensor

from fi.engine.compiled import kernels
from fi.engine.differential.engine import DifferentialEngine
from fi.faults.fault import Fault
from fi.faults.injection import injected
from fi.models import SHD

STEPS, SAMPLES, HIDDEN = 20, 12, 30


def network() -> SHD:
    """A small one of twenty outputs, whose scores are its largest membranes."""
    torch.manual_seed(4)
    made = SHD(inputs=40, hidden=HIDDEN, softmax=False).eval()
    spread(made, 3.0)
    return made


def events() -> Tensor:
    draw = torch.Generator().manual_seed(5)
    return torch.poisson(torch.full((STEPS, SAMPLES, 40), 0.3), generator=draw)


def faults() -> list[Fault]:
    """Of every hidden neuron: late ones, which often change no maximum, permanent ones, huge ones.

    The lowest bits of a spike change it by an ulp: then all maxima are next to the golden ones.
    """
    found: list[Fault] = []
    for neuron in range(HIDDEN):
        for bit, steps in ((31, range(18, 19)), (0, range(19, 20)), (0, None), (1, range(9, 12))):
            found.append(Fault(len(found), "lif1.spike", (neuron,), bit, "bit-flip", steps))
        found.append(Fault(len(found), "lif1.potential", (neuron,), 31, "bit-flip", 17))
        found.append(Fault(len(found), "lif1.threshold", (neuron,), 22))
        found.append(Fault(len(found), "fc1.weight", (neuron, neuron), 23))
        found.append(Fault(len(found), "fc1.weight", (neuron, neuron), 30, "stuck-at-1"))
        found.append(Fault(len(found), "lif1.spike", (neuron,), 30))
    return found


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_pair_is_masked_where_the_network_gives_the_same_bits(
    dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, chosen = network().to(dtype), faults()
    signal = events().to(dtype)
    rows = []
    with torch.inference_mode():
        golden = made(signal)
        for fault in chosen:
            with injected(made, fault):
                rows.append(made(signal))
    wanted = torch.stack(rows)
    asked: list[int] = []
    compiled = kernels.read_out_maxima

    def counted(*arguments: object) -> tuple[object, np.ndarray]:
        certain, left_open = compiled(*arguments)
        asked.extend(left_open.tolist())
        return certain, left_open

    monkeypatch.setattr(kernels, "read_out_maxima", counted)
    engine = DifferentialEngine(made, made)
    batches = [(signal, torch.zeros(SAMPLES))]
    found = scores(engine, chosen, batches, group=len(chosen))
    masked, usual = (wanted == golden).all(-1), (found == golden).all(-1)
    assert torch.equal(masked, usual)
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4, equal_nan=True)
    assert 0.05 < float(masked.float().mean()) < 0.95
    assert 0.02 < np.mean(asked) < 0.9, "differences decide some, and leave some open"
