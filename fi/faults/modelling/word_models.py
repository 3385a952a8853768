"""Fault models of words: bits that flip or are stuck, values that are lost, held or scaled."""

from __future__ import annotations

import torch
from torch import Tensor

from fi.faults.bits import WordMasks, float_pattern
from fi.faults.fault_sites import Kind
from fi.faults.modelling.model_base import STORED, FaultModel


class BitFlip(FaultModel):
    """The bits read inverted: a single or multiple bit upset."""

    name = "bit-flip"

    def masks(self, bits: int) -> WordMasks:
        return WordMasks.flipping(bits)


class StuckAt0(FaultModel):
    """The bits read 0."""

    name = "stuck-at-0"

    def masks(self, bits: int) -> WordMasks:
        return WordMasks.clearing(bits)


class StuckAt1(FaultModel):
    """The bits read 1."""

    name = "stuck-at-1"

    def masks(self, bits: int) -> WordMasks:
        return WordMasks.setting(bits)


class Dead(FaultModel):
    """A synapse that conducts nothing, a neuron or an input line that never spikes: 0.0."""

    name = "dead"
    takes_bits = False
    kinds = frozenset({Kind.SYNAPSE, Kind.SPIKE, Kind.INPUT})

    def masks(self, bits: int) -> WordMasks:
        return WordMasks.holding(0)


class Saturated(FaultModel):
    """A neuron or an input line that spikes at every step: 1.0.

    A synapse takes the largest finite magnitude of its tensor and keeps its sign.
    """

    name = "saturated"
    takes_bits = False
    kinds = frozenset({Kind.SYNAPSE, Kind.SPIKE, Kind.INPUT})

    def masks(self, bits: int) -> WordMasks:
        return WordMasks.holding(float_pattern(1.0))

    def value(self, golden: Tensor, tensor: Tensor) -> Tensor:
        sizes = tensor[tensor.isfinite()].abs()
        return torch.copysign(sizes.max(), golden) if len(sizes) else golden


class StuckValue(FaultModel):
    """The word holds a given value."""

    name = "stuck-value"
    takes_bits = False
    parameter = "VALUE"

    def __init__(self, value: float) -> None:
        self.held = value

    def masks(self, bits: int) -> WordMasks:
        return WordMasks.holding(float_pattern(self.held))

    def value(self, golden: Tensor, tensor: Tensor) -> Tensor:
        return torch.full_like(golden, self.held)


class Scale(FaultModel):
    """A parametric fault: the value times rho, rounded once."""

    name = "scale"
    takes_bits = False
    kinds = STORED
    parameter = "RHO"

    def __init__(self, rho: float) -> None:
        self.rho = rho

    def value(self, golden: Tensor, tensor: Tensor) -> Tensor:
        return (golden.double() * self.rho).float()


#: All of them.
WORD_MODELS = (BitFlip, StuckAt0, StuckAt1, Dead, Saturated, StuckValue, Scale)
