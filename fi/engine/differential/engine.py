"""The differential engine: golden run once, then only what each fault changes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from fi.base.usable_memory import find_usable_memory
from fi.engine.base import Engine, Infer
from fi.engine.compiled.fast_path import FastPath
from fi.engine.differential.closing_faults import ClosingFaults
from fi.engine.differential.golden_block import BlockKey, GoldenBlock, TraceStore
from fi.engine.differential.group_plan import GroupPlan
from fi.engine.differential.paths import MemoryShares, Paths
from fi.engine.differential.plain_forwards import PlainForwards
from fi.engine.generic.eligible import why_not_apart
from fi.engine.generic.path import GenericPath
from fi.engine.spike_watch import SpikeLayers
from fi.engine.tally import Tally
from fi.faults.family_names import layer_of
from fi.faults.fault import Fault, Trial
from fi.faults.fault_sites import INPUT, SiteFamily
from fi.metrics.pairs import HIDDEN, Pairs
from fi.network.recorder.recorded_network import RecordedNetwork
from fi.network.stages import SpikingNetwork

#: A group is a quarter of the list, within these bounds: few golden runs, some milestones.
SMALLEST_GROUP, LARGEST_GROUP = 4096, 65536
#: Seconds: where a group takes less, the next ones are larger. What every group costs is a fifth of
#: the time of a network whose 16,000 faults take half a second, and nothing is lost with them.
QUICK_GROUP = 2.0


def find_memory(device: torch.device) -> int:
    """Bytes that this process may use where it computes."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return free
    return find_usable_memory()


def default_memory(device: torch.device) -> int:
    """A quarter of what this process may use where it computes, in bytes."""
    return find_memory(device) // 4


def device_of(network: nn.Module) -> torch.device:
    """Where a network's words are."""
    word = next(network.parameters(), None)
    return torch.device("cpu") if word is None else word.device


class EventKind(NamedTuple):
    """What the paths through a network depend on; how many samples there are is not of it."""

    steps: int
    frame: tuple[int, ...]
    dtype: torch.dtype
    device: torch.device

    @classmethod
    def of(cls, events: Tensor) -> EventKind:
        """Of events ``[time, batch, ...]``."""
        return cls(len(events), tuple(events.shape[2:]), events.dtype, events.device)


class DifferentialEngine(Engine):
    """Carries the difference between the faulty and the golden run through the network.

    Faults that the compiled kernels know take these, the others the generic torch path; trials of
    several faults that the kernels do not know start late. The scores are those of the full engine.

    Args:
        network: a network that declares stages.
        infer: its scores.
        memory: budget in bytes for traces and differences; a quarter by default of what
            the process may use where the network is.
        threads: threads of the kernels; as many as torch uses by default.
        kernels: whether compiled kernels may be used; without them all runs in torch.
        families: the network's site families; only faults of groups need them.

    Raises:
        ValueError: the network cannot be run by its differences, see ``why_not``.

    Example:
        >>> import torch
        >>> from fi.faults.fault import Fault
        >>> from fi.models import NMNIST
        >>> network = NMNIST(input_shape=(2, 4, 4), hidden=8, resize=None).eval()
        >>> engine = DifferentialEngine(network, network, kernels=False)
        >>> faults = [Fault(0, "lif1.potential", (3,), 30), Fault(1, "lif2.spike", (0,), 31)]
        >>> with torch.inference_mode(), engine.injected(faults):
        ...     for pairs in engine.pairs(torch.ones(5, 3, 2, 4, 4), 0):
        ...         assert pairs.scores.shape == (len(pairs.sample), 10)
        >>> engine.tally.pairs
        6
    """

    name: ClassVar[str] = "differential"

    def __init__(
        self,
        network: nn.Module,
        infer: Infer,
        memory: int | None = None,
        threads: int | None = None,
        kernels: bool = True,
        families: Sequence[SiteFamily] = (),
    ) -> None:
        super().__init__(network, infer, families)
        reason = self.why_not(network)
        if reason or not isinstance(network, SpikingNetwork):
            raise ValueError(f"the differential engine cannot take this network: {reason}")
        self.staged: SpikingNetwork = network
        self._recorded = network if isinstance(network, RecordedNetwork) else None
        self._closing = self._recorded.closing if self._recorded else None
        if self._recorded and self._closing:
            self.staged = self._recorded.without_closing()
        self.memory = memory or default_memory(device_of(network))
        self.threads = threads
        self.kernels = kernels
        self.traces = TraceStore(int(self.memory * MemoryShares.TRACES))
        own = self._recorded.original if self._recorded else network
        self.plain = PlainForwards(own, infer, families)
        self._group: list[Trial] = []
        self._paths: dict[EventKind, Paths] = {}
        self._plans: dict[EventKind, GroupPlan] = {}
        self._behind: ClosingFaults | None = None
        self._behind_tally = Tally()
        self._rounded: dict[BlockKey, Tensor | None] = {}

    @staticmethod
    def why_not(network: nn.Module, events: Tensor | None = None) -> str | None:
        """Why this engine cannot take the network; ``None`` where it can.

        Args:
            network: that has the faults.
            events: some samples of the test set, ``[time, batch, ...]``, on which to see whether
                the stages compute each sample and step on its own.
        """
        if not isinstance(network, SpikingNetwork):
            return f"{type(network).__name__} is no SpikingNetwork: it declares no stages"
        reason = GenericPath.why_not(network)
        if reason is None and events is not None:
            reason = why_not_apart(network, events)
        return reason

    @staticmethod
    def why_no_kernels(network: nn.Module, events: Tensor) -> str | None:
        """Why the compiled kernels cannot take stages of a network that this engine takes."""
        if not isinstance(network, SpikingNetwork):
            return "it declares no stages"
        with torch.no_grad():
            activities = list(network.activities(events[:, :1]))
            reason = FastPath.why_not(network, activities)
            return reason or FastPath(network, activities, 1).describe_torch() or None

    @property
    def tally(self) -> Tally:
        """How the pairs were decided, on all paths."""
        behind = self._behind_tally
        behind = behind if self._behind is None else behind + self._behind.tally
        return sum((paths.tally for paths in self._paths.values()), behind + self.plain.tally)

    def group_size(self, faults: int) -> int:
        return max(1, min(faults, LARGEST_GROUP, max(SMALLEST_GROUP, -(-faults // 4))))

    def resize_group(self, size: int, seconds: float) -> int:
        if seconds >= QUICK_GROUP:
            return size
        return max(size, min(LARGEST_GROUP, int(size * QUICK_GROUP / max(seconds, 1e-3))))

    def watch_spikes(self, layers: SpikeLayers) -> None:
        super().watch_spikes(layers)
        self.plain.full.watch_spikes(layers)

    def describe_spikes(self, events: Tensor) -> str:
        """How pairs are told in which only a spike differs, in a line."""
        with torch.no_grad():
            kernels = self.prepare(events).kernels
        late = "runs stage by stage in torch, from the fault on"
        if kernels is None:
            return f"every fault {late}: there are no kernels"
        if not kernels.single.tells_spikes:
            reads = "its largest membrane is read out" if kernels.single.maximum else "see above"
            return (
                f"every fault {late}: the last stage has no kernel that compares spikes ({reads})"
            )
        return f"on the kernels; a fault that they do not know, or one of several words, {late}"

    @property
    def golden_seconds(self) -> float:
        return self.traces.seconds

    def forget(self) -> None:
        self.traces.clear()
        self._rounded.clear()
        self.plain.full.forget()

    @contextmanager
    def injected(self, faults: Sequence[Fault | Trial]) -> Iterator[None]:
        trials = self.plain.take(self.expand(faults))
        self._group, self._plans = self._place(trials), {}
        try:
            yield
        finally:
            if self._behind is not None:
                self._behind_tally += self._behind.tally
            self._group, self._plans, self._behind = [], {}, None

    def _place(self, trials: Sequence[Trial]) -> list[Trial]:
        """The faults of each trial that are in stages; what changes no score is left out."""
        network = self._recorded
        if network is None:
            return list(trials)
        idle = network.idle

        def acts(fault: Fault) -> bool:
            return fault.layer == INPUT or layer_of(fault.layer) not in idle

        left = [tuple(filter(acts, trial)) for trial in trials]
        if self._closing is None:
            return left
        self._behind = ClosingFaults(network, self._closing, left)
        return self._behind.inner

    def pairs(
        self, events: Tensor, batch: int, golden: Tensor | None = None, first: int = 0
    ) -> Iterator[Pairs]:
        paths, plan = self.prepare(events), self.plan(events)
        size = paths.block_size(events.shape[1], int(self.memory * MemoryShares.BLOCK))
        for start in range(0, events.shape[1], size):
            rows = slice(start, events.shape[1])
            samples = events[:, start : start + size]
            block = GoldenBlock(paths, samples, (batch, start), self.traces)
            found = plan.pairs(block, first + start)
            if self._behind is not None:
                spikes = self.layers is not None
                found = self._behind.score(found, block.scores, rows, spikes)
            if golden is not None:
                found = self._round_as(golden[start : start + size], found, block, rows)
            for pairs in found:
                yield self._mark_layers(pairs._replace(sample=pairs.sample + start))
        yield from self.plain.pairs(events, batch, golden, first)

    def _mark_layers(self, pairs: Pairs) -> Pairs:
        """The last stage is no layer of neurons where something else is read."""
        if pairs.spikes is None or self.layers is None or self.layers.output is not None:
            return pairs
        return pairs._replace(spikes=pairs.spikes & HIDDEN)

    def _round_as(
        self, golden: Tensor, found: Iterator[Pairs], block: GoldenBlock, rows: slice
    ) -> Iterator[Pairs]:
        """Scores that are those of the block's golden run take the bits that ``infer`` gave."""
        if block.key not in self._rounded:
            scores = block.scores
            if self._behind is not None:
                scores = self._behind.close(scores, rows)
            self._rounded[block.key] = None if torch.equal(scores, golden) else scores
        own = self._rounded[block.key]
        return found if own is None else _take_bits(found, own, golden)

    def prepare(self, events: Tensor) -> Paths:
        """The paths for ``events`` ``[time, batch, ...]``, made once for each shape."""
        kind = EventKind.of(events)
        if kind not in self._paths:
            self._paths[kind] = Paths.prepare(
                self.staged, events, self.memory, self.threads, self.kernels
            )
        return self._paths[kind]

    def plan(self, events: Tensor) -> GroupPlan:
        """The path of each trial of the group that is in place, chosen once."""
        kind = EventKind.of(events)
        if kind not in self._plans:
            spikes = self.layers is not None
            self._plans[kind] = GroupPlan.make(self.prepare(events), self._group, spikes)
        return self._plans[kind]


def _take_bits(found: Iterator[Pairs], own: Tensor, golden: Tensor) -> Iterator[Pairs]:
    """``golden`` where the scores of pairs are ``own``, bit for bit."""
    for pairs in found:
        same = pairs.scores == own[pairs.sample]
        yield pairs._replace(scores=torch.where(same, golden[pairs.sample], pairs.scores))
