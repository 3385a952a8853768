"""How often the neurons of a network fire, in any network."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from fi.network.neurons import output_spikes, watch_neurons

Spikes = dict[str, list[Tensor]]


@contextmanager
def record_spikes(network: nn.Module) -> Iterator[Spikes]:
    """Spikes ``[batch, ...]`` of every call of every neuron, by the neuron's name."""
    spikes: Spikes = {}

    def note(name: str, neuron: nn.Module, output: Any) -> None:
        spikes.setdefault(name, []).append(output_spikes(output))

    with watch_neurons(network, note):
        yield spikes


def mean_rates(spikes: Spikes) -> dict[str, Tensor]:
    """Spikes per step of every neuron ``[...]``, the mean over calls and batch."""
    return {name: torch.stack(steps).mean(dim=(0, 1)) for name, steps in spikes.items()}


@torch.no_grad()
def measure_firing_rates(
    network: nn.Module, infer: Callable[[Tensor], Any], batches: Iterable[tuple[Tensor, Tensor]]
) -> dict[str, Tensor]:
    """Spikes per step of every neuron ``[...]`` while ``infer`` runs over ``batches``."""
    totals: dict[str, Tensor] = {}
    samples = 0
    for events, labels in batches:
        with record_spikes(network) as spikes:
            infer(events)
        samples += len(labels)
        for name, rate in mean_rates(spikes).items():
            totals[name] = totals.get(name, torch.zeros_like(rate)) + rate * len(labels)
    return {name: total / samples for name, total in totals.items()}
