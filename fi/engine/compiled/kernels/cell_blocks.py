"""Cells of a convolution that are simulated, their channels side by side in whole vectors."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from fi.engine.compiled.kernels.arrays import Array, GoldenByStep, NeuronConstants, PairList
from fi.engine.compiled.kernels.building.compiling import compiled, inlined
from fi.engine.compiled.kernels.neuron_step import vector_step
from fi.engine.compiled.kernels.pair_lists import put_entry
from fi.engine.compiled.kernels.simd import (
    WIDTH,
    aligned_zeros,
    bits,
    count_trailing_zeros,
    load,
    nonzero,
    prefetch,
    store,
    zeros_like,
)

#: Where a block has its vectors.
NOW, MEM, SYN = (place * WIDTH for place in range(3))
#: Numbers in a block.
BLOCK = 3 * WIDTH
#: Blocks whose spikes are in a word of 64 bits.
BY_FOUR = 64 // WIDTH


class Blocks(NamedTuple):
    """What is simulated: a cell has ``padded / WIDTH`` blocks, side by side.

    Cells stand in the order in which they began; all about a vector of neurons is in one place.

    Attributes:
        values: ``f [blocks * BLOCK]``; NOW is what the golden currents of a step change by, 0
            between steps, or the currents themselves.
        place: ``int64 [blocks]``, where the vector is among the golden neurons of a step.
        constants: ``int64 [blocks]``, where the vector's constants begin among those of neurons.
        neuron: ``int32 [blocks]``, the first one's number.
        differs: ``uint16 [blocks]``, bits: spikes of a step that are not the golden ones.
        golden: ``uint16 [blocks]``, the golden ones.
        differs_by_four, golden_by_four: ``uint64``, the same memory, four blocks in a word.
        cell: ``int64 [cells]``, cells in the order in which they began.
        slot: ``int64 [cells]``, where a cell's first block begins, -1 where it has not begun.
    """

    values: Array
    place: Array
    constants: Array
    neuron: Array
    differs: Array
    golden: Array
    differs_by_four: Array
    golden_by_four: Array
    cell: Array
    slot: Array


@compiled
def new_blocks(cells: int, padded: int, like: Array) -> Blocks:
    """Room for all neurons of a stage, of the type of ``like``."""
    blocks = cells * (padded // WIDTH)
    room = blocks + -blocks % BY_FOUR
    differs, golden = np.zeros(room, np.uint16), np.zeros(room, np.uint16)
    return Blocks(
        aligned_zeros(blocks * BLOCK, like),
        np.zeros(blocks, np.int64),
        np.zeros(blocks, np.int64),
        np.zeros(room, np.int32),
        differs,
        golden,
        differs.view(np.uint64),
        golden.view(np.uint64),
        np.zeros(cells, np.int64),
        np.full(cells, -1, np.int64),
    )


@inlined
def begin_cell(
    cell: int, number: int, base: int, golden: GoldenByStep, neurons: NeuronConstants,
    blocks: Blocks,
) -> int:  # fmt: skip
    """Simulate a cell from now on, behind ``number`` of them: how many there are now.

    ``base``: where the step before begins in the flat golden states, negative before the first.
    """
    values = blocks.values
    cells, padded = golden.mem.shape[2], golden.mem.shape[3]
    several = neurons.beta.shape[0] > 1
    k = number * (padded // WIDTH)
    blocks.cell[number], blocks.slot[cell] = cell, k * BLOCK
    for c in range(0, padded, WIDTH):
        at, place = k * BLOCK, cell * padded + c
        constants = place if several else c
        nothing = zeros_like(load(neurons.beta, constants))
        store(values, at + NOW, nothing)
        mem = syn = nothing
        if base >= 0:
            mem = load(golden.mem, base + place)
        store(values, at + MEM, mem)
        if neurons.synaptic:
            if base >= 0:
                syn = load(golden.syn, base + place)
            store(values, at + SYN, syn)
        blocks.constants[k] = constants
        blocks.place[k], blocks.neuron[k] = place, c * cells + cell
        k += 1
    return number + 1


@inlined
def end_cells(number: int, blocks: Blocks) -> None:
    """Forget all cells."""
    for k in range(number):
        blocks.slot[blocks.cell[k]] = -1


@inlined
def drive_golden(base: int, count: int, golden: GoldenByStep, blocks: Blocks) -> None:
    """Golden currents of ``count`` blocks, of the step that begins at ``base``."""
    for k in range(count):
        current = load(golden.currents, base + blocks.place[k])
        store(blocks.values, k * BLOCK + NOW, current)


@inlined
def fire(
    base: int, count: int, adds: bool, golden: GoldenByStep, neurons: NeuronConstants,
    blocks: Blocks,
) -> None:  # fmt: skip
    """One step of ``count`` blocks, which begins at ``base``: fills ``differs`` and ``golden``.

    ``adds``: whether NOW is what the golden currents change by, which is taken back.
    """
    values, synaptic = blocks.values, neurons.synaptic
    ahead = golden.currents.shape[2] * golden.currents.shape[3]
    for k in range(count):
        at, place = k * BLOCK, base + blocks.place[np.uint64(k)]
        prefetch(golden.currents, place + ahead)
        prefetch(golden.spikes, place + ahead)
        now, mem = load(values, at + NOW), load(values, at + MEM)
        constants = blocks.constants[np.uint64(k)]
        beta, threshold = load(neurons.beta, constants), load(neurons.threshold, constants)
        if adds:
            now = load(golden.currents, place) + now
            store(values, at + NOW, zeros_like(now))
        if synaptic:
            syn, mem = vector_step(
                load(values, at + SYN), mem, now, load(neurons.alpha, constants), beta, threshold,
                True, neurons.reset,
            )  # fmt: skip
            store(values, at + SYN, syn)
        else:
            syn, mem = vector_step(mem, mem, now, beta, beta, threshold, False, neurons.reset)
        store(values, at + MEM, mem)
        spiking = bits(nonzero(load(golden.spikes, place)))
        blocks.golden[np.uint64(k)] = spiking
        blocks.differs[np.uint64(k)] = bits(mem > threshold) ^ spiking


@inlined
def list_differing(
    t: int, count: int, cells: int, blocks: Blocks, out: PairList, entries: int
) -> int:
    """List the spikes of a step, of ``count`` blocks, that differ: the number of entries.

    ``cells``: from the number of a neuron to that of the next in a block.
    """
    for k in range(count, count + -count % BY_FOUR):
        blocks.differs[k] = 0
    for word in range((count + BY_FOUR - 1) // BY_FOUR):
        left = blocks.differs_by_four[np.uint64(word)]
        spiking = blocks.golden_by_four[np.uint64(word)]
        while left != 0:
            bit = count_trailing_zeros(left)
            was = np.int32((spiking >> np.uint64(bit)) & np.uint64(1))
            neuron = blocks.neuron[np.uint64(word * BY_FOUR + bit // WIDTH)]
            neuron += np.int32(bit % WIDTH * cells)
            entries = put_entry(out, entries, t, neuron, np.int32(1) - np.int32(2) * was)
            left &= left - np.uint64(1)
    return entries
