"""One inference of a few samples, watched: shapes, time steps, and which words it reads."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import torch
from snntorch import SpikingNeuron
from torch import Tensor, nn

from fi.network.neurons import (
    output_spikes,
    reset_neurons,
    state_attributes,
    watch_neurons,
)
from fi.network.trial.step_clock import StepClock, record_calls
from fi.network.trial.word_access import AccessRecorder, WordAccess

#: A shape without its batch axis.
Shape = tuple[int, ...]


class UnknownShape(ValueError):
    """A neuron whose output or state has another first axis than the batch."""


@dataclass(frozen=True)
class TrialRun:
    """What one inference showed.

    Attributes:
        samples: how many it was of.
        order: name of the neuron of every call.
        clock: what ends a time step.
        outputs: shape of each neuron's output, batch left out.
        states: of each neuron, shape by fault-list name (``potential``), batch left out.
        access: what was done with each tensor of words, by name.
        by_stages: whether stages are run layer by layer, so that steps are known without the clock.
    """

    samples: int
    order: tuple[str, ...]
    clock: StepClock
    outputs: Mapping[str, Shape]
    states: Mapping[str, Mapping[str, Shape]]
    access: Mapping[str, WordAccess] = field(default_factory=dict)
    by_stages: bool = False

    @property
    def steps(self) -> int:
        """The number of time steps."""
        return self.clock.steps

    def why_not_for_a_step(self, name: str) -> str | None:
        """Why no fault in the family ``name`` can last for some steps only; ``None`` if it can.

        Args:
            name: of a tensor of words, or of a neuron's state or output.
        """
        if self.by_stages:
            return None
        layer = name.rpartition(".")[0]
        if name in self.access:
            return self._why_not_read_by_step(name)
        if layer in self.outputs and layer not in self.clock.calls:
            return f"{layer} is not called once a step"
        return None

    def _why_not_read_by_step(self, name: str) -> str | None:
        """The same for words."""
        access, steps = self.access[name], self._steps_of_calls()
        reads = Counter[int]()
        for call, count in access.reads.items():
            reads[steps[call]] += count
        within = {step for step in reads if step < self.steps}
        if not within:
            return f"{name} is read after the last step, not within one"
        if self.steps == 1:
            return None
        shapes = set().union(*access.shapes.values())
        if any(self._has_time(shape, in_loop=within != {0}) for shape in shapes):
            return f"{name} is read once for all steps"
        if reads[0] >= reads[1] + self.steps:
            return f"{name} is read for all steps before the first one ends"
        return None

    def _steps_of_calls(self) -> list[int]:
        """The step at which a word is read after so many calls of neurons, ``[calls + 1]``."""
        per_step = self.clock.calls[self.clock.neuron]
        steps, ticks = [0], 0
        for name in self.order:
            ticks += name == self.clock.neuron
            steps.append(ticks // per_step)
        return steps

    def _has_time(self, shape: Shape, in_loop: bool) -> bool:
        """Whether all steps are in what was computed; ``[batch, channels]`` of a loop is not."""
        if len(shape) < 2:
            return False
        if shape[0] == self.steps * self.samples:
            return True
        of_time = {(self.steps, self.samples)}
        if not in_loop:
            of_time.add((self.samples, self.steps))
        return shape[:2] in of_time and len(shape) > 2


def observe(
    network: nn.Module,
    run: Callable[[], Any],
    samples: int,
    steps: int | None,
    words: Mapping[str, Tensor] | None = None,
) -> TrialRun:
    """Run one inference and watch it; the neurons are reset afterwards.

    Args:
        network: the neurons are in.
        run: makes one inference.
        samples: of the inference; another number than ``steps``, so that axes can be told apart.
        steps: time steps of the events; ``None`` where they have no time.
        words: tensors whose use is to be watched, by name.

    Raises:
        UnknownShape: the first axis of a neuron's output or state is not the batch, or its shape
            is another in every call.
        ValueError: no neuron was called.

    Example:
        >>> import snntorch
        >>> network = nn.Sequential(nn.Linear(5, 3), snntorch.Leaky(beta=0.9, init_hidden=True))
        >>> trial = observe(network, lambda: network(torch.zeros(2, 5)), samples=2, steps=1)
        >>> trial.outputs, trial.states, trial.steps
        ({'1': (3,)}, {'1': {'potential': (3,)}}, 1)
    """
    shapes = _Shapes(samples)
    with ExitStack() as watched:
        order = watched.enter_context(record_calls(network))
        watched.callback(reset_neurons, network)
        watched.enter_context(watch_neurons(network, shapes.note))
        recorder = AccessRecorder(words or {}, order)
        watched.enter_context(recorder)
        watched.enter_context(torch.no_grad())
        run()
    clock = StepClock.of(order, steps)
    return TrialRun(samples, tuple(order), clock, shapes.outputs, shapes.states, recorder.access)


class _Shapes:
    """Shapes of outputs and states, the same at every call."""

    def __init__(self, samples: int) -> None:
        self.samples = samples
        self.outputs: dict[str, Shape] = {}
        self.states: dict[str, dict[str, Shape]] = {}

    def note(self, name: str, neuron: SpikingNeuron, output: Any) -> None:
        """Note the shapes of a neuron's output and states after a call."""
        found = self._inner(name, "output", output_spikes(output))
        if self.outputs.setdefault(name, found) != found:
            raise UnknownShape(
                f"{name} is called for layers of different shapes, {self.outputs[name]} and "
                f"{found}: give each layer a neuron of its own"
            )
        states = self.states.setdefault(name, {})
        for state, attribute in state_attributes(neuron).items():
            value = getattr(neuron, attribute)
            if value.numel():
                states[state] = self._inner(name, attribute, value)

    def _inner(self, name: str, what: str, value: Any) -> Shape:
        """The shape without the batch; ``UnknownShape`` where the first axis is another."""
        shape = tuple(value.shape) if isinstance(value, Tensor) else ()
        if shape[:1] != (self.samples,):
            raise UnknownShape(
                f"{name}: its {what} has shape {list(shape)} for {self.samples} samples; the first "
                "axis must be the batch: a neuron is called once a step (--forward step loops a "
                "forward of one step)"
            )
        return shape[1:]
