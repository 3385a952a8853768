"""What the harness needs to know of snnTorch's neurons."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from snntorch import Leaky, SpikingNeuron, Synaptic
from torch import Tensor, nn

#: Constants of the library and switches, no words that hardware stores.
_NO_WORDS = frozenset({"graded_spikes_factor", "reset_mechanism_val"})
#: snnTorch's names of states -> the names in fault lists. A fed-back ``spk`` is the output itself.
_STATE_NAMES = {"mem": "potential"}


def spiking_neurons(network: nn.Module) -> dict[str, SpikingNeuron]:
    """The network's snnTorch neurons by name, in order of definition."""
    return {
        name: module
        for name, module in network.named_modules()
        if isinstance(module, SpikingNeuron)
    }


@contextmanager
def watch_neurons(
    network: nn.Module, note: Callable[[str, SpikingNeuron, Any], None]
) -> Iterator[None]:
    """Call ``note(name, neuron, output)`` after every call of a neuron within the context."""

    def make_hook(name: str) -> Callable[..., None]:
        return lambda neuron, args, output: note(name, neuron, output)

    with ExitStack() as hooks:
        for name, neuron in spiking_neurons(network).items():
            hooks.callback(neuron.register_forward_hook(make_hook(name)).remove)
        yield


def state_attributes(neuron: SpikingNeuron) -> dict[str, str]:
    """Fault-list name -> attribute of each state, e.g. ``{"syn": "syn", "potential": "mem"}``.

    snnTorch registers its states as buffers that are not saved. A class of neurons that keeps
    nothing from step to step says so by ``has_states = False``.
    """
    if not getattr(neuron, "has_states", True):
        return {}
    transient = neuron._non_persistent_buffers_set
    names = [name for name in neuron._buffers if name in transient and name != "spk"]
    return {_STATE_NAMES.get(name, name): name for name in names}


def find_kernel_form(neuron: SpikingNeuron) -> SpikingNeuron | None:
    """The ``Leaky`` or ``Synaptic`` of snnTorch that does what a neuron does, if there is one.

    It is the neuron itself, or what the ``as_snntorch`` of a class with words of its own gives.
    """
    if type(neuron) in (Leaky, Synaptic):
        return neuron
    make = getattr(neuron, "as_snntorch", None)
    found: SpikingNeuron | None = make() if make is not None else None
    return found


def has_known_circuit(neuron: SpikingNeuron) -> bool:
    """Whether leak, reset, integration and comparison of each neuron can be told apart.

    They are in snnTorch's ``Leaky`` and ``Synaptic``; where neurons inhibit each other, or a spike
    resets its neuron in the same step, they are not.
    """
    delayed = getattr(neuron, "reset_delay", True)
    return type(neuron) in (Leaky, Synaptic) and not neuron.inhibition and delayed


def neuron_words(neuron: SpikingNeuron) -> list[str]:
    """Names of the neuron's stored parameters: beta, threshold, alpha, ..., learnable or not.

    A class of neurons may have constants that no hardware stores; ``no_words`` are their names.
    """
    transient = neuron._non_persistent_buffers_set
    none = _NO_WORDS | transient | getattr(neuron, "no_words", frozenset())
    own = {**neuron._parameters, **neuron._buffers}
    return [name for name, value in own.items() if value is not None and name not in none]


def reset_neurons(network: nn.Module) -> None:
    """Forget every neuron's state: snnTorch neurons go on from their last call otherwise."""
    for neuron in spiking_neurons(network).values():
        for name in neuron._non_persistent_buffers_set:
            state = getattr(neuron, name)
            setattr(neuron, name, torch.zeros(0, dtype=state.dtype, device=state.device))


def make_parameters_float(network: nn.Module) -> None:
    """Give integer neuron parameters (``threshold=1``) the default float dtype, in place."""
    for neuron in spiking_neurons(network).values():
        for name in neuron_words(neuron):
            value = getattr(neuron, name)
            if not value.is_floating_point():
                setattr(neuron, name, value.to(torch.get_default_dtype()))


def output_spikes(output: Tensor | tuple[Tensor, ...]) -> Tensor:
    """The spikes in what a neuron's forward returned."""
    return output[0] if isinstance(output, tuple) else output


def cast_spikes(neuron: nn.Module, args: tuple[Any, ...], output: Any) -> Any:
    """Cast a neuron's spikes to its membrane's type: the surrogates return float32 for float64."""
    assert isinstance(neuron, SpikingNeuron)
    spikes, membrane = output_spikes(output), getattr(neuron, "mem", None)
    if not isinstance(membrane, Tensor) or spikes.dtype == membrane.dtype:
        return None
    cast = spikes.to(membrane.dtype)
    return (cast, *output[1:]) if isinstance(output, tuple) else cast
