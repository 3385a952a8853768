"""Whose spikes differ in a plain forward: layer by layer, held against the golden run's."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from fi.base.errors import UserError
from fi.base.usable_memory import find_usable_memory
from fi.metrics.pairs import HIDDEN, OUTPUT
from fi.network.neurons import output_spikes, spiking_neurons, watch_neurons
from fi.network.stages import SpikingNetwork

#: The golden spikes of all batches take at most this part of the usable memory.
_PART = 4


@dataclass(frozen=True)
class SpikeLayers:
    """The neurons whose spikes are compared, by name.

    Attributes:
        hidden: those of the hidden layers.
        output: those that the scores are made of; ``None`` where a layer without neurons is read.
    """

    hidden: tuple[str, ...]
    output: str | None

    @property
    def bits(self) -> dict[str, int]:
        """What each layer sets in ``Pairs.spikes``."""
        found = dict.fromkeys(self.hidden, HIDDEN)
        return found if self.output is None else {**found, self.output: OUTPUT}


def find_spike_layers(
    network: nn.Module, staged: SpikingNetwork | None, order: Sequence[str]
) -> SpikeLayers:
    """Which layers are hidden, and which is the output.

    Of a network of stages the last one is the output. Of any other it is the neuron that is called
    last, and all others are hidden.

    Args:
        network: with the neurons.
        staged: the same as stages; ``None`` where there are none.
        order: the name of the neuron of every call of an inference.

    >>> from fi.models import NMNIST
    >>> network = NMNIST()
    >>> find_spike_layers(network, network, [])
    SpikeLayers(hidden=('lif1',), output='lif2')
    """
    if staged is None:
        names = list(dict.fromkeys(order))
        return SpikeLayers(tuple(name for name in names if name != order[-1]), order[-1])
    names_of = {id(neuron): name for name, neuron in spiking_neurons(network).items()}
    *hidden, last = (names_of.get(id(stage.neuron)) for stage in staged.stages())
    return SpikeLayers(tuple(name for name in hidden if name is not None), last)


#: What a neuron gave at each of its calls, ``[batch, ...]`` each; bool where all is 0 or 1.
Trains = dict[str, list[Tensor]]


class SpikeWatch:
    """Compares the spikes of a network's forwards with those of golden ones.

    Args:
        network: that is run.
        layers: whose spikes are compared.
    """

    def __init__(self, network: nn.Module, layers: SpikeLayers) -> None:
        self.network, self.bits = network, layers.bits
        self._golden: dict[int, Trains] = {}
        self._room = find_usable_memory() // _PART

    def find_golden(self, batch: int, samples: int, run: Callable[[], Any]) -> Trains:
        """The golden spikes of a batch, kept where there is room.

        Args:
            batch: its number.
            samples: how many it has.
            run: runs the network on it without a fault.

        Raises:
            UserError: what a neuron gives has not an entry for each sample.
        """
        if batch in self._golden:
            return self._golden[batch]
        found: Trains = {}

        def note(name: str, neuron: nn.Module, output: Any) -> None:
            if name in self.bits:
                found.setdefault(name, []).append(_shrink(output_spikes(output).detach()))

        with watch_neurons(self.network, note):
            run()
        wrong = [name for name, train in found.items() if any(len(t) != samples for t in train)]
        if wrong:
            raise UserError(
                f"spikes cannot be compared by sample: {wrong[0]} gives "
                f"{list(found[wrong[0]][0].shape)} for {samples} samples"
            )
        size = sum(spikes.nbytes for train in found.values() for spikes in train)
        if size <= self._room:
            self._room -= size
            self._golden[batch] = found
        return found

    def forget(self) -> None:
        """Keep nothing of the test set."""
        self._golden.clear()
        self._room = find_usable_memory() // _PART

    @contextmanager
    def compare(self, golden: Trains, samples: int, device: torch.device) -> Iterator[Tensor]:
        """Watch one forward within; gives what ``Pairs.spikes`` is to be, ``[samples]``."""
        found = torch.zeros(samples, dtype=torch.uint8, device=device)
        calls = dict.fromkeys(golden, 0)

        def note(name: str, neuron: nn.Module, output: Any) -> None:
            if name in self.bits:
                spikes, call = output_spikes(output).detach(), calls[name]
                calls[name] += 1
                differs = (spikes != golden[name][call]).flatten(1).any(1)
                found.bitwise_or_(differs.to(torch.uint8) * self.bits[name])

        with watch_neurons(self.network, note):
            yield found
        if any(calls[name] != len(train) for name, train in golden.items()):
            raise UserError(
                "spikes cannot be compared: a fault changes how often neurons are called"
            )


def _shrink(spikes: Tensor) -> Tensor:
    """A copy, bool where all is 0 or 1."""
    whole = spikes.bool()
    return whole if bool((spikes == whole).all()) else spikes.clone()
