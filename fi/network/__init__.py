"""Networks of snnTorch neurons: their stages, readouts, weights and batches.

Public names: what a network is made of, and its weights.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fi.base.public_names import load_lazily

if TYPE_CHECKING:
    from fi.network.checkpoint import load_checkpoint
    from fi.network.readouts import MaxMembrane, Readout, SpikeCount
    from fi.network.stages import SpikingNetwork, Stage

__all__ = [
    "MaxMembrane",
    "Readout",
    "SpikeCount",
    "SpikingNetwork",
    "Stage",
    "load_checkpoint",
]

if not TYPE_CHECKING:
    __getattr__, __dir__ = load_lazily(
        __name__,
        {
            "checkpoint": ("load_checkpoint",),
            "readouts": ("MaxMembrane", "Readout", "SpikeCount"),
            "stages": ("SpikingNetwork", "Stage"),
        },
    )
