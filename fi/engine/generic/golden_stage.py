"""The golden activity of one stage, for a block of samples, as the generic path looks at it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from fi.engine.generic.eligible import is_plain_module, steps_apart
from fi.network.stages import Stage, StageActivity


@dataclass(frozen=True)
class InputEvents:
    """What the first stage sees, as if a stage before it had fired.

    Attributes:
        spikes: ``[time, batch, lines]``.
        shape: of a frame.
    """

    spikes: Tensor
    shape: torch.Size

    @property
    def steps(self) -> int:
        """The number of time steps."""
        return len(self.spikes)

    @property
    def device(self) -> torch.device:
        """Where the events are."""
        return self.spikes.device


class GoldenStage:
    """What a stage did without a fault, its neurons in one axis.

    Args:
        stage: the stage.
        activity: what it did on the whole batch.
        samples: the block of samples to look at.
        is_last: whether the readout follows it.
        sources: the numbers of the stages that feed it.
    """

    def __init__(
        self,
        stage: Stage,
        activity: StageActivity,
        samples: slice,
        is_last: bool,
        sources: tuple[int, ...],
    ) -> None:
        self.stage, self.samples, self.is_last = stage, samples, is_last
        self.sources = sources
        self.inputs = activity.inputs[:, samples]
        self.shape = activity.spikes.shape[2:]
        self.current_shape = activity.currents.shape[2:]
        self._activity = activity
        self._signals: dict[int, Tensor] = {}

    @property
    def steps(self) -> int:
        """The number of time steps."""
        return len(self.inputs)

    @property
    def batch(self) -> int:
        """The number of samples."""
        return self.inputs.shape[1]

    @property
    def neurons(self) -> int:
        """The number of neurons."""
        return self.shape.numel()

    @property
    def bytes(self) -> int:
        """What its activity takes in memory."""
        activity = self._activity
        tensors = [activity.inputs, activity.currents, activity.spikes]
        tensors += [state for states in activity.states for state in states.values()]
        return sum(tensor.nbytes for tensor in tensors)

    @property
    def activity(self) -> StageActivity:
        """What the stage did on the samples of the block."""
        whole, samples = self._activity, self.samples
        states = [{name: s[samples] for name, s in step.items()} for step in whole.states]
        currents, spikes = whole.currents[:, samples], whole.spikes[:, samples]
        return StageActivity(self.inputs, currents, spikes, states)

    @cached_property
    def steps_apart(self) -> bool:
        """Whether some of its neurons can be stepped without the others."""
        return steps_apart(self.stage)

    @cached_property
    def is_plain(self) -> bool:
        """Whether its synapse has PyTorch's own layers only, no functions of the user's."""
        return all(map(is_plain_module, self.stage.modules))

    @property
    def device(self) -> torch.device:
        """Where the stage is computed."""
        return self.inputs.device

    @cached_property
    def currents(self) -> Tensor:
        """``[time, batch, neurons]``, the recurrence not included."""
        return self._activity.currents[:, self.samples].flatten(2)

    @cached_property
    def spikes(self) -> Tensor:
        """``[time, batch, neurons]``."""
        return self._activity.spikes[:, self.samples].flatten(2)

    @cached_property
    def previous_spikes(self) -> Tensor:
        """``[time, batch, neurons]``: the spikes of the step before, which the recurrence sees."""
        return torch.cat([torch.zeros_like(self.spikes[:1]), self.spikes[:-1]])

    @cached_property
    def feedback(self) -> Tensor:
        """``[time, batch, neurons]``: the current that the recurrence adds."""
        recurrent = self.stage.recurrent
        # products round by where in memory their operands begin: each is a copy of its own
        fed = [spikes.clone() for spikes in self.previous_spikes]
        return torch.stack([self.feed_back(recurrent, spikes) for spikes in fed])

    def feed_back(self, recurrent: torch.nn.Module | None, spikes: Tensor) -> Tensor:
        """What ``recurrent`` makes of ``spikes``, both ``[batch, neurons]``."""
        assert recurrent is not None
        current: Tensor = recurrent(torch.unflatten(spikes, 1, self.shape))
        return current.flatten(1)

    def states_before(self, step: int) -> dict[str, Tensor]:
        """The stored states at the begin of ``step``, ``[batch, neurons]``; {} at step 0."""
        if step == 0:
            return {}
        states = self._activity.states[step - 1]
        return {name: state[self.samples].flatten(1) for name, state in states.items()}

    def membranes_after(self, step: int) -> Tensor:
        """The membranes after ``step``, ``[batch, neurons]``."""
        return self._activity.states[step]["mem"][self.samples].flatten(1)

    def signal_at(self, depth: int, start: int = 0) -> Tensor:
        """The inputs after ``depth`` modules of the synapse, ``[time * batch, ...]``."""
        if depth not in self._signals:
            if depth == 0:
                self._signals[0] = self.stage.lay_out(self.inputs.flatten(0, 1))
            else:
                module, before = self.stage.modules[depth - 1], self.signal_at(depth - 1)
                keeps = is_plain_module(module) and not getattr(module, "inplace", False)
                self._signals[depth] = module(before if keeps else before.clone())
        return self._signals[depth][start * self.batch :]

    @cached_property
    def footprint(self) -> int:
        """Elements that one sample needs per step: the inputs, all signals, and the neurons."""
        signal = self.inputs[:1, :1].flatten(0, 1)
        signal = torch.cat([signal, signal])  # a norm of one value a channel takes no single one
        elements = signal.numel()
        for module in self.stage.modules:
            signal = module(signal)
            elements += signal.numel()
        return elements // 2 + 4 * self.neurons
