"""The script that times site families."""

from __future__ import annotations

from collections.abc import Iterator

import family_costs
import pytest
import torch


@pytest.fixture(autouse=True)
def _threads_as_before() -> Iterator[None]:
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> list[list[str]]:
    """The rows of the table."""
    family_costs.main([*arguments, "--faults", "3", "--samples", "4"])
    lines = capsys.readouterr().out.splitlines()
    return [[cell.strip() for cell in line.split("│")] for line in lines if "│" in line]


@pytest.mark.usefixtures("workplace")
def test_every_family_is_timed_against_its_own_stage(capsys: pytest.CaptureFixture[str]) -> None:
    rows = run(capsys, "NMNIST", "--models", "stuck-at-1,no-leak")
    hit = {(row[1], row[2]) for row in rows}
    assert {
        ("fc1.weight", "stuck-at-1"),
        ("input", "stuck-at-1"),
        ("lif2.neuron", "no-leak"),
    } <= hit
    assert len(hit) == len(rows) == 13 + 2
    assert all(float(row[4]) > 0 and float(row[5]) > 0 for row in rows)


@pytest.mark.usefixtures("workplace")
def test_stages_with_modules_of_their_own_are_timed(capsys: pytest.CaptureFixture[str]) -> None:
    rows = run(capsys, "CSNN", "--models", "drop:0.5,jitter:2")
    assert {row[1] for row in rows} == {"input", "lif1.spike", "lif2.spike", "lif3.spike"}
