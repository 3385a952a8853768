"""Readouts that were recorded: a fold over time, and the function that makes scores of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor

from fi.network.readouts import MaxMembrane, Readout, SpikeCount, by_neuron

#: What makes scores of what a fold has gathered.
Rest = Callable[[Tensor], Tensor]


class OtherSteps(Exception):
    """Scores are known of as many steps as were recorded only."""


def unchanged(statistic: Tensor) -> Tensor:
    """Scores that are what was gathered."""
    return statistic


class RecordedCount(SpikeCount):
    """A spike count, and the recorded function that makes scores of it."""

    def __init__(self, rest: Rest) -> None:
        super().__init__(softmax=False)
        self.rest = rest

    def scores(self, statistic: Tensor) -> Tensor:
        return self.rest(statistic)


class RecordedMaximum(MaxMembrane):
    """The largest membranes, and the recorded function that makes scores of them."""

    def __init__(self, rest: Rest) -> None:
        super().__init__(softmax=False)
        self.rest = rest

    def scores(self, statistic: Tensor) -> Tensor:
        return self.rest(statistic)


class RecordedSum(Readout):
    """The membranes added up step by step, and the function that makes scores of them."""

    def __init__(self, rest: Rest) -> None:
        super().__init__(softmax=False)
        self.rest = rest

    def initial(self, like: Tensor) -> Tensor:
        return torch.zeros_like(like)

    @by_neuron
    def accumulate(self, statistic: Tensor, spikes: Tensor, membrane: Tensor) -> Tensor:
        return statistic + membrane

    def scores(self, statistic: Tensor) -> Tensor:
        return self.rest(statistic)


class RecordedLast(Readout):
    """The spikes or membranes of the last step, and the function that makes scores of them."""

    def __init__(self, rest: Rest, membranes: bool) -> None:
        super().__init__(softmax=False)
        self.rest, self.membranes = rest, membranes

    def initial(self, like: Tensor) -> Tensor:
        return torch.zeros_like(like)

    @by_neuron
    def accumulate(self, statistic: Tensor, spikes: Tensor, membrane: Tensor) -> Tensor:
        return membrane if self.membranes else spikes

    def scores(self, statistic: Tensor) -> Tensor:
        return self.rest(statistic)


class RecordedSteps(Readout):
    """All steps, kept, and the function that makes scores of them: ``[batch, time, ...]``."""

    def __init__(self, rest: Rest, membranes: bool) -> None:
        super().__init__(softmax=False)
        self.rest, self.membranes = rest, membranes

    def initial(self, like: Tensor) -> Tensor:
        return like.new_zeros((len(like), 0, *like.shape[1:]))

    def accumulate(self, statistic: Tensor, spikes: Tensor, membrane: Tensor) -> Tensor:
        newest = membrane if self.membranes else spikes
        return torch.cat([statistic, newest[:, None]], dim=1)

    def gather(self, steps: Iterable[tuple[Tensor, Tensor]]) -> Tensor:
        kept = [membrane if self.membranes else spikes for spikes, membrane in steps]
        if not kept:
            raise ValueError("no time step to read out: the events have 0 steps")
        return torch.stack(kept, dim=1)

    def scores(self, statistic: Tensor) -> Tensor:
        return self.rest(statistic)
