"""Golden and faulty values in the results: those of the words that the injection writes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from campaigns import Run, subject_of
from hypothesis import given
from hypothesis import strategies as st
from small_networks import SmallConv, SmallLinear

from fi.faults.fault import Fault
from fi.faults.injection import injected
from fi.faults.word_values import parse_value, value_text, word_values
from fi.sampling.fault_draw import draw
from fi.sampling.plan import SamplingPlan


def test_values_are_those_that_the_injection_writes() -> None:
    subject = subject_of(SmallConv)
    plan = SamplingPlan(margin=0.05, models=("bit-flip", "stuck-at-0", "stuck-at-1"))
    faults = draw(plan.space(subject.families, subject.steps), plan)
    values = word_values(subject.network, faults, subject.families)
    for fault, value in zip(faults, values, strict=True):
        if value is None:
            assert fault.layer.endswith((".potential", ".spike"))
            continue
        before = float(subject.network.state_dict()[fault.layer][fault.index])
        with injected(subject.network, fault):
            after = float(subject.network.state_dict()[fault.layer][fault.index])
        assert np.array_equal(value, (before, after), equal_nan=True)
    stored = [value for value in values if value is not None]
    assert 0 < len(stored) < len(values)
    assert any(golden != faulty for golden, faulty in stored)
    assert any(golden == faulty for golden, faulty in stored)  # a bit that is stuck at its value


def test_values_by_hand() -> None:
    subject = subject_of(SmallLinear)
    with torch.no_grad():
        subject.network.fc1.weight[1, 2] = 1.0  # 0x3F800000
    weight = Fault(0, "fc1.weight", (1, 2), 31)
    faults = [weight, replace(weight, bits=(30,)), Fault(2, "lif1.spike", (0,), 1)]
    values = word_values(subject.network, faults, subject.families)
    assert values == [(1.0, -1.0), (1.0, float("inf")), None]


@pytest.mark.parametrize("precision", ["32-true", "64-true"])
def test_both_engines_write_the_same_values(
    campaign: Run, faults: list[Fault], precision: str
) -> None:
    tables = [
        campaign(subject_of(SmallLinear), faults, engine=engine, precision=precision).run()
        for engine in ("full", "differential")
    ]
    for column in ("GoldenValue", "FaultyValue"):
        assert np.array_equal(tables[0][column], tables[1][column], equal_nan=True)
    states = tables[0]["Layer"].str.endswith((".potential", ".spike"))
    assert tables[0]["GoldenValue"].isna().equals(states)
    assert states.any()
    assert not states.all()


@given(st.floats(), st.floats())
def test_fields_give_the_same_floats(golden: float, faulty: float) -> None:
    found = parse_value(*value_text((golden, faulty)).split(","))
    assert found is not None
    assert np.array_equal(found, (golden, faulty), equal_nan=True)
    assert [np.signbit(v) for v in found if v == v] == [
        np.signbit(v) for v in (golden, faulty) if v == v
    ]
