"""Every fault model on the shipped networks, on both engines, against the oracle: no difference.

A case is a line of ``docs/fault-models.md``; each has a few faults, and some of its pairs, over the
networks, are not masked.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

import numpy as np
import pandas as pd
import pytest
import torch
from campaigns import Run
from oracle_formats import word_of
from oracle_formulas import Oracle, assert_oracle_agrees
from shipped_networks import shipped
from small_networks import spread

from fi.campaign.subject import Subject
from fi.faults.fault import Bits, Fault
from fi.faults.models import fault_model
from fi.models import SHD

BURSTS: tuple[Bits, ...] = ((29, 30, 31), (22, 23, 24), (28, 29, 30))
SETS: tuple[Bits, ...] = ((23, 27, 30), (21, 25, 31), (3, 7, 30))
HIGH: tuple[Bits, ...] = ((30,), (29,), (31,))
FLIPS, STUCK = ("bit-flip",), ("stuck-at-0", "stuck-at-1")
ALL_BITS = (*FLIPS, *STUCK)


@dataclass(frozen=True)
class Case:
    """Faults of one kind.

    Attributes:
        name: of it.
        models: fault models, taken in turn.
        sites: a pattern of site families; the input lines by their name only.
        bits: taken in turn by models that have any.
        time: ``permanent``, ``step`` or ``window``.
        together: faults of a trial.
    """

    name: str
    models: Sequence[str]
    sites: str = "*.*"
    bits: Sequence[Bits] = HIGH
    time: str = "permanent"
    together: int = 1


CASES = (
    *(Case(f"bursts, {model}", (model,), bits=BURSTS) for model in ALL_BITS),
    *(Case(f"bit sets, {model}", (model,), bits=SETS) for model in ALL_BITS),
    Case("neuron dead", ("dead",), "*.spike"),
    Case("neuron saturated", ("saturated",), "*.spike"),
    Case("neuron's output stuck", ("stuck-value:0.5",), "*.spike"),
    Case("membrane stuck", ("stuck-value:0.5", "stuck-value:3"), "*.potential"),
    Case("threshold scaled", ("scale:0.5", "scale:1.5"), "*.threshold"),
    Case("threshold stuck", ("stuck-value:0.1",), "*.threshold"),
    Case("beta scaled", ("scale:0.5", "scale:1.5"), "*.beta"),
    Case("beta stuck", ("stuck-value:0.1",), "*.beta"),
    Case("spike dropped", ("dead",), "*.spike", time="step"),
    Case("spike added", ("saturated",), "*.spike", time="step"),
    Case("synapse dead", ("dead",), "*.weight"),
    Case("synapse saturated", ("saturated",), "*.weight"),
    Case("synapse stuck", ("stuck-value:2", "stuck-value:-2"), "*.weight"),
    Case("synapse scaled", ("scale:0.2", "scale:-3"), "*.weight"),
    Case("bias", ("dead", "saturated", "stuck-value:1", "scale:-3"), "*.bias"),
    Case("input dead", ("dead",), "input"),
    Case("input saturated", ("saturated",), "input"),
    Case("input bits", ALL_BITS, "input"),
    Case("bits for a step", ALL_BITS, time="step"),
    Case("bits for a window", ALL_BITS, time="window"),
    Case("words for a window", ("dead", "saturated", "scale:-30"), "*.weight", time="window"),
    Case("two bits at once", ALL_BITS, together=2),
    Case("three of any kind at once", (*ALL_BITS, "dead", "saturated", "scale:-3"), together=3),
)
#: What only neurons with a synaptic current have.
SYNAPTIC = (
    Case("alpha scaled", ("scale:0.5", "scale:1.5"), "*.alpha"),
    Case("alpha stuck", ("stuck-value:0.1", "stuck-value:1"), "*.alpha"),
    Case("alpha bits", ALL_BITS, "*.alpha", BURSTS),
    Case("synaptic current stuck", ("stuck-value:0.5", "stuck-value:3"), "*.syn"),
    Case("recurrent synapse", ("dead", "saturated", "scale:-3"), "fb1.weight"),
)
#: Words of fewer bits: the highest, neighbours, and others.
FORMAT_BITS: dict[str, Sequence[Bits]] = {
    "float16": ((14,), (15,), (13, 14, 15), (9, 14)),
    "bfloat16": ((14,), (15,), (12, 13, 14), (6, 14)),
    "int8": ((7,), (6,), (5, 6, 7), (2, 6)),
    "int8-channel": ((7,), (6,), (5, 6, 7), (2, 6)),
    "int4": ((3,), (2,), (1, 2, 3), (0, 2)),
    "int4-channel": ((3,), (2,), (1, 2, 3), (0, 2)),
    "fixed:4.8": ((11,), (10,), (9, 10, 11), (2, 10)),
}
STORED = tuple(
    Case(f"{kind}, {model}", (model,), f"*.{kind}")
    for kind in ("weight", "bias", "threshold", "beta")
    for model in (*ALL_BITS, "scale:0.5")
)


def faults_of(subject: Subject, cases: Sequence[Case], each: int) -> list[list[Fault]]:
    """``each`` trials of every case."""
    choose, injection, found = random.Random(11), 0, []
    for case in cases:
        listed: list[Fault] = []
        for number in range(each):
            trial: list[Fault] = []
            while len(trial) < case.together:
                fault = random_fault(choose, subject, case, injection, number + len(trial))
                trial += [] if fault in trial else [fault]
            listed, injection = [*listed, *trial], injection + 1
        found.append(listed)
    return found


def random_fault(
    choose: random.Random, subject: Subject, case: Case, injection: int, turn: int
) -> Fault:
    model = case.models[turn % len(case.models)]
    known = fault_model(model)
    fitting = [
        f for f in subject.sites if fnmatchcase(f.name, case.sites) and f.kind in known.kinds
    ]
    family = choose.choice(fitting)
    index = tuple(choose.randrange(size) for size in family.shape)
    bits = case.bits[turn % len(case.bits)] if known.takes_bits else ()
    start = choose.randrange(subject.steps - 5)
    times = {"permanent": None, "step": range(start, start + 1), "window": range(start, start + 5)}
    return Fault(injection, family.name, index, bits, model, times[case.time])


def telling(campaign: Run, subject: Subject, cases: Sequence[Case]) -> list[list[Fault]]:
    """Of every case the first trial, and of many others the two that change most pairs."""
    listed = faults_of(subject, cases, each=80)
    faults = [fault for of_case in listed for fault in of_case]
    results = campaign(subject, faults, engine="differential").run().set_index("Injection")
    masked = results["fully_masked"].groupby("Injection").first()

    def chosen(of_case: list[Fault]) -> list[Fault]:
        first, *others = dict.fromkeys(fault.injection for fault in of_case)
        kept = {first, *sorted(others, key=lambda injection: masked[injection])[:2]}
        return [fault for fault in of_case if fault.injection in kept]

    return [chosen(of_case) for of_case in listed]


def not_masked(wanted: pd.DataFrame, listed: Sequence[Sequence[Fault]]) -> list[int]:
    """Pairs of each case that are not fully masked."""
    changed = (wanted["samples"] - wanted["fully_masked"]).to_numpy()
    sizes = [len({fault.injection for fault in faults}) for faults in listed]
    parts = np.split(changed, np.cumsum(sizes)[:-1])
    return [int(part.sum()) for part in parts]


@pytest.mark.parametrize("name", ["NMNIST", "CSNN"])
def test_every_case_counts_as_the_oracle(campaign: Run, name: str) -> None:
    subject = shipped(name, 4)
    listed = telling(campaign, subject, CASES)
    wanted = assert_oracle_agrees(campaign, subject, [f for faults in listed for f in faults])
    counts = dict(zip((case.name for case in CASES), not_masked(wanted, listed), strict=True))
    vacuous = {name for name, number in counts.items() if not number}
    assert not vacuous, f"all masked: {vacuous}"
    assert 0.1 < wanted["fully_masked"].sum() / wanted["samples"].sum() < 0.95


@pytest.mark.parametrize("form", FORMAT_BITS)
@pytest.mark.parametrize("name", ["NMNIST", "CSNN"])
def test_every_format_counts_as_the_oracle(
    campaign: Run, name: str, form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    digits = shipped(name, 4)
    subject = Subject(digits.network, digits.batches, word_format=form)
    monkeypatch.setattr(Oracle, "word", word_of(subject.network, form))
    cases = [Case(c.name, c.models, c.sites, FORMAT_BITS[form]) for c in STORED]
    listed = faults_of(subject, cases, each=1)
    wanted = assert_oracle_agrees(campaign, subject, [f for faults in listed for f in faults])
    assert sum(map(bool, not_masked(wanted, listed))) >= len(cases) // 4
    assert 0.2 < wanted["fully_masked"].sum() / wanted["samples"].sum() < 0.99


def test_alpha_and_the_synaptic_current_count_as_the_oracle(campaign: Run) -> None:
    torch.manual_seed(4)
    network = SHD(inputs=40, hidden=30, num_classes=5).eval()
    spread(network, 2.0)
    generator = torch.Generator().manual_seed(3)
    events = torch.poisson(torch.full((20, 10, 40), 0.3), generator=generator)
    subject = Subject(network, [(events, torch.zeros(10, dtype=torch.int64))])
    listed = telling(campaign, subject, SYNAPTIC)
    wanted = assert_oracle_agrees(campaign, subject, [f for faults in listed for f in faults])
    assert all(not_masked(wanted, listed))
