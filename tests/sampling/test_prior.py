"""Priors: the rule from golden words by hand, and a user's file."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from fi.base.text_files import FileError
from fi.faults.fault_sites import Kind, SiteFamily
from fi.faults.fault_space import FaultSpace
from fi.sampling.plan import SamplingPlan
from fi.sampling.prior import PriorRate, derive_prior, expected_rate, read_prior


class Words(nn.Module):
    def __init__(self, *values: float) -> None:
        super().__init__()
        self.fc1 = nn.Linear(len(values), 1, bias=False)
        self.fc1.weight.data = torch.tensor([values])


def rates(*values: float, models: tuple[str, ...] = ("bit-flip",)) -> dict[int, float]:
    """The rates of all bits of a tensor of these words."""
    weight = SiteFamily("fc1.weight", (1, len(values)), Kind.SYNAPSE)
    potential = SiteFamily("lif1.potential", (1,), Kind.STATE)
    prior = derive_prior(FaultSpace((weight, potential), models), Words(*values))
    assert {row.layer for row in prior} == {"fc1.weight"}
    return {row.first: row.p for row in prior}


def test_the_rule_by_hand() -> None:
    # 1.0 is 0x3F800000, s = 1: the sign moves it by 2, bit 30 to infinity, bit 23 to 0.5,
    # bit 22 to 1.5, bit 20 to 1.125, bit 12 to 1 + 2^-11; below 0.001 it stays
    found = rates(1.0, 1.0)
    assert found[31] == found[30] == 0.5
    assert found[23] == found[22] == 0.25
    assert found[20] == 0.0625
    assert found[0] == found[12] == 0.001
    # a word of 0 moves by the bit alone: bit 31 not at all; s = sqrt(1 / 2)
    found = rates(1.0, 0.0)
    assert found[31] == 0.25
    assert found[22] == pytest.approx(0.5 * (0.5 / 0.5**0.5) / 2, rel=2e-3)


def test_the_models_share_a_bit() -> None:
    # bit 22 of 1.0 is 0: stuck at 1 moves it by 0.5, stuck at 0 not at all
    assert rates(1.0, models=("stuck-at-0", "stuck-at-1"))[22] == 0.125
    # models of the whole word: dead moves 1.0 by 1
    assert rates(1.0, models=("dead",)) == {-1: 0.5}


def test_a_tensor_of_zeros_has_the_worst_case() -> None:
    assert set(rates(0.0, 0.0).values()) == {0.5}


def test_a_users_prior(tmp_path: Path) -> None:
    path = tmp_path / "prior.csv"
    path.write_text("Layer,Bit,P\n*,,0.2\n*.weight,0-22,0.01\nfc1.weight,30,0.5\n")
    prior = read_prior(path)
    assert prior[1] == PriorRate("*.weight", 0, 22, 0.01)
    assert expected_rate(prior, "fc1.weight", (3,)) == 0.01
    assert expected_rate(prior, "fc1.weight", (3, 23)) == 0.2  # the highest bit counts
    assert expected_rate(prior, "fc1.weight", (30,)) == 0.5
    assert expected_rate(prior, "lif1.potential", (3,)) == 0.2
    assert expected_rate(prior, "fc1.weight", ()) == 0.2
    assert expected_rate((), "fc1.weight", (3,)) == 0.5


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("Layer,P\n", r"prior.csv:1: the header is 'Layer,P'; allowed: Layer,Bit,P"),
        ("Layer,Bit,P\n", "the prior is empty"),
        ("Layer,Bit,P\n*,3,0.6\n", r"prior.csv:2: P is '0.6'; allowed: above 0 and at most 0.5"),
        ("Layer,Bit,P\n*,3,nan\n", r"P is 'nan'"),
        ("Layer,Bit,P\n*,x,0.5\n", r"'\*', 'x': allowed are"),
        ("Layer,Bit,P\n*,3\n", "2 fields"),
    ],
)
def test_a_wrong_prior_is_named(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "prior.csv"
    path.write_text(text)
    with pytest.raises(FileError, match=message):
        read_prior(path)


def test_sizes_of_a_data_aware_draw_by_hand() -> None:
    space = FaultSpace((SiteFamily("fc1.weight", (10_000,), Kind.SYNAPSE),), bits=(3, 30))
    plan = SamplingPlan("data-aware", margin=0.05, prior=(PriorRate("*", 0, 22, 0.01),))
    sizes = {part.name: n for part, n in plan.sizes(space)}
    # N = 10,000: t^2 p (1 - p) / e^2 = 26.36 at p = 0.01 and 665.64 at 0.5, over 1 + (that) / N;
    # network-wise it is 644 of 20,000, half of which is the least for bit 3
    assert sizes == {"fc1.weight bit 3": 322, "fc1.weight bit 30": 624}
    more = SamplingPlan("data-aware", margin=0.05, prior=plan.prior, minimum=400)
    assert [n for _, n in more.sizes(space)] == [400, 624]
    tiny = FaultSpace((SiteFamily("fc1.bias", (3,), Kind.SYNAPSE),), bits=(3, 30))
    assert [n for _, n in more.sizes(tiny)] == [3, 3]  # there are no more
