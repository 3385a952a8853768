"""The study of coverage: its truths, its draws, and that it finds intervals that are too narrow."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pandas as pd
import pytest
from markdown_pages import ROOT
from scipy.stats import binom

from fi.sampling import SamplingPlan, draw
from fi.statistics import wilson

sys.path.insert(0, str(ROOT / "docs"))
import coverage_study
from coverage_study import (
    METHODS,
    RATES,
    Cells,
    Draw,
    Population,
    Tally,
    cells_of,
    finding,
    holm,
    sampled,
    study,
)

OPTIONS = (
    "--model NMNIST --model.hidden 4 --checkpoint none --data RandomEvents --data.like NMNIST "
    "--data.num_steps 12 --limit-samples 1 --faults.layers fc2.*,lif* --faults.bits 27-31"
)


def page_module() -> ModuleType:
    """``docs/coverage.py``, whose name is that of another package."""
    spec = importlib.util.spec_from_file_location("coverage_page", ROOT / "docs" / "coverage.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def output(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("coverage")


@pytest.fixture(scope="module")
def population(output: Path) -> Population:
    return Population.injected(OPTIONS.split(), output)


@pytest.fixture(scope="module")
def cells(population: Population) -> Cells:
    return cells_of(population)


def test_the_population_is_in_the_order_of_the_space(population: Population) -> None:
    assert len(population.results) == population.space.size == 530
    for number, row in enumerate(population.results.itertuples()):
        fault = population.space.fault(number)
        assert (row.Layer, row.TensorIndex) == (fault.layer, str(fault.index))
        assert row.Bit == str(fault.bits[0])


def test_true_rates_are_those_of_the_population(population: Population, cells: Cells) -> None:
    results = population.results
    rates = results[list(RATES)].div(results["samples"], axis="index")
    truth = dict(zip(cells.names, cells.truth, strict=True))
    varied = dict(zip(cells.names, cells.varied, strict=True))
    assert len(truth) == 1 + 3 + 10 + 5 + 50 - 15  # fc2, lif1, lif2; 2 + 8 families less fc1's
    assert truth["network"] == pytest.approx(rates.mean().to_numpy())
    for family in ("lif2.beta", "fc2.weight"):
        mine = rates[results["Layer"] == family]
        assert truth[f"family {family}"] == pytest.approx(mine.mean().to_numpy())
        assert (varied[f"family {family}"] == (mine.nunique() > 1)).all()
    both = rates[(results["Layer"] == "lif2.spike") & (results["Bit"] == "30")]
    assert truth["family, bit lif2.spike 30"] == pytest.approx(both.mean().to_numpy())
    assert 0.3 < cells.varied.mean() < 1
