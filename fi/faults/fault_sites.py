"""Where faults can be: the site families of a network, whoever wrote its forward."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from enum import Enum

import torch
from snntorch import SpikingNeuron
from torch import Tensor, nn

from fi.faults.bits import WORD_BITS
from fi.faults.family_names import attribute_of, layer_of
from fi.faults.word_formats import format_of, stored_names
from fi.network.neurons import (
    neuron_words,
    output_spikes,
    reset_neurons,
    spiking_neurons,
    state_attributes,
)


class Kind(Enum):
    """What sort of hardware a word sits in.

    >>> Kind("state") is Kind.STATE
    True
    >>> [kind.value for kind in Kind]
    ['synapse', 'neuron', 'state', 'spike', 'input']
    """

    SYNAPSE = "synapse"  # weights, biases, a norm's running statistics
    NEURON = "neuron"  # beta, threshold, alpha, ...
    STATE = "state"  # the membrane potential, the synaptic current
    SPIKE = "spike"  # the neuron's output
    INPUT = "input"  # what the first stage sees of the events


#: The site family of the input lines.
INPUT = "input"


@dataclass(frozen=True, slots=True)
class SiteFamily:
    """All sites of one tensor.

    Attributes:
        name: as in fault lists, ``fc1.weight`` or ``lif1.potential``.
        shape: of the tensor; states and spikes leave the batch dimension out.
        kind: the sort of hardware.
        width: bits of a word.

    >>> family = SiteFamily("fc1.weight", (100, 50), Kind.SYNAPSE)
    >>> family.words, family.width, family.layer, family.attribute
    (5000, 32, 'fc1', 'weight')
    """

    name: str
    shape: tuple[int, ...]
    kind: Kind
    width: int = WORD_BITS

    @property
    def words(self) -> int:
        """The number of stored words."""
        return math.prod(self.shape)

    @property
    def layer(self) -> str:
        """The module that holds it, ``fc1``."""
        return layer_of(self.name)

    @property
    def attribute(self) -> str:
        """The name within the module, ``weight``."""
        return attribute_of(self.name)


@dataclass(frozen=True)
class Activity:
    """What a trial run of the network showed.

    Attributes:
        shapes: neuron name -> shape of its output, batch left out.
        steps: how often each neuron was called: the number of time steps.
    """

    shapes: dict[str, tuple[int, ...]]
    steps: dict[str, int]


def observe_activity(
    network: nn.Module, infer: Callable[[Tensor], Tensor], events: Tensor
) -> Activity:
    """Run ``infer(events)`` and note the output shape and the calls of every neuron.

    Args:
        network: the neurons are in; they are reset afterwards.
        infer: runs the network on events and gives scores ``[batch, classes]``.
        events: of a few samples, in the shape that ``infer`` takes.
    """
    shapes: dict[str, tuple[int, ...]] = {}
    steps: dict[str, int] = {}

    def watch(name: str) -> Callable[..., None]:
        def hook(module: nn.Module, args: object, output: Tensor | tuple[Tensor, ...]) -> None:
            shapes[name] = tuple(output_spikes(output).shape[1:])
            steps[name] = steps.get(name, 0) + 1

        return hook

    neurons = spiking_neurons(network)
    handles = [neuron.register_forward_hook(watch(name)) for name, neuron in neurons.items()]
    try:
        with torch.no_grad():
            infer(events)
    finally:
        for handle in handles:
            handle.remove()
        reset_neurons(network)
    return Activity(shapes, steps)


def find_site_families(network: nn.Module, activity: Activity) -> list[SiteFamily]:
    """Every family of words that hardware would store, in the order of the network's modules.

    Parameters and saved buffers count whether learnable or not; neurons add their states and their
    output. Neurons that the trial run did not reach have no state and are left out.

    >>> import snntorch
    >>> network = nn.Sequential(nn.Linear(5, 3), snntorch.Leaky(beta=0.9, init_hidden=True))
    >>> activity = observe_activity(network, network, torch.zeros(1, 5))
    >>> families = find_site_families(network, activity)
    >>> [(family.name, family.shape) for family in families if family.kind is Kind.SYNAPSE]
    [('0.weight', (3, 5)), ('0.bias', (3,))]
    >>> [(family.name, family.shape) for family in families if family.kind is Kind.STATE]
    [('1.potential', (3,))]
    """
    families: list[SiteFamily] = []
    seen: set[int] = set()
    for name, module in network.named_modules():
        for family, tensor in _stored(name, module):
            if id(tensor) not in seen:  # tied weights are one word of hardware
                seen.add(id(tensor))
                families.append(family)
        if name in activity.shapes and isinstance(module, SpikingNeuron):
            shape = activity.shapes[name]
            families += [_family(name, s, shape, Kind.STATE) for s in state_attributes(module)]
            families.append(_family(name, "spike", shape, Kind.SPIKE))
    return families


def _family(layer: str, attribute: str, shape: tuple[int, ...], kind: Kind) -> SiteFamily:
    return SiteFamily(f"{layer}.{attribute}" if layer else attribute, shape, kind)


def _stored(name: str, module: nn.Module) -> Iterator[tuple[SiteFamily, Tensor]]:
    """The module's own floating-point parameters and saved buffers."""
    if isinstance(module, SpikingNeuron):
        kind, attributes = Kind.NEURON, neuron_words(module)
    else:
        kind, attributes = Kind.SYNAPSE, stored_names(module)
    for attribute in attributes:
        tensor = getattr(module, attribute)
        if tensor is not None and tensor.is_floating_point():
            family = _family(name, attribute, tuple(tensor.shape), kind)
            yield replace(family, width=format_of(module, attribute).bits), tensor
