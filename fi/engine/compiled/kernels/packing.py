"""Spike trains as bits."""

#: Steps of spikes in one word of a bit-packed spike train.
PACKED = 32
