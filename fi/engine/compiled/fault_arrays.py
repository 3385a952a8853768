"""A group of faults resolved to what the kernels do: arrays by stage and kind."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np
import torch
from torch import nn

from fi.engine.compiled.kernels.arrays import (
    ALPHA,
    BETA,
    FOREVER,
    NO_ROW,
    POTENTIAL,
    RECURRENCE,
    SPIKE,
    SYN,
    SYNAPSE,
    THRESHOLD,
    Array,
    InputFaults,
    NeuronFaults,
    RecurrentFaults,
    TrialFaults,
    WeightFaults,
)
from fi.engine.compiled.stage_constants import StageModel
from fi.engine.compiled.synapse_matrix import Ints
from fi.engine.generic.fault_batch import stack_masks
from fi.faults.fault import Fault
from fi.faults.formats.state_faults import corrupt_states
from fi.faults.formats.state_formats import output_format_of
from fi.faults.stored_words import flat_indices, golden_and_faulty
from fi.network.neurons import neuron_words, state_attributes

#: The words of a neuron that the kernels know, by their names.
PARAMETERS = {
    "alpha": ALPHA,
    "beta": BETA,
    "threshold": THRESHOLD,
    "v_threshold": THRESHOLD,  # of NIR: what stands beside it there gives alpha and beta
}
STATES = {"syn": SYN, "potential": POTENTIAL}


@dataclass(frozen=True)
class WeightFaultArrays:
    """Faults in weights and biases of one stage: they change currents.

    Attributes:
        fault: ``int64 [faults]``, position in the group.
        arrays: as the kernels take them.
        recurrent: whether the weights are those of the stage's recurrence.
    """

    fault: Array
    arrays: WeightFaults
    recurrent: bool = False

    def __len__(self) -> int:
        return len(self.fault)

    def part(self, chosen: slice | Array) -> WeightFaultArrays:
        """Some of the faults."""
        arrays = WeightFaults(*(array[chosen] for array in self.arrays))
        return replace(self, fault=self.fault[chosen], arrays=arrays)

    def join(self, other: WeightFaultArrays) -> WeightFaultArrays:
        """These and others of the same stage and the same synapse."""
        fault = np.concatenate([self.fault, other.fault])
        return replace(self, fault=fault, arrays=_concatenate(self.arrays, other.arrays))


@dataclass(frozen=True)
class NeuronFaultArrays:
    """Faults in the neurons of one stage: parameters, states, outputs.

    Attributes:
        fault: ``int64 [faults]``, position in the group.
        arrays: as the kernels take them.
    """

    fault: Array
    arrays: NeuronFaults

    def __len__(self) -> int:
        return len(self.fault)

    def part(self, chosen: slice | Array) -> NeuronFaultArrays:
        """Some of the faults."""
        *others, first, neuron = self.arrays
        begins, sizes = first[:-1][chosen], np.diff(first)[chosen]
        ends = np.concatenate([[0], np.cumsum(sizes)])
        affected = neuron[np.repeat(begins - ends[:-1], sizes) + np.arange(ends[-1])]
        arrays = NeuronFaults._make([*(array[chosen] for array in others), ends, affected])
        return NeuronFaultArrays(self.fault[chosen], arrays)

    def join(self, other: NeuronFaultArrays) -> NeuronFaultArrays:
        """These and others of the same stage."""
        first = np.concatenate([self.arrays.first, self.arrays.first[-1] + other.arrays.first[1:]])
        arrays = _concatenate(self.arrays, other.arrays)._replace(first=first)
        return NeuronFaultArrays(np.concatenate([self.fault, other.fault]), arrays)


@dataclass(frozen=True)
class InputFaultArrays:
    """Faults of input lines.

    Attributes:
        fault: ``int64 [faults]``, position in the group.
        arrays: as the kernels take them.
    """

    fault: Array
    arrays: InputFaults

    def __len__(self) -> int:
        return len(self.fault)

    def part(self, chosen: slice | Array) -> InputFaultArrays:
        """Some of the faults."""
        arrays = InputFaults(*(array[chosen] for array in self.arrays))
        return InputFaultArrays(self.fault[chosen], arrays)

    def join(self, other: InputFaultArrays) -> InputFaultArrays:
        """These and others."""
        fault = np.concatenate([self.fault, other.fault])
        return InputFaultArrays(fault, _concatenate(self.arrays, other.arrays))


FaultArrays = WeightFaultArrays | NeuronFaultArrays | InputFaultArrays
Group = TypeVar("Group", WeightFaults, NeuronFaults, InputFaults)


def _concatenate(one: Group, other: Group) -> Group:
    """The arrays of both, one behind the other."""
    return type(one)(*(np.concatenate(arrays) for arrays in zip(one, other, strict=True)))


def join_trials(model: StageModel, parts: Sequence[FaultArrays], trials: int) -> TrialFaults:
    """All faults of trials in a linear stage, in which ``fault`` is the number of the trial."""
    weights, neurons = _no_weight_faults(model), _no_neuron_faults(model)
    for part in parts:
        if isinstance(part, WeightFaultArrays):
            weights = weights.join(part)
        elif isinstance(part, NeuronFaultArrays):
            neurons = neurons.join(part)
    row = weights.arrays.row
    line = np.where(row == NO_ROW, NO_ROW, model.taps[row, 0, 0]).astype(np.int32)
    weight_first, weight_order = _by_owner(weights.fault, trials)
    neuron_first, neuron_order = _by_owner(neurons.fault, trials)
    return TrialFaults(
        weight_first=weight_first,
        weight_order=weight_order,
        line=line,
        weights=weights.arrays,
        neuron_first=neuron_first,
        neuron_order=neuron_order,
        neurons=neurons.arrays,
    )


def _no_weight_faults(model: StageModel) -> WeightFaultArrays:
    whole, change = np.zeros(0, np.int32), np.zeros(0, model.dtype)
    arrays = WeightFaults(row=whole, channel=whole, change=change, since=whole, until=whole)
    return WeightFaultArrays(np.zeros(0, np.int64), arrays)


def _no_neuron_faults(model: StageModel) -> NeuronFaultArrays:
    whole, mask = np.zeros(0, np.int32), np.zeros(0, np.uint32)
    value = np.zeros(0, model.dtype)
    arrays = NeuronFaults(
        word=whole,
        value=value,
        keep=mask,
        force=mask,
        flip=mask,
        low=value,
        high=value,
        since=whole,
        until=whole,
        first=np.zeros(1, np.int64),
        neuron=whole,
    )
    return NeuronFaultArrays(np.zeros(0, np.int64), arrays)


def to_recurrent(
    faults: WeightFaultArrays | NeuronFaultArrays, dtype: np.dtype[Any]
) -> RecurrentFaults:
    """Faults of either kind as the kernel for a stage with recurrence takes them."""
    count = len(faults)
    none = np.zeros(count, dtype)
    if isinstance(faults, NeuronFaultArrays):
        return RecurrentFaults(np.full(count, NO_ROW, np.int32), none, faults.arrays)
    arrays, mask = faults.arrays, np.zeros(count, np.uint32)
    at = NeuronFaults(
        word=np.full(count, RECURRENCE if faults.recurrent else SYNAPSE, np.int32),
        value=none,
        keep=mask,
        force=mask,
        flip=mask,
        low=none,
        high=none,
        since=arrays.since,
        until=arrays.until,
        first=np.arange(count + 1),
        neuron=arrays.channel,
    )
    return RecurrentFaults(arrays.row, arrays.change, at)


def _by_owner(owner: Array, count: int) -> tuple[Array, Array]:
    """Where each owner's entries begin, ``[count + 1]``, in the order that sorts them."""
    first = np.concatenate([[0], np.cumsum(np.bincount(owner, minlength=count))])
    return first, np.argsort(owner, kind="stable")


def resolve_input_faults(
    shape: tuple[int, ...], faults: Sequence[Fault], positions: Array
) -> InputFaultArrays:
    """Faults of input lines in frames of ``shape``."""
    masks = stack_masks(faults)
    line = flat_indices(faults, shape).numpy()
    keep, force, flip = (column.copy() for column in masks.view(np.uint32).T)
    arrays = InputFaults(line, keep, force, flip, *find_window(faults))
    return InputFaultArrays(positions, arrays)


def knows_word(model: StageModel, module: nn.Module, attribute: str) -> bool:
    """Whether the kernels know this word of the stage."""
    if module is model.stage.neuron:
        own = neuron_words(model.stage.neuron)
        known = (attribute in PARAMETERS and attribute in own) or attribute == "spike"
        states = state_attributes(model.stage.neuron)
        return known or (attribute in STATES and attribute in states)
    conducts = module in (model.synapse.weights, model.stage.recurrent)
    return conducts and attribute in ("weight", "bias")


def resolve_weight_faults(
    model: StageModel,
    attribute: str,
    faults: Sequence[Fault],
    positions: Array,
    recurrent: bool = False,
) -> WeightFaultArrays:
    """Weight or bias faults of one stage; those that change nothing are left out."""
    weights = model.stage.recurrent if recurrent else model.synapse.weights
    assert weights is not None
    golden, faulty, flat = find_parameter_values(weights, attribute, faults)
    parameter: torch.Tensor = getattr(weights, attribute)
    per_channel = parameter[0].numel()
    channel = (flat // per_channel).astype(np.int32)
    row = np.full(len(flat), NO_ROW) if attribute == "bias" else flat % per_channel
    scale = np.ones(len(flat)) if recurrent else _scale_of(model, channel)
    with np.errstate(all="ignore"):
        change = ((faulty - golden) * scale).astype(model.dtype)
    arrays = WeightFaults(row.astype(np.int32), channel, change, *find_window(faults))
    changed = find_changed(golden, faulty)
    chosen = changed[np.lexsort((row[changed], channel[changed]))]
    return WeightFaultArrays(positions, arrays, recurrent).part(chosen)


def find_changed(golden: Array, faulty: Array) -> Array:
    """Places of the words whose bits differ."""
    whole = f"u{golden.itemsize}"
    places: Array = (golden.view(whole) != faulty.view(whole)).nonzero()[0]
    return places


def _scale_of(model: StageModel, channel: Ints) -> Array:
    """What a norm multiplies the weights of each fault with."""
    scale: Array = model.synapse.scale.cpu().numpy()[channel]
    return scale


def resolve_neuron_faults(
    model: StageModel, attribute: str, faults: Sequence[Fault], positions: Array
) -> NeuronFaultArrays:
    """Faults in one word of a stage's neurons; parameters that do not change are left out."""
    count = len(faults)
    value, chosen = np.zeros(count, model.dtype), np.arange(count)
    masks = np.zeros((count, 3), np.int32)
    if attribute in PARAMETERS:
        golden, faulty, flat = find_parameter_values(model.stage.neuron, attribute, faults)
        value = _as_used(faulty, attribute).astype(model.dtype)
        chosen = find_changed(golden, faulty)
        shape = tuple(getattr(model.stage.neuron, attribute).shape)
        affected = find_affected(shape, model.shape)
    else:
        masks = stack_masks(faults)
        flat = flat_indices(faults, model.shape).numpy()
        affected = [np.array([n], np.int32) for n in range(model.neurons)]
    hit = [affected[flat[i]] for i in chosen]
    since, until = find_window(faults)
    low, high = _corrupt_outputs(masks, model)
    arrays = NeuronFaults(
        word=np.full(len(chosen), {**PARAMETERS, **STATES, "spike": SPIKE}[attribute], np.int32),
        value=value[chosen],
        keep=masks[chosen, 0].view(np.uint32),
        force=masks[chosen, 1].view(np.uint32),
        flip=masks[chosen, 2].view(np.uint32),
        low=low[chosen],
        high=high[chosen],
        since=since[chosen],
        until=until[chosen],
        first=np.concatenate([[0], np.cumsum([len(neurons) for neurons in hit])]).astype(np.int64),
        neuron=np.concatenate(hit) if hit else np.zeros(0, np.int32),
    )
    return NeuronFaultArrays(positions[chosen], arrays)


def find_parameter_values(
    module: nn.Module, attribute: str, faults: Sequence[Fault]
) -> tuple[Array, Array, Array]:
    """Golden and faulty values, and the flat index of each word."""
    golden, faulty = golden_and_faulty(module, attribute, faults)
    shape = tuple(getattr(module, attribute).shape)
    return golden.cpu().numpy(), faulty.cpu().numpy(), flat_indices(faults, shape).numpy()


def find_window(faults: Sequence[Fault]) -> tuple[Ints, Ints]:
    """The first and the last step of each fault."""
    since = [0 if fault.steps is None else fault.steps[0] for fault in faults]
    until = [FOREVER if fault.steps is None else fault.steps[-1] for fault in faults]
    return np.array(since, np.int32), np.array(until, np.int32)


def _as_used(values: Array, attribute: str) -> Array:
    """Decays are clamped to [0, 1] by the neuron at each use; NaN stays."""
    return values if PARAMETERS[attribute] == THRESHOLD else np.clip(values, 0, 1)


def find_affected(parameter: tuple[int, ...], neurons: tuple[int, ...]) -> list[Ints]:
    """Per word of a parameter the neurons that it broadcasts to."""
    words = int(np.prod(parameter))
    parameter = parameter[-len(neurons) :] if len(parameter) > len(neurons) else parameter
    used = np.broadcast_to(np.arange(words).reshape(parameter), neurons).ravel()
    order = np.argsort(used, kind="stable").astype(np.int32)
    return np.split(order, np.cumsum(np.bincount(used, minlength=words))[:-1])


def _corrupt_outputs(masks: Array, model: StageModel) -> tuple[Array, Array]:
    """What the outputs 0 and 1 become under each fault."""
    keep, force, flip = torch.from_numpy(np.ascontiguousarray(masks)).unbind(1)
    form = output_format_of(model.stage.neuron, "spike")
    outputs = [torch.full((len(masks),), value) for value in (0.0, 1.0)]
    faulty = (corrupt_states(output, (keep, force, flip), form) for output in outputs)
    low, high = (values.numpy().astype(model.dtype) for values in faulty)
    return low, high
