"""What the golden trace proves with: margins and peaks."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from fi.engine.compiled.kernels.arrays import Array, NeuronConstants
from fi.engine.compiled.kernels.building.compiling import compiled
from fi.engine.compiled.kernels.neuron_step import next_step


class Magnitudes(NamedTuple):
    """How large the terms are that a stage's currents are sums of.

    Attributes:
        norms: ``f [channels]``, of a neuron's weights.
        offsets: ``f [channels]``, of what is added to them.
        seen: ``f [cells, B, T]``, the norm of the inputs that a cell sees.
        roundings: ``f``, how much two runs err in a step, relative.
    """

    norms: Array
    offsets: Array
    seen: Array
    roundings: float


@compiled
def find_margins(
    mem: Array, syn: Array, neurons: NeuronConstants, magnitudes: Magnitudes
) -> tuple[Array, Array]:
    """``up, down``, ``f [N, B]``, of states ``f [N, B, T]``: see ``proof_margins``."""
    alpha, beta, threshold, synaptic, _ = neurons
    norms, offsets, seen, roundings = magnitudes
    count, batch, steps = mem.shape
    cells = len(seen)
    infinite, zero = mem.dtype.type(np.inf), mem.dtype.type(0)
    up, down = np.empty((count, batch), mem.dtype), np.empty((count, batch), mem.dtype)
    for neuron in range(count):
        channel, limit = neuron // cells, threshold[neuron]
        norm, offset = norms[channel], offsets[channel]
        for sample in range(batch):
            rise = fall = infinite
            before = error = syn_error = zero
            for t in range(steps):
                now = mem[neuron, sample, t]
                size = norm * seen[neuron - channel * cells, sample, t] + offset
                if synaptic:
                    size += abs(syn[neuron, sample, t])
                    syn_error = alpha[neuron] * syn_error + roundings * size
                    error = beta[neuron] * error + syn_error
                error = beta[neuron] * error if not synaptic else error
                error += roundings * (before + abs(now) + abs(limit) + size)
                before = abs(now)
                over = now - limit
                margin = abs(over) - error
                high = margin if over > 0 else infinite
                low = infinite if over > 0 else margin
                fall = high if (high < fall or high != high) else fall
                rise = low if (low < rise or low != low) else rise
            up[neuron, sample], down[neuron, sample] = rise, fall
    return up, down


@compiled
def find_peaks(inputs: Array, windows: Array, decays: Array) -> Array:
    """``f [levels, windows, B]``: the largest response of a membrane to windows of inputs.

    ``inputs f [inputs, B, T]``, ``windows int32 [windows, K]``, -1 for none, and
    ``decays f [levels, 2]``, alpha and beta: see ``SeenInputs.peak``.
    """
    batch, steps = inputs.shape[1], inputs.shape[2]
    width = windows.shape[1]
    found = np.zeros((len(decays), len(windows), batch), inputs.dtype)
    driven = np.empty(steps, inputs.dtype)
    for window in range(len(windows)):
        for sample in range(batch):
            driven[:] = 0
            for place in range(width):
                source = windows[window, place]
                if source >= 0:
                    signal = inputs[source, sample]
                    for t in range(steps):
                        size = abs(signal[t])
                        driven[t] = size if (size > driven[t] or size != size) else driven[t]
            silent = True
            for t in range(steps):
                silent &= driven[t] == 0
            if silent:
                continue
            for level in range(len(decays)):
                alpha, beta = decays[level, 0], decays[level, 1]
                syn = mem = peak = inputs.dtype.type(0)
                for t in range(steps):
                    syn = alpha * syn + driven[t]
                    mem = beta * mem + syn
                    peak = mem if (mem > peak or mem != mem) else peak
                found[level, window, sample] = peak
    return found


@compiled
def find_largest_membranes(currents: Array, neurons: NeuronConstants) -> Array:
    """``f [B, N]``: the largest membrane over time of neurons on currents ``f [T, B, N]``."""
    alpha, beta, threshold, synaptic, reset = neurons
    steps, batch, count = currents.shape
    dtype = currents.dtype
    largest = np.empty((batch, count), dtype)
    syn, mem = np.empty(count, dtype), np.empty(count, dtype)
    for sample in range(batch):
        for n in range(count):
            syn[n], mem[n], largest[sample, n] = 0, 0, -np.inf
        for t in range(steps):
            for n in range(count):
                s, m = next_step(
                    syn[n], mem[n], currents[t, sample, n], alpha[n], beta[n], threshold[n],
                    synaptic, reset,
                )  # fmt: skip
                syn[n], mem[n] = s, m
                best = largest[sample, n]
                largest[sample, n] = m if (m > best or m != m) else best
    return largest
