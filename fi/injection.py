"""`injected(network, fault)`: the only code that changes a network."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from fi.faults import Fault
from fi.network import SpikingNetwork
from fi.neurons import output_spikes, spiking_neurons, state_attributes
from fi.words import same_words


class FaultNotApplied(RuntimeError):
    """An inference ran without the fault that it was meant to have."""


@dataclass
class Injection:
    """What happened to the word at the site.

    Attributes:
        fault: the fault.
        golden, faulty: a parameter's value before and after; states differ by sample and step.
        calls: calls of the faulty module in the running inference.
        steps: time steps of the running inference, as its first neuron saw them.
        applied: whether the running inference had the fault.
    """

    fault: Fault
    golden: float | None = None
    faulty: float | None = None
    calls: int = 0
    steps: int = 0
    applied: bool = False

    def due(self) -> bool:
        """Whether the fault is active in the running call of its module."""
        return self.fault.step is None or self.fault.step == self.calls


@contextmanager
def injected(network: nn.Module, fault: Fault) -> Iterator[Injection]:
    """The network with the fault in place; it is taken out again whatever happens.

    Parameters are changed in place, for the whole inference or for one step. States and spikes are
    changed after their neuron's update, at every step or at one.

    Raises:
        FaultNotApplied: an inference ran without the fault.
    """
    record = Injection(fault)
    with _placed(network, record):
        yield record


def _placed(network: nn.Module, record: Injection) -> AbstractContextManager[None]:
    layer, _, attribute = record.fault.layer.rpartition(".")
    module = network.get_submodule(layer)
    neuron = spiking_neurons(network).get(layer)
    if neuron is not None and attribute == "spike":
        return _output(network, module, output_spikes, record)
    if neuron is not None and attribute in state_attributes(neuron):
        state = state_attributes(neuron)[attribute]
        return _output(network, module, lambda _: getattr(module, state), record)
    word = StoredWord(getattr(module, attribute), record)
    if record.fault.step is None:
        return word.held()
    if _sees_all_steps_at_once(network, module):
        return _parameter_slice(network, module, word, record)
    return _parameter_at_step(network, module, word, record)


class StoredWord:
    """One word of a parameter or buffer, and its value with and without the fault."""

    def __init__(self, tensor: Tensor, record: Injection) -> None:
        self.tensor = tensor.detach()
        self.record = record
        self.golden = self.tensor[record.fault.index].clone()
        self.faulty = record.fault.corrupt(self.golden)
        record.golden, record.faulty = float(self.golden), float(self.faulty)

    def write(self, value: Tensor) -> None:
        """Store ``value`` and read it back."""
        self.tensor[self.record.fault.index] = value
        self.check(value)

    def check(self, value: Tensor) -> None:
        """Raise ``FaultNotApplied`` unless the word reads ``value``."""
        if not same_words(self.tensor[self.record.fault.index], value):
            found = float(self.tensor[self.record.fault.index])
            raise FaultNotApplied(
                f"{self.record.fault} was never applied: the word reads {found}, not {float(value)}"
            )

    @contextmanager
    def held(self) -> Iterator[None]:
        """The faulty value in place from here to the end, where it must still be there."""
        try:
            self.write(self.faulty)
            yield
            self.check(self.faulty)
        finally:
            self.write(self.golden)


@contextmanager
def _hooked(network: nn.Module, record: Injection, *handles: RemovableHandle) -> Iterator[None]:
    """Watch every inference, and remove all hooks in the end."""
    clock = next(iter(spiking_neurons(network).values()))

    def start(module: nn.Module, args: tuple[Any, ...]) -> None:
        record.calls, record.steps, record.applied = 0, 0, False

    def tick(module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        record.steps += 1

    def finish(module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        if not record.applied or record.calls != record.steps:
            raise FaultNotApplied(
                f"{record.fault} was not applied as it should be: in an inference of {record.steps}"
                f" time steps its module was called {record.calls} times"
            )

    watch = (
        network.register_forward_pre_hook(start),
        clock.register_forward_hook(tick),
        network.register_forward_hook(finish),
    )
    try:
        yield
    finally:
        for handle in (*handles, *watch):
            handle.remove()


@contextmanager
def _output(
    network: nn.Module, neuron: nn.Module, value_of: Callable[[Any], Tensor], record: Injection
) -> Iterator[None]:
    """Change a state or the spikes, ``[batch, ...]``, after each update of ``neuron``."""

    def strike(module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        if record.due():
            values = value_of(output).detach()
            word = values.movedim(0, -1)[record.fault.index]  # [batch]
            word.copy_(record.fault.corrupt(word))
            record.applied = True
        record.calls += 1

    with _hooked(network, record, neuron.register_forward_hook(strike)):
        yield


@contextmanager
def _parameter_at_step(
    network: nn.Module, module: nn.Module, word: StoredWord, record: Injection
) -> Iterator[None]:
    """Change a parameter for one of the module's calls; it is called once a step."""

    def before(module: nn.Module, args: tuple[Any, ...]) -> None:
        if record.due():
            word.write(word.faulty)
            record.applied = True

    def after(module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        if record.due():
            word.write(word.golden)
        record.calls += 1

    handles = module.register_forward_pre_hook(before), module.register_forward_hook(after)
    try:
        with _hooked(network, record, *handles):
            yield
    finally:
        word.write(word.golden)


@contextmanager
def _parameter_slice(
    network: nn.Module, module: nn.Module, word: StoredWord, record: Injection
) -> Iterator[None]:
    """Change a parameter for one step of a synapse that computes all steps in one call."""

    def start(module: nn.Module, args: tuple[Any, ...]) -> None:
        record.steps = record.calls = len(args[0])

    def recompute(module: nn.Module, args: tuple[Any, ...], output: Tensor) -> None:
        step, steps = record.fault.step, record.steps
        if step is not None and step < steps:
            with word.held():
                faulty = module.forward(*args)
            output.unflatten(0, (steps, -1))[step] = faulty.unflatten(0, (steps, -1))[step]
            record.applied = True

    def finish(module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        if not record.applied:
            raise FaultNotApplied(f"{record.fault}: the inference has {record.steps} time steps")
        record.applied = False

    handles = (
        network.register_forward_pre_hook(start),
        module.register_forward_hook(recompute),
        network.register_forward_hook(finish),
    )
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _sees_all_steps_at_once(network: nn.Module, module: nn.Module) -> bool:
    """Whether ``module`` is part of a stage's synapse in a network that runs layer by layer."""
    if not isinstance(network, SpikingNetwork) or not network.layer_by_layer:
        return False
    synapses = (part for stage in network.stages() for part in stage.modules)
    return any(module is inner for part in synapses for inner in part.modules())
