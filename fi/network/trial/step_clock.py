"""What time step a running network is at, told from the calls of its neurons."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from fi.network.neurons import reset_neurons, watch_neurons


@dataclass(frozen=True)
class StepClock:
    """When a step ends: with the last call in it of one neuron, the one that is called last.

    Attributes:
        neuron: name of that neuron.
        calls: calls of each neuron in a step; neurons that are not called as often in every step
            are missing.
        steps: time steps of the inference that showed it.

    Example:
        >>> StepClock.of(["lif1", "lif2"] * 3, steps=3)
        StepClock(neuron='lif2', calls={'lif1': 1, 'lif2': 1}, steps=3)
        >>> StepClock.of(["lif", "lif", "out"] * 3, steps=3).calls
        {'lif': 2, 'out': 1}
    """

    neuron: str
    calls: Mapping[str, int]
    steps: int

    @classmethod
    def of(cls, order: Sequence[str], steps: int | None = None) -> StepClock:
        """The clock of an inference that called the neurons in this order.

        Args:
            order: name of the neuron of every call.
            steps: time steps of the events; ``None`` where they have no time.

        Raises:
            ValueError: no neuron was called.
        """
        if not order:
            raise ValueError("no neuron was called: there is no time step")
        neuron, calls = _choose_neuron(order, steps)
        segments = [Counter[str]()]
        for name in order:
            segments[-1][name] += 1
            if name == neuron and segments[-1][name] == calls:
                segments.append(Counter())
        whole, total = segments[:-1], Counter(order)
        regular = {
            name: total[name] // len(whole)
            for name in dict.fromkeys(order)
            if total[name] == len(whole)  # layer by layer: its own calls are the steps
            or (whole[0][name] and all(part[name] == whole[0][name] for part in whole))
        }
        return cls(neuron, regular, len(whole))


def _choose_neuron(order: Sequence[str], steps: int | None) -> tuple[str, int]:
    """The neuron that ends a step, and its calls in one.

    Of the neurons that are called once a step, or several times, it is the one whose last call
    comes last; where there is none, or the steps are not known, of those called most often.
    """
    calls = Counter(order)
    if steps is None:
        last = order[-1]
        rounds = calls[last]
        steps = rounds if list(order) == list(order[: len(order) // rounds]) * rounds else None
    wanted = [name for name in calls if steps and calls[name] % steps == 0]
    if not wanted:
        steps = max(calls.values())
        wanted = [name for name in calls if calls[name] == steps]
    neuron = next(name for name in reversed(order) if name in wanted)
    assert steps
    return neuron, calls[neuron] // steps


@contextmanager
def record_calls(network: nn.Module) -> Iterator[list[str]]:
    """The names of the neurons in the order in which they are called within the context."""
    order: list[str] = []
    with watch_neurons(network, lambda name, neuron, output: order.append(name)):
        yield order


def find_clock(network: nn.Module, run: Callable[[], Any], steps: int | None) -> StepClock:
    """Run one inference and tell the clock; the neurons are reset before and after it."""
    reset_neurons(network)
    with record_calls(network) as order, torch.no_grad():
        run()
    reset_neurons(network)
    return StepClock.of(order, steps)
