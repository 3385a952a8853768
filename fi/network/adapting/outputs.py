"""What a forward returns: where in it the output layer is, and how that becomes scores."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from fi.base.errors import UserError
from fi.network.batch_forms import describe

#: What ``--readout`` takes. ``spikes`` and ``pair`` are older names of ``count``.
READOUTS = (
    "auto",
    "scores",
    "count",
    "mean",
    "membrane-last",
    "membrane-max",
    "population:CLASSES",
    "spikes",
    "pair",
)
_MEMBRANES = ("membrane-last", "membrane-max")


def check_readout(readout: str) -> None:
    """Raise ``UserError`` for what ``--readout`` does not take."""
    if readout not in READOUTS and not re.fullmatch(r"population:[1-9]\d{0,5}", readout):
        raise UserError(f"--readout {readout}: allowed are {', '.join(READOUTS)}")


@dataclass(frozen=True)
class Output:
    """Where in what a forward returns the output layer is; a trial has shown it.

    Attributes:
        over_time: a list of tensors has one for each step.
        spikes: the place of its spikes, or scores, among the tensors that are returned.
        membranes: the place of its membranes; ``None`` where there are none.
        batch_axis: of the samples in what has time: 1, or 0 for ``[batch, time, classes]``.
        single: the output layer has one output, and no axis for it.
        graded: what it gives for each step is no spikes: it takes several values.
        notes: what a user has to know, a sentence each.
    """

    over_time: bool = False
    spikes: int = 0
    membranes: int | None = None
    batch_axis: int = 1
    single: bool = False
    graded: bool = False
    notes: tuple[str, ...] = ()

    def tensors(self, returned: Any) -> list[Tensor]:
        """The tensors that a forward returned, a list over steps as one, of lists the last layer's.

        Raises:
            UserError: there is anything else in it.
        """
        if isinstance(returned, Tensor):
            return [returned]
        if not isinstance(returned, (tuple, list)) or not returned:
            raise UserError(f"the forward returned {describe(returned)}; wanted are tensors")
        if self.over_time and _is_over_time(returned):
            return [torch.stack(list(returned))]
        return [self._last_of(part) for part in returned]

    def _last_of(self, part: Any) -> Tensor:
        """A tensor as it is; of a list over layers the last, of one over steps all of them."""
        if isinstance(part, Tensor):
            return part
        if not isinstance(part, (tuple, list)) or not part:
            raise UserError(f"the forward returned {describe(part)} in a sequence")
        if self.over_time and _is_over_time(part):
            return torch.stack(list(part))
        return self._last_of(part[-1])


def _is_over_time(parts: Sequence[Any]) -> bool:
    """Whether all are ``[batch, classes]`` of one shape."""
    return all(isinstance(part, Tensor) and part.ndim <= 2 for part in parts) and (
        len({part.shape for part in parts}) == 1
    )


def find_output(returned: Any, samples: int, steps: int, looped: bool) -> Output:
    """Where in ``returned`` the output layer is.

    Args:
        returned: by the forward, for a trial; where it makes one step, by the last call.
        samples: of the trial.
        steps: of the trial, in another number.
        looped: whether the forward makes one step.

    Raises:
        UserError: it returned something else than tensors and sequences of them.
    """
    output = Output(over_time=not looped and _has_steps(returned, steps))
    tensors = output.tensors(returned)
    layers = isinstance(returned, list) and len({tensor.shape for tensor in tensors}) > 1
    output = replace(output, spikes=len(tensors) - 1) if layers else _find_pair(output, tensors)
    chosen = tensors[output.spikes]
    timed = looped or chosen.ndim == 3
    output = replace(output, graded=timed and not _is_spikes(chosen))
    if looped:
        return replace(output, single=chosen.ndim == 1)
    batch_first = chosen.ndim >= 2 and chosen.shape[0] == samples != chosen.shape[1]
    with_steps = (samples, steps) if batch_first else (steps, samples)
    single = chosen.ndim == 1 or (tuple(chosen.shape) == with_steps and steps > 1)
    return replace(output, batch_axis=0 if batch_first else 1, single=single)


def _has_steps(returned: Any, steps: int) -> bool:
    """Whether a list in ``returned``, or all of it, has one entry for each step."""
    if not isinstance(returned, (tuple, list)):
        return False
    lists = [part for part in returned if isinstance(part, (tuple, list))]
    return any(len(part) == steps and _is_over_time(part) for part in lists or [returned])


def _find_pair(output: Output, tensors: Sequence[Tensor]) -> Output:
    """Spikes and membranes among several tensors, told by shape and values; notes on the others."""
    first, *others = tensors
    alike = [place for place, tensor in enumerate(tensors) if tensor.shape == first.shape]
    fired = [place for place in alike if _is_binary(tensors[place]) and tensors[place].any()]
    notes = [
        f"a second tensor that the forward returns, {list(tensor.shape)}, is not read: "
        f"another head is ignored"
        for tensor in others
        if tensor.shape != first.shape
    ]
    spikes = 0
    if not _is_binary(first) and len(fired) == 1 and first.ndim == 3:
        spikes = fired[0]
        notes.append("the forward returns membranes before spikes: spikes are read")
    rest = [place for place in alike if place != spikes]
    heads = [place for place in rest if place in fired]
    if heads:
        notes.append(
            "a second tensor of spikes that the forward returns is not read: "
            "another head is ignored"
        )
    graded = [place for place in rest if place not in heads]
    membranes = graded[-1] if graded else None
    return replace(output, spikes=spikes, membranes=membranes, notes=tuple(notes))


def _is_spikes(tensor: Tensor) -> bool:
    """Whether all that is not 0 has one value, as graded spikes have, too."""
    return len(tensor[tensor != 0].unique()) <= 1


def _is_binary(tensor: Tensor) -> bool:
    return bool(((tensor == 0) | (tensor == 1)).all())


@dataclass(frozen=True)
class ScoreReader:
    """Scores ``[batch, classes]`` of what an output layer did.

    Args:
        readout: one of ``READOUTS``.
        threshold: of one output for two classes: above it is class 1.
    """

    readout: str = "auto"
    threshold: float | None = None

    def __post_init__(self) -> None:
        check_readout(self.readout)

    def read(self, tensors: Sequence[Tensor], output: Output) -> Tensor:
        """Scores of the tensors that a forward returned, which are as ``output`` says.

        Raises:
            UserError: they are not what the readout is for.
        """
        if self.readout == "pair" and len(tensors) < 2:
            raise UserError(f"--readout pair: the forward returned {describe(tensors[0])}, no pair")
        place = output.spikes
        if self.readout in _MEMBRANES and output.membranes is not None:
            place = output.membranes
        recorded = tensors[place][..., None] if output.single else tensors[place]
        scores = self._statistic(recorded, output.batch_axis)
        return scores if self.threshold is None else self._decide(scores, self.threshold)

    def _statistic(self, recorded: Tensor, batch_axis: int) -> Tensor:
        name = self.readout
        over_time = name in ("count", "spikes", "pair", "mean", *_MEMBRANES)
        if over_time or (name != "scores" and recorded.ndim == 3):
            recorded = _check(recorded, 3, f"--readout {name}", "[time, batch, classes]")
            recorded = recorded if batch_axis == 1 else recorded.movedim(1, 0)
        if name == "mean":
            return recorded.mean(dim=0)
        if name == "membrane-last":
            return recorded[-1]
        if name == "membrane-max":
            return recorded.amax(dim=0)
        counts = recorded.sum(dim=0) if recorded.ndim == 3 and name != "scores" else recorded
        if name.startswith("population:"):
            return self._add_groups(counts)
        return _check(counts, 2, f"--readout {name}", "scores [batch, classes]")

    def _add_groups(self, counts: Tensor) -> Tensor:
        """Neighbouring outputs of a class added up, as snnTorch's population code has them."""
        classes = int(self.readout.partition(":")[2])
        outputs = counts.shape[-1]
        if outputs % classes:
            raise UserError(
                f"--readout {self.readout}: {outputs} outputs are no multiple of {classes}"
            )
        return torch.unflatten(counts, -1, (classes, outputs // classes)).sum(dim=-1)

    def _decide(self, scores: Tensor, threshold: float) -> Tensor:
        """Two classes of one output: how far it is below and above the threshold."""
        if scores.shape[-1] != 1:
            raise UserError(
                f"--decision-threshold {threshold:g} is for one output, not {scores.shape[-1]}"
            )
        above = scores - threshold
        return torch.cat([-above, above], dim=-1)


def _check(value: Tensor, axes: int, option: str, wanted: str) -> Tensor:
    """The value, a tensor of so many axes; ``UserError`` where it has others."""
    if value.ndim != axes:
        raise UserError(f"{option}: wanted {wanted}, but got {describe(value)}")
    return value
