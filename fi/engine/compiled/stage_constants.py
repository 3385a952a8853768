"""What the kernels need of one stage, batch or no batch: constants as flat arrays."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np
import snntorch as snn
import torch
from snntorch import SpikingNeuron
from torch import Tensor, nn
from torch.nn.functional import pad

from fi.engine.compiled.kernels.arrays import (
    NO_RESET,
    SUBTRACT,
    ZERO,
    Array,
    FanOut,
    NeuronConstants,
)
from fi.engine.compiled.kernels.simd import WIDTH, begin_at_line
from fi.engine.compiled.synapse_matrix import Entry, Ints, Synapse, find_entry, normal_form
from fi.engine.generic.eligible import are_close, is_plain_module, steps_apart
from fi.network.neurons import find_kernel_form, spiking_neurons
from fi.network.stages import Stage, StageActivity, has_own_behaviour

#: How many decay rates the bounds distinguish; each neuron uses the next one above its own.
DECAY_LEVELS = 4
#: Inputs of golden frames on which a normal form is checked.
_CHECKED = 20_000
_MODES = {"subtract": SUBTRACT, "zero": ZERO, "none": NO_RESET}


@dataclass(frozen=True)
class StageModel:
    """One stage for the kernels; ``N = channels * cells`` neurons, ``f`` the run's float type.

    Attributes:
        stage: the stage itself.
        shape: of its neurons, batch left out.
        synapse: its normal form.
        taps: ``[rows, cells, K]`` effective input of a window's position (-1: none).
        pools: for a mean pool the inputs of each effective input ``[effective, width]``, else None.
        windows: ``[distinct, K]`` distinct windows of effective inputs.
        window_of: ``[rows, cells]`` which of them a row and a cell have.
        fan_out: which positions an input reaches through which weights, as they reach a position.
        constants: of the neurons, decays clamped as snnTorch does.
        level, decays: ``[N]`` level of each neuron; ``[levels, 2]`` (alpha, beta) of the bounds.
        feedback: ``f [N, padded]``, the recurrent weights, a row for each neuron that spikes, up to
            whole vectors.
        entry: what is in front of the weights: ``stage``, and all else, is what is behind it.
    """

    stage: Stage
    shape: tuple[int, ...]
    synapse: Synapse
    taps: Ints
    pools: Ints | None
    windows: Ints
    window_of: Ints
    fan_out: FanOut
    constants: NeuronConstants
    level: Ints
    decays: Array
    feedback: Array | None
    entry: Entry | None = None

    def see(self, activity: StageActivity) -> StageActivity:
        """The activity of the whole stage as what is behind its entry sees it."""
        if self.entry is None:
            return activity
        if activity.entered is None:
            return replace(activity, inputs=self.entry.see(activity.inputs))
        return replace(activity, inputs=activity.entered.unflatten(0, activity.inputs.shape[:2]))

    @property
    def neurons(self) -> int:
        """Neurons in the stage."""
        return len(self.constants.beta)

    @property
    def dtype(self) -> np.dtype[Any]:
        """``f``."""
        return self.constants.beta.dtype

    @property
    def sees_lines(self) -> bool:
        """Whether each window is one input, in their order, as of a linear layer."""
        lines = np.arange(len(self.windows))[:, None]
        return self.pools is None and np.array_equal(self.windows, lines)

    @property
    def has_one_cell(self) -> bool:
        """Whether what an input changes is the same for all neurons but for the weight."""
        return self.synapse.cells == 1 and not self.max_pooled and self.feedback is None

    @property
    def is_dense(self) -> bool:
        """Whether it is as one linear layer: one cell, which each input reaches by one weight."""
        return self.has_one_cell and bool((np.diff(self.fan_out.first) == 1).all())

    @property
    def max_pooled(self) -> bool:
        """Whether a cell sees the largest of several positions."""
        return bool(self.taps.shape[2] > 1)


def _behind_entry(
    stage: Stage, activity: StageActivity, of_events: bool
) -> tuple[Stage, StageActivity, Entry | None]:
    """The stage and its activity without what is in front of its weights, and that."""
    entry = find_entry(stage, activity.inputs.shape[2:], of_events)
    if entry is None or (entry.windows and not all(map(is_plain_module, entry.modules))):
        return stage, activity, None
    behind = replace(stage, synapse=stage.modules[len(entry.modules) :])
    return behind, replace(activity, inputs=entry.see(activity.inputs)), entry


def why_not_fast(stage: Stage, activity: StageActivity, of_events: bool = False) -> str | None:
    """Why the kernels cannot take this stage; ``None`` where they can.

    ``of_events`` is whether nothing but the events comes in.
    """
    stage, activity, _ = _behind_entry(stage, activity, of_events)
    kind = type(stage.neuron).__name__
    neuron = find_kernel_form(stage.neuron)
    if neuron is None:
        return f"{kind} has no kernel"
    if not steps_apart(stage):
        return f"{kind} or its recurrence has hooks or a forward of its own"
    if has_own_behaviour(stage.neuron):
        return "clamped currents have no kernel"
    if stage.recurrent is not None and not _feeds_back_plainly(stage, activity):
        return "a recurrence other than one linear layer over a linear stage has no kernel"
    if not neuron.reset_delay or neuron.state_quant or neuron.inhibition:
        return f"{kind} with reset_delay=False, state_quant or inhibition has no kernel"
    if float(neuron.graded_spikes_factor) != 1.0:
        return "graded spikes have no kernel"
    if len(spiking_neurons(stage.neuron)) != 1 or list(stage.neuron.children()):
        return f"{kind} with modules of its own has no kernel"
    if normal_form(stage, activity.inputs.shape[2:]) is None:
        return "its synapse is no (conv or linear, norm, pool) chain"
    if not all(map(is_plain_module, (*stage.modules, *filter(None, [stage.recurrent])))):
        return "a layer has hooks, a forward or words of its own"
    if not _fires_at_threshold(activity, neuron):
        return f"{kind}'s spikes are not (membrane > threshold)"
    if not _follows_rule(stage, neuron, activity):
        return f"{kind}'s membranes are not those of its rule"
    if not _conducts_as_normal_form(stage, activity):
        return "its currents are not those of its weights"
    return None


def _feeds_back_plainly(stage: Stage, activity: StageActivity) -> bool:
    """Whether the recurrence is one linear layer among the neurons of a linear stage."""
    return type(stage.recurrent) is nn.Linear and activity.currents.ndim == 3


def _fires_at_threshold(activity: StageActivity, neuron: snn.Leaky) -> bool:
    """Whether the golden spikes are what the kernels would compute (unusual surrogates differ)."""
    fires = torch.stack([state["mem"] - neuron.threshold > 0 for state in activity.states])
    return bool(torch.equal(fires.to(activity.spikes.dtype), activity.spikes))


def _follows_rule(stage: Stage, neuron: SpikingNeuron, activity: StageActivity) -> bool:
    """Whether the golden membranes are what the kernels' own step gives, bit for bit."""
    currents = activity.currents
    if stage.recurrent is not None:
        fed = torch.cat([torch.zeros_like(activity.spikes[:1]), activity.spikes[:-1]])
        # products round by where in memory their operands begin: each is a copy of its own
        currents = torch.stack(
            [c + stage.recurrent(f.clone()) for c, f in zip(currents, fed, strict=True)]
        )
    synaptic = isinstance(neuron, snn.Synaptic)
    mem = syn = torch.zeros_like(currents[0])
    threshold, beta = neuron.threshold, neuron.beta.clamp(0, 1)
    for current, state in zip(currents, activity.states, strict=True):
        fired = (mem - threshold > 0).to(mem.dtype)
        if neuron._reset_mechanism == "zero" and not synaptic:
            mem = (1 - fired) * mem
        if synaptic:
            current = syn = neuron.alpha.clamp(0, 1) * syn + current
            if not torch.equal(syn, state["syn"]):
                return False
        mem = beta * mem + current
        if neuron._reset_mechanism == "subtract":
            mem = mem - fired * threshold
        elif neuron._reset_mechanism == "zero" and synaptic:
            mem = mem - mem * fired
        if not torch.equal(mem, state["mem"]):
            return False
    return True


def _conducts_as_normal_form(stage: Stage, activity: StageActivity) -> bool:
    """Whether the layers make of golden and of random inputs what their normal form says."""
    synapse = normal_form(stage, activity.inputs.shape[2:])
    assert synapse is not None
    golden = activity.inputs[: max(1, _CHECKED // max(1, activity.inputs[0].numel()))]
    draw = torch.Generator().manual_seed(0)
    noise = torch.rand((2, *golden.shape[2:]), generator=draw) < 0.3
    inputs = torch.cat([golden.flatten(0, 1), noise.to(golden.dtype)])
    silent = synapse.before(torch.zeros_like(inputs[:1]))[0].double()
    windows, taps = (torch.from_numpy(places).long() for places in (synapse.windows, synapse.taps))
    seen = pad(inputs.flatten(1).double(), (0, 1))[:, taps]
    before = torch.einsum("brnk,rc->bcnk", seen, synapse.rows.double())
    before = before + pad(silent.reshape(synapse.channels, -1), (0, 1))[:, windows]
    before = before.masked_fill(windows < 0, float("-inf"))
    found = before.mean(-1) if synapse.mean else before.amax(-1)
    return are_close(found, stage.conduct(inputs).reshape(found.shape).double())


def stage_model(stage: Stage, activity: StageActivity, of_events: bool = False) -> StageModel:
    """The constants of a stage, from its modules and the shapes of one golden activity."""
    stage, activity, entry = _behind_entry(stage, activity, of_events)
    synapse = normal_form(stage, activity.inputs.shape[2:])
    if synapse is None:
        raise ValueError("this synapse has no normal form")
    shape = tuple(activity.currents.shape[2:])
    neuron = find_kernel_form(stage.neuron)
    if neuron is None:
        raise ValueError(f"{type(stage.neuron).__name__} has no kernel")
    dtype = activity.currents.dtype
    synaptic = isinstance(neuron, snn.Synaptic)
    beta = _spread(neuron.beta.clamp(0, 1), shape, dtype)
    alpha = _spread(neuron.alpha.clamp(0, 1), shape, dtype) if synaptic else np.zeros_like(beta)
    pools, taps = _effective(synapse)
    windows, window_of = _distinct(taps)
    scale = 1.0 / synapse.taps.shape[2] if synapse.mean else 1.0
    rows = np.ascontiguousarray((synapse.rows * scale).to(dtype).cpu().numpy()[::-1])
    level, decays = _levels(alpha, beta)
    return StageModel(
        stage=stage,
        shape=shape,
        synapse=synapse,
        taps=taps,
        pools=pools,
        windows=windows,
        window_of=window_of,
        fan_out=_fan_out(synapse, int(np.prod(activity.inputs.shape[2:])), rows),
        constants=NeuronConstants(
            alpha=alpha,
            beta=beta,
            threshold=_spread(neuron.threshold, shape, dtype),
            synaptic=synaptic,
            reset=_MODES[neuron._reset_mechanism],
        ),
        level=level,
        decays=decays,
        feedback=_feedback(stage, dtype),
        entry=entry,
    )


def _feedback(stage: Stage, dtype: torch.dtype) -> Array | None:
    """The recurrent weights by the neuron that spikes."""
    if not isinstance(stage.recurrent, nn.Linear):
        return None
    weights = stage.recurrent.weight.detach().to(dtype).T.cpu().numpy()
    return begin_at_line(_pad_channels(weights))


def _spread(parameter: Tensor, shape: tuple[int, ...], dtype: torch.dtype) -> Array:
    """A neuron parameter as ``[N]``."""
    if parameter.ndim == len(shape) + 1:  # a batch dimension of one
        parameter = parameter.squeeze(0)
    spread = parameter.detach().to(dtype).expand(shape).flatten()
    return np.ascontiguousarray(spread.cpu().numpy())


def _effective(synapse: Synapse) -> tuple[Ints | None, Ints]:
    """Pools and taps of the effective inputs: a mean pool's windows become inputs themselves."""
    if not synapse.mean:
        return None, synapse.taps
    rows, cells, width = synapse.taps.shape
    pools, number = np.unique(synapse.taps.reshape(-1, width), axis=0, return_inverse=True)
    return pools.astype(np.int32), number.reshape(rows, cells, 1).astype(np.int32)


def _distinct(taps: Ints) -> tuple[Ints, Ints]:
    """Distinct windows ``[distinct, K]`` and which one each (row, cell) has."""
    windows, number = np.unique(taps.reshape(-1, taps.shape[2]), axis=0, return_inverse=True)
    return windows.astype(np.int32), number.reshape(taps.shape[:2]).astype(np.int32)


def _fan_out(synapse: Synapse, inputs: int, rows: Array) -> FanOut:
    """The taps by input, neighbours joined."""
    row, cell, place = np.nonzero(synapse.taps >= 0)
    source = synapse.taps[row, cell, place]
    position = cell if synapse.mean else synapse.windows[cell, place]
    windows = synapse.windows
    if synapse.mean:
        windows = np.arange(synapse.cells, dtype=np.int32)[:, None]
    reversed_row = len(rows) - 1 - row
    entries = np.stack([source, position, reversed_row], axis=1)
    # Behind a mean pool each tap adds; below a maximum overlapping windows share positions.
    ordered = entries[np.lexsort(entries.T[::-1])]
    entries = ordered if synapse.mean else np.unique(ordered, axis=0)
    step = np.diff(entries, axis=0, prepend=-2)
    starts = np.flatnonzero((step != (0, 1, 1)).any(axis=1))
    source, position, row = entries[starts].T
    length = np.diff(np.append(starts, len(entries)))
    tapped = np.stack([synapse.taps[synapse.taps >= 0], cell], axis=1)
    reached, number = np.unique(tapped, axis=0, return_inverse=True)
    met = np.full((len(reached), synapse.taps.shape[2]), len(rows), np.int32)
    met[number.ravel(), place] = reversed_row
    cell_rows, reach_rows = _reach(met, rows, synapse.mean)
    return FanOut(
        first=_firsts(source, inputs),
        position=position.astype(np.int32),
        row=row.astype(np.int32),
        length=length.astype(np.int32),
        cells_first=_firsts(reached[:, 0], inputs),
        cells=reached[:, 1].astype(np.int32),
        place=_number_places(_firsts(reached[:, 0], inputs), reached[:, 1]),
        cell_rows=cell_rows,
        reach_rows=begin_at_line(reach_rows),
        rows=begin_at_line(_pad_channels(rows)),
        positions=int(windows.max()) + 1,
        windows=np.ascontiguousarray(windows),
        paired=_paired(windows),
    )


def _reach(met: Ints, rows: Array, mean: bool) -> tuple[Ints, Array]:
    """``cell_rows`` and ``reach_rows`` of a ``FanOut``, of the rows ``met [reached cells, K]``."""
    known = _pad_channels(np.pad(rows, ((0, 1), (0, 0))))
    if not mean:
        return met * known.shape[1], known
    sums, number = np.unique(np.sort(met, axis=1), axis=0, return_inverse=True)
    reach = known[sums].sum(axis=1, dtype=np.float64).astype(rows.dtype)
    return number.reshape(-1, 1).astype(np.int32) * reach.shape[1], reach


def _pad_channels(rows: Array) -> Array:
    """Zeros behind the channels, up to whole vectors."""
    return np.pad(rows, ((0, 0), (0, -rows.shape[1] % WIDTH)))


def _number_places(first: Ints, cells: Ints) -> Ints:
    """A number for each distinct list ``cells[first[i] : first[i + 1]]``, ``[inputs]``."""
    numbers: dict[bytes, int] = {}
    lists = (cells[begin:end].tobytes() for begin, end in pairwise(first))
    found = [numbers.setdefault(reached, len(numbers)) for reached in lists]
    return np.array(found, np.int32)


def _paired(windows: Ints) -> bool:
    """Whether each window is two runs of two neighbouring positions."""
    if windows.shape[1] != 4:
        return False
    neighbours = (windows[:, 1::2] == windows[:, ::2] + 1).all()
    return bool(neighbours and (windows >= 0).all())


def _firsts(owners: Array, count: int) -> Ints:
    """Where each owner's entries begin in a list sorted by owner, ``[count + 1]``."""
    counts = np.bincount(owners, minlength=count)
    return np.concatenate([[0], np.cumsum(counts)]).astype(np.int32)


def _levels(alpha: Array, beta: Array) -> tuple[Ints, Array]:
    """Decay levels: neurons sorted by beta in equal parts; a part's largest decays bound it."""
    order = np.argsort(beta, kind="stable")
    parts = np.array_split(order, min(DECAY_LEVELS, len(beta)))
    bounds = [(alpha[part].max(), beta[part].max()) for part in parts]
    decays, number = np.unique(np.array(bounds, dtype=np.float64), axis=0, return_inverse=True)
    level = np.zeros(len(beta), np.int32)
    for part, own in zip(parts, number.ravel(), strict=True):
        level[part] = own
    return level, decays
