"""What a chunk of faults does to the stage that it is in: which neurons, and what they receive."""

from __future__ import annotations

import copy
from dataclasses import replace

import torch
from torch import Tensor, nn

from fi.engine.generic.fault_batch import FaultBatch
from fi.engine.generic.golden_stage import GoldenStage
from fi.engine.generic.partial_neurons import (
    BrokenCircuits,
    Feedback,
    NeuronFaults,
    NeuronWordFaults,
)
from fi.faults.circuits.circuit_hooks import circuit_model
from fi.faults.formats.state_formats import SPIKE, output_format_of
from fi.faults.injection import injected
from fi.faults.word_formats import FLOAT32
from fi.network.neurons import state_attributes


class Change:
    """Faults of one family in one stage, and the neurons that they affect.

    A neuron is affected if it sees the fault directly: by its own words or by its current. In this
    base class the currents of the affected neurons are the golden ones.

    Args:
        golden: the stage without faults.
        faults: of one family of the stage.

    Attributes:
        word_faults: what the faults do to words of the neurons; ``None`` is nothing.
        largest_chunk: the most faults that one chunk may have; ``None`` is any number.
        always_diverges: whether all pairs are taken to spike differently from the golden run.
        start: the first step at which a fault is active.
    """

    word_faults: NeuronFaults | None = None
    largest_chunk: int | None = None
    always_diverges = False

    def __init__(self, golden: GoldenStage, faults: FaultBatch) -> None:
        self.golden, self.faults = golden, faults
        self.start = faults.start

    def affected_neurons(self) -> Tensor:
        """Their numbers, int64 ``[faults, affected]``; as many for every fault."""
        raise NotImplementedError

    def compute_currents(self) -> Tensor:
        """What the synapse gives them from ``start`` on, ``[time, batch, faults, affected]``."""
        return self.golden.currents[self.start :, :, self.affected_neurons()]

    def compute_feedback(self) -> Tensor:
        """What golden spikes add through the recurrence, ``[time, batch, faults, affected]``."""
        return self.golden.feedback[self.start :, :, self.affected_neurons()]

    def make_feedback(self, fault: Tensor) -> Feedback:
        """The recurrence of the pairs of ``fault`` ``[pairs]``, on ``[pairs, neurons]``."""
        return lambda step, spikes: self.golden.feed_back(self.golden.stage.recurrent, spikes)

    @property
    def width(self) -> int:
        """Elements that one fault needs per sample and step."""
        return 6 * self.affected_neurons().shape[1]

    def choose_active(self, faulty: Tensor, golden: Tensor) -> Tensor:
        """``faulty`` where the fault is active, else ``golden``, ``[time, batch, faults, ...]``."""
        active = self.faults.active_steps(self.start, self.golden.steps)
        if active is None:
            return faulty
        shape = (len(active), 1, len(self.faults), *[1] * (faulty.ndim - 3))
        return torch.where(active.reshape(shape), faulty, golden)


def flatten_index(index: Tensor, shape: torch.Size) -> Tensor:
    """Position ``[faults]`` in the flattened tensor of ``index`` ``[faults, dimensions]``."""
    flat = torch.zeros(len(index), dtype=torch.int64, device=index.device)
    for axis, size in enumerate(shape):
        flat = flat * size + index[:, axis]
    return flat


class NeuronChange(Change):
    """Faults of a state or of the neurons' output: one neuron each."""

    def __init__(self, golden: GoldenStage, faults: FaultBatch, attribute: str) -> None:
        super().__init__(golden, faults)
        self.attribute = attribute
        steps = None if faults.steps is None else faults.steps.unsqueeze(2)
        neuron = golden.stage.neuron
        names = {state: name for name, state in state_attributes(neuron).items()}
        listed = names.get(attribute, attribute)
        known = attribute in names or attribute == SPIKE
        form = output_format_of(neuron, listed) if known else FLOAT32
        masks = faults.masks.unsqueeze(2)
        self.word_faults = NeuronWordFaults(attribute, masks, steps, form=form)

    def affected_neurons(self) -> Tensor:
        return flatten_index(self.faults.index, self.golden.shape).unsqueeze(1)


class CircuitChange(Change):
    """Circuit faults of one model: one neuron each."""

    def __init__(self, golden: GoldenStage, faults: FaultBatch) -> None:
        super().__init__(golden, faults)
        model = circuit_model(faults.listed[0].model)
        if model.remembers:  # spikes of before the fault count
            self.start = 0
        steps = None if faults.steps is None else faults.steps.unsqueeze(2)
        self.word_faults = BrokenCircuits(model, steps)

    def affected_neurons(self) -> Tensor:
        return flatten_index(self.faults.index, self.golden.shape).unsqueeze(1)


class ParameterChange(NeuronChange):
    """Faults of beta, threshold, ...: the neurons that the word broadcasts to."""

    def affected_neurons(self) -> Tensor:
        shape = getattr(self.golden.stage.neuron, self.attribute).shape
        words = torch.arange(shape.numel(), device=self.golden.device).reshape(shape)
        if words.ndim > len(self.golden.shape):
            words = words.squeeze(0)
        seen = words.expand(self.golden.shape).reshape(-1)  # the word that each neuron sees
        neurons = seen.argsort(stable=True).reshape(shape.numel(), -1)
        return neurons[flatten_index(self.faults.index, shape)]


class WholeStageChange(Change):
    """Faults of any synaptic word: the whole stage is computed anew, one fault at a time."""

    def __init__(self, golden: GoldenStage, faults: FaultBatch, network: nn.Module) -> None:
        super().__init__(golden, faults)
        self.network = network

    def affected_neurons(self) -> Tensor:
        neurons = torch.arange(self.golden.neurons, device=self.golden.device)
        return neurons.expand(len(self.faults), -1)

    def compute_currents(self) -> Tensor:
        rows = [self._compute_under(row) for row in range(len(self.faults))]
        return torch.stack(rows, dim=2)

    @property
    def width(self) -> int:
        return super().width + self.golden.footprint

    def _compute_under(self, row: int) -> Tensor:
        """Currents ``[time, batch, neurons]`` under one fault."""
        golden, fault = self.golden, self.faults.listed[row]
        if fault.steps is None:
            with injected(self.network, fault):
                return golden.stage.currents(golden.inputs[self.start :]).flatten(2)
        currents = golden.currents[self.start :].clone()
        with injected(self.network, replace(fault, steps=None)):
            faulty = golden.stage.currents(golden.inputs[fault.steps[0] : fault.steps[-1] + 1])
        first = fault.steps[0] - self.start
        currents[first : first + len(faulty)] = faulty.flatten(2)
        return currents


class RecurrentLinearChange(Change):
    """Faults of a recurrent ``nn.Linear``: one neuron each, fed by one or (a bias) by none."""

    def __init__(self, golden: GoldenStage, faults: FaultBatch, word: Tensor) -> None:
        super().__init__(golden, faults)
        before, after = faults.corrupt_words(word)
        self.delta = after - before

    @staticmethod
    def fits(golden: GoldenStage) -> bool:
        """Whether a recurrence is of this form; a membrane that is read out has to be exact."""
        is_linear = type(golden.stage.recurrent) is nn.Linear and len(golden.shape) == 1
        return is_linear and not golden.is_last

    def affected_neurons(self) -> Tensor:
        return self.faults.index[:, :1]

    def compute_feedback(self) -> Tensor:
        golden = super().compute_feedback()
        added = self.delta.expand(golden.shape[:3])
        if self.faults.index.shape[1] == 2:
            sources = self.faults.index[:, 1]
            added = added * self.golden.previous_spikes[self.start :, :, sources]
        return self.choose_active(golden + added.unsqueeze(3), golden)

    def make_feedback(self, fault: Tensor) -> Feedback:
        target, delta = self.faults.index[fault, :1], self.delta[fault].unsqueeze(1)
        source = self.faults.index[fault, 1:]
        steps = None if self.faults.steps is None else self.faults.steps[:, fault].unsqueeze(2)
        feed_back_golden = super().make_feedback(fault)

        def feed_back(step: int, spikes: Tensor) -> Tensor:
            added = delta * spikes.gather(1, source) if source.shape[1] else delta
            current = feed_back_golden(step, spikes)
            faulty = current.scatter(1, target, current.gather(1, target) + added)
            if steps is None:
                return faulty
            return torch.where((steps[0] <= step) & (step <= steps[1]), faulty, current)

        return feed_back


class RecurrentModuleChange(Change):
    """A fault of any recurrent module: all samples run with a faulty copy of it."""

    largest_chunk = 1
    always_diverges = True

    def __init__(self, golden: GoldenStage, faults: FaultBatch, network: nn.Module) -> None:
        super().__init__(golden, faults)
        (self.fault,) = faults.listed[:1]
        with injected(network, replace(self.fault, steps=None)):
            self.faulty = copy.deepcopy(golden.stage.recurrent)

    def affected_neurons(self) -> Tensor:
        return torch.arange(self.golden.neurons, device=self.golden.device).unsqueeze(0)

    def make_feedback(self, fault: Tensor) -> Feedback:
        golden, fault_of_all = self.golden, self.fault

        def feed_back(step: int, spikes: Tensor) -> Tensor:
            active = fault_of_all.active(step)
            return golden.feed_back(self.faulty if active else golden.stage.recurrent, spikes)

        return feed_back
