"""Lines that lose, add and delay spikes: both engines against the oracle, whatever the batches."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pandas as pd
import pytest
import torch
from campaigns import Run, subject_of
from oracle_formulas import assert_oracle_agrees, assert_same_counts, expected, scores_of
from shipped_networks import shipped
from small_networks import INPUT_SHAPES, SmallConv, SmallLinear, event_batches, small
from torch import nn

from fi.campaign.subject import Subject
from fi.faults.fault import Fault
from fi.faults.fault_sites import Kind, SiteFamily
from fi.faults.groups.grouped_families import expand_groups, group_family
from fi.faults.lines.seeded_numbers import draw_uniform
from fi.faults.modelling.line_models import LINE_MODELS

MODELS = ("drop:0.3", "drop:1", "add:0.4", "delay:1", "delay:3", "jitter:1", "jitter:4")


def windows(steps: int) -> tuple[range | None, ...]:
    """Permanent, one step, a window, and one up to the end."""
    return None, range(2, 3), range(1, 4), range(steps - 2, steps)


def lines_of(subject: Subject) -> list[SiteFamily]:
    return [family for family in subject.sites if family.kind in (Kind.SPIKE, Kind.INPUT)]


def every_case(subject: Subject) -> Iterator[Fault]:
    """A random line of every family x model x time."""
    choose, injection = random.Random(3), 0
    for family in lines_of(subject):
        for model in MODELS:
            for steps in windows(subject.steps):
                index = tuple(choose.randrange(size) for size in family.shape)
                yield Fault(injection, family.name, index, (), model, steps)
                injection += 1


def random_trials(subject: Subject, count: int) -> Iterator[Fault]:
    """Trials of two faults of one line, a bit of it, and a word anywhere."""
    choose = random.Random(4)
    for injection in range(count):
        family = choose.choice(lines_of(subject))
        index = tuple(choose.randrange(size) for size in family.shape)
        for model in choose.sample(MODELS, 2):
            steps = choose.choice(windows(subject.steps))
            yield Fault(injection, family.name, index, (), model, steps)
        yield Fault(injection, family.name, index, (22,), "bit-flip", range(1, 3))
        other = choose.choice(subject.families)
        index = tuple(choose.randrange(size) for size in other.shape)
        yield Fault(injection, other.name, index, (choose.choice((18, 22)),), "stuck-at-1")


def of_layers(subject: Subject) -> list[Fault]:
    """All lines of a layer, and those of a channel."""
    found: list[Fault] = []
    for family in lines_of(subject):
        for group in ("layer", "channel"):
            grouped = group_family(family, group)
            assert grouped is not None
            for model, steps in zip(MODELS, 2 * windows(subject.steps), strict=False):
                found.append(Fault(len(found), grouped.name, (0,), (), model, steps))
    return found


def test_no_model_is_forgotten() -> None:
    assert {model.partition(":")[0] for model in MODELS} == {kind.name for kind in LINE_MODELS}


@pytest.mark.parametrize("kind", [SmallLinear, SmallConv])
def test_lines_count_as_the_oracle(campaign: Run, kind: type[nn.Module]) -> None:
    subject = subject_of(kind)
    wanted = assert_oracle_agrees(campaign, subject, list(every_case(subject)))
    assert 0.1 < wanted["fully_masked"].sum() / wanted["samples"].sum() < 0.99


@pytest.mark.parametrize("kind", [SmallLinear, SmallConv])
def test_lines_in_trials_count_as_the_oracle(campaign: Run, kind: type[nn.Module]) -> None:
    subject = subject_of(kind)
    wanted = assert_oracle_agrees(campaign, subject, list(random_trials(subject, 30)))
    assert 0.05 < wanted["fully_masked"].sum() / wanted["samples"].sum() < 0.9


@pytest.mark.parametrize("kind", [SmallLinear, pytest.param(SmallConv, marks=pytest.mark.slow)])
def test_lines_of_a_layer_count_as_the_oracle(campaign: Run, kind: type[nn.Module]) -> None:
    subject = subject_of(kind)
    trials = [(fault,) for fault in of_layers(subject)]
    golden = scores_of(subject)
    members = expand_groups(trials, subject.sites)
    wanted = pd.DataFrame([expected(subject, trial, golden) for trial in members])
    assert_same_counts(campaign, subject, trials, wanted)
    assert 0.02 < wanted["fully_masked"].sum() / wanted["samples"].sum() < 0.9


@pytest.mark.parametrize("engine", ["full", "differential"])
def test_the_size_of_batches_changes_nothing(campaign: Run, engine: str) -> None:
    counts = []
    for size in (10, 24, 7):
        batches = event_batches(INPUT_SHAPES[SmallLinear], batch=size)
        subject = Subject(small(SmallLinear), batches)
        counts.append(campaign(subject, list(every_case(subject)), engine=engine).run())
    for other in counts[1:]:
        pd.testing.assert_frame_equal(counts[0], other)


def test_numbers_are_uniform_and_apart() -> None:
    seeds, samples = torch.arange(40), torch.arange(50)
    drawn = torch.stack([draw_uniform(seeds, samples, step) for step in range(50)])
    assert drawn.unique().numel() == drawn.numel()
    assert abs(drawn.mean() - 0.5) < 0.003
    assert abs((drawn < 0.1).double().mean() - 0.1) < 0.004
    flat = drawn - drawn.mean()
    for axis in range(3):
        moved = flat.roll(1, axis)
        assert abs((flat * moved).mean() / flat.var()) < 0.015


@pytest.mark.parametrize(
    ("model", "told"),
    [
        ("drop:1.5", "0 to 1"),
        ("delay:0", "whole number of steps"),
        ("jitter:0.5", "whole number"),
        ("jitter:1e20", "1 to 1,000,000"),
        ("refractory:1e20", "1 to 1,000,000"),
    ],
)
def test_a_wrong_number_is_told(model: str, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        Fault(0, "lif1.spike", (0,), (), model)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["NMNIST", "CSNN"])
def test_lines_of_the_shipped_networks_count_as_the_oracle(campaign: Run, name: str) -> None:
    subject = shipped(name, 10)
    wanted = assert_oracle_agrees(campaign, subject, list(every_case(subject)))
    assert 0.1 < wanted["fully_masked"].sum() / wanted["samples"].sum() < 0.99
