"""`injected(network, *faults)`: the only code that changes a network."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any

from torch import Tensor, nn

from fi.faults.circuits.circuit_hooks import break_circuit
from fi.faults.family_names import attribute_of, layer_of
from fi.faults.fault import Fault, Index
from fi.faults.fault_sites import CIRCUIT, INPUT
from fi.faults.formats.state_formats import output_format_of
from fi.faults.groups.alike import gather_alike, words_of
from fi.faults.injecting.injection_hooks import (
    Clock,
    calls_per_step,
    corrupt_inputs,
    corrupt_output,
    hold_words_by_stage,
    hold_words_by_step,
)
from fi.faults.lines.seeded_numbers import SamplePositions
from fi.faults.stored_words import StoredWord
from fi.network.neurons import output_spikes, reset_neurons, spiking_neurons, state_attributes
from fi.network.stages import SpikingNetwork, Stage, StageActivity
from fi.network.trial.step_clock import StepClock

#: Module, attribute and indices of stored words -> the faults that act on them, one after another.
_FaultsByWord = dict[tuple[nn.Module, str, tuple[Index, ...]], list[list[Fault]]]


@contextmanager
def injected(
    network: nn.Module,
    *faults: Fault,
    time_axis: int = 0,
    root: nn.Module | None = None,
    clock: StepClock | None = None,
    samples: SamplePositions | None = None,
) -> Iterator[None]:
    """The network with the faults in place; they are taken out again whatever happens.

    Parameters are changed in place, for the whole inference or for some steps. States and spikes
    are changed after their neuron's update, inputs before the first stage sees them. Faults of one
    word act on it in the order in which they are given.

    Words that change for some steps do so at the boundaries of steps, whoever reads them. A step
    ends with the last call of the neuron that is called last; a network of stages that runs layer
    by layer knows its steps.

    Args:
        network: to be changed.
        faults: one trial.
        time_axis: where time is in the events that a network that is no ``SpikingNetwork`` takes.
        root: what is called once for every inference; the network itself where not given.
        clock: what ends a step of a network that is no ``SpikingNetwork``; where that is needed
            and not given, the first inference is run once more, without faults, to find out.
        samples: which samples of the test set the rows of each batch are, for random numbers of
            faults of lines; 0, 1, 2, ... where not given.

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
        numbers = samples or SamplePositions()
        changers = _Changers(network, faults, time_axis, root or network, clock, numbers)
        for changer in changers.make_all():
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
        return self.run_stage(self.stage, inputs)

    def run_stage(self, stage: Stage, inputs: Tensor) -> StageActivity:
        """All steps of the stage; faults that last for some steps replace this."""
        return stage.run(inputs)


class _Changers:
    """Makes the context managers that put the faults of a trial in place.

    Making them changes nothing yet, so that all words are read as they are.
    """

    def __init__(
        self,
        network: nn.Module,
        faults: Sequence[Fault],
        time_axis: int,
        root: nn.Module,
        clock: StepClock | None,
        samples: SamplePositions,
    ) -> None:
        self.network, self.faults, self.time_axis = network, faults, time_axis
        self.root, self.clock, self.samples = root, clock, samples

    def make_all(self) -> list[AbstractContextManager[None]]:
        """Inputs, circuits, states and spikes in the order of the faults, then stored words."""
        changers: list[AbstractContextManager[None]] = []
        words: _FaultsByWord = {}
        inputs = [fault for fault in self.faults if fault.layer == INPUT]
        if inputs:
            axis = self.time_axis if self.root is self.network else 0
            changers.append(corrupt_inputs(self.network, self.root, inputs, axis, self.samples))
        circuits: list[AbstractContextManager[None]] = []
        outputs: list[AbstractContextManager[None]] = []
        for alike in gather_alike([fault for fault in self.faults if fault.layer != INPUT]):
            fault = alike[0]
            layer, attribute = layer_of(fault.layer), attribute_of(fault.layer)
            module = self.network.get_submodule(layer)
            value_of = find_output(self.network, layer, attribute)
            calls = calls_per_step(self.clock, layer)
            neuron = spiking_neurons(self.network).get(layer)
            if neuron is not None and attribute == CIRCUIT:
                circuits.append(break_circuit(self.root, neuron, alike, calls))
            elif value_of is not None:
                form = output_format_of(module, attribute)
                numbers = self.samples
                changer = corrupt_output(self.root, module, value_of, alike, numbers, calls, form)
                outputs.append(changer)
            else:
                words.setdefault((module, attribute, tuple(f.index for f in alike)), []).append(
                    alike
                )
        # Each goes before what is there: the last one that is placed acts first.
        return changers + circuits[::-1] + outputs[::-1] + self._hold_words(words)

    def _hold_words(self, words: _FaultsByWord) -> list[AbstractContextManager[None]]:
        """Words held for the whole inference, or changed from step to step."""
        changers: list[AbstractContextManager[None]] = []
        changing: list[StoredWord] = []
        for (module, attribute, _), faults in words.items():
            one_each = [alike[0] for alike in faults]
            word = StoredWord(module, attribute, words_of(faults[0]), one_each)
            if word.is_constant:
                changers.append(word.hold())
            else:
                changing.append(word)
        if changing and self._runs_by_stage():
            by_stage = self.root if isinstance(self.root, StageRun) else self.network
            changers.append(hold_words_by_stage(by_stage, changing))
        elif changing:
            clock = Clock(self.network, self.root, self.clock, self.time_axis)
            changers.append(hold_words_by_step(clock, changing))
        return changers

    def _runs_by_stage(self) -> bool:
        """Whether a stage runs all steps before the next one begins."""
        if isinstance(self.root, StageRun):
            return True
        return isinstance(self.network, SpikingNetwork) and self.network.runs_by_stage


def find_output(network: nn.Module, layer: str, attribute: str) -> Callable[[Any], Tensor] | None:
    """How to find a state or the spikes ``[batch, ...]`` after an update; ``None``: neither."""
    neuron = spiking_neurons(network).get(layer)
    if neuron is not None and attribute == "spike":
        return output_spikes
    if neuron is not None and attribute in state_attributes(neuron):
        state = state_attributes(neuron)[attribute]
        return lambda _: getattr(neuron, state)
    return None
