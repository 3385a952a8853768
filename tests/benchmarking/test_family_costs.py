"""The script that times site families."""

from __future__ import annotations

import family_costs
import pytest
import torch


@pytest.mark.usefixtures("workplace")
def test_every_family_is_timed_against_its_own_stage(capsys: pytest.CaptureFixture[str]) -> None:
    threads = torch.get_num_threads()
    try:
        family_costs.main(
            ["NMNIST", "--faults", "3", "--samples", "4", "--models", "stuck-at-1,no-leak"]
        )
    finally:
        torch.set_num_threads(threads)
    rows = [line.split("│") for line in capsys.readouterr().out.splitlines() if "│" in line]
    hit = {(row[1].strip(), row[2].strip()) for row in rows}
    assert {
        ("fc1.weight", "stuck-at-1"),
        ("input", "stuck-at-1"),
        ("lif2.neuron", "no-leak"),
    } <= hit
    assert len(hit) == len(rows) == 13 + 2
    assert all(float(row[4]) > 0 and float(row[5]) > 0 for row in rows)
