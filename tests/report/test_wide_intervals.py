"""Families of which few faults were run: the mark, and whether what it advises is enough."""

from __future__ import annotations

import io

import numpy as np
import pandas as pd
import pytest
from rich.console import Console

from fi.metrics.counts import COUNT_COLUMNS
from fi.report.terminal.table import print_table
from fi.report.terminal.wide_intervals import describe_wide, find_wide
from fi.statistics.group_estimates import estimate_groups
from fi.statistics.histogram import Histogram
from fi.statistics.neyman import expected_size, pool
from fi.statistics.result_table import result_table
from fi.statistics.survey_design import Design, FamilyFaults

BITS = tuple(map(str, range(32)))
FAMILIES = (
    FamilyFaults("fc1.weight", 10_000, {"bit-flip": BITS}),
    FamilyFaults("lif1.beta", 20, {"bit-flip": BITS}),
)
DESIGN = Design("network-wise", FAMILIES)


def results(**sdc: list[int]) -> pd.DataFrame:
    """SDC-1 of 10 samples of each fault, by family with ``_`` for the dot; nothing else happens."""
    rows = [
        [name.replace("_", "."), f"({n},)", "3", "bit-flip", "", 10, 10 - hit, hit, *[0] * 5, 9, 9]
        for name, hits in sdc.items()
        for n, hit in enumerate(hits)
    ]
    columns = ["Layer", "TensorIndex", "Bit", "Model", "Step", *COUNT_COLUMNS]
    return pd.DataFrame(rows, columns=columns).reset_index(names="Injection")


FEW = results(fc1_weight=[0] * 995 + [1] * 5, lif1_beta=[0] * 8 + [5] * 4)


def test_families_with_a_dozen_faults_are_marked() -> None:
    table = result_table(FEW, DESIGN, batches=1)
    assert find_wide(table) == ["lif1.beta"]
    note, out = describe_wide(table, FEW, DESIGN, 0.99, "gaffke"), io.StringIO()
    print_table(table, "Net", console=Console(file=out, width=80), note=note)
    lines = out.getvalue().splitlines()
    assert max(map(len, lines)) <= 80
    marked = [line for line in lines if "to" in line.split() and "*" in line]
    assert [line.split()[0] for line in marked] == ["lif1.beta"]
    assert " ".join(note.split()) in " ".join(out.getvalue().split())


def test_the_line_says_how_many_faults_it_takes() -> None:
    table = result_table(FEW, DESIGN, batches=1)
    note = describe_wide(table, FEW, DESIGN, 0.99, "gaffke")
    assert note.startswith("* wider than 5 % either way: few faults were run, of lif1.beta. A half")
    # layer-wise: 320,000 of fc1 and 640 of lif1 at 5 % and t = 2.58, as the formula has it
    assert "in each layer takes 990 faults (--scheme layer-wise --margin 0.05)" in note
    seen = pool([Histogram.of([0.0] * 8 + [0.5] * 4)])
    wanted = expected_size(seen, 640, 0.05, 0.99)
    assert 150 < wanted < 250
    assert f"in each family about {2 * wanted:,} (--iterative --margin 0.05" in note
    assert f"--minimum-per-stratum {wanted})." in note


def test_what_it_advises_is_enough() -> None:
    """So many faults, with rates spread as those that were seen, have intervals below 5 %."""
    wanted = expected_size(Histogram.of([0.0] * 8 + [0.5] * 4), 640, 0.05, 0.99)
    hits = np.random.default_rng(0).permutation(np.repeat([0, 5], [2 * wanted // 3, wanted // 3]))
    more = results(fc1_weight=[0] * 1000, lif1_beta=hits.tolist())
    table = estimate_groups(more, DESIGN, ["family"], rates=["sdc_1"]).set_index("family")
    low, high = table.loc["lif1.beta", ["sdc_1 low", "sdc_1 high"]]
    assert 0.04 < (high - low) / 2 <= 0.05


def test_where_nothing_is_wide_there_is_no_line() -> None:
    many = results(fc1_weight=[0] * 1000, lif1_beta=[0] * 600)
    table = result_table(many, DESIGN, batches=1)
    assert find_wide(table) == []
    assert describe_wide(table, many, DESIGN, 0.99, "gaffke") == ""


@pytest.mark.parametrize("design", [Design.of_list([f.name for f in FAMILIES])])
def test_of_a_list_nobody_knows_how_many_it_takes(design: Design) -> None:
    table = result_table(FEW, design, batches=1)
    note = describe_wide(table, FEW, design, 0.99, "gaffke")
    assert note == "* wider than 5 % either way: few faults were run, of lif1.beta."
