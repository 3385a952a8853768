"""A small version of the stress test of intervals, and that it finds those that are too narrow."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from statistics import NormalDist

import numpy as np
import pytest
from markdown_pages import ROOT

from fi.statistics.histogram import Histogram

sys.path.insert(0, str(ROOT / "docs"))
import coverage_stress
from coverage_stress import POPULATIONS, find_failing, list_settings, measure

SETTINGS = list_settings(sizes=(90, 2000), few=(2, 10))


def test_settings_go_from_two_faults_to_all_but_one() -> None:
    assert {(s.size, s.n) for s in SETTINGS if s.size == 90} == {
        (90, n) for n in (2, 10, 45, 81, 89)
    }
    assert {s.name for s in SETTINGS} == set(POPULATIONS)
    assert len(list_settings()) > 400


def test_no_setting_is_significantly_below() -> None:
    outcomes = [one for setting in SETTINGS for one in measure(setting, draws=60)]
    assert len(outcomes) > 200
    assert find_failing(outcomes)[0] == []


def test_intervals_that_are_too_narrow_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def wald(strata: Sequence[Histogram], level: float, method: str) -> tuple[float, float]:
        (seen,) = strata
        z = NormalDist().inv_cdf((1 + level) / 2)
        variance = float((seen.values - seen.rate) ** 2 @ seen.counts) / seen.n
        half = z * np.sqrt(variance / seen.n * (1 - seen.n / (seen.population or np.inf)))
        return seen.rate - half, seen.rate + half

    monkeypatch.setattr(coverage_stress, "interval", wald)
    outcomes = [one for setting in SETTINGS for one in measure(setting, draws=60)]
    failing, p = find_failing(outcomes)
    assert len(failing) > 50
    assert p < 1e-6
