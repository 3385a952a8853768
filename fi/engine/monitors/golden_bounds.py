"""Our monitors: bounds of what training data gave, in hardware a few counters or comparators.

A sample is reported that is outside of them in anything, or is NaN there. Bounds are the smallest
and the largest value of the training samples: of samples like these, one in about ``(samples + 1) /
2`` is outside of those of one quantity.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping

import torch
from torch import Tensor

from fi.engine.monitors.monitor_base import Monitor, NeuronActivity


class Bounds(Monitor):
    """Reports samples of which a quantity is outside of what training samples gave.

    Attributes:
        low, high: by quantity, ``[...]`` each.
    """

    def __init__(self) -> None:
        self.low: dict[str, Tensor] = {}
        self.high: dict[str, Tensor] = {}

    @abstractmethod
    def measure(self, activity: NeuronActivity) -> Mapping[str, tuple[Tensor, Tensor]]:
        """By quantity the least and the largest value of each sample, ``[batch, ...]`` each."""

    def learn(self, activity: NeuronActivity) -> None:
        for name, (least, most) in self.measure(activity).items():
            low, high = least.amin(0), most.amax(0)
            self.low[name] = torch.minimum(self.low.get(name, low), low)
            self.high[name] = torch.maximum(self.high.get(name, high), high)

    def find_alarms(self, activity: NeuronActivity) -> Tensor:
        found: Tensor | None = None
        for name, (least, most) in self.measure(activity).items():
            usual = (least >= self.low[name]) & (most <= self.high[name])  # NaN is not
            outside = ~usual.flatten(1).all(1)
            found = outside if found is None else found | outside
        if found is None:
            raise ValueError("there is nothing that it measures in this network")
        return found


class OutputCounts(Bounds):
    """Numbers of spikes of each output neuron, over all steps."""

    name = "output-counts"

    def measure(self, activity: NeuronActivity) -> Mapping[str, tuple[Tensor, Tensor]]:
        if activity.output is None:
            return {}
        counts = activity.spikes[activity.output].sum(0).flatten(1)
        return {activity.output: (counts, counts)}


class MembraneBounds(Bounds):
    """Membranes: the least and the largest of each layer, over its neurons and steps."""

    name = "membranes"

    def measure(self, activity: NeuronActivity) -> Mapping[str, tuple[Tensor, Tensor]]:
        found: dict[str, tuple[Tensor, Tensor]] = {}
        for layer, membranes in activity.membranes.items():
            flat = membranes.movedim(1, 0).flatten(1)
            found[layer] = flat.amin(1, keepdim=True), flat.amax(1, keepdim=True)
        return found


class FiringRates(Bounds):
    """Firing rates of the hidden layers: spikes of all neurons of a layer over all steps."""

    name = "rates"

    def measure(self, activity: NeuronActivity) -> Mapping[str, tuple[Tensor, Tensor]]:
        found: dict[str, tuple[Tensor, Tensor]] = {}
        for layer in activity.hidden:
            spikes = activity.spikes[layer]
            rate = spikes.movedim(1, 0).flatten(1).mean(1, keepdim=True)
            found[layer] = rate, rate
        return found
