"""What the golden trace proves with: margins and peaks."""

# mypy: disable-error-code="no-untyped-def"
from __future__ import annotations

import numpy as np

from fi.engine.compiled.kernels.compiling import compiled
from fi.engine.compiled.kernels.neuron_step import next_step


@compiled
def margins(mem, syn, threshold, alpha, beta, norms, offsets, seen, roundings, synaptic):
    """``up, down``, ``f [N, B]``, of states ``f [N, B, T]``: see ``fi.engine.trace.margins``.

    ``seen``: ``f [cells, B, T]``, the norm of the inputs that a cell sees; ``norms, offsets``: of
    each channel's weights. ``roundings``: how much two runs err in a step, relative.
    """
    neurons, batch, steps = mem.shape
    cells = len(seen)
    infinite, zero = mem.dtype.type(np.inf), mem.dtype.type(0)
    up, down = np.empty((neurons, batch), mem.dtype), np.empty((neurons, batch), mem.dtype)
    for neuron in range(neurons):
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
def peaks(inputs, windows, decays):
    """``f [levels, windows, B]``: see ``StrikeTrace.peak``; ``inputs f [effective, B, T]``."""
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
def largest_membranes(currents, alpha, beta, threshold, synaptic, reset):
    """``f [B, N]``: the largest membrane over time of neurons on currents ``f [T, B, N]``."""
    steps, batch, neurons = currents.shape
    dtype = currents.dtype
    largest = np.empty((batch, neurons), dtype)
    syn, mem = np.empty(neurons, dtype), np.empty(neurons, dtype)
    for sample in range(batch):
        for n in range(neurons):
            syn[n], mem[n], largest[sample, n] = 0, 0, -np.inf
        for t in range(steps):
            for n in range(neurons):
                s, m = next_step(
                    syn[n], mem[n], currents[t, sample, n], alpha[n], beta[n], threshold[n],
                    synaptic, reset,
                )  # fmt: skip
                syn[n], mem[n] = s, m
                best = largest[sample, n]
                largest[sample, n] = m if (m > best or m != m) else best
    return largest
