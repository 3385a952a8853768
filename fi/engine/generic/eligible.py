"""Which networks the generic differential path can run."""

from __future__ import annotations

from collections.abc import Iterator

from snntorch import Alpha, Lapicque, Leaky, SpikingNeuron, Synaptic
from torch import nn

from fi.network.neurons import spiking_neurons
from fi.network.stages import SpikingNetwork, Stage

#: Neurons of which each computes on its own. A class of your own says so by ``elementwise = True``.
ELEMENTWISE = (Leaky, Synaptic, Lapicque, Alpha)
_OWN = ("forward", "statistic", "activities")


def parts(stage: Stage) -> Iterator[nn.Module]:
    """All modules of a stage."""
    for module in (*stage.modules, stage.neuron, stage.recurrent):
        if module is not None:
            yield from module.modules()


def why_not(network: SpikingNetwork) -> str | None:
    """Why the network cannot be run by its differences; ``None`` if it can."""
    return next(_reasons(network), None)


def _reasons(network: SpikingNetwork) -> Iterator[str]:
    for method in _OWN:
        if getattr(type(network), method) is not getattr(SpikingNetwork, method):
            yield f"{type(network).__name__} has a {method}() of its own"
    yield from _neurons(network)
    yield from _outside(network)
    yield from _shared(network)


def _neurons(network: SpikingNetwork) -> Iterator[str]:
    for name, neuron in spiking_neurons(network).items():
        kind = type(neuron)
        if kind not in ELEMENTWISE and not getattr(kind, "elementwise", False):
            yield f"{name} ({kind.__name__}) is not known to be elementwise"
        if neuron.inhibition:
            yield f"{name} ({kind.__name__}) inhibits its neighbours (inhibition=True)"


def _outside(network: SpikingNetwork) -> Iterator[str]:
    inside = {id(part) for stage in network.stages() for part in parts(stage)}
    for name, module in network.named_modules():
        words = [*module._parameters, *module._buffers]
        if words and id(module) not in inside:
            yield f"{name or type(network).__name__} has {words[0]}, but is part of no stage"


def _shared(network: SpikingNetwork) -> Iterator[str]:
    """Modules or words that are used in two places."""
    names = {id(module): name for name, module in network.named_modules()}
    met: dict[int, str] = {}
    for stage in network.stages():
        here = {id(part): part for part in parts(stage) if part._parameters or part._buffers}
        for key, part in here.items():
            name = names.get(key, type(part).__name__)
            if isinstance(part, SpikingNeuron) and part is not stage.neuron:
                yield f"{name} is a neuron within a synapse"
            for used in (part, *part.parameters(recurse=False)):
                if id(used) in met:
                    yield f"{name} shares its words with {met[id(used)]} of another place"
                met[id(used)] = name
