"""One inference of a network whose forward is its own, each as if it were the first."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

from fi.network.trial.own_state import OwnState
from fi.network.trial.step_clock import StepClock


class Inference(nn.Module):
    """Scores of events; what the network keeps of one inference never reaches the next.

    It is called once for every inference, however often that calls the network.

    Args:
        run: gives scores ``[batch, classes]`` of events ``[time, batch, ...]``.
        own: what is reset before every inference.

    Attributes:
        clock: tells the time steps; ``None`` until a trial run has shown it.
        isolates: what the network would hand on from one inference to the next; empty: nothing.
    """

    def __init__(self, run: Callable[[Tensor], Tensor], own: OwnState) -> None:
        super().__init__()
        self._held = run, own  # in a tuple: not a part of this module
        self.clock: StepClock | None = None
        self.isolates = ""

    @property
    def own(self) -> OwnState:
        """What the network keeps."""
        return self._held[1]

    def forward(self, events: Tensor) -> Tensor:
        """Scores ``[batch, classes]``; ``events`` stay as they are."""
        run, own = self._held
        own.reset()
        return run(events.clone())
