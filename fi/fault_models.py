"""Public: what a fault model of your own is made of (docs/how-to.md), and the models there are.

A model says which bits of a word change (``masks``) or what becomes of a stored value (``value``);
a ``CircuitModel`` says what goes wrong in the update of a neuron, a ``LineModel`` what arrives of
what a line carries.
"""

from __future__ import annotations

from fi.faults.bits import WordMasks
from fi.faults.modelling.circuit_models import CircuitModel
from fi.faults.modelling.line_models import LineModel
from fi.faults.modelling.model_base import FaultModel
from fi.faults.modelling.word_models import (
    BitFlip,
    Dead,
    Saturated,
    Scale,
    StuckAt0,
    StuckAt1,
    StuckValue,
)
from fi.faults.models import FAULT_MODELS, fault_model, register_model

__all__ = [
    "FAULT_MODELS",
    "BitFlip",
    "CircuitModel",
    "Dead",
    "FaultModel",
    "LineModel",
    "Saturated",
    "Scale",
    "StuckAt0",
    "StuckAt1",
    "StuckValue",
    "WordMasks",
    "fault_model",
    "register_model",
]
