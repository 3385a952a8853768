"""Words and membranes that are clamped: both engines count what an oracle by hand counts."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import pytest
import snntorch as snn
import torch
from campaigns import Run, subject_of
from oracle_formats import word_of
from oracle_formulas import FORWARD, Oracle, assert_oracle_agrees, every_case
from rate_campaigns import rate_campaign
from rate_oracle import assert_counts_are_the_oracles
from shipped_networks import shipped
from small_networks import INPUT_SHAPES, PlainLinear, SmallConv, SmallLinear, event_batches, small
from snntorch import SpikingNeuron
from torch import Tensor, nn

from fi.base.errors import UserError
from fi.base.text_files import FileError
from fi.campaign.subject import Subject
from fi.faults.fault import Fault
from fi.faults.fault_sites import named_words
from fi.faults.formats.clamps import Clamp, Clamps
from fi.faults.formats.state_formats import output_format_of
from fi.faults.word_formats import FLOAT32
from fi.hardening.clamp_bounds import BoundRule, bound_neurons, bound_words, match_families
from fi.network.stages import SpikingNetwork, Stage
from fi.statistics.result_table import merge_trials

Word = Callable[[Oracle, str, int], Tensor]


def clamp_by_hand(value: float, low: float, high: float, beyond: str) -> float:
    if math.isnan(value):
        return 0.0
    if low <= value <= high:
        return value
    return 0.0 if beyond == "zero" else low if value < low else high


def clamping_oracle(clamps: Clamps, stored: Word | None = None) -> type[Oracle]:
    """An oracle that reads words, and keeps neurons, within bounds; ``stored``: of a format."""

    def bounded(name: str, place: tuple[int, ...], value: float) -> float:
        clamp = clamps.by_family.get(name)
        if clamp is None:
            return value
        row = place[0] if len(clamp.low) > 1 else 0
        return clamp_by_hand(value, clamp.low[row], clamp.high[row], clamp.beyond)

    def bounded_all(name: str, values: Tensor) -> Tensor:
        flat = [bounded(name, (), value) for value in values.flatten().tolist()]
        return torch.tensor(flat).reshape(values.shape)

    class Clamping(Oracle):
        due: tuple[str, ...] = ()  # the states that are stored next

        def word(self, name: str, step: int) -> Tensor:
            words = (stored or Oracle.word)(self, name, step)
            for fault in self.at(name, step):
                value = bounded(name, fault.index, float(words[fault.index]))
                words[fault.index] = value
            return words

        def leaky(self, name: str, current: Tensor, step: int) -> Tensor:
            self.due = (f"{name}.potential",)
            return super().leaky(name, bounded_all(f"{name}.current", current), step)

        def synaptic(self, name: str, current: Tensor, step: int) -> Tensor:
            self.due = (f"{name}.potential", f"{name}.syn")
            return super().synaptic(name, bounded_all(f"{name}.current", current), step)

        def quantise(self, states: Tensor) -> Tensor:
            name, *due = self.due
            self.due = tuple(due)
            return bounded_all(name, states)

        def hit_state(self, value: float, fault: Fault) -> float:
            return bounded(fault.layer, (), super().hit_state(value, fault))

        def hit_spike(self, value: float, fault: Fault) -> float:
            return bounded(fault.layer, (), super().hit_spike(value, fault))

    return Clamping


def clamps_of(kind: type[nn.Module], patterns: tuple[str, ...], rule: BoundRule) -> Clamps:
    """Bounds of a network's words and neurons, from its own test samples."""
    return bounds_of(subject_of(kind), patterns, rule)


def bounds_of(plain: Subject, patterns: tuple[str, ...], rule: BoundRule) -> Clamps:
    families = match_families(patterns, plain.families)
    words = [family for family in families if family.name in named_words(plain.network)]
    neurons = [family for family in families if family not in words]
    found = dict(bound_words(plain.network, words, rule).by_family)
    given = (plain.network, neurons, rule, plain.infer, plain.batches)
    return Clamps(found | dict(bound_neurons(*given).by_family))


CASES = {
    "channels to zero": (("*.weight", "*.bias"), BoundRule()),
    "tensors to bounds": (("*.weight",), BoundRule(per="tensor", beyond="bound")),
    "percentiles": (("*.weight", "*.bias"), BoundRule(percentile=80)),
    "parameters": (("*.weight", "*.beta", "*.threshold"), BoundRule()),
    "membranes to bounds": (("*.potential",), BoundRule(beyond="bound")),
    "membranes to zero": (("*.weight", "*.potential"), BoundRule(percentile=98)),
    "currents to bounds": (("*.current",), BoundRule(beyond="bound")),
    "currents to zero": (("*.weight", "*.potential", "*.current"), BoundRule(percentile=97)),
    "currents of one layer": (("lif1.current", "lif2.spike"), BoundRule()),
    "spikes": (("*.spike",), BoundRule()),
}


#: The others of convolutions are slow.
FAST = ("parameters", "currents to bounds", "spikes")


@pytest.mark.parametrize(
    ("case", "kind"),
    [
        *((case, SmallLinear) for case in CASES),
        *((case, SmallConv) for case in FAST),
        *(pytest.param(c, SmallConv, marks=pytest.mark.slow) for c in CASES if c not in FAST),
    ],
)
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
    words = bounds_of(plain, ("*.weight", "*.bias"), BoundRule())
    neurons = ("lif1.potential", "lif2.current", "*.spike")
    found = bounds_of(plain, neurons, BoundRule(percentile=99.0))
    clamps = Clamps({**words.by_family, **found.by_family})
    subject = Subject(digits.network, digits.batches, clamps=clamps)
    monkeypatch.setattr("oracle_formulas.Oracle", clamping_oracle(clamps))
    wanted = assert_oracle_agrees(campaign, subject, list(every_case(subject, 1)))
    assert 0.05 < wanted["fully_masked"].sum() / wanted["samples"].sum() < 0.99


def test_a_network_with_a_forward_of_its_own_is_clamped_alike(campaign: Run) -> None:
    patterns = ("*.weight", "*.potential", "*.current", "lif1.spike")
    clamps = clamps_of(SmallLinear, patterns, BoundRule(percentile=98))
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
    patterns = ("*.potential", "fc1.weight", "*.current", "*.spike")
    clamps = clamps_of(SmallLinear, patterns, BoundRule())
    Subject(network, batches, clamps=clamps)
    assert network.lif1.state_quant
    assert network.lif1._forward_pre_hooks
    Subject(network, batches)
    assert not network.lif1.state_quant
    assert not network.lif1._forward_pre_hooks
    assert not network.lif1._forward_pre_hooks_with_kwargs
    assert output_format_of(network.lif1, "spike") is FLOAT32


@pytest.mark.parametrize("what", ["potential", "current"])
def test_neurons_are_bounded_where_they_are_clamped(what: str) -> None:
    """Membranes, or currents, of the whole run, by hand; and nothing golden is beyond."""
    plain = subject_of(SmallLinear)
    clamps = clamps_of(SmallLinear, (f"*.{what}",), BoundRule())
    seen: list[Tensor] = []

    def note(neuron: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> None:
        seen.append((args[0] if what == "current" else neuron.mem).detach().clone())

    handle = plain.network.lif1.register_forward_hook(note)
    scores = [plain.infer(events) for events, _ in plain.batches]
    handle.remove()
    found = clamps.by_family[f"lif1.{what}"]
    assert found.low[0] == min(0.0, min(float(values.min()) for values in seen))
    assert found.high[0] == max(float(values.max()) for values in seen)
    clamped = subject_of(SmallLinear, clamps=clamps)
    again = [clamped.infer(events) for events, _ in clamped.batches]
    assert all(torch.equal(one, other) for one, other in zip(scores, again, strict=True))


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
    match = r"--clamp of lif1\.potential, lif2\.potential: not with --faults\.rate"
    with pytest.raises(UserError, match=match):
        rate_campaign(subject_of(SmallLinear, clamps=clamps), tmp_path, [1e-3])


def test_rates_hit_words_before_clamped_currents(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clamps = clamps_of(SmallLinear, ("*.current",), BoundRule(percentile=98))
    subject = subject_of(SmallLinear, clamps=clamps)
    monkeypatch.setattr("oracle_formulas.Oracle", clamping_oracle(clamps))
    plan = {"sites": ("*.weight", "*.bias", "*.potential", "*.spike")}
    found = assert_counts_are_the_oracles(subject, tmp_path, (0.002, 0.02), plan=plan)
    assert 0.01 < found["fully_masked"].sum() / found["samples"].sum() < 0.99


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("{fc9.weight: {low: 0, high: 1, beyond: zero}}", "fc9.weight is neither words"),
        ("{fc1.weight: {low: [0, 0], high: [1, 1], beyond: zero}}", "has 2 bounds; allowed: 1, or"),
        ("{lif1.potential: {low: [0, 0], high: [1, 1], beyond: zero}}", "allowed for neurons: one"),
        ("{fc1.current: {low: 0, high: 1, beyond: zero}}", "fc1.current is neither words"),
        ("{lif1.spike: {low: 0, high: 0.5, beyond: zero}}", "lif1.spike: bounds are 0 and 0.5; al"),
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


class TwoStates(SpikingNetwork):
    """Linear layers, each before neurons of a kind that keeps several states."""

    def __init__(self, kind: type[SpikingNeuron] = snn.Synaptic) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(12, 8), nn.Linear(8, 3)
        self.lif1, self.lif2 = (kind(alpha=0.8, beta=0.6, threshold=0.5) for _ in range(2))

    def stages(self) -> list[Stage]:
        return [Stage(self.fc1, self.lif1), Stage(self.fc2, self.lif2)]


def two_states(kind: type[SpikingNeuron], clamps: Clamps | None = None) -> Subject:
    torch.manual_seed(3)
    network = TwoStates(kind).eval()
    return Subject(network, event_batches(INPUT_SHAPES[SmallLinear]), clamps=clamps)


def test_each_state_of_a_neuron_with_two_has_its_own_bounds(
    campaign: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(FORWARD, "TwoStates", synaptic_step)
    patterns = ("lif1.syn", "*.potential", "lif2.current")
    clamps = bounds_of(two_states(snn.Synaptic), patterns, BoundRule(percentile=97))
    subject = two_states(snn.Synaptic, clamps)
    monkeypatch.setattr("oracle_formulas.Oracle", clamping_oracle(clamps))
    wanted = assert_oracle_agrees(campaign, subject, list(every_case(subject, 1)))
    assert 0.05 < wanted["fully_masked"].sum() / wanted["samples"].sum() < 0.99


def synaptic_step(oracle: Oracle, signal: Tensor, step: int) -> Tensor:
    hidden = oracle.synaptic("lif1", oracle.linear("fc1", signal, step), step)
    return oracle.synaptic("lif2", oracle.linear("fc2", hidden, step), step)


def test_three_states_are_clamped_each(campaign: Run) -> None:
    """Alpha's, seen from outside; and both engines agree."""
    bounds = {"syn_exc": (0.0, 0.4), "syn_inh": (-0.3, 0.0), "potential": (0.0, 0.2)}
    clamps = Clamps(
        {f"lif1.{name}": Clamp((low,), (high,), "bound") for name, (low, high) in bounds.items()}
    )
    subject = two_states(snn.Alpha, clamps)
    neuron, ends = subject.network.lif1, dict[str, list[float]]()

    def note(module: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> None:
        for name, state in (("syn_exc",) * 2, ("syn_inh",) * 2, ("potential", "mem")):
            held = getattr(module, state).detach()
            ends.setdefault(name, []).extend(map(float, held.aminmax()))

    handle = neuron.register_forward_hook(note)
    for events, _ in subject.batches:
        subject.infer(events)
    handle.remove()
    for name, (low, high) in bounds.items():
        assert (min(ends[name]), max(ends[name])) == pytest.approx((low, high))
    faults = [fault for fault in every_case(subject, 1) if fault.layer.startswith(("fc", "lif1"))]
    found = [
        merge_trials(campaign(subject, faults, engine=engine).run())["correct"].tolist()
        for engine in ("full", "differential")
    ]
    assert found[0] == found[1]
    assert len(set(found[0])) > 2


def test_broken_circuits_and_lines_behind_clamps(
    campaign: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    patterns = ("*.current", "lif1.spike")
    clamps = clamps_of(SmallLinear, patterns, BoundRule(percentile=96, beyond="bound"))
    subject = subject_of(SmallLinear, clamps=clamps)
    monkeypatch.setattr("oracle_formulas.Oracle", clamping_oracle(clamps))
    models = ("no-leak", "no-reset", "no-integration", "scale-threshold:0.5", "refractory:2")
    neurons = [(layer, n) for layer, size in (("lif1", 8), ("lif2", 3)) for n in range(size)]
    circuits = [
        Fault(number, f"{layer}.neuron", (n,), model=models[number % len(models)])
        for number, (layer, n) in enumerate(neurons)
    ]
    lines = [
        Fault(100 + n, "lif1.spike", (n,), model=model)
        for n, model in enumerate(("add:0.3", "delay:1", "jitter:2", "drop:0.4"))
    ]
    wanted = assert_oracle_agrees(campaign, subject, [*circuits, *lines])
    assert 0.05 < wanted["fully_masked"].sum() / wanted["samples"].sum() < 0.99


def test_spikes_that_read_zero_beyond_their_bounds(
    campaign: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a file may have it by hand."""
    clamps = Clamps({f"lif{n}.spike": Clamp((-0.5,), (1.25,), "zero") for n in (1, 2)})
    subject = subject_of(SmallLinear, clamps=clamps)
    monkeypatch.setattr("oracle_formulas.Oracle", clamping_oracle(clamps))
    faults = [
        Fault(n, f"lif{1 + n % 2}.spike", (n % 3,), bit, steps=None if n % 4 else range(2, 5))
        for n, bit in enumerate((18, 20, 21, 22, 23, 25, 29, 30, 31, 30, 22, 21))
    ]
    several = [  # of one output, one after another, and of two
        *(Fault(100, "lif1.spike", (0,), bit) for bit in (22, 21)),
        *(Fault(101, "lif1.spike", (1,), bit) for bit in (30, 23)),
        *(Fault(102, "lif1.spike", (word,), 21) for word in (0, 1, 2)),
        *(Fault(103, "lif2.spike", (1,), bit) for bit in (21, 20, 30)),
        *(Fault(104, f"lif{layer}.spike", (1,), 30) for layer in (1, 2)),
    ]
    wanted = assert_oracle_agrees(campaign, subject, [*faults, *several])
    assert 0.05 < wanted["fully_masked"].sum() / wanted["samples"].sum() < 0.99


def test_a_spike_clamp_makes_flips_of_spikes_harmless(campaign: Run) -> None:
    clamps = clamps_of(SmallLinear, ("*.spike",), BoundRule(beyond="bound"))
    faults = [Fault(n, "lif1.spike", (n % 8,), 20 + n // 8) for n in range(8 * 11)]
    rates = [
        campaign(subject_of(SmallLinear, clamps=each), faults).run()["sdc_1"].mean()
        for each in (None, clamps)
    ]
    assert rates[1] < rates[0]
