"""A network of the stages that were recorded of another one, whose modules it shares."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from torch import Tensor, nn

from fi.network.readouts import Readout
from fi.network.recorder.replay import Passive
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
        idle: names of modules whose words change no score; all that they do is left out.
    """

    def __init__(
        self,
        network: nn.Module,
        stages: Sequence[Stage],
        readout: Readout,
        steps: int | None,
        idle: Iterable[str] = (),
    ) -> None:
        super().__init__(readout)
        own = vars(self)
        for shared in ("_modules", "_parameters", "_buffers", "_non_persistent_buffers_set"):
            own[shared] = vars(network)[shared]
        own["training"] = network.training
        own["recorded"] = _Recorded(network, list(stages), steps, frozenset(idle))

    @property
    def idle(self) -> frozenset[str]:
        """Names of modules whose words change no score: no inference reads them, or for nothing."""
        idle: frozenset[str] = vars(self)["recorded"].idle
        return idle

    def stages(self) -> list[Stage]:
        stages: list[Stage] = vars(self)["recorded"].stages
        return stages

    def encode(self, events: Tensor) -> Tensor:
        """The events ``[time, batch, ...]`` as they are; an image at each step."""
        steps = vars(self)["recorded"].steps
        return events if steps is None else events.expand(steps, *events.shape[1:])

    def is_behind_neurons(self, layer: str) -> bool:
        """Whether a module is part of a stage that has no neurons."""
        module = self.get_submodule(layer)
        behind = [stage for stage in self.stages() if isinstance(stage.neuron, Passive)]
        return any(module in set(part.modules()) for stage in behind for part in stage.modules)

    def get_submodule(self, target: str) -> nn.Module:
        """The module of that name, whatever attributes this class has."""
        network: nn.Module = vars(self)["recorded"].network
        return network.get_submodule(target) if target else self


class _Recorded:
    """What a recorded network keeps beside the modules that it shares."""

    def __init__(
        self, network: nn.Module, stages: list[Stage], steps: int | None, idle: frozenset[str]
    ) -> None:
        self.network, self.stages, self.steps, self.idle = network, stages, steps, idle
