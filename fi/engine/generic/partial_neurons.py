"""Some neurons of a stage, stepped through time by snnTorch's own arithmetic."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from types import MethodType
from typing import ClassVar

import torch
from snntorch import SpikingNeuron
from torch import Tensor

from fi.faults.circuits.broken_neurons import BrokenNeurons
from fi.faults.circuits.replacing import replaced
from fi.faults.formats.state_faults import corrupt_states
from fi.faults.formats.state_formats import OwnStates
from fi.faults.modelling.circuit_models import CircuitModel
from fi.faults.word_formats import FLOAT32, WordFormat
from fi.network.neurons import output_spikes, state_attributes

#: Number of a step and the spikes of the step before -> the current that they add.
Feedback = Callable[[int, Tensor], Tensor]
#: Currents and the number of a step -> spikes.
Fire = Callable[[Tensor, int], Tensor]


@dataclass(frozen=True)
class NeuronWordFaults:
    """What faults do to a parameter, a state or the output of some neurons.

    Attributes:
        attribute: snnTorch's name of the word: ``beta``, ``mem``, ``spike``.
        masks: keep, force and flip, int32 ``[3, faults, 1]``.
        steps: first and last step of each, int64 ``[2, faults, 1]``; ``None`` is always.
        neurons: which neurons each corrupts, bool ``[faults, neurons]``; ``None`` is all of them.
        form: of the words.
    """

    attribute: str
    masks: Tensor
    steps: Tensor | None
    neurons: Tensor | None = None
    form: WordFormat = FLOAT32

    def apply(self, values: Tensor, step: int) -> Tensor:
        """``values`` ``[..., faults, neurons]`` as they read at ``step``."""
        keep, force, flip = self.masks
        faulty = corrupt_states(values, (keep, force, flip), self.form)
        if self.steps is not None:
            active = (self.steps[0] <= step) & (step <= self.steps[1])
            faulty = torch.where(active, faulty, values)
        if self.neurons is not None:
            faulty = torch.where(self.neurons, faulty, values)
        return faulty

    def begin(self, neuron: SpikingNeuron) -> Fire:
        """What steps ``neuron``, as ``select_neurons`` gives it."""
        is_state = self.attribute in state_attributes(neuron).values()
        plain = self.attribute == "spike" or is_state
        word = None if plain else getattr(neuron, self.attribute)

        def fire(current: Tensor, step: int) -> Tensor:
            if word is not None:
                setattr(neuron, self.attribute, self.apply(word, step))
            spikes = output_spikes(neuron(current))
            if is_state:
                state = getattr(neuron, self.attribute)
                setattr(neuron, self.attribute, self.apply(state, step))
            return self.apply(spikes, step) if self.attribute == "spike" else spikes

        return fire

    def expand_to_pairs(self, fault: Tensor, neurons: Tensor) -> NeuronWordFaults:
        """The faults of some pairs, one row a pair.

        Args:
            fault: of each pair, int64 ``[pairs]``.
            neurons: which of all neurons of the stage it corrupts, bool ``[pairs, neurons]``.
        """
        steps = None if self.steps is None else self.steps[:, fault]
        return replace(self, masks=self.masks[:, fault], steps=steps, neurons=neurons)


@dataclass(frozen=True)
class BrokenCircuits:
    """What circuit faults of one model do to some neurons.

    Attributes:
        model: of all of them.
        steps: first and last step of each, int64 ``[2, faults, 1]``; ``None`` is always.
        neurons: which neurons each breaks, bool ``[faults, neurons]``; ``None`` is all of them.
    """

    model: CircuitModel
    steps: Tensor | None
    neurons: Tensor | None = None
    attribute: ClassVar[None] = None

    def begin(self, neuron: SpikingNeuron) -> Fire:
        """What steps ``neuron``, as ``select_neurons`` gives it, from its first step on."""
        broken, forward = BrokenNeurons(self.model), neuron.forward

        def fire(current: Tensor, step: int) -> Tensor:
            where = torch.ones((), dtype=torch.bool, device=current.device)
            if self.steps is not None:
                where = (self.steps[0] <= step) & (step <= self.steps[1])
            if self.neurons is not None:
                where = where & self.neurons
            with replaced(neuron, "forward", lambda fed: broken.step(neuron, forward, fed, where)):
                return output_spikes(neuron(current))  # with what clamps its currents

        return fire

    def expand_to_pairs(self, fault: Tensor, neurons: Tensor) -> BrokenCircuits:
        """As ``NeuronWordFaults.expand_to_pairs``."""
        steps = None if self.steps is None else self.steps[:, fault]
        return replace(self, steps=steps, neurons=neurons)


#: What goes wrong in some neurons of a stage.
NeuronFaults = NeuronWordFaults | BrokenCircuits


def copy_neuron(neuron: SpikingNeuron, words: dict[str, Tensor]) -> SpikingNeuron:
    """A second ``neuron`` with no state, and with ``words`` in place of its parameters."""
    other = copy.copy(neuron)
    stored = {**neuron._parameters, **neuron._buffers, **words}
    for name in neuron._non_persistent_buffers_set:
        state = getattr(neuron, name)
        stored[name] = torch.zeros(0, dtype=state.dtype, device=state.device)
    if "reset_mechanism_val" in stored:  # a switch that snnTorch reads in every step
        stored["reset_mechanism_val"] = neuron.reset_mechanism_val.cpu()
    other.__dict__.update(_parameters={}, _buffers=stored)
    for name, value in vars(neuron).items():
        if inspect.ismethod(value) and value.__self__ is neuron:  # state_function
            other.__dict__[name] = MethodType(value.__func__, other)
        elif isinstance(value, OwnStates):
            other.__dict__[name] = value.bind(other)
    return other


def expand_parameter(value: Tensor, shape: torch.Size, dtype: torch.dtype) -> Tensor:
    """A parameter as the neurons of a layer of ``shape`` see it, ``[neurons]``."""
    if value.ndim == 0:  # takes no part in type promotion
        value = value.to(dtype)
    if value.ndim == len(shape) + 1:  # a batch dimension of one
        value = value.squeeze(0)
    return value.expand(shape).reshape(-1)


def select_neurons(
    neuron: SpikingNeuron,
    shape: torch.Size,
    chosen: Tensor,
    dtype: torch.dtype,
    corrupted: str | None = None,
) -> SpikingNeuron:
    """Some neurons of a layer, without states.

    Parameters become ``[..., neurons]``; scalars remain unless faults corrupt them.

    Args:
        neuron: the layer.
        shape: of the layer.
        chosen: numbers of its neurons, int64 ``[..., neurons]``.
        dtype: of the currents.
        corrupted: the parameter that faults corrupt, if one.
    """
    own = {**neuron._parameters, **neuron._buffers}
    words: dict[str, Tensor] = {}
    for name, value in own.items():
        if value is None or name in neuron._non_persistent_buffers_set:
            continue
        if value.numel() > 1 or name == corrupted:
            words[name] = expand_parameter(value.detach(), shape, dtype)[chosen]
        elif value.ndim:
            words[name] = value.detach().reshape(1)
    return copy_neuron(neuron, words)


def simulate_neurons(
    neuron: SpikingNeuron,
    currents: Tensor,
    start: int = 0,
    faults: NeuronFaults | None = None,
    feedback: Feedback | None = None,
    previous: Tensor | None = None,
) -> Iterator[tuple[Tensor, Tensor]]:
    """Spikes and membrane, ``[..., neurons]`` each, of every step.

    Args:
        neuron: as ``select_neurons`` gives it, with its states at the begin of step ``start``.
        currents: ``[time, ..., neurons]`` from step ``start`` on.
        start: number of the first step.
        faults: of the neurons' words.
        feedback: of a recurrent stage.
        previous: spikes of the step before ``start``, ``[..., neurons]``.
    """
    fire = (
        (lambda current, step: output_spikes(neuron(current)))
        if faults is None
        else faults.begin(neuron)
    )
    for step, current in enumerate(currents, start):
        if feedback is not None:
            assert previous is not None
            current = current + feedback(step, previous)
        previous = fire(current, step).to(current.dtype)  # as Stage.fire does
        yield previous, neuron.mem
