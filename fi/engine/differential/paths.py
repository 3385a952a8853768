"""The ways that faults can take through a network, known from a first batch of events."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from fi.engine.compiled.activity_recorder import recorded_activities
from fi.engine.compiled.fast_path import FastPath
from fi.engine.differential.late_start import LateStart
from fi.engine.differential.multi_fault import MultiFaultPath
from fi.engine.generic.path import GenericPath
from fi.engine.tally import Tally
from fi.network.stages import SpikingNetwork, StageActivity

#: More samples at a time gain nothing.
LARGEST_BLOCK = 128


class MemoryShares:
    """How the engine's memory is divided; they add up to 1.

    Attributes:
        TRACES: golden traces that are kept.
        BLOCK: the trace of the samples at hand.
        KERNELS: differences of all threads.
        GENERIC: what torch works with.
    """

    TRACES = 0.5
    BLOCK = 0.125
    KERNELS = 0.125
    GENERIC = 0.25


@dataclass(frozen=True)
class KernelPaths:
    """The compiled kernels of a network.

    Attributes:
        single: for faults of their own.
        multiple: for trials of several faults.
    """

    single: FastPath
    multiple: MultiFaultPath

    @property
    def tally(self) -> Tally:
        """How both decided pairs."""
        return self.single.tally + self.multiple.tally


@dataclass(frozen=True)
class Paths:
    """All paths through a network for events of one shape.

    Attributes:
        network: of stages.
        generic: takes any fault of its own, in torch.
        late: takes any trial, in torch.
        kernels: take what they know; ``None`` where they cannot take the network at all.
        why_no_kernels: why stages have none; empty where all have.
    """

    network: SpikingNetwork
    generic: GenericPath
    late: LateStart
    kernels: KernelPaths | None
    why_no_kernels: str

    @classmethod
    def prepare(
        cls,
        network: SpikingNetwork,
        events: Tensor,
        memory: int,
        threads: int | None = None,
        use_kernels: bool = True,
    ) -> Paths:
        """The paths for events like these.

        Args:
            network: of stages.
            events: ``[time, batch, ...]``, of which one sample is run.
            memory: of the engine, in bytes; each path gets its share.
            threads: of the kernels; as many as torch uses by default.
            use_kernels: whether the kernels may be used.
        """
        late = LateStart(network)
        activities = list(network.activities(events[:, :1]))
        reason = FastPath.why_not(network, activities) if use_kernels else "they are switched off"
        kernels = None
        if reason is None:
            single = FastPath(network, activities, int(memory * MemoryShares.KERNELS), threads)
            kernels = KernelPaths(single, MultiFaultPath(single, late))
            reason = single.describe_torch()
        generic = GenericPath(network, int(memory * MemoryShares.GENERIC))
        return cls(network, generic, late, kernels, reason or "")

    @property
    def tally(self) -> Tally:
        """How all paths decided pairs."""
        tally = self.generic.tally + self.late.tally
        return tally if self.kernels is None else tally + self.kernels.tally

    def record(self, events: Tensor) -> list[StageActivity]:
        """The golden run on ``events`` ``[time, batch, ...]``."""
        if self.kernels is None:
            return list(self.network.activities(events))
        return recorded_activities(self.network, self.kernels.single.models, events)

    def block_size(self, batch: int, memory: int) -> int:
        """How many of ``batch`` samples are taken at a time: their trace fits ``memory`` bytes."""
        if self.kernels is None:  # the generic path cuts for itself
            return batch
        return max(1, min(batch, LARGEST_BLOCK, memory // self.kernels.single.sample_bytes))
