"""The campaign's counts against an independent oracle in plain Python."""

from __future__ import annotations

import pytest
from campaigns import Run, subject_of
from oracle_formulas import assert_oracle_agrees, every_case
from shipped_networks import shipped
from small_networks import SAMPLES, SmallConv, SmallLinear
from torch import nn


@pytest.mark.parametrize(("kind", "families"), [(SmallLinear, 12), (SmallConv, 18)])
def test_counts_are_those_of_the_oracle(
    campaign: Run, kind: type[nn.Module], families: int
) -> None:
    subject = subject_of(kind)
    faults = list(every_case(subject, each=2))
    assert len({fault.layer for fault in faults}) == families
    assert sum(len(labels) for _, labels in subject.batches) == SAMPLES >= 20
    wanted = assert_oracle_agrees(campaign, subject, faults)
    masked = wanted["fully_masked"].sum() / wanted["samples"].sum()
    assert 0.2 < masked < 0.95
    by_kind = wanted.groupby([fault.steps is None for fault in faults])
    assert (by_kind["sdc_1"].sum() > 0).all()


@pytest.mark.parametrize("name", ["NMNIST", pytest.param("CSNN", marks=pytest.mark.slow)])
def test_the_shipped_networks_count_as_the_oracle(campaign: Run, name: str) -> None:
    subject = shipped(name, 20)
    wanted = assert_oracle_agrees(campaign, subject, list(every_case(subject, each=1)))
    assert wanted["golden_correct"].min() >= 14
    assert 0.2 < wanted["fully_masked"].sum() / wanted["samples"].sum() < 0.99
    assert wanted["sdc_1"].sum() > 0
