"""Fault models of neuron circuits: one neuron's update goes wrong, whatever words it shares.

The update of a neuron at step t, as snnTorch computes it, with the decay b, the threshold h, the
current I (recurrence included), the membrane V and the spike S::

    R[t] = 1 if V[t-1] > h else 0               the comparator, where the reset reads it
    V[t] = b V[t-1] + I[t] - R[t] h             reset to zero: b (1 - R[t]) V[t-1] + I[t]
    S[t] = 1 if V[t] > h else 0                 the comparator, where the axon reads it

(a ``Synaptic`` neuron integrates its synaptic current, in which I[t] arrives). A model replaces one
of these quantities at the steps at which its fault is active.

Sources: SoftSNN, Putra et al. 2022 (arXiv:2203.05523), and RescueSNN, Putra et al. 2023
(arXiv:2304.04041), for leak, reset, integration and spike generation; SpikeFI, Spyrou et al. 2024
(arXiv:2412.06795), for parametric neurons.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from fi.faults.fault_sites import Kind
from fi.faults.modelling.model_base import MOST_STEPS, FaultModel


class CircuitModel(FaultModel):
    """One way in which a neuron's circuit goes wrong; a model of your own overrides some methods.

    Each method is given what the neurons of a layer have, broken or not, and says what broken ones
    have. What it leaves out stays as it is.

    Class attributes:
        remembers: whether ``spiked`` is asked for: how long ago the neuron spiked.
    """

    takes_bits = False
    kinds = frozenset({Kind.CIRCUIT})
    remembers: ClassVar[bool] = False

    def parameter_value(self, name: str, value: Tensor) -> Tensor:
        """The parameter ``name`` (``beta``, ``threshold``, ``alpha``) as the circuit uses it."""
        return value

    def current(self, current: Tensor, ago: Tensor) -> Tensor:
        """What is integrated of ``current``.

        Args:
            current: float, of any shape.
            ago: steps since the neuron's last spike, int64; more than a run has if there was none.
        """
        return current

    def reset(self, fired: Tensor) -> Tensor:
        """R, bool, of what the comparator gives."""
        return fired

    def fire(self, fired: Tensor, ago: Tensor) -> Tensor:
        """S, bool, of what the comparator gives; ``ago`` as in ``current``."""
        return fired


class NoLeak(CircuitModel):
    """The membrane does not decay: b = 1."""

    name = "no-leak"

    def parameter_value(self, name: str, value: Tensor) -> Tensor:
        return torch.ones_like(value) if name == "beta" else value


class NoReset(CircuitModel):
    """A spike leaves the membrane as it is: R[t] = 0."""

    name = "no-reset"

    def reset(self, fired: Tensor) -> Tensor:
        return torch.zeros_like(fired)


class NoIntegration(CircuitModel):
    """What comes in does not reach the membrane: I[t] = 0."""

    name = "no-integration"

    def current(self, current: Tensor, ago: Tensor) -> Tensor:
        return torch.zeros_like(current)


class NoFire(CircuitModel):
    """The comparator never switches: S[t] = R[t] = 0."""

    name = "no-fire"

    def reset(self, fired: Tensor) -> Tensor:
        return torch.zeros_like(fired)

    def fire(self, fired: Tensor, ago: Tensor) -> Tensor:
        return torch.zeros_like(fired)


class AlwaysFire(CircuitModel):
    """The comparator is stuck: S[t] = R[t] = 1."""

    name = "always-fire"

    def reset(self, fired: Tensor) -> Tensor:
        return torch.ones_like(fired)

    def fire(self, fired: Tensor, ago: Tensor) -> Tensor:
        return torch.ones_like(fired)


class _Scaled(CircuitModel):
    """A parameter of this neuron alone, times rho, rounded once to float32."""

    parameter = "RHO"
    scaled: ClassVar[str]

    def __init__(self, rho: float) -> None:
        self.rho = rho

    def parameter_value(self, name: str, value: Tensor) -> Tensor:
        if name != self.scaled:
            return value
        return (value.double() * self.rho).float().to(value.dtype)


class ScaleThreshold(_Scaled):
    """The neuron's threshold times rho, compared and subtracted: h = rho h."""

    name = "scale-threshold"
    scaled = "threshold"


class ScaleLeak(_Scaled):
    """The decay of the neuron's membrane times rho, b = rho b, used within 0 to 1 as any decay."""

    name = "scale-leak"
    scaled = "beta"


class Refractory(CircuitModel):
    """For K steps after a spike the neuron neither integrates nor fires: I[t] = S[t] = 0.

    Its membrane leaks, and the reset that follows the spike takes place.
    """

    name = "refractory"
    parameter = "K"
    remembers = True

    def __init__(self, steps: float) -> None:
        if not (1 <= steps <= MOST_STEPS and steps == int(steps)):
            raise ValueError(
                f"K is {steps:g}; allowed: a whole number of steps, 1 to {MOST_STEPS:,}"
            )
        self.steps = int(steps)

    def current(self, current: Tensor, ago: Tensor) -> Tensor:
        return current.masked_fill(ago <= self.steps, 0.0)

    def fire(self, fired: Tensor, ago: Tensor) -> Tensor:
        return fired & (ago > self.steps)


#: All of them.
CIRCUIT_MODELS = (
    NoLeak, NoReset, NoIntegration, NoFire, AlwaysFire, ScaleThreshold, ScaleLeak, Refractory
)  # fmt: skip
