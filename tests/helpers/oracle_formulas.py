"""The oracle's counts for some networks whose neurons are written out by hand, without snnTorch.

What a fault makes of a word and what a pair did are the oracle's (``oracle.py``); the loop over
time is one of its own after snnTorch's formulas.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator
from functools import reduce

import pandas as pd
import torch
import torch.nn.functional as functional
from campaigns import Run
from oracle import corrupted, judge
from oracle_circuits import Circuit
from oracle_lines import Line, is_of_line
from torch import Tensor, nn

from fi.campaign.subject import Subject
from fi.faults.fault import Fault, Trial, group_trials
from fi.network.stages import SpikingNetwork
from fi.statistics.result_table import merge_trials

MODELS = ("bit-flip", "stuck-at-0", "stuck-at-1")
Step = Callable[["Oracle", Tensor, int], Tensor]
Fold = Callable[[Tensor, Tensor], Tensor]
BITS = (18, 22, 23, 26, 29, 30, 31)


class Oracle:
    """A faulty inference by hand: ``words`` are the golden parameters by name."""

    def __init__(self, network: nn.Module, *faults: Fault) -> None:
        self.words = {name: value.detach().clone() for name, value in network.state_dict().items()}
        self.faults = faults
        self.membranes: dict[str, Tensor] = {}
        self.synapses: dict[str, Tensor] = {}
        self.spikes: dict[str, Tensor] = {}
        self.fired: dict[tuple[str, tuple[int, ...]], list[list[int]]] = {}
        self.lines: dict[tuple[Fault, int], Line] = {}
        self.first = 0  # position in the test set of the first sample

    def at(self, name: str, step: int) -> list[Fault]:
        """The faults that this tensor has now, in their order."""
        times = [(f, range(step + 1) if f.steps is None else f.steps) for f in self.faults]
        return [f for f, time in times if f.layer == name and time[0] <= step <= time[-1]]

    def word(self, name: str, step: int) -> Tensor:
        """A parameter as it reads at ``step``."""
        faults = self.at(name, step)
        if not faults:
            return self.words[name]
        value = self.words[name].clone()
        for fault in faults:
            before = float(value[fault.index])
            value[fault.index] = corrupted(before, fault, tensor=self.words[name])
        return value

    def quantise(self, states: Tensor) -> Tensor:
        """States as they are stored; of another format than float32 they are rounded."""
        return states

    def hit_state(self, value: float, fault: Fault) -> float:
        """A state's word under a fault."""
        return corrupted(value, fault)

    def hit_spike(self, value: float, fault: Fault) -> float:
        """An output, or an input, under a fault of its bits."""
        return corrupted(value, fault)

    def strike(self, name: str, values: Tensor, step: int) -> Tensor:
        """A state or spikes ``[batch, ...]``, wrong where the fault is."""
        active = self.at(name, step)
        faults = [fault for fault in self.faults if fault.layer == name]
        values = values.clone() if faults else values
        for fault in faults:
            for sample in range(len(values)):
                place = (sample, *fault.index)
                given = float(values[place])
                if is_of_line(fault):
                    line = self.lines.setdefault((fault, sample), Line(fault, self.first + sample))
                    values[place] = line.carry(given, fault in active)
                elif fault in active:
                    is_state = name.endswith((".potential", ".syn"))
                    hit = self.hit_state if is_state else self.hit_spike
                    values[place] = hit(given, fault)
        return values

    def broken(self, name: str, step: int) -> list[tuple[tuple[int, ...], list[Fault]]]:
        """The neurons with circuit faults in this inference, and those that are active now."""
        layer = f"{name}.neuron"
        listed = dict.fromkeys(fault.index for fault in self.faults if fault.layer == layer)
        active = self.at(layer, step)
        return [(index, [f for f in active if f.index == index]) for index in listed]

    def spike_steps(self, name: str, index: tuple[int, ...], like: Tensor) -> list[list[int]]:
        """When the circuit of a neuron has fired, of each sample; a list that the circuit keeps."""
        return self.fired.setdefault((name, index), [[] for _ in like])

    def leaky(self, name: str, current: Tensor, step: int) -> Tensor:
        """One step of snnTorch's Leaky, reset by subtraction; returns spikes."""
        beta, threshold = self.word(f"{name}.beta", step), self.word(f"{name}.threshold", step)
        before = self.membranes.get(name, torch.zeros_like(current))
        reset = (before - threshold > 0).float()
        membrane = beta.clamp(0, 1) * before + current - reset * threshold
        membrane = self.quantise(membrane)
        spikes = (membrane - threshold > 0).float()
        for index, faults in self.broken(name, step):
            at = (slice(None), *index)
            words = [word.expand(current.shape[1:])[index] for word in (beta, threshold)]
            circuit = Circuit(faults, *words, before[at], self.spike_steps(name, index, before))
            membrane[at], spikes[at] = circuit.leaky(current[at], step)
        self.membranes[name] = self.strike(f"{name}.potential", membrane, step)
        return self.strike(f"{name}.spike", spikes, step)

    def synaptic(self, name: str, current: Tensor, step: int) -> Tensor:
        """One step of snnTorch's Synaptic, reset by subtraction; returns spikes."""
        alpha, beta = self.word(f"{name}.alpha", step), self.word(f"{name}.beta", step)
        threshold = self.word(f"{name}.threshold", step)
        before = self.membranes.get(name, torch.zeros_like(current))
        synapse = self.synapses.get(name, torch.zeros_like(current))
        reset = (before - threshold > 0).float()
        decayed = alpha.clamp(0, 1) * synapse
        synapse = decayed + current
        membrane = beta.clamp(0, 1) * before + synapse - reset * threshold
        membrane, synapse = self.quantise(membrane), self.quantise(synapse)
        spikes = (membrane - threshold > 0).float()
        for index, faults in self.broken(name, step):
            at = (slice(None), *index)
            words = [word.expand(current.shape[1:])[index] for word in (beta, threshold)]
            circuit = Circuit(faults, *words, before[at], self.spike_steps(name, index, before))
            found = circuit.synaptic(decayed[at], current[at], step)
            synapse[at], membrane[at], spikes[at] = found
        self.synapses[name] = self.strike(f"{name}.syn", synapse, step)
        self.membranes[name] = self.strike(f"{name}.potential", membrane, step)
        self.spikes[name] = self.strike(f"{name}.spike", spikes, step)
        return self.spikes[name]

    def linear(self, name: str, signal: Tensor, step: int) -> Tensor:
        weight, bias = self.word(f"{name}.weight", step), self.word(f"{name}.bias", step)
        return functional.linear(signal, weight, bias)

    def conv(self, name: str, signal: Tensor, step: int) -> Tensor:
        weight, bias = self.word(f"{name}.weight", step), self.word(f"{name}.bias", step)
        return functional.max_pool2d(functional.conv2d(signal, weight, bias), 2)

    def run(self, forward: Step, fold: Fold, events: Tensor) -> list:
        """Scores of each sample: the softmax, in float64, of what ``fold`` makes of the steps."""
        self.membranes, self.synapses, self.spikes, self.fired = {}, {}, {}, {}
        self.lines = {}
        steps = [
            forward(self, self.strike("input", signal, step), step)
            for step, signal in enumerate(events)
        ]
        scores = torch.softmax(reduce(fold, steps).double(), dim=-1)
        return scores.float().tolist()


def linear_step(oracle: Oracle, signal: Tensor, step: int) -> Tensor:
    hidden = oracle.leaky("lif1", oracle.linear("fc1", signal, step), step)
    return oracle.leaky("lif2", oracle.linear("fc2", hidden, step), step)


def conv_step(oracle: Oracle, signal: Tensor, step: int) -> Tensor:
    first = oracle.leaky("lif1", oracle.conv("conv1", signal, step), step)
    second = oracle.leaky("lif2", oracle.conv("conv2", first, step), step)
    return oracle.leaky("lif3", oracle.linear("fc1", second.flatten(1), step), step)


def recurrent_step(oracle: Oracle, signal: Tensor, step: int) -> Tensor:
    """Returns the last membrane, whose maximum over time is the statistic."""
    current = oracle.linear("fc1", signal, step)
    before = oracle.spikes.get("lif1", torch.zeros_like(current))
    hidden = oracle.synaptic("lif1", current + oracle.linear("fb1", before, step), step)
    oracle.synaptic("lif2", oracle.linear("fc2", hidden, step), step)
    return oracle.membranes["lif2"]


FORWARD = {"SmallLinear": linear_step, "NMNIST": linear_step} | {
    "SmallConv": conv_step,
    "CSNN": conv_step,
    "SHD": recurrent_step,
}
FOLD: dict[str, Fold] = {"SHD": torch.maximum}  # elsewhere spikes are counted


def scores_of(subject: Subject, *faults: Fault) -> list[list]:
    """The oracle's scores, per batch and sample."""
    oracle, forward = Oracle(subject.network, *faults), FORWARD[subject.name]
    fold = FOLD.get(subject.name, torch.add)
    found = []
    for events, labels in subject.batches:
        found.append(oracle.run(forward, fold, encoded(subject, events)))
        oracle.first += len(labels)
    return found


def encoded(subject: Subject, events: Tensor) -> Tensor:
    """The events as the first layer sees them; no fault is in the resizing."""
    assert isinstance(subject.network, SpikingNetwork)
    return subject.network.encode(events)


def expected(subject: Subject, trial: Trial, golden: list[list]) -> dict[str, int]:
    """The counts of one trial; ``golden`` are the scores without it."""
    return count_scores(subject, golden, scores_of(subject, *trial))


def count_scores(subject: Subject, golden: list[list], faulty: list[list]) -> dict[str, int]:
    """The counts of faulty scores, per batch and sample, pair by pair."""
    names = ("samples", "fully_masked", "sdc_1", "sdc_0_5", "sdc_5_10", "sdc_10_20", "sdc_20")
    counts = dict.fromkeys((*names, "non_finite", "correct", "golden_correct"), 0)
    for before, after, (_, labels) in zip(golden, faulty, subject.batches, strict=True):
        for one, other, label in zip(before, after, labels.tolist(), strict=True):
            finite = all(map(math.isfinite, other))
            nan = any(score != score for score in other)
            counts["samples"] += 1
            counts[judge(one, other)] += 1
            counts["non_finite"] += not finite
            counts["correct"] += not nan and other.index(max(other)) == label
            counts["golden_correct"] += one.index(max(one)) == label
    return counts


def every_case(subject: Subject, each: int) -> Iterator[Fault]:
    """``each`` random faults of every family x model x {permanent, transient}."""
    choose, injection = random.Random(7), 0
    for family in subject.families:
        for model in MODELS:
            for transient in (False, True):
                for _ in range(each):
                    index = tuple(choose.randrange(size) for size in family.shape)
                    step = choose.randrange(subject.steps) if transient else None
                    bit = choose.choice(BITS)
                    yield Fault(injection, family.name, index, bit, model, step)
                    injection += 1


def assert_oracle_agrees(campaign: Run, subject: Subject, faults: list[Fault]) -> pd.DataFrame:
    """Both engines count what the oracle counts, which is returned."""
    golden = scores_of(subject)
    listed = group_trials(faults)
    wanted = pd.DataFrame([expected(subject, trial, golden) for trial in listed])
    assert_same_counts(campaign, subject, listed, wanted)
    return wanted


def assert_same_counts(
    campaign: Run, subject: Subject, listed: list[Trial], wanted: pd.DataFrame
) -> None:
    """Both engines count these trials as ``wanted`` has it, a row each."""
    faults = [fault for trial in listed for fault in trial]
    for engine in ("full", "differential"):
        results = merge_trials(campaign(subject, faults, engine=engine).run())
        results = results.reset_index(drop=True)
        different = (results[wanted.columns] != wanted).any(axis=1).to_numpy().nonzero()[0]
        shown = [
            f"{engine}, {'; '.join(map(str, listed[i]))}: {results.loc[i].to_dict()}, "
            f"wanted {wanted.loc[i].to_dict()}"
            for i in different
        ]
        assert not shown, "\n".join(shown)
