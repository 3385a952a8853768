"""What an engine is: it says, for a group of trials, which pairs may score differently."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import ClassVar

from torch import Tensor, nn

from fi.engine.spike_watch import SpikeLayers
from fi.faults.fault import Fault, Trial
from fi.faults.fault_sites import SiteFamily
from fi.faults.groups.grouped_families import expand_groups
from fi.metrics.pairs import Pairs

#: Scores ``[batch, classes]`` of events ``[time, batch, ...]``.
Infer = Callable[[Tensor], Tensor]
#: What ``--engine`` takes.
ENGINES = ("auto", "full", "differential")


class Engine(ABC):
    """Runs groups of trials through a network.

    Args:
        network: the network whose words are faulty.
        infer: its scores; the network itself for a ``SpikingNetwork``.
        families: the network's site families; only faults of groups need them.

    Class attributes:
        name: what ``--engine`` calls it.

    Attributes:
        layers: whose spikes are compared; ``None`` compares scores alone.
    """

    name: ClassVar[str]

    def __init__(
        self, network: nn.Module, infer: Infer, families: Sequence[SiteFamily] = ()
    ) -> None:
        self.network = network
        self.infer = infer
        self.families = families
        self.layers: SpikeLayers | None = None

    def watch_spikes(self, layers: SpikeLayers) -> None:
        """From now on list every pair in which a spike of these layers differs, too."""
        self.layers = layers

    def expand(self, faults: Sequence[Fault | Trial]) -> list[Trial]:
        """Each fault of its own as a trial of one, and groups as the words that they are of."""
        return expand_groups(as_trials(faults), self.families)

    @abstractmethod
    def group_size(self, faults: int) -> int:
        """How many trials one test run takes, of a list of ``faults`` trials."""

    def resize_group(self, size: int, seconds: float) -> int:
        """How many trials the next test run takes, after one of ``size`` has taken ``seconds``."""
        return size

    @abstractmethod
    def injected(self, faults: Sequence[Fault | Trial]) -> AbstractContextManager[None]:
        """Put a group in place: within, ``pairs`` speaks of these faults.

        Args:
            faults: the group. A fault of its own is a trial of one, whatever its injection number.
        """

    @abstractmethod
    def pairs(
        self, events: Tensor, batch: int, golden: Tensor | None = None, first: int = 0
    ) -> Iterator[Pairs]:
        """The computed pairs of the group on ``events`` ``[time, batch, ...]``, in portions.

        Args:
            events: one batch of the test set.
            batch: its number; the same number always means the same events.
            golden: what ``infer`` gave of it, ``[batch, classes]``. An engine that rounds otherwise
                gives these scores, bit for bit, of every class that a fault leaves alone.
            first: position in the test set of its first sample, for what hangs on the sample.

        Returns:
            The pairs that were computed; those that are missing have the golden scores.
        """

    @property
    def golden_seconds(self) -> float:
        """Seconds that ``pairs`` has spent so far on golden runs, and on what it keeps of them."""
        return 0.0

    def forget(self) -> None:  # noqa: B027  # most keep nothing
        """Drop what is kept of the test set for later groups; it is made again where one comes."""


def as_trial(fault: Fault | Trial) -> Trial:
    """A fault of its own as a trial of one; a trial as it is."""
    return (fault,) if isinstance(fault, Fault) else fault


def as_trials(faults: Sequence[Fault | Trial]) -> list[Trial]:
    """Each fault of its own as a trial of one.

    Example:
        >>> fault, other = Fault(0, "fc1.weight", (0, 1), 30), Fault(0, "lif1.beta", (0,), 3)
        >>> [len(trial) for trial in as_trials([fault, (fault, other)])]
        [1, 2]
    """
    return [(fault,) if isinstance(fault, Fault) else fault for fault in faults]
