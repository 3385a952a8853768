"""The golden trace of one batch, laid out for the kernels."""

from __future__ import annotations

import itertools
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from fi.engine.compiled import kernels
from fi.engine.compiled.kernels.packing import PACKED
from fi.engine.compiled.kernels.simd import WIDTH
from fi.engine.compiled.stage_constants import Array, StageModel
from fi.engine.compiled.synapse_matrix import Ints, Synapse
from fi.engine.compiled.time_major import lines_and_peaks, time_innermost
from fi.network.readouts import MaxMembrane, Readout
from fi.network.stages import IMAGES, StageActivity


@dataclass(frozen=True)
class StrikeTrace:
    """One stage as the faults in it see it: time is innermost. ``B`` samples, ``T`` steps.

    Attributes:
        inputs: ``f [effective inputs, B, T]``.
        currents: ``f [N, K, B, T]``, before a maximum pool over ``K`` positions.
        syn, mem: ``f [N, B, T]``, states after each step (syn is ``mem`` again for Leaky).
        spikes: ``uint8 [N, B, T]``, golden.
        packed: ``uint32 [N, B, words]``, the same, 32 steps a word.
        up, down: ``f [N, B]``: a rise of the membrane below ``up`` makes no spike more, a fall
            below ``down`` none less; rounding is taken off already.
        peak: ``f [levels, windows, B]``, the largest response of the membrane to an input window.
        bias_peak: ``f [N]``, the same to a constant current of 1.
        negative: whether an input may be negative: then both margins count.
        fed: ``f [N, B, T]``, what the recurrence sees: the spikes of the step before (empty
            without recurrence).
        fed_peak: ``f [levels, N, B]``, as ``peak``.
    """

    inputs: Array
    currents: Array
    syn: Array
    mem: Array
    spikes: Array
    packed: Array
    up: Array
    down: Array
    peak: Array
    bias_peak: Array
    negative: bool
    fed: Array
    fed_peak: Array

    @classmethod
    def of_neurons(
        cls, currents: Array, syn: Array, mem: Array, spikes: Array, packed: Array
    ) -> StrikeTrace:
        """What faults in neurons need; the other fields are empty."""
        none = {
            name: np.zeros((0,) * dims, mem.dtype)
            for name, dims in {"inputs": 3, "up": 2, "down": 2, "peak": 3, "bias_peak": 1}.items()
        }
        fed, fed_peak = none["inputs"], none["peak"]
        return cls(
            currents=currents, syn=syn, mem=mem, spikes=spikes, packed=packed, negative=False,
            fed=fed, fed_peak=fed_peak, **none,
        )  # fmt: skip


@dataclass(frozen=True)
class FlowTrace:
    """One stage as differences from below see it: channels are innermost.

    Attributes:
        before: ``f [B, T, cells, K, channels]``, currents before a maximum pool.
        currents: ``f [B, T, cells, channels]``.
        syn, mem: the states, same shape.
        spikes: ``uint8``, same shape.
        up, down: ``f [B, cells, channels]``, as in ``StrikeTrace``.
        regular: whether no weight and no membrane is infinite or NaN.
    """

    before: Array
    currents: Array
    syn: Array
    mem: Array
    spikes: Array
    up: Array
    down: Array
    regular: bool


class Recorded:
    """One stage's golden activity of one batch; what both layouts need is computed once."""

    def __init__(self, model: StageModel, activity: StageActivity) -> None:
        self.model = model
        self.steps, self.batch = activity.inputs.shape[:2]
        self.activity = _with_feedback(model, activity)

    @cached_property
    def before(self) -> Tensor:
        """Currents before a maximum pool, a view ``[T, B, channels, cells..., K...]``."""
        return _before(self.model, self.activity)

    @cached_property
    def mem(self) -> Tensor:
        """``[T, B, N]``."""
        return torch.stack([state["mem"] for state in self.activity.states]).flatten(2)

    @cached_property
    def syn(self) -> Tensor:
        """``[T, B, N]``."""
        return torch.stack([state["syn"] for state in self.activity.states]).flatten(2)

    @cached_property
    def spikes(self) -> Tensor:
        """``uint8 [T, B, N]``."""
        return (self.activity.spikes.flatten(2) != 0).to(torch.uint8)

    @cached_property
    def membranes(self) -> Array:
        """``f [N, B, T]``."""
        return time_innermost(self.mem)

    @cached_property
    def synaptic(self) -> Array:
        """``f [N, B, T]``, the synaptic currents; the membranes of a first-order neuron."""
        return time_innermost(self.syn) if self.model.synaptic else self.membranes

    @cached_property
    def fed(self) -> Array:
        """What the recurrence sees, ``f [N, B, T]``; empty without one."""
        if self.model.feedback is None:
            return np.zeros((0, self.batch, self.steps), self.model.beta.dtype)
        return time_innermost(_shifted(self.activity.spikes))

    @cached_property
    def margins(self) -> tuple[Array, Array]:
        """``up, down``, ``f [N, B]``."""
        return margins(self)


def _with_feedback(model: StageModel, activity: StageActivity) -> StageActivity:
    """The activity with the recurrent currents added, step by step as the network adds them."""
    recurrent = model.stage.recurrent
    if recurrent is None:
        return activity
    pairs = zip(activity.currents, _shifted(activity.spikes), strict=True)
    return replace(activity, currents=torch.stack([c + recurrent(fed) for c, fed in pairs]))


def _shifted(spikes: Tensor) -> Tensor:
    """The spikes of the step before, ``[T, B, N]``."""
    return torch.cat([torch.zeros_like(spikes[:1]), spikes[:-1]])


def strike_trace(recorded: Recorded, currents: bool = True) -> StrikeTrace:
    """The layout for faults in this stage; without ``currents`` for those in its neurons alone.

    Then the fields that only faults in weights and biases need are empty. A recurrence needs all.
    """
    model = recorded.model
    before = time_innermost(recorded.before)  # [channels * cells * K, B, T]
    spikes = time_innermost(recorded.spikes)
    trace = StrikeTrace.of_neurons(
        currents=before.reshape(model.neurons, -1, recorded.batch, recorded.steps),
        syn=recorded.synaptic,
        mem=recorded.membranes,
        spikes=spikes,
        packed=_packed(spikes),
    )
    if not currents and model.feedback is None:
        return trace
    inputs, peak, negative = _seen(recorded)
    up, down = recorded.margins
    return replace(
        trace,
        inputs=inputs,
        up=up,
        down=down,
        peak=peak,
        bias_peak=_gain(model, recorded.steps).astype(trace.mem.dtype),
        negative=negative,
        fed=recorded.fed,
        fed_peak=_peaks(model, recorded.fed, np.arange(len(recorded.fed), dtype=np.int32)[:, None]),
    )


def _seen(recorded: Recorded) -> tuple[Array, Array, bool]:
    """``inputs, peak, negative`` of a ``StrikeTrace``."""
    model, inputs = recorded.model, recorded.activity.inputs.flatten(2)
    effective = _effective_inputs(model, inputs)
    negative = bool((effective < 0).any())
    if model.sees_lines and effective.shape[2] >= WIDTH:
        return *lines_and_peaks(effective, model.decays), negative
    turned = time_innermost(effective)
    return turned, _peaks(model, turned, model.windows), negative


def flow_trace(recorded: Recorded, vector: int = 1, proofs: bool = True) -> FlowTrace:
    """The layout for differences that come from below, channels padded to whole vectors.

    Without ``proofs``, as in the last stage, where none are tried, the margins are empty.
    """
    model, activity = recorded.model, recorded.activity
    up = down = np.zeros((0, 0, 0), model.beta.dtype)
    if proofs:
        up, down = (
            padded(margin.reshape(-1, model.synapse.cells, recorded.batch).T, vector)
            for margin in recorded.margins
        )
    currents = padded(_by_cell(model, activity.currents.flatten(2)), vector)
    membranes = padded(_by_cell(model, recorded.mem), vector)
    before = currents[:, :, :, None]
    if model.max_pooled:
        seen = recorded.before  # to [B, T, cells..., K..., channels]
        shape = (recorded.batch, recorded.steps, model.synapse.cells, -1, model.synapse.channels)
        before = _array(seen.permute(1, 0, *range(3, seen.ndim), 2)).reshape(shape)
    return FlowTrace(
        before=before,
        currents=currents,
        syn=padded(_by_cell(model, recorded.syn), vector) if model.synaptic else membranes,
        mem=membranes,
        spikes=padded(_by_cell(model, recorded.spikes), vector),
        up=up,
        down=down,
        # a membrane that was NaN once still is in the end
        regular=bool(np.isfinite(model.rows).all() and recorded.mem[-1].isfinite().all()),
    )


def padded(array: Array, vector: int) -> Array:
    """Zeros behind the last axis, up to a multiple of ``vector``."""
    missing = -array.shape[-1] % vector
    if missing:
        array = np.pad(array, [(0, 0)] * (array.ndim - 1) + [(0, missing)])
    return np.ascontiguousarray(array)


def readout_prefix(readout: Readout, activity: StageActivity) -> Array:
    """``f [B, T + 1, classes]``: what the readout has gathered before each step, and in the end."""
    folded = readout.initial(activity.states[0]["mem"])
    prefix = [folded]
    for spikes, state in zip(activity.spikes, activity.states, strict=True):
        folded = readout.accumulate(folded, spikes, state["mem"])
        prefix.append(folded)
    return _array(torch.stack(prefix, dim=1).flatten(2))


def takes_maximum(readout: Readout) -> bool:
    """Whether the readout is the largest membrane (else it counts spikes)."""
    return type(readout) is MaxMembrane


def margins(recorded: Recorded) -> tuple[Array, Array]:
    """How far each neuron's membrane may rise or fall without a change of spikes, ``[N, batch]``.

    With the golden membrane ``v`` and a faulty current ``I + d``, the membranes differ by
    ``D[t] = beta D[t-1] + d[t]`` as long as no spike has changed (a reset to zero only shrinks
    ``D``). No spike changes while ``D < threshold - v`` in silent steps and ``-D < v - threshold``
    in spiking ones. In floating point each of the two runs rounds at most six times in step ``t``,
    values no larger than ``S[t] = |v[t-1]| + |v[t]| + |I[t]| + |threshold|`` (plus ``|D|``, which
    the factor ``1 + slack`` on ``D`` covers), and an error decays as the membrane does: both runs
    together err by at most ``E[t] = beta E[t-1] + 12 u S[t]`` with ``u`` half the distance from 1
    to the next float. In a second-order neuron the current ``s`` errs by ``F[t] = alpha F[t-1] +
    12 u (|I[t]| + |s[t]|)``, and the membrane by ``F`` more a step. ``E`` is taken off.
    A current is a sum in which large terms may cancel, in another order where a weight differs:
    ``|I|`` is the sum of their magnitudes, or a bound on it, and not that of the result.
    """
    model, mem = recorded.model, recorded.membranes
    roundings = mem.dtype.type(12 * np.finfo(mem.dtype).eps / 2)
    norms, offsets = _weight_norms(recorded)
    seen = _array(_seen_norms(recorded))
    with np.errstate(invalid="ignore"):
        return kernels.margins(
            mem, recorded.synaptic, model.threshold, model.alpha, model.beta, norms, offsets, seen,
            roundings, model.synaptic,
        )  # fmt: skip


def _weight_norms(recorded: Recorded) -> tuple[Array, Array]:
    """``[channels]`` each: the norm of a neuron's weights, and the magnitude of what is added."""
    rows, offsets = recorded.model.synapse.rows, recorded.model.synapse.offsets.abs()
    recurrent = recorded.model.stage.recurrent
    if isinstance(recurrent, nn.Linear):
        rows = torch.cat([rows, recurrent.weight.T])
        if recurrent.bias is not None:
            offsets = offsets + recurrent.bias.abs()
    return _array(rows.norm(dim=0)), _array(offsets)


def _seen_norms(recorded: Recorded) -> Tensor:
    """``[cells, B, T]``: the norm of the inputs that a cell sees, the largest in its window.

    The magnitudes of a sum of ``weight * input`` add up to no more than the product of both norms
    (Cauchy-Schwarz).
    """
    synapse, inputs = recorded.model.synapse, recorded.activity.inputs
    if isinstance(synapse.weights, nn.Linear):
        signals = inputs.flatten(2)
        if recorded.model.feedback is not None:
            signals = torch.cat([signals, _shifted(recorded.activity.spikes)], dim=2)
        return signals.norm(dim=2).T[None]
    energy = torch.cat([_energy(synapse, part) for part in inputs.flatten(0, 1).split(IMAGES)])
    seen = functional.pad(energy.clamp(min=0).sqrt().flatten(1) * (1 + 1e-3), (0, 1))
    windows = torch.from_numpy(synapse.windows.astype(np.int64))
    return seen[:, windows].amax(2).unflatten(0, inputs.shape[:2]).permute(2, 1, 0)


def _energy(synapse: Synapse, image: Tensor) -> Tensor:
    """``[images, 1, ...]``: the sum of the squares that each position of a convolution sees."""
    conv = synapse.weights
    assert isinstance(conv, nn.Conv2d)
    for module in itertools.takewhile(lambda module: module is not conv, synapse.before_pool):
        image = module(image)
    squares = image.square().sum(dim=1, keepdim=True)
    ones = image.new_ones(1, 1, *conv.kernel_size)
    return functional.conv2d(squares, ones, None, conv.stride, conv.padding, conv.dilation)


def slack(model: StageModel, steps: int) -> float:
    """How much larger than computed a difference may be, relative: see ``margins``."""
    gain = float(_gain(model, steps).max())
    return 24 * float(np.finfo(model.beta.dtype).eps) * max(gain, float(steps))


def impulse(model: StageModel, steps: int) -> float:
    """The largest membrane that a current of 1 in one step alone leads to; 1 for Leaky."""
    syn = mem = np.ones_like(model.alpha, dtype=np.float64)
    largest = 1.0
    for _ in range(1, steps if model.synaptic else 1):
        syn = model.alpha * syn
        mem = model.beta * mem + syn
        largest = max(largest, float(mem.max()))
    return largest


def _gain(model: StageModel, steps: int) -> Array:
    """The largest sum of an error of 1 made at every step, ``[N]``."""

    def gathered(decay: Array) -> Array:
        with np.errstate(divide="ignore"):
            return np.minimum(float(steps), 1.0 / (1.0 - decay.astype(np.float64)))

    gain = gathered(model.beta)
    return gain * gathered(model.alpha) if model.synaptic else gain


def _peaks(model: StageModel, inputs: Array, windows: Ints) -> Array:
    """``[levels, windows, B]``: largest response to ``max |input|`` over each distinct window."""
    parts = np.array_split(windows, 4 * torch.get_num_threads())
    decays = model.decays.astype(inputs.dtype)
    with ThreadPoolExecutor(torch.get_num_threads()) as pool:
        found = list(pool.map(lambda part: kernels.peaks(inputs, part, decays), parts))
    return np.concatenate(found, axis=1)


def _effective_inputs(model: StageModel, inputs: Tensor) -> Tensor:
    """``[T, B, effective]`` of ``[T, B, inputs]``: the windows' means where a mean pool follows."""
    if model.pools is None:
        return inputs
    padded = torch.cat([inputs, inputs.new_zeros(*inputs.shape[:2], 1)], dim=2)
    return padded[:, :, torch.from_numpy(model.pools.astype(np.int64))].mean(-1)


def _before(model: StageModel, activity: StageActivity) -> Tensor:
    """Currents before a maximum pool, a view ``[T, B, channels, cells..., K...]``; -inf outside."""
    steps, batch = activity.inputs.shape[:2]
    synapse = model.synapse
    if not model.max_pooled:
        return activity.currents.reshape(steps, batch, synapse.channels, synapse.cells, 1)
    image = activity.unpooled
    if image is None:
        image = synapse.before(activity.inputs.flatten(0, 1))
    image = image.unflatten(0, (steps, batch))
    tiles = _tiles(image, model)
    if tiles is not None:
        return tiles
    flat = image.flatten(3)
    outside = flat.new_full((*flat.shape[:3], 1), float("-inf"))
    windows = torch.from_numpy(synapse.windows.astype(np.int64))
    return torch.cat([flat, outside], dim=3)[..., windows]


def _tiles(image: Tensor, model: StageModel) -> Tensor | None:
    """A view ``[T, B, channels, high, wide, 2, 2]`` where 2x2 windows tile the image."""
    if not model.runs.paired:
        return None
    high, wide = model.shape[1:]

    def tiled(pixels: Tensor) -> Tensor:
        cut = pixels[..., : 2 * high, : 2 * wide]
        return cut.unflatten(-1, (wide, 2)).unflatten(-3, (high, 2)).transpose(-3, -2)

    numbers = torch.arange(image[0, 0, 0].numel()).reshape(image.shape[3:])
    if not np.array_equal(tiled(numbers).reshape(-1, 4).numpy(), model.runs.windows):
        return None
    return tiled(image)


def _by_cell(model: StageModel, values: Tensor) -> Array:
    """``[B, T, cells, channels]`` of ``[T, B, N]``."""
    steps, batch, _ = values.shape
    cells = model.synapse.cells
    return _array(values.reshape(steps, batch, -1, cells).permute(1, 0, 3, 2))


def _packed(trains: Array) -> Array:
    """``uint32 [N, B, words]`` of ``[N, B, T]``: bit ``t % 32`` of word ``t // 32`` is step t."""
    padding = -trains.shape[2] % PACKED
    padded = np.pad(trains, ((0, 0), (0, 0), (0, padding)))
    return np.packbits(padded, axis=2, bitorder="little").view(np.uint32)


def _array(tensor: Tensor) -> Array:
    return np.ascontiguousarray(tensor.detach().cpu().numpy())
