"""A broken circuit in a network: the neuron's forward, with one neuron's update replaced."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from snntorch import SpikingNeuron
from torch import Tensor, nn

from fi.faults.circuits.broken_neurons import BrokenNeurons
from fi.faults.circuits.replacing import replaced
from fi.faults.fault import Fault
from fi.faults.groups.alike import words_of
from fi.faults.modelling.circuit_models import CircuitModel
from fi.faults.models import fault_model
from fi.faults.stored_words import FaultNotApplied


def circuit_model(name: str) -> CircuitModel:
    """The circuit fault model of a name."""
    model = fault_model(name)
    assert isinstance(model, CircuitModel)
    return model


@contextmanager
def break_circuit(
    root: nn.Module, neuron: SpikingNeuron, faults: Sequence[Fault], calls_per_step: int = 1
) -> Iterator[None]:
    """Break circuits of a layer in the same way.

    Args:
        root: what is called once for every inference.
        neuron: the layer.
        faults: at ``lif1.neuron``, of one model and one time.
        calls_per_step: how often the layer is called in a step.

    Raises:
        FaultNotApplied: an inference ran without the fault.
    """
    fault, words = faults[0], words_of(faults)
    broken, plain = BrokenNeurons(circuit_model(fault.model)), neuron.forward
    calls, applied = 0, False

    def begin(module: nn.Module, args: tuple[Any, ...]) -> None:
        nonlocal calls, applied
        calls, applied = 0, False
        broken.forget()

    def forward(current: Tensor, *args: Any, **kwargs: Any) -> Any:
        nonlocal calls, applied
        active = fault.active(calls // calls_per_step)
        calls, applied = calls + 1, applied or active
        where = torch.zeros(current.shape[1:], dtype=torch.bool, device=current.device)
        where[words] = active
        return broken.step(neuron, lambda fed: plain(fed, *args, **kwargs), current, where)

    def check(module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        steps = calls // calls_per_step
        if any(fault.active(step) for step in range(steps)) and not applied:
            raise FaultNotApplied(f"{fault} was not applied: the inference has {steps} steps")

    with ExitStack() as handles:
        handles.callback(root.register_forward_pre_hook(begin).remove)
        handles.enter_context(replaced(neuron, "forward", forward))
        handles.callback(root.register_forward_hook(check).remove)
        yield
