"""Which networks the generic differential path can run."""

from __future__ import annotations

from collections.abc import Iterator

from snntorch import Alpha, Lapicque, Leaky, SpikingNeuron, Synaptic
from torch import nn

from fi.network.neurons import spiking_neurons
from fi.network.stages import SpikingNetwork, Stage

#: Neurons of which each computes on its own. A class of your own says so by ``elementwise = True``.
ELEMENTWISE = (Leaky, Synaptic, Lapicque, Alpha)
#: Methods that say how stages become scores: a network that replaces one computes something else.
_DATA_FLOW = ("forward", "statistic", "activities")


def stage_modules(stage: Stage) -> Iterator[nn.Module]:
    """All modules of a stage."""
    for module in (*stage.modules, stage.neuron, stage.recurrent):
        if module is not None:
            yield from module.modules()


def why_not(network: SpikingNetwork) -> str | None:
    """Why the network cannot be run by its differences; ``None`` if it can."""
    return next(_list_reasons(network), None)


def _list_reasons(network: SpikingNetwork) -> Iterator[str]:
    for method in _DATA_FLOW:
        if getattr(type(network), method) is not getattr(SpikingNetwork, method):
            yield f"{type(network).__name__} has a {method}() of its own"
    yield from _check_neurons(network)
    yield from _check_all_in_stages(network)
    yield from _check_nothing_shared(network)


def _check_neurons(network: SpikingNetwork) -> Iterator[str]:
    for name, neuron in spiking_neurons(network).items():
        kind = type(neuron)
        if kind not in ELEMENTWISE and not getattr(kind, "elementwise", False):
            yield f"{name} ({kind.__name__}) is not known to be elementwise"
        if neuron.inhibition:
            yield f"{name} ({kind.__name__}) inhibits its neighbours (inhibition=True)"


def _check_all_in_stages(network: SpikingNetwork) -> Iterator[str]:
    """Modules with words outside of all stages."""
    inside = {id(module) for stage in network.stages() for module in stage_modules(stage)}
    for name, module in network.named_modules():
        words = [*module._parameters, *module._buffers]
        if words and id(module) not in inside:
            yield f"{name or type(network).__name__} has {words[0]}, but is part of no stage"


def _check_nothing_shared(network: SpikingNetwork) -> Iterator[str]:
    """Modules or words that are used in two places."""
    names = {id(module): name for name, module in network.named_modules()}
    users: dict[int, str] = {}
    for stage in network.stages():
        with_words = {
            id(module): module
            for module in stage_modules(stage)
            if module._parameters or module._buffers
        }
        for key, module in with_words.items():
            name = names.get(key, type(module).__name__)
            if isinstance(module, SpikingNeuron) and module is not stage.neuron:
                yield f"{name} is a neuron within a synapse"
            for used in (module, *module.parameters(recurse=False)):
                if id(used) in users:
                    yield f"{name} shares its words with {users[id(used)]} of another place"
                users[id(used)] = name
