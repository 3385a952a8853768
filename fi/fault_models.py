"""Public: what a fault model of your own is made of (docs/how-to.md), and the models there are.

A model says which bits of a word change (``masks``) or what becomes of a stored value (``value``).
"""

from __future__ import annotations

from fi.faults.bits import WordMasks
from fi.faults.models import (
    FAULT_MODELS,
    BitFlip,
    Dead,
    FaultModel,
    Saturated,
    Scale,
    StuckAt0,
    StuckAt1,
    StuckValue,
    fault_model,
    register_model,
)

__all__ = [
    "FAULT_MODELS",
    "BitFlip",
    "Dead",
    "FaultModel",
    "Saturated",
    "Scale",
    "StuckAt0",
    "StuckAt1",
    "StuckValue",
    "WordMasks",
    "fault_model",
    "register_model",
]
