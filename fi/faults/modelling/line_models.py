"""Fault models of lines: spikes on their way are lost, added, late, or late by chance.

A line carries x[t] at step t: the output of a neuron, or what an input line reads. At the steps at
which its fault is active y[t] arrives instead. u[t] are random numbers from 0 to 1 that hang on the
fault and the sample.

Sources: spikes lost, delayed and jittered at a rate as in arXiv:2603.10246 and arXiv:2602.03284;
dropped and added spikes as in Spyrou et al., DATE 2021.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from fi.faults.fault_sites import Kind
from fi.faults.modelling.model_base import MOST_STEPS, FaultModel

#: Gives u of a step, float64 of the shape of the signal.
Uniform = Callable[[int], Tensor]


class LineModel(FaultModel):
    """One way in which a line goes wrong; a model of your own overrides ``carry``."""

    takes_bits = False
    kinds = frozenset({Kind.SPIKE, Kind.INPUT})

    def carry(self, past: Sequence[Tensor], uniform: Uniform) -> Tensor:
        """What arrives in a step.

        Args:
            past: what the line was given at each step up to this one, the last of them.
            uniform: random numbers by step.
        """
        raise NotImplementedError(f"{type(self).__name__} carries nothing")


class _AtARate(LineModel):
    """With probability P at each step."""

    parameter = "P"

    def __init__(self, rate: float) -> None:
        if not 0 <= rate <= 1:
            raise ValueError(f"P is {rate:g}; allowed: 0 to 1")
        self.rate = rate


class Drop(_AtARate):
    """A spike is lost with probability P: y[t] = 0 where u[t] < P, else x[t]."""

    name = "drop"

    def carry(self, past: Sequence[Tensor], uniform: Uniform) -> Tensor:
        return torch.where(uniform(len(past) - 1) < self.rate, 0.0, past[-1])


class Add(_AtARate):
    """Where there is no spike one arrives with probability P: y[t] = 1 if x[t] = 0, u[t] < P."""

    name = "add"

    def carry(self, past: Sequence[Tensor], uniform: Uniform) -> Tensor:
        added = (past[-1] == 0) & (uniform(len(past) - 1) < self.rate)
        return torch.where(added, 1.0, past[-1])


class _InSteps(LineModel):
    """By K steps."""

    parameter = "K"

    def __init__(self, steps: float) -> None:
        if not (1 <= steps <= MOST_STEPS and steps == int(steps)):
            raise ValueError(
                f"K is {steps:g}; allowed: a whole number of steps, 1 to {MOST_STEPS:,}"
            )
        self.steps = int(steps)


class Delay(_InSteps):
    """Everything is K steps late: y[t] = x[t - K], 0 before; what is late at the end is lost."""

    name = "delay"

    def carry(self, past: Sequence[Tensor], uniform: Uniform) -> Tensor:
        return past[-1 - self.steps] if len(past) > self.steps else torch.zeros_like(past[-1])


class Jitter(_InSteps):
    """Each spike is late by 0 to K steps, each as likely.

    y[t] is the largest x[s] with s + floor((K + 1) u[s]) = t, 0 where there is none: of spikes that
    arrive together one is left.
    """

    name = "jitter"

    def carry(self, past: Sequence[Tensor], uniform: Uniform) -> Tensor:
        now = len(past) - 1
        arrives = torch.zeros_like(past[-1])
        for late in range(min(self.steps, now) + 1):
            moved = (uniform(now - late) * (self.steps + 1)).floor() == late
            arrives = torch.maximum(arrives, torch.where(moved, past[now - late], 0.0))
        return arrives


#: All of them.
LINE_MODELS = (Drop, Add, Delay, Jitter)
