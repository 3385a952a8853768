"""A network of the stages that were recorded of another one, whose modules it shares."""

from __future__ import annotations

import copy
from collections.abc import Sequence

from torch import Tensor, nn

from fi.network.readouts import Readout
from fi.network.recorder.expression.replay import Passive
from fi.network.recorder.folds import unchanged
from fi.network.stages import SpikingNetwork, Stage


class RecordedNetwork(SpikingNetwork):
    """The stage graph of a network whose forward is its own; ``record`` makes it.

    Modules, parameters and buffers are those of that network, under their own names, so that a
    fault in a word of the one is in the other.

    Args:
        network: that was recorded.
        stages: in the order in which spikes pass them.
        readout: what makes scores of the last stage.
        steps: that the forward makes of an image; ``None`` where the events have them.

    Attributes:
        idle: names of modules whose words change no score: no inference reads them, or for nothing.
    """

    idle: frozenset[str]

    def __init__(
        self, network: nn.Module, stages: Sequence[Stage], readout: Readout, steps: int | None
    ) -> None:
        super().__init__(readout)
        own = vars(self)
        for shared in ("_modules", "_parameters", "_buffers", "_non_persistent_buffers_set"):
            own[shared] = vars(network)[shared]
        own["training"] = network.training
        own["recorded"] = _Recorded(network, list(stages), steps)
        self.idle = frozenset()

    def stages(self) -> list[Stage]:
        stages: list[Stage] = vars(self)["recorded"].stages
        return stages

    def encode(self, events: Tensor) -> Tensor:
        """The events ``[time, batch, ...]`` as they are; an image at each step."""
        steps = vars(self)["recorded"].steps
        return events if steps is None else events.expand(steps, *events.shape[1:])

    @property
    def original(self) -> nn.Module:
        """The network that was recorded."""
        network: nn.Module = vars(self)["recorded"].network
        return network

    @property
    def name(self) -> str:
        """The class of the network that was recorded."""
        return type(vars(self)["recorded"].network).__name__

    @property
    def closing(self) -> nn.Module | None:
        """What makes scores of what the readout gathers, where words are read for that."""
        rest = getattr(self.readout, "rest", None)
        if not isinstance(rest, nn.Module):
            return None
        return rest if any(True for _ in (*rest.parameters(), *rest.buffers())) else None

    def closing_modules(self) -> list[nn.Module]:
        """The modules that are called after the last step only."""
        return [] if self.closing is None else list(self.closing.modules())

    def without_closing(self) -> RecordedNetwork:
        """The same stages, whose scores are what is gathered over all steps."""
        network, steps = vars(self)["recorded"].network, vars(self)["recorded"].steps
        readout = copy.copy(self.readout)
        readout.rest = unchanged  # type: ignore[attr-defined]
        made = RecordedNetwork(network, self.stages(), readout, steps)
        made.idle = self.idle
        return made

    def is_closing(self, layer: str) -> bool:
        """Whether a module is called after the last step only."""
        module = self.get_submodule(layer)
        return any(module is other for other in self.closing_modules())

    def is_behind_neurons(self, layer: str) -> bool:
        """Whether a module is in a stage that has no neurons, or is called after the last step."""
        module = self.get_submodule(layer)
        behind = [stage for stage in self.stages() if isinstance(stage.neuron, Passive)]
        within = any(module in set(part.modules()) for stage in behind for part in stage.modules)
        return within or self.is_closing(layer)

    def get_submodule(self, target: str) -> nn.Module:
        """The module of that name, whatever attributes this class has."""
        network: nn.Module = vars(self)["recorded"].network
        return network.get_submodule(target) if target else self


class _Recorded:
    """What a recorded network keeps beside the modules that it shares."""

    def __init__(self, network: nn.Module, stages: list[Stage], steps: int | None) -> None:
        self.network, self.stages, self.steps = network, stages, steps
