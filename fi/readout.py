"""Public: how the output spikes or membranes of a ``SpikingNetwork`` become scores."""

from __future__ import annotations

from fi.network.readouts import MaxMembrane, Readout, SpikeCount

__all__ = ["MaxMembrane", "Readout", "SpikeCount"]
