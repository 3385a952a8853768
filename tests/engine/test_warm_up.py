"""Compiling the kernels is a step that the user is told of, once."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import numba
import pytest
from campaigns import Run, subject_of
from small_networks import SmallConv

from fi.base import kernel_cache
from fi.campaign.runner import Campaign
from fi.engine import warm_up
from fi.engine.compiled import kernels
from fi.engine.compiled.kernels.building.compiling import KERNELS
from fi.engine.differential.engine import DifferentialEngine
from fi.engine.full import FullEngine
from fi.faults.fault import Fault


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
    monkeypatch.setattr(warm_up, "count_compiled", lambda: next(counts))
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
    return {kernel.__qualname__: len(kernel.signatures) for kernel in KERNELS}


def test_the_campaign_passes_on_what_is_said(
    campaign: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts = iter((0, 1))
    monkeypatch.setattr(warm_up, "count_compiled", lambda: next(counts))
    run = campaign(subject_of(SmallConv), [Fault(0, "fc1.bias", (0,), 3)], engine="differential")
    lines: list[str] = []
    run.say = lines.append
    run.run()
    assert any(line.startswith("compiled the kernels") for line in lines)


@pytest.fixture
def no_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """An installation and a home that cannot be written to."""
    monkeypatch.setenv("NUMBA_CACHE_DIR", "")  # whatever the test sets is taken back
    monkeypatch.delenv("NUMBA_CACHE_DIR")
    monkeypatch.setattr(kernel_cache, "_numbas_own", lambda: (Path("/proc/a"), Path("/proc/b")))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(numba.config, "CACHE_DIR", "")
    return tmp_path


def test_a_read_only_installation_has_a_cache(no_cache: Path) -> None:
    kernel_cache.provide_cache()
    folder = Path(os.environ["NUMBA_CACHE_DIR"])
    assert folder.parent == no_cache
    assert folder.is_dir()
    assert Path(numba.config.CACHE_DIR) == folder
    del os.environ["NUMBA_CACHE_DIR"]
    kernel_cache.provide_cache()
    assert os.environ["NUMBA_CACHE_DIR"] == str(folder)


def test_a_folder_that_others_can_write_to_is_not_trusted(no_cache: Path) -> None:
    kernel_cache.provide_cache()
    taken = Path(os.environ.pop("NUMBA_CACHE_DIR"))
    taken.chmod(0o777)
    kernel_cache.provide_cache()
    assert Path(os.environ["NUMBA_CACHE_DIR"]) != taken


def test_a_cache_that_the_user_names_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NUMBA_CACHE_DIR", "/somewhere")
    kernel_cache.provide_cache()
    assert os.environ["NUMBA_CACHE_DIR"] == "/somewhere"


def test_usually_numba_finds_its_own_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NUMBA_CACHE_DIR", raising=False)
    kernel_cache.provide_cache()
    assert "NUMBA_CACHE_DIR" not in os.environ


def test_trials_have_a_kernel_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    subject, met = subject_of(SmallConv), list[int]()
    engine = DifferentialEngine(subject.network, subject.infer)
    kernel = kernels.run_multi_fault_stage
    monkeypatch.setattr(
        kernels, "run_multi_fault_stage", lambda *fields: met.append(1) or kernel(*fields)
    )
    for multi_fault in (False, True):
        warm_up.warm_up(engine, subject.families, subject.batches.first()[0], print, multi_fault)
        assert bool(met) == multi_fault
