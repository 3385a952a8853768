"""Iterative draws: the same again, nothing twice, planned by hand, and covering."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

import fi.sampling.sequential
from fi.campaign.schedule import IterativeFaults
from fi.faults.csv_row import FAULT_COLUMNS, fault_row
from fi.faults.fault import Fault
from fi.faults.fault_sites import Kind, SiteFamily
from fi.faults.fault_space import FaultSpace
from fi.sampling.plan import SamplingPlan
from fi.sampling.sequential import IterativeDraw
from fi.sampling.sequential_plan import TRACKED
from fi.sampling.stratum_sizes import GROWTH, PILOT
from fi.statistics.group_estimates import estimate_groups
from fi.statistics.histogram import Histogram
from fi.statistics.intervals import interval
from fi.statistics.neyman import (
    least_size,
    neyman_sizes,
    observed_deviations,
    pilot_sizes,
    yes_no_deviations,
)
from fi.store.results_file import ResultsFile

FAMILIES = (
    SiteFamily("fc1.weight", (20, 30), Kind.SYNAPSE),
    SiteFamily("fc1.bias", (20,), Kind.SYNAPSE),
    SiteFamily("lif1.beta", (), Kind.NEURON),
    SiteFamily("lif1.potential", (20,), Kind.STATE),
)
SPACE = FaultSpace(FAMILIES)  # 20,512 faults: 19,200, 640, 32, 640
SAMPLES = 50
Z = 2.5758293035489
#: Of a network-wise plan of margin 0.03, as it was before there was another rule than Wilson's.
WILSON_DIGEST = "e659a759d07c4644021e2c46c0ab4b7cb73b7cc221fce0a6b78991ec94f81d16"
Rule = Callable[[Fault], int]


def harmless(fault: Fault) -> int:
    return 0


def high_bits(fault: Fault) -> int:
    """Samples of 50 that a fault corrupts: the two highest bits many, in the bias all bits some."""
    return 40 if fault.bits[0] >= 30 else 10 * (fault.layer == "fc1.bias")


def results_of(faults: Sequence[Fault], rule: Rule) -> pd.DataFrame:
    """What the faults do: as many samples corrupted as ``rule`` says, a fifth were wrong before."""
    table = pd.DataFrame([fault_row(fault) for fault in faults], columns=list(FAULT_COLUMNS))
    sdc = np.array([rule(fault) for fault in faults], dtype=np.int64)
    counts = {"samples": SAMPLES, "sdc_1": sdc, "fully_masked": SAMPLES - sdc}
    return table.assign(**counts, correct=(SAMPLES - sdc) * 4 // 5)


def run_draw(draw: IterativeDraw, rule: Rule) -> tuple[list[list[Fault]], pd.DataFrame]:
    """All faults of a campaign, part by part, and the results."""
    parts: list[list[Fault]] = []
    results = ResultsFile.nothing()
    while part := draw.next_faults(results):
        parts.append(part)
        results = pd.concat([results, results_of(part, rule)], ignore_index=True)
    return parts, results


def make_draw(
    scheme: str = "network-wise", margin: float = 0.03, **changes: object
) -> IterativeDraw:
    rates, interval = changes.pop("rates", TRACKED), changes.pop("interval", "gaffke")
    plan = SamplingPlan(scheme, margin=margin, **changes)  # type: ignore[arg-type]
    return IterativeDraw(SPACE, plan, 0.99, rates, interval)  # type: ignore[arg-type]


SCHEMES = [("network-wise", 0.02), ("layer-wise", 0.04), ("data-unaware", 0.15)]


@pytest.mark.parametrize(("scheme", "margin"), SCHEMES)
def test_the_same_again_and_no_fault_twice(scheme: str, margin: float) -> None:
    parts, _ = run_draw(make_draw(scheme, margin), high_bits)
    faults = [fault for part in parts for fault in part]
    assert len(parts) >= (2 if scheme == "data-unaware" else 3)
    assert run_draw(make_draw(scheme, margin), high_bits)[0] == parts
    assert run_draw(make_draw(scheme, margin, seed=3), high_bits)[0] != parts
    assert len({SPACE.number(fault) for fault in faults}) == len(faults)
    assert [fault.injection for fault in faults] == list(range(len(faults)))


def test_parts_are_replayed_from_results_of_which_later_ones_are_there_too() -> None:
    parts, results = run_draw(make_draw(), high_bits)
    shuffled = results.sample(frac=1, random_state=1)
    replayed = make_draw()
    assert [replayed.next_faults(shuffled) for _ in parts] == parts
    assert replayed.next_faults(shuffled) == []
    with pytest.raises(ValueError, match=rf"have {len(results) - 1} of the {len(results)} faults"):
        replayed.next_faults(results[1:])


def test_a_stratum_is_one_random_order_whatever_was_seen() -> None:
    """What differs is how far it is taken, and how strata are mixed."""
    orders = []
    for rule in (harmless, high_bits):
        parts, _ = run_draw(make_draw("layer-wise", 0.05), rule)
        orders.append([f for part in parts for f in part if f.layer.startswith("lif1")])
    few, many = ({SPACE.number(fault) for fault in order} for order in orders)
    assert few < many


def test_the_plan_by_hand() -> None:
    # margin 0.1 at 99 %: z^2 (1 / 0.2 - 1) = 26.54 faults, of 20,512: 26.54 * 20512 / 20537.5
    assert least_size(20_512, 0.1, 0.99, "wilson") == pytest.approx(26.507, abs=1e-3)
    # Gaffke's, as of an exact binomial: log(200) / -log(1 - 0.2) = 23.7
    assert least_size(20_512, 0.1, 0.99) == 24
    for method in ("wilson", "gaffke", "betting"):
        assert least_size(20_512, 0.5, 0.99, method) == 0
        none = [
            Histogram.of([0.0] * (int(least_size(900, 0.02, 0.99, method)) + n), 900)
            for n in (0, 1)
        ]
        widths = [(high - low) / 2 for low, high in (interval([h], 0.99, method) for h in none)]
        assert widths[1] <= 0.02
        assert method != "wilson" or widths[0] > 0.02
    # 26.507 in proportion, rounded up: 25, 1, 1, 1; but 10 of each, or all
    sizes = np.array([19_200.0, 640, 5, 640])
    assert pilot_sizes(sizes, 26.507, 10).tolist() == [25, 10, 5, 10]
    # without a hit in 10: p = z^2 / 2 / (10 + z^2) = 0.19943, s = sqrt(p (1 - p))
    assert yes_no_deviations(np.zeros(1), np.array([10.0]), Z)[0] == pytest.approx(
        0.39957, abs=1e-5
    )
    # rate 0.5: p = 0.5, s = 0.5 whatever n is
    assert yes_no_deviations(np.array([0.5]), np.array([7.0]), Z)[0] == pytest.approx(0.5)
    # of what was seen: 10 zeros, half a fault at 0 and at 1: p = 0.5 / 11, s = sqrt(p (1 - p))
    seen = [Histogram.of([0.0] * 10), Histogram.of([0.4, 0.6])]
    # 0.4, 0.6, and 0 and 1 by half: mean 0.5, (0.01 + 0.01 + 0.125 + 0.125) / 3
    assert observed_deviations(seen) == pytest.approx([0.20830, 0.3], abs=1e-5)


def test_neyman_by_hand() -> None:
    """Two strata without end, W s = 0.3 and 0.1: for a variance of 0.0004 n = 300 and 100."""
    spread, endless = np.array([0.3, 0.1]), np.full(2, 1e12)
    both = np.zeros(2, dtype=np.int64)
    arguments = (endless, both, np.array([0.0004]), (1.0, 1e9))
    # (0.3 + 0.1)^2 / 0.0004 = 400 in the proportion 3 : 1
    assert neyman_sizes(spread, np.ones(2), *arguments).tolist() == pytest.approx([300, 100], abs=1)
    # 200 of the second are there: 0.1^2 / 200 = 0.00005 is left, 0.3^2 / 0.00035 = 257.1
    found = neyman_sizes(spread, np.array([1.0, 200]), *arguments)
    assert found.tolist() == [258, 200]
    # the first one has only 100 faults: known, the other one gives 0.1^2 / 0.0004 = 25
    limited = (np.array([100, 1e12]), *arguments[1:])
    assert neyman_sizes(np.array([30, 0.1]), np.ones(2), *limited).tolist() == [100, 25]


def test_growth_is_bounded_for_each_group() -> None:
    spread, groups = np.array([0.5, 0.5, 0.5]), np.arange(3)
    wanted = 0.25 / np.array([1000.0, 150, 101])  # n = 1000, 150, 101 of endless strata
    taken, endless = np.full(3, 100.0), np.full(3, 1e15)
    found = neyman_sizes(spread, taken, endless, groups, wanted, (1.1, 2.0))
    assert found.tolist() == pytest.approx([200, 150, 110], abs=1)


def half_widths(
    results: pd.DataFrame, draw: IterativeDraw, by: Sequence[str]
) -> NDArray[np.float64]:
    """``[groups, rates]``, as tables show them."""
    table = estimate_groups(results, draw.design, by, 0.99, TRACKED)
    ends = [table[f"{r} high"].to_numpy() - table[f"{r} low"].to_numpy() for r in TRACKED]
    return np.stack(ends, axis=1).astype(float) / 2


@pytest.mark.parametrize(
    ("scheme", "margin", "by"),
    [
        ("network-wise", 0.03, []),
        ("layer-wise", 0.05, ["layer"]),
        ("data-unaware", 0.2, ["family", "bit"]),
    ],
)
def test_it_stops_when_the_intervals_of_the_table_are_narrow(
    scheme: str, margin: float, by: list[str]
) -> None:
    draw = make_draw(scheme, margin)
    parts, results = run_draw(draw, high_bits)
    widths = half_widths(results, draw, by)
    assert widths.shape == (len(draw.targets), len(TRACKED))
    assert widths.max() <= margin
    last = draw.analyses[-1]
    assert (last.faults, last.open) == (len(results), ())
    assert list(last.half_widths.values()) == pytest.approx(widths.max(axis=0), abs=1e-9)
    before = half_widths(results[: -len(parts[-1])], draw, by)
    assert before.max() > margin  # one part less was not enough
    assert len(draw.analyses) == len(parts)
    assert draw.analyses[-2].open


def test_it_takes_far_less_than_the_formula_where_rates_are_small() -> None:
    plan = SamplingPlan(margin=0.03)
    draw = IterativeDraw(SPACE, plan, 0.99, ["sdc_1"])
    _, results = run_draw(draw, lambda fault: 50 * (fault.bits[0] == 31))  # a rate of 1 / 32
    assert len(results) < plan.size(SPACE.size) / 3
    _, half = run_draw(make_draw(), lambda fault: 50 * (fault.bits[0] % 2))  # a rate of 1 / 2
    assert len(half) > plan.size(SPACE.size) * 0.9


def test_a_pilot_without_an_sdc_is_no_proof() -> None:
    draw = make_draw("network-wise", 0.03)
    pilot = draw.next_faults(ResultsFile.nothing())
    found = Counter(fault.layer for fault in pilot)
    assert found["fc1.bias"] == found["lif1.beta"] == found["lif1.potential"] == PILOT
    # fc1.weight gets its part of the least size, log(200) / -log(1 - 0.06) = 86 of 20,512
    assert least_size(20_512, 0.03, 0.99) == pytest.approx(86, abs=1)
    assert found["fc1.weight"] == -(-19_200 * least_size(20_512, 0.03, 0.99) // 20_512)
    assert draw.next_faults(results_of(pilot, harmless)) != []  # four strata are less sure than one
    # alone it is done with the least size: the interval is 0 to 2 x margin
    alone = make_draw("layer-wise", 0.03, sites=("fc1.weight",))
    least = int(least_size(19_840, 0.03, 0.99))
    sizes = Counter(f.layer.partition(".")[0] for f in run_draw(alone, harmless)[0][0])
    assert sizes["fc1"] == least
    enough, fewer = (interval([Histogram.of([0.0] * n, 19_840)])[1] for n in (least, least - 1))
    assert enough / 2 <= 0.03 < fewer / 2


def test_a_sure_stratum_gets_less_than_its_part() -> None:
    """Faults of the weights do nothing, of the other small families a half: these get more."""
    draw = make_draw("network-wise", 0.01, rates=["sdc_1"])
    _, results = run_draw(draw, lambda fault: 25 if fault.layer != "fc1.weight" else 0)
    sizes = results["Layer"].value_counts()
    assert sizes["fc1.bias"] / 640 > 2 * sizes["fc1.weight"] / 19_200


def test_small_strata_are_exhausted_and_then_done() -> None:
    draw = make_draw("data-unaware", 0.02)
    _, results = run_draw(draw, lambda fault: 5 * (fault.index[-1:] > (9,)))
    sizes = results.groupby(["Layer", "Bit"]).size()
    assert (sizes["lif1.beta"] == 1).all()
    assert (sizes["fc1.bias"] == 20).all()
    assert {name: size for name, (size, _) in draw.sizes.items()} == {
        f"{family} bit {bit}": size for (family, bit), size in sizes.items()
    }
    assert sizes["fc1.weight"].max() < 600


def test_parts_grow_by_bounded_factors() -> None:
    draw = make_draw("network-wise", 0.02)
    run_draw(draw, high_bits)
    sizes = [analysis.faults for analysis in draw.analyses]
    assert len(sizes) > 3
    for size, following in pairwise(sizes):
        assert GROWTH[0] * size - 1 <= following <= GROWTH[1] * size + len(FAMILIES)


def test_done_strata_are_left_alone() -> None:
    """Nothing in fc1, a half in lif1: fc1 is done after the pilot."""
    draw = make_draw("layer-wise", 0.05, rates=["sdc_1"])
    parts, _ = run_draw(draw, lambda fault: 25 if fault.layer.startswith("lif1") else 0)
    assert [analysis.open for analysis in draw.analyses[:1]] == [("lif1",)]
    assert {fault.layer.partition(".")[0] for look in parts[1:] for fault in look} == {"lif1"}


def test_only_the_tracked_rates_count() -> None:
    rule = high_bits
    sizes = {
        rates: len(run_draw(make_draw(rates=rates), rule)[1])
        for rates in (TRACKED, ("sdc_1",), ("correct",))
    }
    # a fault takes off 4/5 as many correct answers as it makes SDC-1: the latter decides
    assert sizes["correct",] < 0.8 * sizes["sdc_1",]
    assert sizes[TRACKED] == pytest.approx(sizes["sdc_1",], rel=0.1)
    # Wilson's take both for a yes or no: correct is about 0.75, SDC-1 about 0.06
    wilson = {
        rates: len(run_draw(make_draw(rates=rates, interval="wilson"), rule)[1])
        for rates in (("sdc_1",), ("correct",))
    }
    assert wilson["sdc_1",] < wilson["correct",] / 2
    assert sizes["correct",] < wilson["correct",] / 4


@pytest.mark.parametrize(
    ("plan", "rates", "message"),
    [
        ({"scheme": "exhaustive"}, TRACKED, "an exhaustive draw takes every fault"),
        ({"together": 2}, TRACKED, "trials of 2 faults are not drawn iteratively"),
        ({}, (), "the tracked rates are none; allowed, each once: fully_masked, sdc_1"),
        ({}, ("sdc_1", "golden_correct"), "the tracked rates are sdc_1, golden_correct"),
        ({}, ("sdc_1", "sdc_1"), "each once"),
    ],
)
def test_what_cannot_be_drawn_is_named(
    plan: dict[str, object], rates: Sequence[str], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        IterativeDraw(SPACE, SamplingPlan(**plan), 0.99, rates)  # type: ignore[arg-type]


def test_a_list_that_would_be_too_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fi.sampling.sequential, "LONGEST_LIST", 500)
    with pytest.raises(ValueError, match=r"asks for \d+ faults in all; allowed: 500"):
        run_draw(make_draw(margin=0.01), high_bits)


def test_a_space_of_any_size() -> None:
    """10^40 words: a rate of 1 / 32 needs as many faults as in any large network."""
    space = FaultSpace((SiteFamily("fc1.weight", (10**40,), Kind.SYNAPSE),))
    draw = IterativeDraw(space, SamplingPlan(margin=0.02), 0.99, ["sdc_1"])
    parts, results = run_draw(draw, lambda fault: 50 * (fault.bits[0] == 31))
    assert Z**2 * 0.02 * 0.98 / 0.02**2 < len(results) < Z**2 * 0.06 * 0.94 / 0.02**2
    assert len({fault.index for part in parts for fault in part}) == len(results)


@pytest.mark.parametrize("critical", [0.002, 0.2])
def test_the_interval_at_the_end_covers(critical: float) -> None:
    """100 campaigns on one population: at 99 %, 5 misses or more have a probability of 0.3 %."""
    rng = np.random.default_rng(7)
    hits = np.where(rng.random(SPACE.size) < critical, rng.integers(1, SAMPLES + 1, SPACE.size), 0)
    weight = SPACE.range_of("fc1.bias")
    hits[weight.start : weight.stop] = SAMPLES  # one family is all critical
    true = hits.mean() / SAMPLES
    covered = []
    for seed in range(100):
        draw = make_draw(margin=0.04, seed=seed, rates=["sdc_1"])
        _, results = run_draw(draw, lambda fault: int(hits[SPACE.number(fault)]))
        found = estimate_groups(results, draw.design, rates=["sdc_1"]).iloc[0]
        covered.append(found["sdc_1 low"] <= true <= found["sdc_1 high"])
    assert sum(covered) > 95


def test_betting_stops_by_intervals_that_have_a_proof() -> None:
    draw = make_draw("layer-wise", 0.1, rates=["sdc_1"], interval="betting")
    _, results = run_draw(draw, high_bits)
    table = estimate_groups(results, draw.design, ["layer"], 0.99, ["sdc_1"], "betting")
    half = (table["sdc_1 high"] - table["sdc_1 low"]) / 2
    assert half.max() <= 0.1
    assert len(results) > len(run_draw(make_draw("layer-wise", 0.1, rates=["sdc_1"]), high_bits)[1])


def test_stored_campaigns_by_wilsons_rule_keep_their_faults_and_their_names() -> None:
    """Drawn before there was another rule: the same pilot, the same digest, the same end."""
    draw = make_draw("network-wise", 0.03, interval="wilson")
    assert IterativeFaults(draw).digest == WILSON_DIGEST
    parts, _ = run_draw(make_draw("network-wise", 0.03, interval="wilson"), high_bits)
    assert [len(part) for part in parts] == [127, 127, 254, 508, 285]
    assert IterativeFaults(make_draw("network-wise", 0.03)).digest != WILSON_DIGEST
