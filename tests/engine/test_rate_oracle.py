"""Trials of rates against the oracle in plain Python: plain forwards, differences, and both."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from campaigns import subject_of
from oracle_formats import word_of
from oracle_formulas import Oracle
from rate_oracle import assert_counts_are_the_oracles
from shipped_networks import shipped
from small_networks import SmallConv, SmallLinear
from torch import nn

#: Plans of what is hit, and when.
CASES: dict[str, dict[str, Any]] = {
    "permanent": {},
    "at any step": {"transient": True},
    "at a window": {"during": (2, 4)},
    "stuck at either": {"models": ("stuck-at-0", "stuck-at-1", "bit-flip")},
    "signs and exponents": {"bits": tuple(range(23, 32))},
    "whole words": {"models": ("dead", "saturated"), "sites": ("*.weight", "*.spike", "input")},
    "scaled": {"models": ("scale:0.5", "stuck-value:0.3"), "sites": ("*.weight", "*.beta")},
    "input lines": {"sites": ("input", "fc1.weight")},
    "states": {"sites": ("*.potential", "*.spike"), "transient": True, "window": 2},
}


@pytest.mark.parametrize("kind", [SmallLinear, SmallConv])
@pytest.mark.parametrize("case", CASES)
def test_trials_count_as_the_oracle(kind: type[nn.Module], case: str, tmp_path: Path) -> None:
    plan = dict(CASES[case])
    if kind is SmallConv:
        plan["sites"] = tuple(s.replace("fc1", "conv2") for s in plan.get("sites", ("*",)))
    scale = 8 if case in ("whole words", "scaled") else 1
    rates = (scale * 0.001, scale * 0.02)
    found = assert_counts_are_the_oracles(subject_of(kind), tmp_path, rates, plan=plan)
    assert 0.01 < found["fully_masked"].sum() / found["samples"].sum() < 0.99


@pytest.mark.parametrize("form", ["float16", "bfloat16", "int8"])
def test_words_of_other_formats_count_as_the_oracle(
    form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    subject = subject_of(SmallLinear, word_format=form)
    monkeypatch.setattr(Oracle, "word", word_of(subject.network, form))
    plan = {"sites": ("*.weight", "*.bias", "*.beta", "*.threshold")}
    found = assert_counts_are_the_oracles(subject, tmp_path, (0.002, 0.05), plan=plan)
    assert 0.01 < found["fully_masked"].sum() / found["samples"].sum() < 0.99


def test_each_layer_alone_counts_as_the_oracle(tmp_path: Path) -> None:
    """Plain forwards start at the first stage that has a fault."""
    plan = {"scheme": "layer-wise"}
    subject = subject_of(SmallConv)
    found = assert_counts_are_the_oracles(subject, tmp_path, (0.01,), trials=2, plan=plan)
    assert len(found) == 2 * (1 + 6)


@pytest.mark.parametrize("name", ["NMNIST", pytest.param("CSNN", marks=pytest.mark.slow)])
def test_the_shipped_networks_count_as_the_oracle(name: str, tmp_path: Path) -> None:
    rates = (1e-5, 1e-4, 1e-3)
    found = assert_counts_are_the_oracles(shipped(name, 20), tmp_path, rates, trials=3)
    assert 0.05 < found["fully_masked"].sum() / found["samples"].sum() < 0.95
    assert found["sdc_1"].sum() > 0


GROUPED: list[tuple[str, dict[str, Any]]] = [
    ("systolic:4x3", {"bits": (28, 30, 31)}),
    ("systolic:4x3", {"models": ("dead",)}),
    ("row", {"bits": (22, 31), "transient": True}),
    ("word-line:5", {"models": ("stuck-at-1",), "bits": (29, 31)}),
    ("crossbar-row:4x3", {"models": ("scale:0.5", "dead"), "during": (1, 3)}),
]


@pytest.mark.parametrize("kind", [SmallLinear, SmallConv])
@pytest.mark.parametrize(("group", "plan"), GROUPED)
def test_elements_of_an_array_are_faulty_at_a_rate(
    kind: type[nn.Module], group: str, plan: dict[str, Any], tmp_path: Path
) -> None:
    """Each element with the probability; what it has of words is found by looking at all."""
    plan = {**plan, "group": group, "sites": ("*.weight",)}
    found = assert_counts_are_the_oracles(subject_of(kind), tmp_path, (0.03, 0.2), plan=plan)
    assert 0.01 < found["fully_masked"].sum() / found["samples"].sum() < 0.999


def test_groups_of_states_and_parameters_are_hit_at_a_rate(tmp_path: Path) -> None:
    plan = {"group": "row", "sites": ("*.potential", "*.spike", "*.threshold")}
    found = assert_counts_are_the_oracles(subject_of(SmallConv), tmp_path, (0.002, 0.02), plan=plan)
    assert 0.01 < found["fully_masked"].sum() / found["samples"].sum() < 0.999
