"""Options that would change nothing beside others are refused, and named."""

from __future__ import annotations

import pytest

from fi import benchmark
from fi.test import main

BESIDE_A_LIST = [
    *("--scheme layer-wise", "--margin 0.1", "--t 2.5", "--p 0.1", "--rounding nearest"),
    *("--minimum-per-stratum 3", "--seed 7", "--faults.models dead", "--faults.bits 3"),
    *("--faults.burst 2", "--faults.layers fc1.*", "--faults.steps transient"),
    *("--faults.together 2", "--faults.within layer"),
]


@pytest.mark.parametrize("given", BESIDE_A_LIST)
def test_a_list_that_is_given_is_not_drawn(given: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--model", "NMNIST", "--fault-list", "some.csv", *given.split()]) == 2
    error = capsys.readouterr().err
    assert f"{given}: not with --fault-list" in error
    assert error.count("\n") == 1


def test_all_that_are_ignored_are_named_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    given = ["--scheme", "layer-wise", "--seed", "7", "--fault-list", "some.csv"]
    assert main(["--model", "NMNIST", *given]) == 2
    assert "--scheme layer-wise, --seed 7: not with --fault-list" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("--scheme exhaustive --p 0.1", "--p 0.1: not with --scheme exhaustive"),
        ("--scheme exhaustive --t 2", "--t 2.0: not with --scheme exhaustive"),
        ("--faults.within layer", "--faults.within layer: is for trials of several faults"),
        ("--engine full --memory 4GB", "--memory 4GB: is for the differential engine"),
        ("--quiet --progress scores", "--progress scores: not with --quiet"),
        ("--time-axis none --batch-axis 0", "--batch-axis 0: not with --time-axis none"),
        ("--faults.bits 3+7 --faults.burst 2", "--faults.burst 2 is of bits as 0-31"),
        ("--forward step", "--forward step is for networks that are no SpikingNetwork"),
        ("--model-seed 7", "--model-seed 7 is for random weights; these are from"),
        ("--model-seed -7 --checkpoint none", "--model-seed -7: allowed is 0 or more"),
    ],
)
def test_other_options_without_an_effect(
    given: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--model", "NMNIST", *given.split()]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("--scaling --faults 10", "--faults 10: not with --scaling"),
        ("--transient --steps 3", "--steps 3: not with --transient"),
    ],
)
def test_of_the_benchmark(given: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert benchmark.main(["--model", "NMNIST", *given.split()]) == 2
    assert message in capsys.readouterr().err
