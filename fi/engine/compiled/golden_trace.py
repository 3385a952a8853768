"""The golden trace of one batch, laid out for the kernels."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from fi.engine.compiled.kernels.arrays import (
    PACKED,
    Array,
    GoldenByNeuron,
    GoldenByStep,
    Margins,
    Recurrence,
    SeenInputs,
)
from fi.engine.compiled.kernels.simd import WIDTH
from fi.engine.compiled.output_layer import GoldenLayer
from fi.engine.compiled.planner import Need, Part
from fi.engine.compiled.proof_margins import ProvedStage, find_gain, find_peaks, find_slack
from fi.engine.compiled.recorded_stage import to_array
from fi.engine.compiled.stage_constants import StageModel
from fi.engine.compiled.time_innermost import time_innermost, turn_lines
from fi.engine.compiled.torch_stages import TorchStages
from fi.network.readouts import Readout
from fi.network.stages import StageActivity


@dataclass(frozen=True)
class FeedbackTrace:
    """The recurrence of a stage: as its weights see it, and as it feeds the stage."""

    seen: SeenInputs
    recurrence: Recurrence


@dataclass(frozen=True)
class FaultTrace:
    """One stage as the faults in it see it.

    Attributes:
        golden: the stage.
        seen: what its weights see; ``None`` where no fault is in them, as ``margins``.
        margins: what proves that a change of a current changes no spike.
        feedback: of a stage with recurrence.
    """

    golden: GoldenByNeuron
    seen: SeenInputs | None = None
    margins: Margins | None = None
    feedback: FeedbackTrace | None = None

    def arrays(self) -> Iterator[Array]:
        """All arrays; some may be the same."""
        groups: list[tuple[object, ...]] = [self.golden, self.seen or (), self.margins or ()]
        if self.feedback is not None:
            groups += [self.feedback.seen, self.feedback.recurrence]
        return (array for group in groups for array in group if isinstance(array, np.ndarray))


@dataclass(frozen=True)
class Trace:
    """The golden trace of one batch: by stage, in the layouts that the plan needs.

    Attributes:
        faulty: stages with faults.
        passed: stages that differences go through.
        prefix: ``f [B, T + 1, classes]``, what the readout has gathered before each step, and in
            the end.
        padded_prefix: the same, ``f [B, T + 1, padded]``.
        layer: the last layer, where its faults are computed by PyTorch.
        events: what the first stage sees, ``f [lines, B, T]``; empty without faults there.
        torch: the stages that have no kernel; ``None`` where all have one.
        entries: what comes into stages with a pool at their entry, ``f [B, T, lines]``.
        serves: the needs of faults that it meets.
    """

    faulty: dict[int, FaultTrace]
    passed: dict[int, GoldenByStep]
    prefix: Array
    padded_prefix: Array
    layer: GoldenLayer | None
    events: Array
    torch: TorchStages | None
    entries: dict[int, Array]
    serves: frozenset[Need]

    @property
    def batch(self) -> int:
        """The number of samples."""
        return len(self.prefix)

    @property
    def bytes(self) -> int:
        """What it takes in memory; arrays that stand in two places count once."""
        arrays = [array for trace in self.faulty.values() for array in trace.arrays()]
        for trace in self.passed.values():
            arrays += [array for array in trace if isinstance(array, np.ndarray)]
        layer = 0 if self.layer is None else self.layer.seen.nbytes + self.layer.currents.nbytes
        held = sum({id(array): array.nbytes for array in arrays}.values())
        torch = 0 if self.torch is None else self.torch.bytes
        entries = sum(array.nbytes for array in self.entries.values())
        return held + self.prefix.nbytes + self.events.nbytes + layer + torch + entries


def trace_stages(
    stages: Sequence[ProvedStage | None],
    needs: frozenset[Need],
    kept: Trace | None = None,
) -> tuple[dict[int, FaultTrace], dict[int, GoldenByStep]]:
    """``faulty`` and ``passed`` of a ``Trace``.

    Args:
        stages: the golden run of all of them; ``None`` for those without a kernel.
        needs: what faults need of it.
        kept: what there is already of the same samples.
    """
    had_faulty, had_passed = (kept.faulty, kept.passed) if kept is not None else ({}, {})
    lowest = min((need.stage for need in needs), default=len(stages))
    last = len(stages) - 1
    known = {number: stage for number, stage in enumerate(stages) if stage is not None}
    affected = {need.stage for need in needs if need.part is not Part.BEHIND} & known.keys()
    faulty = dict(had_faulty)
    for number in sorted(affected):
        currents = Need(number, Part.CURRENTS) in needs
        if number not in faulty or (currents and faulty[number].seen is None):
            faulty[number] = trace_for_faults(known[number], currents)
    passed = dict(had_passed)
    for number, stage in known.items():
        fed_back = number == lowest and stage.model.feedback is not None
        wanted = number > lowest or fed_back or Need(number, Part.FLOW) in needs
        if wanted and number not in passed:
            passed[number] = trace_for_differences(stage, proofs=number < last)
    return faulty, passed


def trace_for_faults(recorded: ProvedStage, currents: bool = True) -> FaultTrace:
    """The layout for faults in this stage; without ``currents`` for those in its neurons alone.

    A recurrence needs all.
    """
    model = recorded.model
    before = time_innermost(recorded.before)  # [channels * cells * K, B, T]
    spikes = time_innermost(recorded.spikes)
    golden = GoldenByNeuron(
        currents=before.reshape(model.neurons, -1, recorded.batch, recorded.steps),
        syn=recorded.synaptic,
        mem=recorded.membranes,
        spikes=spikes,
        packed=_pack(spikes),
    )
    if not currents and model.feedback is None:
        return FaultTrace(golden)
    return FaultTrace(
        golden,
        _find_seen_inputs(recorded),
        _find_all_margins(recorded),
        _trace_feedback(recorded, golden),
    )


def _find_all_margins(recorded: ProvedStage) -> Margins:
    model, steps = recorded.model, recorded.steps
    up, down = recorded.margins
    return Margins(
        up=up,
        down=down,
        bias_peak=find_gain(model, steps).astype(model.dtype),
        level=model.level,
        factor=1 + find_slack(model, steps),
    )


def _find_seen_inputs(recorded: ProvedStage) -> SeenInputs:
    model = recorded.model
    effective = _find_effective_inputs(model, recorded.activity.inputs.flatten(2))
    if model.sees_lines and effective.shape[2] >= WIDTH:
        inputs, peak = turn_lines(effective, model.decays)
    else:
        inputs = time_innermost(effective)
        peak = find_peaks(model, inputs, model.windows)
    negative = bool((effective < 0).any())
    return SeenInputs(inputs, model.taps, model.window_of, peak, negative)


def _find_effective_inputs(model: StageModel, inputs: Tensor) -> Tensor:
    """``[T, B, effective]`` of ``[T, B, inputs]``: the windows' means where a mean pool follows."""
    if model.pools is None:
        return inputs
    padded = torch.cat([inputs, inputs.new_zeros(*inputs.shape[:2], 1)], dim=2)
    return padded[:, :, torch.from_numpy(model.pools.astype(np.int64))].mean(-1)


def _trace_feedback(recorded: ProvedStage, golden: GoldenByNeuron) -> FeedbackTrace | None:
    model = recorded.model
    if model.feedback is None:
        return None
    lines = np.arange(model.neurons, dtype=np.int32)[:, None]
    peak = find_peaks(model, recorded.fed, lines)
    seen = SeenInputs(recorded.fed, lines[:, :, None], lines, peak, negative=False)
    return FeedbackTrace(seen, Recurrence(model.feedback, recorded.fed, golden.currents))


def trace_for_differences(recorded: ProvedStage, proofs: bool = True) -> GoldenByStep:
    """The layout for differences that come from below, channels padded to whole vectors.

    Margins of what is no neuron are infinite, so that it stands in no proof's way. Without
    ``proofs``, as in the last stage, where none are tried, the margins are empty.
    """
    model = recorded.model
    cells, channels = model.synapse.cells, model.synapse.channels
    up = down = np.zeros((0, 0, 0), model.dtype)
    if proofs:
        up, down = (
            pad(margin.reshape(-1, cells, recorded.batch).T, np.inf) for margin in recorded.margins
        )
    currents = pad(_by_cell(model, recorded.activity.currents.flatten(2)))
    membranes = pad(_by_cell(model, recorded.mem))
    before = currents[:, :, :, None]
    if model.max_pooled:
        seen = recorded.before  # to [B, T, cells..., K..., channels]
        shape = (recorded.batch, recorded.steps, cells, -1, channels)
        before = pad(to_array(seen.permute(1, 0, *range(3, seen.ndim), 2)).reshape(shape))
    return GoldenByStep(
        before=before,
        currents=currents,
        syn=pad(_by_cell(model, recorded.syn)) if model.constants.synaptic else membranes,
        mem=membranes,
        spikes=pad(_by_cell(model, recorded.spikes)),
        up=up,
        down=down,
        # a membrane that was NaN once still is in the end
        regular=bool(np.isfinite(model.fan_out.rows).all() and recorded.mem[-1].isfinite().all()),
    )


def pad(array: Array, filling: float = 0.0) -> Array:
    """Whole vectors: a ``filling`` behind the last axis."""
    missing = -array.shape[-1] % WIDTH
    if not missing:
        return np.ascontiguousarray(array)
    # PyTorch's memory begins where a line of the cache does, numpy's does not
    size = array.shape[-1]
    dtype = torch.from_numpy(np.empty(0, array.dtype)).dtype
    padded: Array = torch.empty(*array.shape[:-1], size + missing, dtype=dtype).numpy()
    padded[..., :size], padded[..., size:] = array, filling
    return padded


def gather_prefix(readout: Readout, activity: StageActivity) -> Array:
    """``f [B, T + 1, classes]``: what the readout has gathered before each step, and in the end."""
    folded = readout.initial(activity.states[0]["mem"])
    prefix = [folded]
    for spikes, state in zip(activity.spikes, activity.states, strict=True):
        folded = readout.accumulate(folded, spikes, state["mem"])
        prefix.append(folded)
    return to_array(torch.stack(prefix, dim=1).flatten(2))


def _by_cell(model: StageModel, values: Tensor) -> Array:
    """``[B, T, cells, channels]`` of ``[T, B, N]``."""
    steps, batch, _ = values.shape
    cells = model.synapse.cells
    return to_array(values.reshape(steps, batch, -1, cells).permute(1, 0, 3, 2))


def _pack(trains: Array) -> Array:
    """``uint32 [N, B, words]`` of ``[N, B, T]``: bit ``t % 32`` of word ``t // 32`` is step t."""
    padding = -trains.shape[2] % PACKED
    padded = np.pad(trains, ((0, 0), (0, 0), (0, padding)))
    return np.packbits(padded, axis=2, bitorder="little").view(np.uint32)
