"""Sizes that expect what an earlier campaign has shown: by hand, enough, and what is refused."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import pytest

from fi.faults.csv_row import FAULT_COLUMNS, fault_row
from fi.faults.fault import Fault
from fi.faults.fault_sites import Kind, SiteFamily
from fi.faults.fault_space import FaultSpace
from fi.sampling.fault_draw import draw
from fi.sampling.pilot import PilotPlan
from fi.sampling.plan import SamplingPlan
from fi.sampling.strata import describe_design
from fi.statistics.group_estimates import estimate_groups
from fi.statistics.histogram import Histogram
from fi.statistics.neyman import expected_size, pool

FAMILIES = (
    SiteFamily("fc1.weight", (20, 30), Kind.SYNAPSE),
    SiteFamily("lif1.potential", (20,), Kind.STATE),
)
SPACE = FaultSpace(FAMILIES)  # 19,200 and 640 faults
RATES = ("fully_masked", "sdc_1", "correct")


def results_of(faults: Sequence[Fault]) -> pd.DataFrame:
    """Of 50 samples the two highest bits corrupt 40, in the potential every bit 20."""
    table = pd.DataFrame([fault_row(fault) for fault in faults], columns=list(FAULT_COLUMNS))
    sdc = np.array([40 if f.bits[0] >= 30 else 20 * (f.layer != "fc1.weight") for f in faults])
    counts = {"samples": 50, "sdc_1": sdc, "fully_masked": 50 - sdc, "correct": 50 - sdc // 2}
    return table.assign(**counts)


def pilot_of(plan: SamplingPlan, **changes: object) -> PilotPlan:
    """A network-wise pilot of 660 faults."""
    results = results_of(draw(SPACE, SamplingPlan(margin=0.05, seed=1)))
    return PilotPlan(plan, results, describe_design(SPACE, "network-wise"), **changes)  # type: ignore[arg-type]


def test_the_size_is_that_of_the_rate_that_asks_for_the_most() -> None:
    plan = SamplingPlan(margin=0.02)
    pilot = pilot_of(plan)
    seen = {rate: Histogram.of(pilot.results[rate] / 50) for rate in RATES}
    wanted = {rate: expected_size(seen[rate], SPACE.size, 0.02, 0.99) for rate in RATES}
    assert pilot.expect_sizes(SPACE, 0.02) == {"network": wanted}
    sized = pilot.size(SPACE)
    assert sized.planned == (("network", max(wanted.values())),)
    assert len(draw(SPACE, sized)) == max(wanted.values()) < plan.size(SPACE.size) / 2


@pytest.mark.parametrize(("scheme", "by"), [("network-wise", []), ("layer-wise", ["layer"])])
@pytest.mark.parametrize("margin", [0.02, 0.05])
def test_so_many_faults_are_about_enough(scheme: str, by: list[str], margin: float) -> None:
    sized = pilot_of(SamplingPlan(scheme, margin=margin)).size(SPACE)
    table = estimate_groups(
        results_of(draw(SPACE, sized)), describe_design(SPACE, scheme), by, rates=RATES
    )
    widest = max((table[f"{rate} high"] - table[f"{rate} low"]).max() / 2 for rate in RATES)
    assert 0.7 * margin < widest < 1.15 * margin


def test_strata_that_the_pilot_had_not_are_expected_to_be_the_worst() -> None:
    plan = SamplingPlan("data-unaware", margin=0.1)
    pilot = pilot_of(plan)
    few = pilot.results[pilot.results["Layer"] == "fc1.weight"]
    sizes = dict(PilotPlan(plan, few, pilot.design).size(SPACE).planned)
    assert sizes["lif1.potential bit 3"] == expected_size(Histogram.of([]), 20, 0.1, 0.99)
    assert sizes["fc1.weight bit 3"] < plan.size(600)


def test_a_pilot_by_strata_counts_each_with_its_part() -> None:
    strata = [Histogram.of([0.0] * 30, 900, 0.9), Histogram.of([1.0] * 30, 100, 0.1)]
    both = pool(strata)
    assert both.values.tolist() == [0, 1]
    assert both.counts == pytest.approx([54, 6])


def test_a_plan_without_a_pilot_is_recorded_as_it_was() -> None:
    assert "planned" not in SamplingPlan().record()
    sized = SamplingPlan(planned=(("network", 7),))
    assert sized.record()["planned"] == (("network", 7),)
    assert sized.tag != SamplingPlan().tag == ""


@pytest.mark.parametrize(
    ("plan", "changes", "message"),
    [
        ({"scheme": "data-aware"}, {}, "no sizes to a draw that is data-aware; allowed: network"),
        ({"scheme": "exhaustive"}, {}, "no sizes to a draw that is exhaustive"),
        ({"together": 2}, {}, "a pilot is of single faults"),
        ({}, {"interval": "bayes"}, "interval is 'bayes'"),
    ],
)
def test_what_has_no_pilot_is_named(
    plan: dict[str, object], changes: dict[str, object], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        pilot_of(SamplingPlan(**plan), **changes)  # type: ignore[arg-type]
