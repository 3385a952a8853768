"""Words and membranes that are clamped: both engines count what an oracle by hand counts."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from campaigns import Run, subject_of
from oracle_formats import word_of
from oracle_formulas import Oracle, assert_oracle_agrees, every_case
from rate_campaigns import rate_campaign
from rate_oracle import assert_counts_are_the_oracles
from shipped_networks import shipped
from small_networks import INPUT_SHAPES, PlainLinear, SmallConv, SmallLinear, event_batches, small
from torch import Tensor, nn

from fi.base.errors import UserError
from fi.base.text_files import FileError
from fi.campaign.subject import Subject
from fi.faults.fault import Fault
from fi.faults.fault_sites import named_words
from fi.faults.formats.clamps import Clamp, Clamps
from fi.hardening.clamp_bounds import BoundRule, bound_states, bound_words, match_families
from fi.models import SHD
from fi.statistics.result_table import merge_trials

Word = Callable[[Oracle, str, int], Tensor]


def clamp_by_hand(value: float, low: float, high: float, beyond: str) -> float:
    if math.isnan(value):
        return 0.0
    if low <= value <= high:
        return value
    return 0.0 if beyond == "zero" else low if value < low else high


def clamping_oracle(clamps: Clamps, stored: Word | None = None) -> type[Oracle]:
    """An oracle that reads words, and keeps membranes, within bounds; ``stored``: of a format."""

    def bounded(name: str, place: tuple[int, ...], value: float) -> float:
        clamp = clamps.by_family.get(name)
        if clamp is None:
            return value
        row = place[0] if len(clamp.low) > 1 else 0
        return clamp_by_hand(value, clamp.low[row], clamp.high[row], clamp.beyond)

    class Clamping(Oracle):
        layer = ""

        def word(self, name: str, step: int) -> Tensor:
            words = (stored or Oracle.word)(self, name, step)
            for fault in self.at(name, step):
                value = bounded(name, fault.index, float(words[fault.index]))
                words[fault.index] = value
            return words

        def leaky(self, name: str, current: Tensor, step: int) -> Tensor:
            self.layer = f"{name}.potential"
            return super().leaky(name, current, step)

        def quantise(self, states: Tensor) -> Tensor:
            flat = [bounded(self.layer, (), value) for value in states.flatten().tolist()]
            return torch.tensor(flat).reshape(states.shape)

        def hit_state(self, value: float, fault: Fault) -> float:
            return bounded(fault.layer, (), super().hit_state(value, fault))

    return Clamping


def clamps_of(kind: type[nn.Module], patterns: tuple[str, ...], rule: BoundRule) -> Clamps:
    """Bounds of a network's words and states, from its own test samples."""
    plain = subject_of(kind)
    families = match_families(patterns, plain.families)
    words = [family for family in families if family.name in named_words(plain.network)]
    states = [family for family in families if family not in words]
    found = dict(bound_words(plain.network, words, rule).by_family)
    if states:
        found |= bound_states(plain.network, states, rule, plain.infer, plain.batches).by_family
    return Clamps(found)


CASES = {
    "channels to zero": (("*.weight", "*.bias"), BoundRule()),
    "tensors to bounds": (("*.weight",), BoundRule(per="tensor", beyond="bound")),
    "percentiles": (("*.weight", "*.bias"), BoundRule(percentile=80)),
    "parameters": (("*.weight", "*.beta", "*.threshold"), BoundRule()),
    "membranes to bounds": (("*.potential",), BoundRule(beyond="bound")),
    "membranes to zero": (("*.weight", "*.potential"), BoundRule(percentile=98)),
}


@pytest.mark.parametrize("kind", [SmallLinear, SmallConv])
@pytest.mark.parametrize("case", CASES)
def test_both_engines_count_what_the_oracle_counts(
    campaign: Run, kind: type[nn.Module], case: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    clamps = clamps_of(kind, *CASES[case])
    subject = subject_of(kind, clamps=clamps)
    monkeypatch.setattr("oracle_formulas.Oracle", clamping_oracle(clamps))
    faults = list(every_case(subject, 1))[:: 1 if kind is SmallLinear else 2]
    pairs = [  # two faults of one word, and of two words
        Fault(1000, "lif1.beta", (0,), 29),
        Fault(1000, "lif1.beta", (0,), 31),
        Fault(1001, "fc1.weight", (0, 0), 30),
        Fault(1001, "fc1.weight", (1, 1), 26),
    ]
    wanted = assert_oracle_agrees(campaign, subject, [*faults, *pairs])
    assert 0.05 < wanted["fully_masked"].sum() / wanted["samples"].sum() < 0.99


@pytest.mark.slow
@pytest.mark.parametrize("name", ["NMNIST", "CSNN"])
def test_shipped_networks_count_as_the_oracle(
    campaign: Run, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    digits = shipped(name, 4)
    plain = Subject(digits.network, digits.batches)
    words = match_families(["*.weight", "*.bias"], plain.families)
    found = dict(bound_words(plain.network, words, BoundRule()).by_family)
    states = match_families(["lif1.potential"], plain.families)
    given = (plain.network, states, BoundRule(percentile=99.0), plain.infer, plain.batches)
    clamps = Clamps(found | dict(bound_states(*given).by_family))
    subject = Subject(digits.network, digits.batches, clamps=clamps)
    monkeypatch.setattr("oracle_formulas.Oracle", clamping_oracle(clamps))
    wanted = assert_oracle_agrees(campaign, subject, list(every_case(subject, 1)))
    assert 0.05 < wanted["fully_masked"].sum() / wanted["samples"].sum() < 0.99


def test_a_network_with_a_forward_of_its_own_is_clamped_alike(campaign: Run) -> None:
    clamps = clamps_of(SmallLinear, ("*.weight", "*.potential"), BoundRule(percentile=98))
    staged = subject_of(SmallLinear, clamps=clamps)
    plain = small(PlainLinear)
    plain.load_state_dict(staged.network.state_dict())
    own = Subject(plain, event_batches(INPUT_SHAPES[SmallLinear]), clamps=clamps, readout="count")
    # The softmax of an infinite count is NaN, the count itself is not.
    faults = [fault for fault in every_case(staged, 1) if fault.layer != "lif2.spike"]
    found = [
        merge_trials(campaign(subject, faults, engine=engine).run())["correct"].tolist()
        for subject in (staged, own)
        for engine in ("full", "differential")
    ]
    assert found[1:] == [found[0]] * 3
    assert len(set(found[0])) > 3


def test_words_of_int8_are_clamped_behind_their_format(
    campaign: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    clamps = Clamps({"fc1.weight": Clamp((-0.6,), (0.4,), "zero")})
    subject = subject_of(SmallLinear, word_format="int8", clamps=clamps)
    stored = word_of(subject.network, "int8")
    monkeypatch.setattr("oracle_formulas.Oracle", clamping_oracle(clamps, stored))
    words = [(i, j) for i in range(8) for j in range(4)]
    faults = [Fault(n, "fc1.weight", word, 6 + n % 2) for n, word in enumerate(words)]
    wanted = assert_oracle_agrees(campaign, subject, faults)
    assert 0 < wanted["fully_masked"].sum() < wanted["samples"].sum()


def test_a_clamp_makes_flips_of_large_bits_harmless(campaign: Run) -> None:
    clamps = clamps_of(SmallLinear, ("*.weight",), BoundRule())
    faults = [Fault(n, "fc1.weight", (n % 8, n // 8), 30) for n in range(96)]
    rates = [
        campaign(subject_of(SmallLinear, clamps=each), faults).run()["sdc_1"].mean()
        for each in (None, clamps)
    ]
    assert rates[1] < 0.7 * rates[0]


def test_bounds_of_golden_words_leave_the_golden_network_as_it_is() -> None:
    plain = subject_of(SmallLinear)
    before = {name: words.clone() for name, words in named_words(plain.network).items()}
    clamps = clamps_of(SmallLinear, ("*.weight", "*.bias", "*.beta", "*.threshold"), BoundRule())
    subject = subject_of(SmallLinear, clamps=clamps)
    for name, words in named_words(subject.network).items():
        assert torch.equal(words, before[name])
    events, _ = plain.batches.first()
    assert torch.equal(plain.infer(events), subject.infer(events))


def test_a_clamp_is_forgotten_with_the_next_subject() -> None:
    network = small(SmallLinear)
    batches = event_batches(INPUT_SHAPES[SmallLinear])
    clamps = clamps_of(SmallLinear, ("*.potential", "fc1.weight"), BoundRule())
    Subject(network, batches, clamps=clamps)
    assert network.lif1.state_quant
    Subject(network, batches)
    assert not network.lif1.state_quant


def test_states_are_bounded_where_they_are_clamped() -> None:
    """Membranes of the whole run, by hand."""
    plain = subject_of(SmallLinear)
    clamps = clamps_of(SmallLinear, ("*.potential",), BoundRule())
    seen: list[Tensor] = []
    plain.network.lif1.register_forward_hook(lambda m, a, o: seen.append(m.mem.clone()))
    for events, _ in plain.batches:
        plain.infer(events)
    found = clamps.by_family["lif1.potential"]
    assert found.low[0] == min(0.0, min(float(mem.detach().min()) for mem in seen))
    assert found.high[0] == max(float(mem.detach().max()) for mem in seen)


def test_the_clamp_is_part_of_what_a_campaign_is(campaign: Run, faults: list[Fault]) -> None:
    clamps = clamps_of(SmallLinear, ("*.weight",), BoundRule())
    runs = [campaign(subject_of(SmallLinear, clamps=each), faults) for each in (None, clamps)]
    for run in runs:
        run.run()
    assert runs[1].files.identity["clamp"] == clamps.digest
    assert "clamp" not in runs[0].files.identity
    assert runs[1].files.load_summary()["clamped"] == ["fc1.weight", "fc2.weight"]
    assert runs[0].folder != runs[1].folder


@pytest.mark.parametrize("per", ["tensor", "channel"])
def test_rates_hit_clamped_words(tmp_path: Path, per: str, monkeypatch: pytest.MonkeyPatch) -> None:
    clamps = clamps_of(SmallLinear, ("*.weight", "*.bias"), BoundRule(per=per))
    subject = subject_of(SmallLinear, clamps=clamps)
    monkeypatch.setattr("oracle_formulas.Oracle", clamping_oracle(clamps))
    plan = {"sites": ("*.weight", "*.bias")}
    found = assert_counts_are_the_oracles(subject, tmp_path, (0.002, 0.02), plan=plan)
    assert 0.01 < found["fully_masked"].sum() / found["samples"].sum() < 0.99


def test_rates_do_not_take_clamped_membranes(tmp_path: Path) -> None:
    clamps = clamps_of(SmallLinear, ("*.potential",), BoundRule())
    with pytest.raises(UserError, match=r"--clamp of membranes: not with --faults\.rate"):
        rate_campaign(subject_of(SmallLinear, clamps=clamps), tmp_path, [1e-3])


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("{fc9.weight: {low: 0, high: 1, beyond: zero}}", "fc9.weight is neither words"),
        ("{fc1.weight: {low: [0, 0], high: [1, 1], beyond: zero}}", "has 2 bounds; allowed: 1, or"),
        ("{lif1.potential: {low: [0, 0], high: [1, 1], beyond: zero}}", "allowed for states: one"),
        ("{fc1.weight: {low: 2, high: 1, beyond: zero}}", "a low bound is above its high one"),
        ("{fc1.weight: {low: .nan, high: 1, beyond: zero}}", "allowed: finite numbers"),
        ("{fc1.weight: {low: 0, high: 1, beyond: one}}", "beyond is 'one'; allowed: zero, bound"),
        ("{fc1.weight: {low: 0, high: 1}}", "it has low, high and beyond"),
        ("[]", "no file of bounds"),
    ],
)
def test_bounds_that_do_not_fit_are_refused(tmp_path: Path, entry: str, message: str) -> None:
    path = tmp_path / "bounds.yaml"
    path.write_text(f"clamp: {entry}\n")
    with pytest.raises((UserError, FileError), match=message):
        subject_of(SmallLinear, clamps=Clamps.read(path))


def test_states_of_neurons_with_two_are_refused() -> None:
    network = SHD(inputs=10, hidden=6, num_classes=3).eval()
    batches = [(torch.zeros(4, 2, 10), torch.zeros(2, dtype=torch.int64))]
    subject = Subject(network, batches)
    families = match_families(["lif1.current"], subject.families)
    with pytest.raises(ValueError, match=r"lif1\.syn: a .* has the states .*potential"):
        bound_states(network, families, BoundRule(), subject.infer, subject.batches)
