"""A group of faults resolved to what the kernels do: strikes, in arrays by stage and kind."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import torch
from torch import nn

from fi.engine.compiled.stage_constants import Array, StageModel
from fi.engine.compiled.synapse_matrix import Ints
from fi.engine.generic.fault_batch import stack_masks
from fi.faults.bits import corrupt
from fi.faults.fault import Fault
from fi.faults.stored_words import flat_indices, golden_and_faulty
from fi.network.neurons import neuron_words, state_attributes

#: The words of a neuron that the kernels know.
PARAMETERS = {"alpha": 0, "beta": 1, "threshold": 2}
STATES = {"syn": 3, "potential": 4}
SPIKE = 5
#: The last step of a permanent fault.
FOREVER = int(np.iinfo(np.int32).max)


@dataclass(frozen=True)
class CurrentStrikes:
    """Faults in weights and biases of one stage: they change currents.

    ``fault`` position in the group; ``row`` of weights (-1 for a bias); ``channel``; ``change`` of
    the value as it reaches a neuron; ``since, until`` the first and the last step of it. All
    ``[strikes]``. ``recurrent``: the weights are those of the stage's recurrence.
    """

    fault: Array
    row: Ints
    channel: Ints
    change: Array
    since: Ints
    until: Ints
    recurrent: bool = False

    def __len__(self) -> int:
        return len(self.fault)

    def part(self, chosen: slice | Array) -> CurrentStrikes:
        """Some of the strikes."""
        return CurrentStrikes(
            self.fault[chosen],
            self.row[chosen],
            self.channel[chosen],
            self.change[chosen],
            self.since[chosen],
            self.until[chosen],
            self.recurrent,
        )

    @classmethod
    def none(cls, model: StageModel) -> CurrentStrikes:
        """No strikes."""
        whole = np.zeros(0, np.int32)
        change = np.zeros(0, model.beta.dtype)
        return cls(np.zeros(0, np.int64), whole, whole, change, whole, whole)

    def joined(self, other: CurrentStrikes) -> CurrentStrikes:
        """These and others of the same stage and the same synapse."""
        return replace(self, **_ends_joined(self, other, without="recurrent"))


@dataclass(frozen=True)
class NeuronStrikes:
    """Faults in the neurons of one stage: parameters, states, spikes.

    ``word`` which of PARAMETERS, STATES, SPIKE; ``value`` the faulty parameter; ``keep, force,
    flip`` masks of a state; ``low, high`` what a silent and a spiking output become; ``since,
    until`` the first and the last step of it; strike ``i`` hits the neurons
    ``cone[first[i]:first[i + 1]]``.
    """

    fault: Array
    word: Ints
    value: Array
    keep: Array
    force: Array
    flip: Array
    low: Array
    high: Array
    since: Ints
    until: Ints
    first: Array
    cone: Ints

    def __len__(self) -> int:
        return len(self.fault)

    def part(self, chosen: slice | Array) -> NeuronStrikes:
        """Some of the strikes."""
        begins, sizes = self.first[:-1][chosen], np.diff(self.first)[chosen]
        first = np.concatenate([[0], np.cumsum(sizes)])
        cone = self.cone[np.repeat(begins - first[:-1], sizes) + np.arange(first[-1])]
        names = [field.name for field in fields(self) if field.name not in ("first", "cone")]
        parts = {name: getattr(self, name)[chosen] for name in names}
        return NeuronStrikes(first=first, cone=cone, **parts)

    @classmethod
    def none(cls, model: StageModel) -> NeuronStrikes:
        """No strikes."""
        whole, mask = np.zeros(0, np.int32), np.zeros(0, np.uint32)
        value, long = np.zeros(0, model.beta.dtype), np.zeros(0, np.int64)
        words = (whole, value, mask, mask, mask, value, value, whole, whole)
        return cls(long, *words, np.zeros(1, np.int64), whole)

    def joined(self, other: NeuronStrikes) -> NeuronStrikes:
        """These and others of the same stage."""
        first = np.concatenate([self.first, self.first[-1] + other.first[1:]])
        return replace(self, first=first, **_ends_joined(self, other, without="first"))


@dataclass(frozen=True)
class InputStrikes:
    """Faults of input lines: ``line`` its number, then as ``NeuronStrikes``; all ``[strikes]``."""

    fault: Array
    line: Array
    keep: Array
    force: Array
    flip: Array
    since: Ints
    until: Ints

    def __len__(self) -> int:
        return len(self.fault)

    def part(self, chosen: slice | Array) -> InputStrikes:
        """Some of the strikes."""
        return InputStrikes(
            self.fault[chosen],
            self.line[chosen],
            self.keep[chosen],
            self.force[chosen],
            self.flip[chosen],
            self.since[chosen],
            self.until[chosen],
        )

    def joined(self, other: InputStrikes) -> InputStrikes:
        """These and others."""
        return replace(self, **_ends_joined(self, other))


Strikes = CurrentStrikes | NeuronStrikes | InputStrikes


@dataclass(frozen=True)
class JointStrikes:
    """All strikes of trials in one linear stage, by trial.

    Trial ``k`` owns the current strikes ``current_order[current_first[k]:current_first[k + 1]]``;
    ``source``: the input line of a weight, -1 for a bias. The same for those of neurons.
    """

    currents: CurrentStrikes
    source: Ints
    current_first: Array
    current_order: Array
    neurons: NeuronStrikes
    neuron_first: Array
    neuron_order: Array

    @classmethod
    def of(cls, model: StageModel, parts: Sequence[Strikes], trials: int) -> JointStrikes:
        """Of a linear stage's strikes, in which ``fault`` is the number of the trial."""
        currents, neurons = CurrentStrikes.none(model), NeuronStrikes.none(model)
        for part in parts:
            if isinstance(part, CurrentStrikes):
                currents = currents.joined(part)
            elif isinstance(part, NeuronStrikes):
                neurons = neurons.joined(part)
        source = np.where(currents.row < 0, -1, model.taps[currents.row, 0, 0]).astype(np.int32)
        return cls(
            currents, source, *_by_owner(currents.fault, trials),
            neurons, *_by_owner(neurons.fault, trials),
        )  # fmt: skip


def _by_owner(owner: Array, count: int) -> tuple[Array, Array]:
    """Where each owner's entries begin, ``[count + 1]``, in the order that sorts them."""
    first = np.concatenate([[0], np.cumsum(np.bincount(owner, minlength=count))])
    return first, np.argsort(owner, kind="stable")


def _ends_joined(one: Any, other: Any, without: str = "") -> dict[str, Any]:
    """The fields of both, one behind the other, but for one that is no such array."""
    names = [field.name for field in fields(one) if field.name != without]
    return {name: np.concatenate([getattr(one, name), getattr(other, name)]) for name in names}


def input_strikes(
    shape: tuple[int, ...], faults: Sequence[Fault], positions: Array
) -> InputStrikes:
    """Faults of input lines in frames of ``shape``."""
    masks = stack_masks(faults)
    line = flat_indices(faults, shape).numpy()
    keep, force, flip = masks.view(np.uint32).T
    since, until = window(faults)
    return InputStrikes(positions, line, keep, force, flip, since, until)


def fast_word(model: StageModel, module: nn.Module, attribute: str) -> bool:
    """Whether the kernels know this word of the stage."""
    if module is model.stage.neuron:
        own = neuron_words(model.stage.neuron)
        known = (attribute in PARAMETERS and attribute in own) or attribute == "spike"
        states = state_attributes(model.stage.neuron)
        return known or (attribute in STATES and attribute in states)
    conducts = module in (model.synapse.weights, model.stage.recurrent)
    return conducts and attribute in ("weight", "bias")


def current_strikes(
    model: StageModel,
    attribute: str,
    faults: Sequence[Fault],
    positions: Array,
    recurrent: bool = False,
) -> CurrentStrikes:
    """Weight or bias faults of one stage; those that change nothing are left out."""
    weights = model.stage.recurrent if recurrent else model.synapse.weights
    assert weights is not None
    golden, faulty, flat = parameter_values(weights, attribute, faults)
    parameter: torch.Tensor = getattr(weights, attribute)
    per_channel = parameter[0].numel()
    channel = (flat // per_channel).astype(np.int32)
    is_bias = attribute == "bias"
    row = np.full(len(flat), -1, np.int32) if is_bias else (flat % per_channel).astype(np.int32)
    scale = np.ones(len(flat)) if recurrent else _scale(model, channel)
    with np.errstate(all="ignore"):
        change = ((faulty - golden) * scale).astype(model.beta.dtype)
    strikes = CurrentStrikes(positions, row, channel, change, *window(faults), recurrent)
    changed = (golden.view(f"u{golden.itemsize}") != faulty.view(f"u{faulty.itemsize}")).nonzero()[
        0
    ]
    chosen = changed[np.lexsort((row[changed], channel[changed]))]
    return strikes.part(chosen)


def _scale(model: StageModel, channel: Ints) -> Array:
    """What a norm multiplies the weights of each strike with."""
    scale: Array = model.synapse.scale.cpu().numpy()[channel]
    return scale


def neuron_strikes(
    model: StageModel, attribute: str, faults: Sequence[Fault], positions: Array
) -> NeuronStrikes:
    """Faults in one word of a stage's neurons; parameters that do not change are left out."""
    dtype = model.beta.dtype
    count = len(faults)
    value = np.zeros(count, dtype)
    chosen = np.arange(count)
    if attribute in PARAMETERS:
        golden, faulty, flat = parameter_values(model.stage.neuron, attribute, faults)
        value = _as_used(faulty, attribute).astype(dtype)
        changed = golden.view(f"u{golden.itemsize}") != faulty.view(f"u{faulty.itemsize}")
        chosen = changed.nonzero()[0]
        shape = tuple(getattr(model.stage.neuron, attribute).shape)
        cones = cones_of(shape, model.shape)
    else:
        flat = flat_indices(faults, model.shape).numpy()
        cones = [np.array([n], np.int32) for n in range(model.neurons)]
    word = {**PARAMETERS, **STATES, "spike": SPIKE}[attribute]
    is_parameter = attribute in PARAMETERS
    masks = np.zeros((count, 3), np.int32) if is_parameter else stack_masks(faults)
    since, until = window(faults)
    low, high = _spike_values(masks, dtype)
    hit = [cones[flat[i]] for i in chosen]
    first = np.concatenate([[0], np.cumsum([len(cone) for cone in hit])]).astype(np.int64)
    return NeuronStrikes(
        fault=positions[chosen],
        word=np.full(len(chosen), word, np.int32),
        value=value[chosen],
        keep=masks[chosen, 0].view(np.uint32),
        force=masks[chosen, 1].view(np.uint32),
        flip=masks[chosen, 2].view(np.uint32),
        low=low[chosen],
        high=high[chosen],
        since=since[chosen],
        until=until[chosen],
        first=first,
        cone=np.concatenate(hit) if hit else np.zeros(0, np.int32),
    )


def parameter_values(
    module: nn.Module, attribute: str, faults: Sequence[Fault]
) -> tuple[Array, Array, Array]:
    """Golden and faulty values, and the flat index of each word."""
    golden, faulty = golden_and_faulty(module, attribute, faults)
    shape = tuple(getattr(module, attribute).shape)
    return golden.cpu().numpy(), faulty.cpu().numpy(), flat_indices(faults, shape).numpy()


def window(faults: Sequence[Fault]) -> tuple[Ints, Ints]:
    """The first and the last step of each fault."""
    since = [0 if fault.steps is None else fault.steps[0] for fault in faults]
    until = [FOREVER if fault.steps is None else fault.steps[-1] for fault in faults]
    return np.array(since, np.int32), np.array(until, np.int32)


def _as_used(values: Array, attribute: str) -> Array:
    """Decays are clamped to [0, 1] by the neuron at each use; NaN stays."""
    return values if attribute == "threshold" else np.clip(values, 0, 1)


def cones_of(parameter: tuple[int, ...], neurons: tuple[int, ...]) -> list[Ints]:
    """Per word of a parameter the neurons that it broadcasts to."""
    words = int(np.prod(parameter))
    used = np.broadcast_to(np.arange(words).reshape(parameter), neurons).ravel()
    order = np.argsort(used, kind="stable").astype(np.int32)
    return np.split(order, np.cumsum(np.bincount(used, minlength=words))[:-1])


def _spike_values(masks: Array, dtype: np.dtype) -> tuple[Array, Array]:
    """What the outputs 0 and 1 become under each fault."""
    keep, force, flip = torch.from_numpy(np.ascontiguousarray(masks)).unbind(1)
    outputs = [torch.full((len(masks),), value) for value in (0.0, 1.0)]
    low, high = (corrupt(output, keep, force, flip).numpy().astype(dtype) for output in outputs)
    return low, high
