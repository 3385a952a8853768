"""States that are rounded after each update: golden runs and faults against the oracle."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from campaigns import Run, subject_of
from oracle_formats import oracle_value, to_fixed
from oracle_formulas import Oracle, assert_oracle_agrees
from rate_oracle import assert_counts_are_the_oracles
from shipped_networks import shipped
from small_networks import SmallConv, SmallLinear, spread
from torch import Tensor, nn

from fi.base.errors import UserError
from fi.campaign.subject import Subject
from fi.faults.fault import Fault
from fi.faults.fault_sites import Kind
from fi.models import SHD

FORMS = {"float16": 16, "bfloat16": 16, "fixed:5.5": 10, "fixed:3.12": 15}


def round_state(value: float, form: str) -> float:
    """The nearest word, by hand."""
    if form.startswith("fixed"):
        return to_fixed(value, form) / 2 ** int(form.partition(".")[2])
    return float(torch.tensor(value).to(getattr(torch, form)))


def rounding_oracle(form: str) -> type[Oracle]:
    """An oracle whose states are rounded before they are compared, and hit as words of ``form``."""

    class Rounding(Oracle):
        def quantise(self, states: Tensor) -> Tensor:
            flat = [round_state(value, form) for value in states.flatten().tolist()]
            return torch.tensor(flat).reshape(states.shape)

        def hit_state(self, value: float, fault: Fault) -> float:
            name, _, number = fault.model.partition(":")
            if name == "stuck-value":
                return round_state(float(number), form)
            quiet = math.nan if math.isnan(value) else value  # struct keeps the sign of a NaN
            return oracle_value(quiet, form, 1.0, fault.bits, name)

    return Rounding


def faults_of(subject: Subject, width: int) -> Iterator[Fault]:
    """Bits and held values of states; a bit of every other family; permanent or for some steps."""
    choose, injection = random.Random(2), 0
    for family in subject.families:
        is_state = family.kind is Kind.STATE
        for number in range(12 if is_state else 2):
            index = tuple(choose.randrange(size) for size in family.shape)
            steps = choose.choice((None, range(2, 3), range(1, 4)))
            model = choose.choice(("bit-flip", "stuck-at-0", "stuck-at-1"))
            bits: tuple[int, ...] = (choose.choice((22, 25, 31)),)
            if is_state:
                bits = (width - 1 - number % 6,)
            if is_state and number % 4 == 0:
                bits, model = (), choose.choice(("stuck-value:0.7", "stuck-value:-40.3"))
            yield Fault(injection, family.name, index, bits, model, steps)
            injection += 1


def assert_counts(campaign: Run, subject: Subject, form: str, patch: pytest.MonkeyPatch) -> None:
    patch.setattr("oracle_formulas.Oracle", rounding_oracle(form))
    widths = {family.width for family in subject.families if family.kind is Kind.STATE}
    assert widths == {FORMS[form]}
    wanted = assert_oracle_agrees(campaign, subject, list(faults_of(subject, FORMS[form])))
    assert 0.05 < wanted["fully_masked"].sum() / wanted["samples"].sum() < 0.97


@pytest.mark.parametrize(
    ("kind", "form"),
    [
        *((SmallLinear, form) for form in FORMS),
        (SmallConv, "float16"),
        *(pytest.param(SmallConv, f, marks=pytest.mark.slow) for f in FORMS if f != "float16"),
    ],
)
def test_states_of_a_format_count_as_the_oracle(
    campaign: Run, kind: type[nn.Module], form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert_counts(campaign, subject_of(kind, state_format=form), form, monkeypatch)


@pytest.mark.parametrize("kind", [SmallLinear, SmallConv])
@pytest.mark.parametrize(
    ("form", "plan"),
    [
        ("fixed:5.5", {}),
        ("float16", {"sites": ("*.potential",), "transient": True}),
        ("bfloat16", {"models": ("stuck-value:0.7", "stuck-value:-40.3"), "sites": ("*.pot*",)}),
        ("fixed:3.12", {"sites": ("*.potential",), "group": "row", "models": ("stuck-at-1",)}),
    ],
)
def test_states_of_a_format_are_hit_at_a_rate(
    kind: type[nn.Module],
    form: str,
    plan: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    subject = subject_of(kind, state_format=form)
    monkeypatch.setattr("oracle_formulas.Oracle", rounding_oracle(form))
    found = assert_counts_are_the_oracles(subject, tmp_path, (0.003, 0.05), plan=plan)
    assert 0.01 < found["fully_masked"].sum() / found["samples"].sum() < 0.99


def test_synaptic_currents_are_rounded_too(campaign: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(4)
    network = SHD(inputs=40, hidden=30, num_classes=5).eval()
    spread(network, 2.0)
    generator = torch.Generator().manual_seed(3)
    signal = torch.poisson(torch.full((20, 10, 40), 0.3), generator=generator)
    labels = torch.zeros(10, dtype=torch.int64)
    subject = Subject(network, [(signal, labels)], state_format="fixed:5.5")
    assert_counts(campaign, subject, "fixed:5.5", monkeypatch)


@pytest.mark.slow
@pytest.mark.parametrize("form", ["fixed:5.5", "float16"])
@pytest.mark.parametrize("name", ["NMNIST", "CSNN"])
def test_states_of_the_shipped_networks_count_as_the_oracle(
    campaign: Run, name: str, form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    digits = shipped(name, 4)
    subject = Subject(digits.network, digits.batches, state_format=form)
    assert_counts(campaign, subject, form, monkeypatch)


def test_what_cannot_be_rounded_is_told() -> None:
    for name in ("int8", "fixed:0.4", "fixed:20.20"):
        with pytest.raises(UserError, match="--state-format: state format"):
            subject_of(SmallLinear, state_format=name)


def test_float32_undoes_it() -> None:
    subject = subject_of(SmallLinear, state_format="fixed:4.4")
    assert subject.network.lif1.state_quant
    Subject(subject.network, subject.batches)
    assert not subject.network.lif1.state_quant
