"""Where faults can be: the site families of a network, whoever wrote its forward."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any

import torch
from snntorch import SpikingNeuron
from torch import Tensor, nn

from fi.faults.bits import WORD_BITS
from fi.faults.family_names import attribute_of, layer_of
from fi.faults.formats.state_formats import output_format_of
from fi.faults.word_formats import format_of, stored_names
from fi.network.neurons import has_known_circuit, neuron_words
from fi.network.stages import SpikingNetwork
from fi.network.trial.same_words import check_layout, find_same_words
from fi.network.trial.trial_run import TrialRun, observe


class Kind(Enum):
    """What sort of hardware a word sits in, or what else may break.

    >>> Kind("state") is Kind.STATE
    True
    >>> [kind.value for kind in Kind]
    ['synapse', 'neuron', 'state', 'spike', 'input', 'circuit']
    """

    SYNAPSE = "synapse"  # weights, biases, a norm's running statistics
    NEURON = "neuron"  # beta, threshold, alpha, ...
    STATE = "state"  # the membrane potential, the synaptic current
    SPIKE = "spike"  # the neuron's output
    INPUT = "input"  # what the first stage sees of the events
    CIRCUIT = "circuit"  # what updates one neuron, whatever words it shares with others


#: The site family of the input lines.
INPUT = "input"
#: The name within its layer of the site family of neuron circuits, ``lif1.neuron``.
CIRCUIT = "neuron"


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
class Sites:
    """The words of a network that may have faults, and those that may not.

    Attributes:
        families: every family of words that hardware would store, in the order of the modules.
        left_out: why other tensors are none, by name.
        circuits: the neuron circuits of every layer whose circuit is known.
    """

    families: list[SiteFamily]
    left_out: dict[str, str]
    circuits: list[SiteFamily]


def find_site_families(network: nn.Module, trial: TrialRun) -> list[SiteFamily]:
    """The families of ``find_sites``.

    >>> import snntorch
    >>> network = nn.Sequential(nn.Linear(5, 3), snntorch.Leaky(beta=0.9, init_hidden=True))
    >>> trial = observe_activity(network, lambda events: network(events[0]), torch.zeros(1, 2, 5))
    >>> families = find_site_families(network, trial)
    >>> [(family.name, family.shape) for family in families if family.kind is Kind.SYNAPSE]
    [('0.weight', (3, 5)), ('0.bias', (3,))]
    >>> [(family.name, family.shape) for family in families if family.kind is Kind.STATE]
    [('1.potential', (3,))]
    """
    return find_sites(network, trial).families


def find_sites(network: nn.Module, trial: TrialRun) -> Sites:
    """Every family of words that hardware would store, in the order of the network's modules.

    Parameters and saved buffers count whether learnable or not; neurons add their states and their
    output. Left out are words that are those of another family (tied weights are one word of
    hardware, whatever tensor reads it), words that the trial run did not read, and words that the
    network's own forward changes.

    Args:
        network: of the trial run.
        trial: as ``observe_activity`` makes it.

    Raises:
        ValueError: some words of one tensor are those of another, or a tensor is sparse or
            quantised.
    """
    families: list[SiteFamily] = []
    left_out: dict[str, str] = {}
    circuits: list[SiteFamily] = []
    seen: dict[str, Tensor] = {}
    for name, module in network.named_modules():
        for family, tensor in _stored(name, module):
            reason = _why_not(family.name, tensor, seen, trial)
            seen.setdefault(family.name, tensor)
            if reason:
                left_out[family.name] = reason
            else:
                families.append(family)
        if name in trial.outputs and isinstance(module, SpikingNeuron):
            states = trial.states[name].items()
            for state, shape in states:
                width = output_format_of(module, state).bits
                families.append(replace(_family(name, state, shape, Kind.STATE), width=width))
            families.append(_family(name, "spike", trial.outputs[name], Kind.SPIKE))
            if has_known_circuit(module):
                circuits.append(_family(name, CIRCUIT, trial.outputs[name], Kind.CIRCUIT))
    return Sites(families, left_out, circuits)


def _why_not(name: str, tensor: Tensor, seen: Mapping[str, Tensor], trial: TrialRun) -> str | None:
    """Why a tensor's words are no family; ``None`` where they are."""
    check_layout(name, tensor)
    other = find_same_words(name, tensor, seen)
    if other is not None:
        return f"its words are those of {other}"
    access = trial.access.get(name)
    if access is None:
        return None
    if access.written:
        return "the network's own forward changes it, so that no fault would stay"
    return None if access.used else "no inference reads it"


def stored_families(network: nn.Module) -> list[SiteFamily]:
    """The families of all stored words, of tied ones the first, whether they are read or not."""
    families: list[SiteFamily] = []
    seen: dict[str, Tensor] = {}
    for name, module in network.named_modules():
        for family, tensor in _stored(name, module):
            if find_same_words(family.name, tensor, seen) is None:
                families.append(family)
            seen.setdefault(family.name, tensor)
    return families


def named_words(network: nn.Module) -> dict[str, Tensor]:
    """Every tensor of stored words by the name of its family."""
    return {
        family.name: tensor
        for name, module in network.named_modules()
        for family, tensor in _stored(name, module)
    }


def observe_activity(
    network: nn.Module,
    infer: Callable[[Tensor], Any],
    events: Tensor,
    timed: bool = True,
) -> TrialRun:
    """Run ``infer`` on two samples and watch every neuron and every stored word.

    Args:
        network: the neurons are in; they are reset afterwards.
        infer: runs the network on events and gives scores ``[batch, classes]``.
        events: ``[time, batch, ...]``; of the first sample or two some copies are run, in another
            number than there are steps.
        timed: whether the events have time; else the network makes the steps.

    Raises:
        UnknownShape: the first axis of an output or a state is not the batch.
    """
    steps = len(events) if timed else None
    samples = 3 if steps == 2 else 2
    chosen = torch.arange(samples) % min(2, events.shape[1])
    few = events.index_select(1, chosen.to(events.device))
    trial = observe(network, lambda: infer(few), samples, steps, named_words(network))
    by_stage = isinstance(network, SpikingNetwork) and network.runs_by_stage
    return replace(trial, by_stages=by_stage)


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
