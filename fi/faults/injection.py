"""`injected(network, *faults)`: the only code that changes a network."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any

from torch import Tensor, nn

from fi.faults.family_names import attribute_of, layer_of
from fi.faults.fault import Fault, Index
from fi.faults.fault_sites import INPUT
from fi.faults.injection_hooks import (
    corrupt_inputs,
    corrupt_output,
    hold_words_by_call,
    hold_words_by_slice,
)
from fi.faults.stored_words import StoredWord
from fi.network.neurons import output_spikes, reset_neurons, spiking_neurons, state_attributes
from fi.network.stages import SpikingNetwork, Stage, StageActivity

#: Module, attribute and index of a stored word -> the faults that act on it.
_FaultsByWord = dict[tuple[nn.Module, str, Index], list[Fault]]


@contextmanager
def injected(
    network: nn.Module, *faults: Fault, time_axis: int = 0, within: StageRun | None = None
) -> Iterator[None]:
    """The network with the faults in place; they are taken out again whatever happens.

    Parameters are changed in place, for the whole inference or for some steps. States and spikes
    are changed after their neuron's update, inputs before the first stage sees them. Faults of one
    word act on it in the order in which they are given.

    Args:
        network: to be changed.
        faults: one trial.
        time_axis: where time is in the events of a network that is no ``SpikingNetwork``.
        within: the stage that is run instead of the network; it has all the faults.

    Raises:
        FaultNotApplied: an inference ran without a fault.

    >>> import torch
    >>> from fi.faults.fault import Fault
    >>> network = torch.nn.Sequential(torch.nn.Linear(1, 1))
    >>> _ = network[0].weight.data.fill_(1.0)
    >>> with injected(network, Fault(0, "0.weight", (0, 0), bits=31)):
    ...     network[0].weight.item()
    -1.0
    >>> network[0].weight.item()
    1.0
    """
    with ExitStack() as placed:
        for changer in _Changers(network, faults, time_axis, within).make_all():
            placed.enter_context(changer)
        yield


class StageRun(nn.Module):
    """One stage as a module that is called once with all steps."""

    def __init__(self, stage: Stage) -> None:
        super().__init__()
        self.parts = nn.ModuleList([*stage.modules, stage.neuron])
        self.stage = stage

    def forward(self, inputs: Tensor) -> StageActivity:
        """What the stage does on ``inputs`` ``[time, batch, ...]``."""
        reset_neurons(self)
        return self.stage.run(inputs)


class _Changers:
    """Makes the context managers that put the faults of a trial in place.

    Making them changes nothing yet, so that all words are read as they are.

    Attributes:
        root: the module that is called once in every inference.
    """

    def __init__(
        self, network: nn.Module, faults: Sequence[Fault], time_axis: int, within: StageRun | None
    ) -> None:
        self.network, self.faults, self.time_axis = network, faults, time_axis
        self.root = network if within is None else within

    def make_all(self) -> list[AbstractContextManager[None]]:
        """Inputs, then states and spikes in the order of the faults, then stored words."""
        changers: list[AbstractContextManager[None]] = []
        words: _FaultsByWord = {}
        inputs = [fault for fault in self.faults if fault.layer == INPUT]
        if inputs:
            changers.append(corrupt_inputs(self.network, inputs, self.time_axis))
        for fault in self.faults:
            if fault.layer == INPUT:
                continue
            layer, attribute = layer_of(fault.layer), attribute_of(fault.layer)
            module = self.network.get_submodule(layer)
            value_of = _find_output(self.network, layer, attribute)
            if value_of is not None:
                changers.append(corrupt_output(self.root, module, value_of, fault))
            else:
                words.setdefault((module, attribute, fault.index), []).append(fault)
        return changers + self._hold_words(words)

    def _hold_words(self, words: _FaultsByWord) -> list[AbstractContextManager[None]]:
        """Words held for the whole inference, or changed from step to step, by module."""
        changers: list[AbstractContextManager[None]] = []
        changing: dict[nn.Module, list[StoredWord]] = {}
        for (module, attribute, index), faults in words.items():
            word = StoredWord(module, attribute, index, faults)
            if word.is_constant:
                changers.append(word.hold())
            else:
                changing.setdefault(module, []).append(word)
        for module, parts in changing.items():
            at_once = self._sees_all_steps_at_once(module)
            hold = hold_words_by_slice if at_once else hold_words_by_call
            changers.append(hold(self.root, module, parts))
        return changers

    def _sees_all_steps_at_once(self, module: nn.Module) -> bool:
        """Whether ``module`` is part of the synapse of a stage that runs all steps in one call."""
        if not isinstance(self.network, SpikingNetwork):
            return False
        if self.root is self.network and not self.network.layer_by_layer:
            return False
        synapses = (part for stage in self.network.stages() for part in stage.modules)
        return any(module is inner for part in synapses for inner in part.modules())


def _find_output(network: nn.Module, layer: str, attribute: str) -> Callable[[Any], Tensor] | None:
    """How to find a state or the spikes ``[batch, ...]`` after an update; ``None``: neither."""
    neuron = spiking_neurons(network).get(layer)
    if neuron is not None and attribute == "spike":
        return output_spikes
    if neuron is not None and attribute in state_attributes(neuron):
        state = state_attributes(neuron)[attribute]
        return lambda _: getattr(neuron, state)
    return None
