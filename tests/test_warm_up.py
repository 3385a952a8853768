"""Compiling the kernels is a step that the user is told of, once."""

from __future__ import annotations

from pathlib import Path

import pytest
from conftest import Run, subject_of
from numba.core.dispatcher import Dispatcher
from small_networks import SmallConv

from fi.campaign import Campaign
from fi.engine import kernels, warm_up
from fi.engine.differential import DifferentialEngine
from fi.engine.full import FullEngine
from fi.faults import Fault


def said_of(engine: DifferentialEngine | FullEngine) -> list[str]:
    subject, lines = subject_of(SmallConv), list[str]()
    warm_up.warm_up(engine, subject.families, subject.batches.first()[0], lines.append)
    return lines


def test_a_warm_start_says_nothing() -> None:
    subject = subject_of(SmallConv)
    engine = DifferentialEngine(subject.network, subject.infer)
    said_of(engine)
    assert said_of(engine) == []
    assert said_of(FullEngine(subject.network, subject.infer)) == []


def test_a_cold_start_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    subject = subject_of(SmallConv)
    counts = iter((3, 12))
    monkeypatch.setattr(warm_up, "compiled", lambda: next(counts))
    (line,) = said_of(DifferentialEngine(subject.network, subject.infer))
    assert line.startswith("compiled the kernels in ")
    assert line.endswith(" s (once)")


def test_one_fault_of_each_family_compiles_all_that_a_campaign_uses(campaign: Run) -> None:
    subject = subject_of(SmallConv)
    said_of(DifferentialEngine(subject.network, subject.infer))
    before = signatures()
    assert sum(before.values()) >= 5
    faults = [Fault(i, f.name, (0,) * len(f.shape), 8 + i) for i, f in enumerate(subject.families)]
    run: Campaign = campaign(subject, faults[:10], engine="differential")
    run.run()
    assert signatures() == before


def signatures() -> dict[str, int]:
    """Compiled variants of every kernel."""
    found = vars(kernels).items()
    return {name: len(value.signatures) for name, value in found if isinstance(value, Dispatcher)}


def test_the_campaign_passes_on_what_is_said(
    campaign: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts = iter((0, 1))
    monkeypatch.setattr(warm_up, "compiled", lambda: next(counts))
    run = campaign(subject_of(SmallConv), [Fault(0, "fc1.bias", (0,), 3)], engine="differential")
    lines: list[str] = []
    run.say = lines.append
    run.run()
    assert any(line.startswith("compiled the kernels") for line in lines)
