"""The study of coverage: its truths, its draws, and that it finds intervals that are too narrow."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from markdown_pages import ROOT
from scipy.stats import binom

from fi.sampling.fault_draw import draw
from fi.sampling.plan import SamplingPlan
from fi.statistics.estimators import wilson

sys.path.insert(0, str(ROOT / "docs"))
import coverage_study
from coverage_study import (
    METHODS,
    RATES,
    Cells,
    Draw,
    Population,
    Tally,
    assess_coverage,
    correct_by_holm,
    run_study,
    simulate_draw,
)

OPTIONS = (
    "--model NMNIST --model.hidden 4 --checkpoint none --data RandomEvents --data.like NMNIST "
    "--data.num_steps 12 --limit-samples 1 --faults.layers fc2.*,lif* --faults.bits 27-31"
)


def page_module() -> ModuleType:
    """``docs/coverage_tables.py``."""
    spec = importlib.util.spec_from_file_location(
        "coverage_page", ROOT / "docs" / "coverage_tables.py"
    )
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
    return Population.from_campaign(OPTIONS.split(), output)


@pytest.fixture(scope="module")
def cells(population: Population) -> Cells:
    return population.cells


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
    assert len(truth) == 1 + 3 + 10 + 5 + 50  # fc2, lif1, lif2; 2 + 4 + 4 families; 5 bits
    assert truth["network"] == pytest.approx(rates.mean().to_numpy())
    for family in ("lif2.beta", "fc2.weight"):
        mine = rates[results["Layer"] == family]
        assert truth[f"family {family}"] == pytest.approx(mine.mean().to_numpy())
        assert (varied[f"family {family}"] == (mine.nunique() > 1)).all()
    both = rates[(results["Layer"] == "lif2.spike") & (results["Bit"] == "30")]
    assert truth["family, bit lif2.spike 30"] == pytest.approx(both.mean().to_numpy())
    assert 0.3 < cells.varied.mean() < 1


def test_a_draw_is_that_of_the_tool(population: Population) -> None:
    plan = SamplingPlan(
        scheme="layer-wise",
        margin=0.2,
        seed=7,
        bits=(27, 28, 29, 30, 31),
        sites=("fc2.*", "lif*"),
    )
    listed = draw(population.space, plan)
    results, design = simulate_draw(population, Draw("layer-wise", 0.2), 7)
    assert design.scheme == "layer-wise"
    assert results["Injection"].tolist() == [fault.injection for fault in listed]
    found = results[["Layer", "TensorIndex", "Bit"]].to_numpy().tolist()
    assert found == [[f.layer, str(f.index), str(f.bits[0])] for f in listed]
    assert 50 < len(listed) < 530


def test_an_iterative_draw_goes_on_until_the_network_is_known(population: Population) -> None:
    results, design = simulate_draw(population, Draw("network-wise", 0.1, iterative=True), 3)
    overall = coverage_study.estimate_groups(results, design, rates=RATES)
    half = max((overall[f"{r} high"] - overall[f"{r} low"])[0] / 2 for r in RATES)
    assert half <= 0.1
    assert results["Injection"].tolist() == list(range(len(results)))
    assert not results[["Layer", "TensorIndex", "Bit"]].duplicated().any()


@pytest.fixture(scope="module")
def network_wise(population: Population) -> Tally:
    (found,) = run_study(population, [Draw("network-wise", 0.1)], range(16), processes=1)
    return found[1]


def test_the_study_finds_intervals_that_are_too_narrow(network_wise: Tally, cells: Cells) -> None:
    assert set(network_wise.injections) == {126}
    default = assess_coverage(network_wise, cells)
    assert default.pooled > 0.985
    assert default.failing == ()
    assert default.tested > 100
    wald = assess_coverage(network_wise, cells, "Wald")
    assert wald.pooled < 0.8
    assert len(wald.failing) > 20
    assert wald.worst in wald.failing


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_two_processes_count_what_one_does(population: Population, network_wise: Tally) -> None:
    (found,) = run_study(population, [Draw("network-wise", 0.1)], range(16), processes=2)
    assert found[1].injections == network_wise.injections
    assert (found[1].covered == network_wise.covered).all()
    assert found[1].width == pytest.approx(network_wise.width)


def test_a_finding_by_hand() -> None:
    cells = Cells(["network", "bit 3"], np.zeros((2, 3)), np.ones((2, 3), dtype=bool))
    counted = np.array([[400.0, 0.0, 0.0], [400.0, 0.0, 0.0]])
    covered = np.zeros((len(METHODS), 2, 2, 3))
    covered[0, 0, :, 0] = 396, 385
    found = assess_coverage(Tally([5], counted, covered, covered), cells)
    assert found.pooled == pytest.approx(781 / 800)
    assert found.tested == 2
    assert found.worst == "fully_masked, bit 3"
    assert found.share == (385, 400)
    assert found.p == pytest.approx(2 * binom.cdf(385, 400, 0.99))
    assert found.failing == ("fully_masked, bit 3",)


def test_holm_by_hand() -> None:
    # 3 x 0.01, 2 x 0.03, and the largest no less than the one before
    assert correct_by_holm(np.array([0.01, 0.04, 0.03])) == pytest.approx([0.03, 0.06, 0.06])
    assert correct_by_holm(np.array([0.6, 0.5])) == pytest.approx([1.0, 1.0])


def test_the_other_methods_by_hand() -> None:
    one = [np.array([[value]]) for value in (0.2, 30.0, 90.0)]
    mine = coverage_study.wilson(*one, 10, 0.99)
    assert [float(end[0, 0]) for end in mine] == pytest.approx(wilson(0.2, 30, 90))
    by_pair = coverage_study.by_pair(*one, 10, 0.99)
    assert [float(end[0, 0]) for end in by_pair] == pytest.approx(wilson(0.2, 300))
    # 0.2 +- 2.5758 sqrt(0.16 / 30 * 60 / 89)
    low, high = coverage_study.wald(*one, 10, 0.99)
    assert [float(low[0, 0]), float(high[0, 0])] == pytest.approx([0.04555, 0.35445], abs=1e-4)


def test_the_page_is_made_from_kept_tallies(output: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = page_module()
    draws = (Draw("network-wise", 0.2), Draw("network-wise", 0.2, iterative=True))
    monkeypatch.setattr(page, "DRAWS", draws)
    monkeypatch.setattr(page, "POPULATIONS", {"tiny": OPTIONS})
    monkeypatch.setattr(page, "PAGE", output / "coverage.md")
    monkeypatch.setattr(page, "ROOT", output)
    page.PAGE.write_text(f"before\n{page.BEGIN}{page.END}after\n", encoding="utf-8")
    arguments = ["--output", str(output / "study"), "--repetitions", "3", "--processes", "1"]
    page.main(arguments)
    written = page.PAGE.read_text(encoding="utf-8")
    assert written.startswith("before\n")
    assert written.endswith("after\n")
    assert "| tiny | iterative network-wise | 0.2 |" in written
    assert "seeds 0 to 2" in written
    monkeypatch.setattr(coverage_study, "run_repetition", None)  # nothing is drawn again
    page.main(arguments)
    assert page.PAGE.read_text(encoding="utf-8") == written


def test_the_page_has_a_population_that_is_large_enough() -> None:
    page = (ROOT / "docs" / "coverage.md").read_text(encoding="utf-8")
    rows = [line.split(" | ") for line in page.splitlines() if "--scheme exhaustive" in line]
    assert rows
    assert min(int(row[2].replace(",", "")) for row in rows) >= 50_000
    assert "with 400 repetitions" in page
