"""What a chunk of faults does to the stage it strikes: which neurons, and what they receive."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor, nn

from fi.engine.generic.fault_batch import Struck
from fi.engine.generic.golden_stage import Golden
from fi.engine.generic.partial_neurons import Strike
from fi.faults.injection import injected


class Change:
    """Faults of one family in one stage; this one leaves all currents as they are.

    The *cone* of a fault are the neurons of its stage that see it directly.
    """

    #: What the faults do to the neurons themselves.
    strike: Strike | None = None
    #: The most faults that one chunk may have; ``None`` is any number.
    most: int | None = None
    #: Whether all pairs are taken to spike differently from the golden run.
    diverges = False

    def __init__(self, golden: Golden, struck: Struck) -> None:
        self.golden, self.struck = golden, struck
        self.start = struck.start

    def cone(self) -> Tensor:
        """The neurons, int64 ``[faults, cone]``; as many for every fault."""
        raise NotImplementedError

    def currents(self) -> Tensor:
        """What the synapse gives them from ``start`` on, ``[time, batch, faults, cone]``."""
        return self.golden.currents[self.start :, :, self.cone()]

    def open_feedback(self) -> Tensor:
        """What the golden spikes add through the recurrence, ``[time, batch, faults, cone]``."""
        return self.golden.feedback[self.start :, :, self.cone()]

    def feedback(self, fault: Tensor) -> Callable[[int, Tensor], Tensor]:
        """The recurrence of pairs ``[pairs]``, from and to ``[pairs, neurons]``."""
        return lambda step, spikes: self.golden.recur(self.golden.stage.recurrent, spikes)

    @property
    def width(self) -> int:
        """Elements that one fault needs per sample and step."""
        return 6 * self.cone().shape[1]

    def active(self, dims: int) -> Tensor | None:
        """``struck.active`` as ``[time, 1, faults, 1, ...]`` of ``dims`` dimensions."""
        active = self.struck.active(self.start, self.golden.steps)
        if active is None:
            return None
        return active.unsqueeze(1).reshape(len(active), 1, -1, *[1] * (dims - 3))

    def while_active(self, faulty: Tensor, golden: Tensor) -> Tensor:
        """``[time, batch, faults, ...]``: ``faulty`` where the fault is active."""
        active = self.active(faulty.ndim)
        return faulty if active is None else torch.where(active, faulty, golden)


def flat_index(index: Tensor, shape: torch.Size) -> Tensor:
    """Position ``[faults]`` in the flattened tensor of ``index`` ``[faults, dimensions]``."""
    flat = torch.zeros(len(index), dtype=torch.int64, device=index.device)
    for axis, size in enumerate(shape):
        flat = flat * size + index[:, axis]
    return flat


class NeuronChange(Change):
    """Faults of a state or of the neurons' output: one neuron each."""

    def __init__(self, golden: Golden, struck: Struck, attribute: str) -> None:
        super().__init__(golden, struck)
        steps = None if struck.steps is None else struck.steps.unsqueeze(2)
        self.strike = Strike(attribute, struck.masks.unsqueeze(2), steps)

    def cone(self) -> Tensor:
        return flat_index(self.struck.index, self.golden.shape).unsqueeze(1)


class ParameterChange(NeuronChange):
    """Faults of beta, threshold, ...: the neurons that the word broadcasts to."""

    def cone(self) -> Tensor:
        assert self.strike is not None
        shape = getattr(self.golden.stage.neuron, self.strike.attribute).shape
        words = torch.arange(shape.numel(), device=self.golden.device).reshape(shape)
        if words.ndim > len(self.golden.shape):
            words = words.squeeze(0)
        seen = words.expand(self.golden.shape).reshape(-1)  # the word that each neuron sees
        neurons = seen.argsort(stable=True).reshape(shape.numel(), -1)
        return neurons[flat_index(self.struck.index, shape)]


class StageChange(Change):
    """Faults of any synaptic word: the whole stage is computed anew, one fault at a time."""

    def __init__(self, golden: Golden, struck: Struck, network: nn.Module) -> None:
        super().__init__(golden, struck)
        self.network = network

    def cone(self) -> Tensor:
        neurons = torch.arange(self.golden.neurons, device=self.golden.device)
        return neurons.expand(len(self.struck), -1)

    def currents(self) -> Tensor:
        rows = [self._under(row) for row in range(len(self.struck))]
        return torch.stack(rows, dim=2)

    @property
    def width(self) -> int:
        return super().width + self.golden.footprint

    def _under(self, row: int) -> Tensor:
        """``[time, batch, neurons]`` under one fault."""
        golden, fault = self.golden, self.struck.faults[row]
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

    def __init__(self, golden: Golden, struck: Struck, word: Tensor) -> None:
        super().__init__(golden, struck)
        before, after = struck.words(word)
        self.delta = after - before

    @staticmethod
    def fits(golden: Golden) -> bool:
        """Whether a recurrence is of this form; a membrane that is read out has to be exact."""
        is_linear = type(golden.stage.recurrent) is nn.Linear and len(golden.shape) == 1
        return is_linear and not golden.is_last

    def cone(self) -> Tensor:
        return self.struck.index[:, :1]

    def open_feedback(self) -> Tensor:
        golden = super().open_feedback()
        added = self.delta.expand(golden.shape[:3])
        if self.struck.index.shape[1] == 2:
            added = added * self.golden.fed_back[self.start :, :, self.struck.index[:, 1]]
        return self.while_active(golden + added.unsqueeze(3), golden)

    def feedback(self, fault: Tensor) -> Callable[[int, Tensor], Tensor]:
        target, delta = self.struck.index[fault, :1], self.delta[fault].unsqueeze(1)
        source = self.struck.index[fault, 1:]
        steps = None if self.struck.steps is None else self.struck.steps[:, fault].unsqueeze(2)
        plain = super().feedback(fault)

        def faulty(step: int, spikes: Tensor) -> Tensor:
            added = delta * spikes.gather(1, source) if source.shape[1] else delta
            current = plain(step, spikes)
            now = current.scatter(1, target, current.gather(1, target) + added)
            if steps is None:
                return now
            return torch.where((steps[0] <= step) & (step <= steps[1]), now, current)

        return faulty


class RecurrentModuleChange(Change):
    """A fault of any recurrent module: all samples run with a faulty copy of it."""

    most = 1
    diverges = True

    def __init__(self, golden: Golden, struck: Struck, network: nn.Module) -> None:
        super().__init__(golden, struck)
        (self.fault,) = struck.faults[:1]
        with injected(network, replace(self.fault, steps=None)):
            self.faulty = copy.deepcopy(golden.stage.recurrent)

    def cone(self) -> Tensor:
        return torch.arange(self.golden.neurons, device=self.golden.device).unsqueeze(0)

    def feedback(self, fault: Tensor) -> Callable[[int, Tensor], Tensor]:
        golden, fault_of_all = self.golden, self.fault

        def feedback(step: int, spikes: Tensor) -> Tensor:
            active = fault_of_all.active(step)
            return golden.recur(self.faulty if active else golden.stage.recurrent, spikes)

        return feedback
