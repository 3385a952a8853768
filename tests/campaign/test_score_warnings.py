"""Scores that do not say what one may think are told of, after the golden run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from campaigns import Run
from small_networks import PlainLinear, SmallLinear, event_batches, small
from torch import Tensor, nn

from fi.base.errors import UserError
from fi.campaign.fault_source import make_fault_source
from fi.campaign.golden_run import GoldenRun, run_golden
from fi.campaign.running.score_warnings import find_score_warnings
from fi.campaign.settings import Hardware
from fi.campaign.subject import Subject
from fi.campaign.trainer import make_trainer
from fi.faults.fault import Fault
from fi.sampling.plan import SamplingPlan

BATCHES = event_batches((12,))


def warned(scores: Tensor, labels: list[int]) -> list[str]:
    """Warnings on these scores and labels, of a network that has nothing of its own to say."""
    subject = Subject(small(SmallLinear), BATCHES)
    return find_score_warnings(subject, GoldenRun([scores], [torch.tensor(labels)]))


def scores_of(samples: int, classes: int) -> Tensor:
    return torch.rand(samples, classes, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(
    ("scores", "labels", "message"),
    [
        (scores_of(4, 4), [1, 2, 3, 4], "labels go from 1 to 4, but there are 4 scores"),
        (scores_of(4, 4), [-1, 0, 1, 2], "1 of 4 samples can never be right"),
        (scores_of(20, 40), [0, 1, 2, 3] * 5, "--readout population:4 adds them up"),
        (scores_of(20, 41), [0, 1, 2, 3] * 5, "there are 41 scores, but no label is above 3"),
        (scores_of(4, 1), [0, 1, 0, 1], "--decision-threshold X makes two classes of it"),
        (torch.zeros(4, 4), [0, 1, 2, 3], "all scores are 0"),
        (torch.full((4, 4), 0.25), [0, 1, 2, 3], "in 4 of 4 samples all classes have the same"),
        (torch.tensor([[2.0, 2.0, 0.0]] * 4), [0, 1, 2, 0], "in 4 of 4 samples classes share"),
    ],
)
def test_what_is_misleading_is_told(scores: Tensor, labels: list[int], message: str) -> None:
    (text,) = warned(scores, labels)
    assert message in text


@pytest.mark.parametrize(
    ("scores", "labels"),
    [
        (scores_of(4, 4), [0, 1, 2, 3]),
        (scores_of(3, 10), [0, 1, 8]),  # three samples may well lack a class
        (torch.tensor([[2.0, 2.0, 0.0], [1.0, 0.0, 0.0], [0.0, 3.0, 1.0]]), [0, 1, 2]),
    ],
)
def test_what_is_usual_is_not(scores: Tensor, labels: list[int]) -> None:
    assert warned(scores, labels) == []


class Other(PlainLinear):
    """Returns something else than its spikes: what ``form`` makes of them."""

    def __init__(self, form: Any) -> None:
        super().__init__()
        self.load_state_dict(small(SmallLinear).state_dict())
        self.form = form

    def forward(self, events: Tensor) -> Any:
        return self.form(super().forward(events))


@pytest.mark.parametrize(
    ("form", "message"),
    [
        (lambda s: (s, s[..., :3]), "another head is ignored"),
        (lambda s: (s, 1 - s), "another head is ignored"),
        (lambda s: s - 0.25 * s.cumsum(0), "added up as if it were spikes"),
        (lambda s: (s.cumsum(0) / 3, s), "membranes before spikes"),
    ],
)
def test_what_a_forward_returns_beside_its_scores_is_told(
    campaign: Run,
    faults: list[Fault],
    form: Any,
    message: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    made = campaign(Subject(Other(form), BATCHES), faults[:2])
    made.run()
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("warning:")]
    assert any(message in line for line in lines)
    summary = json.loads((made.files.path / "summary.json").read_text())
    assert any(message in text for text in summary["score_warnings"])


def test_spikes_that_are_read_as_membranes_are_told() -> None:
    (text,) = Subject(Other(lambda s: s), BATCHES, readout="membrane-max").adapter.warn()
    assert "return membranes behind them" in text
    given = Subject(Other(lambda s: (s, s.cumsum(0) / 3)), BATCHES, readout="membrane-max")
    assert given.adapter.warn() == []


class Changing(PlainLinear):
    """Differs from one inference to the next in the way that ``how`` says."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.load_state_dict(small(SmallLinear).state_dict())
        self.how, self.drop, self.calls = how, nn.Dropout(0.5), [0]

    def train(self, mode: bool = True) -> Changing:
        super().train(mode)
        self.drop.training = self.how == "dropout"
        return self

    def forward(self, events: Tensor) -> Tensor:
        if self.how == "dropout":
            events = self.drop(events)
        elif self.how == "functional":
            events = nn.functional.dropout(events)
        return super().forward(events)


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("dropout", "in training mode, dropout left on: drop"),
        ("functional", "draws random numbers (torch)"),
    ],
)
def test_what_is_not_reproducible_says_what_to_look_at(how: str, message: str) -> None:
    subject = Subject(Changing(how), BATCHES)
    trainer = make_trainer(Hardware("cpu"), [])
    with pytest.raises(UserError, match="the golden run is not reproducible") as error:
        run_golden(trainer, subject.network, subject.infer, subject.batches)
    assert message in str(error.value)
    assert "--forward-seed 1" in str(error.value)
    seeded = Subject(Changing(how), BATCHES, forward_seed=1)
    assert run_golden(trainer, seeded.network, seeded.infer, seeded.batches).samples == 24


def test_steps_are_drawn_from_the_longest_batch(tmp_path: Path) -> None:
    short, long = BATCHES[0], (BATCHES[1][0].repeat(2, 1, 1), BATCHES[1][1])
    subject = Subject(Other(lambda s: s), [short, long])
    assert subject.steps == 6
    plan = SamplingPlan(margin=0.2, transient=True, sites=("lif2.spike",))
    source = make_fault_source(plan, subject, tmp_path)
    assert subject.steps == 12
    assert max(fault.steps[0] for fault in source.faults if fault.steps) > 6
