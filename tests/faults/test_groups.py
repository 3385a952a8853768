"""Groups of words: maps against hand-made masks, counts, and both engines against the oracle."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from campaigns import Run, subject_of
from oracle_formulas import assert_same_counts, expected, scores_of
from shipped_networks import shipped
from small_networks import SmallConv, SmallLinear
from torch import nn

from fi.campaign.subject import Subject
from fi.engine.full import FullEngine
from fi.faults.fault import Fault, Trial
from fi.faults.fault_list import read_fault_list, write_fault_list
from fi.faults.fault_sites import Kind, SiteFamily
from fi.faults.groups.element_maps import WORD_MAPS
from fi.faults.groups.grouped_families import find_groups, group_family
from fi.faults.models import fault_model
from fi.sampling.fault_draw import draw
from fi.sampling.plan import SamplingPlan
from fi.test import main

GROUPS = (
    "row", "column", "channel", "neuron", "layer", "word-line:3", "systolic:3x2", "crossbar:4x3",
    "crossbar-row:4x3", "crossbar-column:4x3",
)  # fmt: skip
MODELS = ("bit-flip", "stuck-at-1", "dead", "saturated", "stuck-value:0.5", "scale:0.5", "no-fire")


def masks(group: str, shape: tuple[int, ...], kind: Kind) -> dict[tuple[int, ...], np.ndarray]:
    """By group, which words of a tensor are in it: by loops, as one would draw it on paper."""
    name, _, text = group.partition(":")
    found: dict[tuple[int, ...], np.ndarray] = {}
    whole = shape or (1,)
    for number, word in enumerate(np.ndindex(*whole)):
        rest = 0
        for digit, size in zip(word[1:], whole[1:], strict=True):
            rest = rest * size + digit
        place: tuple[int, ...] = (word[0],)
        if name == "column":
            place = (rest,)
        elif name == "layer":
            place = (0,)
        elif name == "neuron" and kind is not Kind.SYNAPSE:
            place = word
        elif name == "word-line":
            place = (number // int(text),)
        elif "x" in text:
            rows, columns = map(int, text.split("x"))
            place = {
                "systolic": (rest % rows, word[0] % columns),
                "crossbar": (rest // rows, word[0] // columns),
                "crossbar-row": (rest, word[0] // columns),
                "crossbar-column": (rest // rows, word[0]),
            }[name]
        found.setdefault(place, np.zeros(whole, bool))[word] = True
    return {place: mask.reshape(shape) for place, mask in found.items()}


def by_hand(fault: Fault, family: SiteFamily) -> Trial:
    """The fault of a group as faults of the words that its mask has."""
    _, _, group = fault.layer.partition("@")
    mask = masks(group, family.shape, family.kind)[fault.index]
    words = [tuple(map(int, word)) for word in np.argwhere(mask)]
    return tuple(
        Fault(fault.injection, family.name, word, fault.bits, fault.model, fault.steps)
        for word in words
    )


@pytest.mark.parametrize("group", GROUPS)
@pytest.mark.parametrize("shape", [(7, 10), (4, 3, 2, 5), (6,), ()])
@pytest.mark.parametrize("kind", [Kind.SYNAPSE, Kind.SPIKE])
def test_a_map_is_that_of_masks_made_by_hand(
    group: str, shape: tuple[int, ...], kind: Kind
) -> None:
    grouped = group_family(SiteFamily("x", shape, kind), group)
    in_arrays = "x" in group
    if in_arrays and (kind is not Kind.SYNAPSE or len(shape) < 2):
        assert grouped is None
        return
    assert grouped is not None
    wanted = masks(group, shape, kind)
    assert set(np.ndindex(*grouped.shape)) == set(wanted)
    groups = find_groups(group, shape, kind)
    for place, mask in wanted.items():
        members = groups.members(place)
        assert members == [tuple(word) for word in np.argwhere(mask).tolist()]


def test_every_map_is_tried() -> None:
    assert {group.partition(":")[0] for group in GROUPS} == set(WORD_MAPS)


def every_case(subject: Subject, groups: tuple[str, ...], choose: random.Random) -> Iterator[Fault]:
    """A fault of every family x group x model that there is, permanent or for some steps."""
    injection = 0
    for family in subject.sites:
        for group in groups:
            grouped = group_family(family, group)
            for model in MODELS if grouped else ():
                assert grouped is not None
                kind = fault_model(model)
                if family.kind in kind.kinds:
                    index = tuple(choose.randrange(size) for size in grouped.shape)
                    bits = (choose.choice((22, 25, 30, 31)),) if kind.takes_bits else ()
                    steps = choose.choice((None, range(2, 3), range(1, 4)))
                    yield Fault(injection, grouped.name, index, bits, model, steps)
                    injection += 1


def assert_groups_count_as_by_hand(campaign: Run, subject: Subject, faults: list[Fault]) -> None:
    known = {family.name: family for family in subject.sites}
    golden = scores_of(subject)
    trials = [by_hand(fault, known[fault.layer.partition("@")[0]]) for fault in faults]
    assert sum(len(trial) > 1 for trial in trials) > len(trials) / 2
    wanted = pd.DataFrame([expected(subject, trial, golden) for trial in trials])
    assert_same_counts(campaign, subject, [(fault,) for fault in faults], wanted)
    assert 0.1 < wanted["fully_masked"].sum() / wanted["samples"].sum() < 0.95


@pytest.mark.parametrize("kind", [SmallLinear, SmallConv])
def test_groups_count_as_the_oracle(campaign: Run, kind: type[nn.Module]) -> None:
    subject = subject_of(kind)
    faults = list(every_case(subject, GROUPS, random.Random(5)))
    chosen = faults if kind is SmallLinear else faults[::5]
    assert_groups_count_as_by_hand(campaign, subject, chosen)


@pytest.mark.slow
def test_all_groups_of_convolutions_count_as_the_oracle(campaign: Run) -> None:
    subject = subject_of(SmallConv)
    faults = list(every_case(subject, GROUPS, random.Random(5)))
    assert_groups_count_as_by_hand(campaign, subject, faults)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["NMNIST", "CSNN"])
def test_groups_of_the_shipped_networks_count_as_the_oracle(campaign: Run, name: str) -> None:
    subject = shipped(name, 8)
    groups = ("row", "column", "word-line:16", "systolic:16x16", "crossbar:64x32", "channel")
    faults = list(every_case(subject, groups, random.Random(6)))
    assert_groups_count_as_by_hand(campaign, subject, faults)


def test_the_space_counts_groups_and_a_list_of_them_is_replayed(tmp_path: Path) -> None:
    subject = subject_of(SmallLinear)
    plan = SamplingPlan(group="row", scheme="exhaustive", sites=("fc1.weight", "lif1.beta"))
    space = plan.space(subject.sites, subject.steps)
    assert space.size == (8 + 8) * 32
    faults = draw(space, plan)
    assert {fault.layer for fault in faults} == {"fc1.weight@row", "lif1.beta@row"}
    write_fault_list(tmp_path / "list.csv", faults)
    assert read_fault_list(tmp_path / "list.csv", subject.sites, subject.steps) == faults
    assert plan.list_name != SamplingPlan(group="column").list_name


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("rows", "unknown group 'rows'; known: row"),
        ("systolic:16", "rows and columns"),
        ("systolic:0x4", "rows and columns"),
        ("word-line", "unknown group"),
        ("row:3", "unknown group"),
    ],
)
def test_a_wrong_name_is_told(name: str, told: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--model", "NMNIST", "--faults.group", name]) == 2
    assert told in capsys.readouterr().err


def test_a_map_of_a_users(workplace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("my_map.py").write_text(
        "from fi.word_maps import WordMap\n\n\n"
        "class Banks(WordMap):\n"
        '    parameter = "N"\n\n'
        "    def __init__(self, text):\n"
        "        self.banks = int(text)\n\n"
        "    def locate(self, word, shape, kind):\n"
        "        return (word[-1] % self.banks,)\n"
    )
    options = [
        "--model",
        "NMNIST",
        "--limit-samples",
        "2",
        "--no-figures",
        "--scheme",
        "exhaustive",
    ]
    chosen = ["--scheme", "exhaustive", "--faults.models", "dead", "--faults.layers", "*.weight"]
    assert main([*options, *chosen, "--faults.group", "./my_map.py:Banks:4"]) == 0
    (listed,) = Path("output/fault_list/NMNIST").glob("*_fault_list.csv")
    rows = pd.read_csv(listed)
    assert sorted(set(rows["Layer"])) == ["fc1.weight@banks:4", "fc2.weight@banks:4"]
    assert len(rows) == 8
    assert "8 faults of" in capsys.readouterr().out


def test_a_group_hits_all_its_words_in_the_network() -> None:
    subject = subject_of(SmallLinear)
    weight = subject.network.get_submodule("fc1").weight
    fault = Fault(0, "fc1.weight@column", (5,), (), "dead")
    engine = FullEngine(subject.network, subject.infer, subject.sites)
    before = weight.detach().clone()
    with torch.no_grad(), engine.injected([fault]):
        during = weight.detach().clone()
    before[:, 5], during_column = 0.0, during[:, 5]
    assert torch.equal(during_column, torch.zeros(8))
    assert torch.equal(during, before)
