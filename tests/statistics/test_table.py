"""The result table: the published rows, means over faults, and a view of 80 columns."""

from __future__ import annotations

import csv
import io
import re
from fractions import Fraction

import numpy as np
import pandas as pd
import pytest
from rich.console import Console

from fi.metrics.counts import COUNT_COLUMNS
from fi.report.terminal.table import plain_console, print_table
from fi.statistics.group_estimates import estimate_groups
from fi.statistics.histogram import Histogram
from fi.statistics.intervals import interval
from fi.statistics.result_table import result_table, table_csv
from fi.statistics.survey_design import Design, FamilyFaults

PUBLISHED = [
    "# of faults",
    "# of injections",
    "fully_masked",
    "SDC_1",
    "SDC_0_5%",
    "SDC_5_10%",
    "SDC_10_20%",
    "SDC_20",
    "facc",
    "acc",
]
SIZES = {"fc1.weight": 1000, "fc1.bias": 4, "lif1.beta": 50}


def design(populations: dict[str, int], scheme: str = "network-wise") -> Design:
    """A space of so many faults in each family, all of bit 3."""
    bits = {"bit-flip": ("3",)}
    return Design(scheme, tuple(FamilyFaults(n, size, bits) for n, size in populations.items()))


POPULATIONS = design(SIZES)


def results(*rows: tuple[str, list[int]]) -> pd.DataFrame:
    """Rows of (family, counts); every fault is another one."""
    columns = ["Injection", "Layer", "TensorIndex", "Bit", "Model", "Step", *COUNT_COLUMNS]
    return pd.DataFrame(
        [
            [n, name, f"({n},)", 3, "bit-flip", None, *counts]
            for n, (name, counts) in enumerate(rows)
        ],
        columns=columns,
    )


SMALL = results(
    ("fc1.weight", [10, 10, 0, 0, 0, 0, 0, 0, 8, 8]),
    ("fc1.weight", [10, 4, 1, 2, 1, 1, 1, 3, 5, 8]),
    ("lif1.beta", [10, 0, 10, 0, 0, 0, 0, 0, 1, 8]),
)


def test_the_published_rows_come_first_and_in_order() -> None:
    table = result_table(SMALL, POPULATIONS, batches=3)
    assert list(table.index[:10]) == PUBLISHED
    assert list(table.index[10:12]) == ["fully_masked low", "fully_masked high"]
    assert list(table.index[-3:]) == ["non_finite", "non_finite low", "non_finite high"]
    assert list(table.columns) == ["fc1.weight", "fc1.bias", "lif1.beta", "all"]


def test_cells_by_hand() -> None:
    table = result_table(SMALL, POPULATIONS, batches=3)
    assert table["fc1.weight"][PUBLISHED].tolist() == pytest.approx(
        [2, 6, 0.7, 0.05, 0.1, 0.05, 0.05, 0.05, 0.65, 0.8]
    )
    assert table["lif1.beta"][PUBLISHED].tolist() == [1, 3, 0, 1, 0, 0, 0, 0, 0.1, 0.8]
    assert table.at["non_finite", "fc1.weight"] == pytest.approx(0.15)
    ends = [table.at[f"SDC_1 {end}", "fc1.weight"] for end in ("low", "high")]
    assert ends == list(interval([Histogram.of([0.0, 0.1], 1000)]))


def test_a_family_without_a_fault_is_unknown() -> None:
    column = result_table(SMALL, POPULATIONS, batches=3)["fc1.bias"]
    assert column["# of faults"] == 0
    assert np.isnan(column["SDC_1"])
    assert (column["SDC_1 low"], column["SDC_1 high"]) == (0, 1)


def test_network_wise_overall_is_the_mean_over_faults() -> None:
    table = result_table(SMALL, POPULATIONS, batches=3)
    assert table.at["SDC_1", "all"] == pytest.approx(1.1 / 3)
    assert table.at["# of injections", "all"] == 9
    ends = (table.at["SDC_1 low", "all"], table.at["SDC_1 high", "all"])
    assert ends == pytest.approx(interval([Histogram.of([0.0, 0.1, 1.0], 1054)]))


def test_layer_wise_overall_is_weighed_by_the_population_of_the_layers() -> None:
    table = result_table(SMALL, design(SIZES, "layer-wise"), batches=3)
    assert table.at["SDC_1", "all"] == pytest.approx((1004 * 0.05 + 50 * 1.0) / 1054)
    ends = (table.at["SDC_1 low", "all"], table.at["SDC_1 high", "all"])
    strata = [
        Histogram.of([0.0, 0.1], 1004, 1004 / 1054),
        Histogram.of([1.0], 50, 50 / 1054),
    ]
    assert ends == pytest.approx(interval(strata))
    assert table.at["acc", "all"] == pytest.approx(0.8)
    by_family = result_table(SMALL, POPULATIONS, batches=3)
    assert table.iloc[:, :3].equals(by_family.iloc[:, :3])


def test_the_layer_wise_estimate_is_unbiased() -> None:
    """Mean over many draws of a small population, against its exact rate."""
    rng = np.random.default_rng(5)
    rates = {"a.w": rng.integers(0, 4, 40), "a.b": rng.integers(0, 11, 6), "c.w": np.full(10, 9)}
    exact = sum(values.sum() for values in rates.values()) / 560
    layer = [("a.w", n) for n in range(40)] + [("a.b", n) for n in range(6)]
    other = [("c.w", n) for n in range(10)]
    means = []
    for _ in range(200):
        drawn = [layer[n] for n in rng.choice(46, 8, replace=False)]
        drawn += [other[n] for n in rng.choice(10, 5, replace=False)]
        rows = [(f, [10, 10 - int(rates[f][n]), int(rates[f][n]), *[0] * 7]) for f, n in drawn]
        sizes = {"a.w": 40, "a.b": 6, "c.w": 10}
        table = estimate_groups(results(*rows), design(sizes, "layer-wise"), rates=["sdc_1"])
        means.append(table.at[0, "sdc_1"])
    spread = np.std(means) / np.sqrt(len(means))
    assert abs(np.mean(means) - exact) < 4 * spread


def test_every_fault_run_leaves_no_interval() -> None:
    table = result_table(SMALL, design({"fc1.weight": 2, "lif1.beta": 1}), batches=1)
    for row in PUBLISHED[2:9]:
        assert (table.loc[f"{row} low"] == table.loc[row]).all()
        assert (table.loc[f"{row} high"] == table.loc[row]).all()


def test_a_list_of_unknown_origin_is_not_corrected() -> None:
    table = result_table(SMALL, Design.of_list(["fc1.weight", "fc2.weight", "lif1.beta"]), 1)
    ends = [table.at[f"SDC_1 {end}", "fc1.weight"] for end in ("low", "high")]
    assert ends == list(interval([Histogram.of([0.0, 0.1])]))
    assert table.at["# of faults", "fc2.weight"] == 0
    assert np.isnan(table.at["SDC_1", "fc2.weight"])


def test_what_is_foreign_is_named() -> None:
    with pytest.raises(ValueError, match=r"results of lif1.beta; the families are fc1.weight"):
        result_table(SMALL, design({"fc1.weight": 2}), batches=1)
    with pytest.raises(ValueError, match=r"n is 2; allowed: 0 to the population, 1"):
        result_table(SMALL, design({"fc1.weight": 1, "lif1.beta": 1}), batches=1)


def many(families: int, faults: int) -> tuple[pd.DataFrame, Design]:
    """Random results of a network of that many families."""
    layers = ["conv1", "lif1", "conv2", "lif2", "fc1", "lif3"]
    attributes = {"c": ["weight", "bias"], "f": ["weight", "bias"]}
    known = [
        f"{layer}.{attribute}"
        for layer in layers
        for attribute in attributes.get(layer[0], ["beta", "threshold", "potential", "spike"])
    ][:families]
    rng = np.random.default_rng(2)
    rows = []
    for _ in range(faults):
        outcomes = rng.multinomial(1000, [0.99, 0.001, 0.007, 0.0005, 0.0005, 0.001]).tolist()
        correct, non_finite = int(rng.integers(700, 900)), int(rng.integers(0, 3))
        rows.append((known[rng.integers(families)], [1000, *outcomes, non_finite, correct, 830]))
    return results(*rows), design(dict.fromkeys(known, 320_000))


def names(space: Design) -> list[str]:
    return [family.name for family in space.families]


def test_cells_agree_with_exact_arithmetic() -> None:
    frame, populations = many(12, 300)
    table = result_table(frame, populations, batches=8)
    columns = {"fully_masked": "fully_masked", "SDC_0_5%": "sdc_0_5", "facc": "correct"}
    for row, column in columns.items():
        for name in names(populations):
            counts = [
                c for c, layer in zip(frame[column], frame["Layer"], strict=True) if layer == name
            ]
            exact = sum(Fraction(int(count), 1000) for count in counts) / len(counts)
            assert table.at[row, name] == pytest.approx(float(exact), rel=1e-12)


def test_the_csv_has_the_published_shape() -> None:
    frame, populations = many(12, 300)
    rows = list(csv.reader(io.StringIO(table_csv(result_table(frame, populations, batches=8)))))
    assert rows[0] == ["", *names(populations), "all"]
    assert [row[0] for row in rows[1:11]] == PUBLISHED
    assert rows[1][-1] == "300"
    assert rows[2][-1] == "2400"
    assert 0.98 < float(rows[3][-1]) < 1
    assert table_csv(result_table(SMALL, POPULATIONS, 3)).splitlines()[4].split(",")[2] == ""


@pytest.mark.parametrize("families", [12, 18])
def test_the_terminal_view_fits_80_columns(families: int) -> None:
    frame, populations = many(families, 400)
    table = result_table(frame, populations, batches=8)
    out = io.StringIO()
    print_table(table, "CSNN, 51196_fault_list", console=Console(file=out, width=80))
    lines = out.getvalue().splitlines()
    assert max(map(len, lines)) <= 80
    assert "\x1b" not in out.getvalue(), "no escape codes outside a terminal"
    assert "…" not in out.getvalue(), "nothing is cut off"
    rows = {line.split()[0]: line.split() for line in lines if line.split()}
    for name in [*names(populations), "all"]:
        assert sum(line.startswith(f"{name} ") for line in lines) == 2
        low, to, high = rows[name][1:4]  # the second table: intervals
        assert to == "to"
        assert float(low) == pytest.approx(100 * table.at["fully_masked low", name], abs=6e-4)
        assert float(high) == pytest.approx(100 * table.at["fully_masked high", name], abs=6e-4)
    text = " ".join(out.getvalue().split())
    assert "99 %, Gaffke's by fault, finite-population corrected; conjectured to cover" in text
    assert "over faults, for this test set" in text


def test_the_footer_says_where_no_population_is_known() -> None:
    out = io.StringIO()
    table = result_table(SMALL, Design.of_list(["fc1.weight", "lif1.beta"]), 3)
    print_table(table, "net", console=Console(file=out, width=80), corrected=False)
    text = " ".join(out.getvalue().split())
    assert "finite-population corrected" not in text
    assert "not corrected for a finite population (how the list was drawn" in text


def test_the_terminal_view_shows_the_rates() -> None:
    out = io.StringIO()
    table = result_table(SMALL, POPULATIONS, 3)
    print_table(table, "net", console=Console(file=out, width=80))
    lines = [line.split() for line in out.getvalue().splitlines()]
    assert ["fc1.weight", "2", "70.000", "5.000", "10.000", *["5.000"] * 3, "65.000"] in lines
    assert ["lif1.beta", "1", "0", "100", "0", "0", "0", "0", "10.000"] in lines
    assert ["fc1.bias", "0", *["-"] * 7] in lines


def test_a_terminal_has_colours_by_severity_and_the_numbers_of_the_csv() -> None:
    table = result_table(SMALL, POPULATIONS, batches=3)
    text = io.StringIO()
    coloured = Console(file=text, width=80, force_terminal=True, color_system="standard")
    print_table(table, "Net", 0.99, coloured)
    assert re.search(r"\x1b\[1;35m *100\b", text.getvalue())  # SDC-1 of lif1.beta: bold magenta
    plain = re.sub(r"\x1b\[[0-9;]*m", "", text.getvalue())
    written = list(csv.reader(io.StringIO(table_csv(table))))
    columns = dict(
        zip(written[0][1:], zip(*(row[1:] for row in written[1:]), strict=True), strict=True)
    )
    order = [0, 2, 3, 4, 5, 6, 7, 8]  # the rows of the CSV in the order of the terminal
    for family, numbers in columns.items():
        first = next(line for line in plain.splitlines() if line.split()[:1] == [family])
        shown = [float(cell) for cell in first.split()[1:] if cell != "-"]
        wanted = [float(numbers[row]) for row in order if numbers[row] != ""]
        assert shown == pytest.approx([wanted[0], *(100 * w for w in wanted[1:])], abs=5e-4)


def test_quiet_is_plain_even_on_a_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    table = result_table(SMALL, POPULATIONS, batches=3)
    print_table(table, "Net", 0.99, Console())
    assert "\x1b[" in capsys.readouterr().out
    print_table(table, "Net", 0.99, plain_console())
    assert "\x1b" not in capsys.readouterr().out
