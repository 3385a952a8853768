"""Estimates by any grouping: means weighed by hand, domains of a draw, and what is not known."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from fi.metrics.counts import COUNT_COLUMNS
from fi.statistics.group_estimates import estimate_groups
from fi.statistics.histogram import Histogram
from fi.statistics.intervals import interval
from fi.statistics.survey_design import Design, FamilyFaults, stratum_name

BITS = ("0", "30")
FAMILIES = (
    FamilyFaults("fc1.weight", 60, {"bit-flip": BITS, "dead": ("",)}),
    FamilyFaults("fc1.bias", 20, {"bit-flip": BITS}),
    FamilyFaults("lif1.beta", 10, {"bit-flip": ("0",)}),
)


def design(scheme: str, steps: tuple[str, ...] = ("",)) -> Design:
    return Design(scheme, FAMILIES, steps)


def results(*rows: tuple[str, str, int]) -> pd.DataFrame:
    """Rows of (family, bit, SDC-1 of 10 samples), each a fault of its own; no bit is ``dead``."""
    table = [
        [n, name, f"({n},)", bit, "bit-flip" if bit else "dead", "", 10, 10 - sdc, sdc, *[0] * 7]
        for n, (name, bit, sdc) in enumerate(rows)
    ]
    columns = ["Injection", "Layer", "TensorIndex", "Bit", "Model", "Step", *COUNT_COLUMNS]
    return pd.DataFrame(table, columns=columns)


SEEN = results(
    ("fc1.weight", "0", 0),
    ("fc1.weight", "0", 2),
    ("fc1.weight", "30", 10),
    ("fc1.weight", "", 4),
    ("fc1.bias", "30", 6),
    ("fc1.bias", "0", 1),
    ("lif1.beta", "0", 3),
)


def ends(table: pd.DataFrame, row: int = 0) -> tuple[float, float]:
    return table["sdc_1 low"][row], table["sdc_1 high"][row]


def test_strata_of_the_schemes() -> None:
    assert stratum_name("network-wise", "fc1.weight", "3") == "network"
    assert stratum_name("layer-wise", "block.fc1.weight", "3") == "block.fc1"
    assert stratum_name("family-wise", "block.fc1.weight", "3") == "block.fc1.weight"
    assert stratum_name("data-unaware", "fc1.weight", "3-5") == "fc1.weight bit 3-5"
    assert stratum_name("data-aware", "fc1.weight", "") == "fc1.weight"


def test_network_wise_by_hand() -> None:
    overall = estimate_groups(SEEN, design("network-wise"))
    # 60 * 3 + 20 * 2 + 10 faults, of which 7 were run: the plain mean
    assert overall[["faults", "population"]].to_numpy().tolist() == [[7, 230]]
    assert overall["sdc_1"][0] == pytest.approx(2.6 / 7)
    assert ends(overall) == interval([Histogram.of([0.0, 0.2, 1.0, 0.4, 0.6, 0.1, 0.3], 230)])
    by_bit = estimate_groups(SEEN, design("network-wise"), ["bit"])
    assert by_bit["bit"].tolist() == ["", "0", "30"]
    assert by_bit["population"].tolist() == [60, 90, 80]
    assert by_bit["sdc_1"].tolist() == pytest.approx([0.4, 0.6 / 4, 0.8])
    assert ends(by_bit, 1) == pytest.approx(interval([Histogram.of([0.0, 0.2, 0.1, 0.3], 90)]))


def test_layer_wise_by_hand() -> None:
    overall = estimate_groups(SEEN, design("layer-wise"))
    # fc1: 2.3 / 6 of 220 faults; lif1: 0.3 of 10
    assert overall["sdc_1"][0] == pytest.approx((220 * 2.3 / 6 + 10 * 0.3) / 230)
    fc1 = Histogram.of([0.0, 0.2, 1.0, 0.4, 0.6, 0.1], 220, 220 / 230)
    samples = [fc1, Histogram.of([0.3], 10, 10 / 230)]
    assert ends(overall) == pytest.approx(interval(samples))
    by_bit = estimate_groups(SEEN, design("layer-wise"), ["bit"])
    # bit 0: fc1 has 80 faults of rates 0, 0.2, 0.1; lif1 10 of rate 0.3
    assert by_bit["sdc_1"][1] == pytest.approx((80 * 0.1 + 10 * 0.3) / 90)


def test_bit_wise_schemes_by_hand() -> None:
    for scheme in ("data-unaware", "data-aware"):
        overall = estimate_groups(SEEN, design(scheme))
        # 60 of bit 0 at 0.1, of bit 30 at 1, dead at 0.4; 20 at 0.1, 20 at 0.6; 10 at 0.3
        total = 60 * (0.1 + 1.0 + 0.4) + 20 * (0.1 + 0.6) + 10 * 0.3
        assert overall["sdc_1"][0] == pytest.approx(total / 230)
        by_family = estimate_groups(SEEN, design(scheme), ["family"])
        assert by_family["family"].tolist() == ["fc1.weight", "fc1.bias", "lif1.beta"]
        assert by_family["sdc_1"].tolist() == pytest.approx([0.5, 0.35, 0.3])


def test_several_keys_models_and_layers() -> None:
    table = estimate_groups(SEEN, design("network-wise"), ["layer", "model"])
    assert table[["layer", "model", "faults", "population"]].to_numpy().tolist() == [
        ["fc1", "bit-flip", 5, 160],
        ["fc1", "dead", 1, 60],
        ["lif1", "bit-flip", 1, 10],
    ]


def test_steps_share_the_population() -> None:
    seen = SEEN.assign(Step=["0", "0", "1", "1", "2-4", "1", "0"])
    table = estimate_groups(seen, design("network-wise", ("0", "1", "2-4")), ["step"])
    assert table["step"].tolist() == ["0", "1", "2-4"]
    assert table["faults"].tolist() == [3, 3, 1]
    assert table["population"].tolist() == [230] * 3


def test_a_group_that_was_not_run_is_open() -> None:
    table = estimate_groups(SEEN[:1], design("network-wise"), ["family"])
    assert table["faults"].tolist() == [1, 0, 0]
    assert np.isnan(table["sdc_1"][1])
    assert ends(table, 1) == (0, 1)


def test_of_a_list_the_population_is_not_known() -> None:
    names = [family.name for family in FAMILIES]
    table = estimate_groups(SEEN, Design.of_list(names), ["family"])
    assert table["population"].tolist() == [None] * 3
    assert ends(table) == interval([Histogram.of([0.0, 0.2, 1.0, 0.4])])


def test_a_trial_of_several_faults_counts_once_in_a_group() -> None:
    trial = results(("fc1.weight", "0", 5), ("fc1.weight", "30", 5), ("lif1.beta", "0", 5))
    seen = pd.concat([trial.assign(Injection=0), SEEN.assign(Injection=SEEN["Injection"] + 1)])
    names = [family.name for family in FAMILIES]
    assert estimate_groups(seen, Design.of_list(names))["faults"].tolist() == [8]
    table = estimate_groups(seen, Design.of_list(names), ["family"])
    assert table["faults"].tolist() == [5, 2, 2]
    assert table["sdc_1"][0] == pytest.approx((0.5 + 1.6) / 5)


def test_what_is_wrong_is_named() -> None:
    with pytest.raises(ValueError, match=r"grouped by 'word'; allowed: family, layer, bit"):
        estimate_groups(SEEN, design("network-wise"), ["word"])
    with pytest.raises(ValueError, match=r"results of fc1.bias bit 7; the faults that the list"):
        estimate_groups(SEEN.replace({"Bit": {"0": "7"}})[4:6], design("data-aware"))
    with pytest.raises(ValueError, match=r"results of fc1.bias"):
        estimate_groups(SEEN, Design("network-wise", FAMILIES[::2]))


def test_a_design_is_read_back() -> None:
    written = design("layer-wise", ("0", "1")).record()
    assert Design.from_record(written).record() == written
    assert Design.from_record(written).cells().equals(design("layer-wise", ("0", "1")).cells())
