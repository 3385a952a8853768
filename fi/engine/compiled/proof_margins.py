"""What the golden trace proves: how far a membrane may move, how far a fault moves it."""

from __future__ import annotations

import itertools
from functools import cached_property

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from fi.engine.compiled import kernels
from fi.engine.compiled.kernels.arrays import Array
from fi.engine.compiled.kernels.bounds import Magnitudes
from fi.engine.compiled.recorded_stage import RecordedStage, delay, to_array
from fi.engine.compiled.stage_constants import StageModel
from fi.engine.compiled.synapse_matrix import Ints, Synapse
from fi.engine.work_sharing import share_work
from fi.network.stages import IMAGES


class ProvedStage(RecordedStage):
    """A recorded stage with its margins, which are computed once."""

    @cached_property
    def margins(self) -> tuple[Array, Array]:
        """``up, down``, ``f [N, B]``."""
        return find_margins(self)


def find_margins(recorded: RecordedStage) -> tuple[Array, Array]:
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
    mem = recorded.membranes
    norms, offsets = _find_weight_norms(recorded)
    magnitudes = Magnitudes(
        norms=norms,
        offsets=offsets,
        seen=to_array(_find_seen_norms(recorded)),
        roundings=mem.dtype.type(12 * np.finfo(mem.dtype).eps / 2),
    )
    with np.errstate(invalid="ignore"):
        return kernels.find_margins(mem, recorded.synaptic, recorded.model.constants, magnitudes)


def _find_weight_norms(recorded: RecordedStage) -> tuple[Array, Array]:
    """``[channels]`` each: the norm of a neuron's weights, and the magnitude of what is added."""
    rows, offsets = recorded.model.synapse.rows, recorded.model.synapse.offsets.abs()
    recurrent = recorded.model.stage.recurrent
    if isinstance(recurrent, nn.Linear):
        rows = torch.cat([rows, recurrent.weight.T])
        if recurrent.bias is not None:
            offsets = offsets + recurrent.bias.abs()
    return to_array(rows.norm(dim=0)), to_array(offsets)


def _find_seen_norms(recorded: RecordedStage) -> Tensor:
    """``[cells, B, T]``: the norm of the inputs that a cell sees, the largest in its window.

    The magnitudes of a sum of ``weight * input`` add up to no more than the product of both norms
    (Cauchy-Schwarz).
    """
    synapse, inputs = recorded.model.synapse, recorded.activity.inputs
    if isinstance(synapse.weights, nn.Linear):
        signals = inputs.flatten(2)
        if recorded.model.feedback is not None:
            signals = torch.cat([signals, delay(recorded.activity.spikes)], dim=2)
        norms: Tensor = signals.norm(dim=2).T[None]
        return norms
    energy = torch.cat([_find_energy(synapse, part) for part in inputs.flatten(0, 1).split(IMAGES)])
    seen = functional.pad(energy.clamp(min=0).sqrt().flatten(1) * (1 + 1e-3), (0, 1))
    windows = torch.from_numpy(synapse.windows.astype(np.int64))
    largest: Tensor = seen[:, windows].amax(2).unflatten(0, inputs.shape[:2]).permute(2, 1, 0)
    return largest


def _find_energy(synapse: Synapse, image: Tensor) -> Tensor:
    """``[images, 1, ...]``: the sum of the squares that each position of a convolution sees."""
    conv = synapse.weights
    assert isinstance(conv, nn.Conv2d)
    for module in itertools.takewhile(lambda module: module is not conv, synapse.before_pool):
        image = module(image)
    squares = image.square().sum(dim=1, keepdim=True)
    ones = image.new_ones(1, 1, *conv.kernel_size)
    return functional.conv2d(squares, ones, None, conv.stride, conv.padding, conv.dilation)


def find_slack(model: StageModel, steps: int) -> float:
    """How much larger than computed a difference may be, relative: see ``find_margins``."""
    gain = float(find_gain(model, steps).max())
    return 24 * float(np.finfo(model.dtype).eps) * max(gain, float(steps))


def find_impulse_response(model: StageModel, steps: int) -> float:
    """The largest membrane that a current of 1 in one step alone leads to; 1 for Leaky."""
    constants = model.constants
    syn = mem = np.ones_like(constants.alpha, dtype=np.float64)
    largest = 1.0
    for _ in range(1, steps if constants.synaptic else 1):
        syn = constants.alpha * syn
        mem = constants.beta * mem + syn
        largest = max(largest, float(mem.max()))
    return largest


def find_gain(model: StageModel, steps: int) -> Array:
    """The largest sum of an error of 1 made at every step, ``[N]``."""

    def gather(decay: Array) -> Array:
        with np.errstate(divide="ignore"):
            return np.minimum(float(steps), 1.0 / (1.0 - decay.astype(np.float64)))

    gain = gather(model.constants.beta)
    return gain * gather(model.constants.alpha) if model.constants.synaptic else gain


def find_peaks(model: StageModel, inputs: Array, windows: Ints) -> Array:
    """``[levels, windows, B]``: largest response to ``max |input|`` over each distinct window."""
    threads = torch.get_num_threads()
    parts = np.array_split(windows, 4 * threads if threads > 1 else 1)
    decays = model.decays.astype(inputs.dtype)
    found = share_work(lambda part: kernels.find_peaks(inputs, part, decays), parts, threads)
    return np.concatenate(list(found), axis=1)
