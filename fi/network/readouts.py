"""How the last stage's activity becomes scores: a fold over time, then a function of its result.

A fold has one order of summation, so that every engine gets the same floating-point result.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeVar

import torch
from torch import Tensor

Fold = TypeVar("Fold", bound=Callable[..., Tensor])


def by_neuron(accumulate: Fold) -> Fold:
    """Say of a fold that it treats each neuron on its own, whatever the others do."""
    accumulate.by_neuron = True  # type: ignore[attr-defined]
    return accumulate


class Readout:
    """A statistic gathered step by step, and the scores that it gives.

    Subclass it for a readout of your own: ``initial`` and ``accumulate`` are the fold, which
    ``by_neuron`` may stand before.

    Args:
        softmax: whether to turn the statistic into scores that add up to 1.
    """

    def __init__(self, softmax: bool = True) -> None:
        self.softmax = softmax

    def initial(self, like: Tensor) -> Tensor:
        """The statistic before the first step, of the shape of ``like``, ``[batch, classes]``."""
        raise NotImplementedError

    def accumulate(self, statistic: Tensor, spikes: Tensor, membrane: Tensor) -> Tensor:
        """The statistic after one more step; all are ``[batch, classes]``."""
        raise NotImplementedError

    @property
    def is_by_neuron(self) -> bool:
        """Whether its fold treats each neuron on its own."""
        return getattr(type(self).accumulate, "by_neuron", False)

    def scores(self, statistic: Tensor) -> Tensor:
        """Scores ``[batch, classes]`` of a gathered statistic.

        A softmax is computed in float64 and rounded: float32 exponentials differ between processors
        and between numbers of rows.
        """
        if not self.softmax:
            return statistic
        return torch.softmax(statistic, dim=-1, dtype=torch.float64).to(statistic.dtype)

    def gather(self, steps: Iterable[tuple[Tensor, Tensor]]) -> Tensor:
        """The statistic ``[batch, classes]`` of ``(spikes, membrane)`` per step.

        Raises:
            ValueError: there is no step.
        """
        statistic: Tensor | None = None
        for spikes, membrane in steps:
            if statistic is None:
                statistic = self.initial(membrane)
            statistic = self.accumulate(statistic, spikes, membrane)
        if statistic is None:
            raise ValueError("no time step to read out: the events have 0 steps")
        return statistic


class SpikeCount(Readout):
    """The number of output spikes over time.

    Example:
        >>> import torch
        >>> readout = SpikeCount(softmax=False)
        >>> spikes, membrane = torch.tensor([[1.0, 0.0, 1.0]]), torch.zeros(1, 3)
        >>> readout.scores(readout.gather([(spikes, membrane)] * 4))
        tensor([[4., 0., 4.]])
    """

    def initial(self, like: Tensor) -> Tensor:
        return torch.zeros_like(like)

    @by_neuron
    def accumulate(self, statistic: Tensor, spikes: Tensor, membrane: Tensor) -> Tensor:
        return statistic + spikes


class MaxMembrane(Readout):
    """The largest membrane potential over time; a NaN stays, as in ``torch.max``.

    Example:
        >>> import torch
        >>> readout = MaxMembrane(softmax=False)
        >>> spikes = torch.zeros(1, 2)
        >>> steps = [(spikes, torch.tensor([[0.1, 0.7]])), (spikes, torch.tensor([[0.5, 0.2]]))]
        >>> readout.scores(readout.gather(steps))
        tensor([[0.5000, 0.7000]])
    """

    def initial(self, like: Tensor) -> Tensor:
        return torch.full_like(like, float("-inf"))

    @by_neuron
    def accumulate(self, statistic: Tensor, spikes: Tensor, membrane: Tensor) -> Tensor:
        return torch.maximum(statistic, membrane)
