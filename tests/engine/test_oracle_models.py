"""Every fault model, bursts, windows, input lines and trials against the oracle, both engines."""

from __future__ import annotations

import random
from collections.abc import Iterator
from itertools import product

import pytest
from campaigns import Run, subject_of
from oracle_formulas import assert_oracle_agrees
from shipped_networks import shipped
from small_networks import SmallConv, SmallLinear
from torch import nn

from fi.campaign.subject import Subject
from fi.faults.fault import Bits, Fault
from fi.faults.fault_sites import SiteFamily
from fi.faults.models import fault_model

WORDWISE = ("dead", "saturated", "stuck-value:0.5", "stuck-value:-3", "scale:0.5", "scale:-1.7")
BITWISE = ("bit-flip", "stuck-at-0", "stuck-at-1")
SETS: tuple[Bits, ...] = ((29, 30), (22, 23, 24), (21, 25, 31), (30,))


def fault_of(
    choose: random.Random, family: SiteFamily, model: str, steps: range | None, injection: int
) -> Fault:
    index = tuple(choose.randrange(size) for size in family.shape)
    bits = choose.choice(SETS) if fault_model(model).takes_bits else ()
    return Fault(injection, family.name, index, bits, model, steps)


def windows(steps: int) -> tuple[range | None, ...]:
    """Permanent, one step, a window, and one up to the end."""
    return None, range(2, 3), range(1, 4), range(steps - 2, steps)


def every_case(subject: Subject, each: int) -> Iterator[Fault]:
    """``each`` random faults of every family, the inputs too, x model x time."""
    choose, injection = random.Random(5), 0
    for family, model in product(subject.sites, (*WORDWISE, *BITWISE)):
        if family.kind not in fault_model(model).kinds:
            continue
        for steps in windows(subject.steps)[:: 1 if each > 1 else choose.choice((1, 2, 3))]:
            for _ in range(each):
                yield fault_of(choose, family, model, steps, injection)
                injection += 1


def random_trials(subject: Subject, count: int, together: int) -> Iterator[Fault]:
    """Trials of faults anywhere, some of them in one layer or in one word."""
    choose = random.Random(6)
    for injection in range(count):
        first = choose.choice(subject.sites)
        found: list[Fault] = []
        while len(found) < together:
            family = first if choose.random() < 0.4 else choose.choice(subject.sites)
            model = choose.choice((*WORDWISE, *BITWISE))
            if family.kind in fault_model(model).kinds:
                steps = choose.choice(windows(subject.steps))
                fault = fault_of(choose, family, model, steps, injection)
                if found and found[-1].layer == fault.layer and choose.random() < 0.5:
                    index = found[-1].index  # the same word
                    fault = Fault(injection, family.name, index, fault.bits, model, steps)
                if fault not in found:
                    found.append(fault)
        yield from found


@pytest.mark.parametrize("kind", [SmallLinear, SmallConv])
def test_every_model_counts_as_the_oracle(campaign: Run, kind: type[nn.Module]) -> None:
    subject = subject_of(kind)
    faults = list(every_case(subject, each=1))
    assert {fault.model for fault in faults} == {*WORDWISE, *BITWISE}
    words = [*subject.families, subject.inputs]
    assert {fault.layer for fault in faults} == {family.name for family in words}
    wanted = assert_oracle_agrees(campaign, subject, faults)
    assert 0.1 < wanted["fully_masked"].sum() / wanted["samples"].sum() < 0.95


@pytest.mark.parametrize("kind", [SmallLinear, SmallConv])
@pytest.mark.parametrize("together", [2, 5])
def test_trials_count_as_the_oracle(campaign: Run, kind: type[nn.Module], together: int) -> None:
    subject = subject_of(kind)
    faults = list(random_trials(subject, 40, together))
    wanted = assert_oracle_agrees(campaign, subject, faults)
    assert len(wanted) == 40
    assert 0.05 < wanted["fully_masked"].sum() / wanted["samples"].sum() < 0.9


@pytest.mark.slow
@pytest.mark.parametrize("name", ["NMNIST", "CSNN"])
def test_the_shipped_networks_count_as_the_oracle(campaign: Run, name: str) -> None:
    subject = shipped(name, 20)
    wanted = assert_oracle_agrees(campaign, subject, list(every_case(subject, each=1)))
    assert 0.1 < wanted["fully_masked"].sum() / wanted["samples"].sum() < 0.99
    assert wanted["sdc_1"].sum() > 0


@pytest.mark.slow
@pytest.mark.parametrize("name", ["NMNIST", "CSNN"])
def test_trials_on_the_shipped_networks_count_as_the_oracle(campaign: Run, name: str) -> None:
    subject = shipped(name, 20)
    wanted = assert_oracle_agrees(campaign, subject, list(random_trials(subject, 60, 3)))
    assert 0.05 < wanted["fully_masked"].sum() / wanted["samples"].sum() < 0.99
