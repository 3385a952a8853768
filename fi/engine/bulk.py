"""The reference engine for trials of a rate: one plain forward under all faults at once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from snntorch import Leaky, Synaptic
from torch import Tensor, nn

from fi.engine.base import Infer
from fi.engine.full import FullEngine
from fi.engine.generic.fault_groups import find_stage
from fi.faults.fault_sites import INPUT
from fi.faults.hits.hit_injection import hits_injected
from fi.faults.hits.hit_space import FamilyHits, HitSpace
from fi.faults.hits.rate_trial import RateTrial
from fi.faults.protection.protected_hits import RateProtection
from fi.metrics.pairs import Pairs
from fi.network.neurons import reset_neurons
from fi.network.stages import SpikingNetwork, Stage, find_sources, has_own_behaviour

#: Trials that share a test run, whose start and end take as long as a small network.
TOGETHER = 8
#: Neurons, over all samples, that are stepped at once at most: what stays in a processor's cache.
AT_ONCE = 1 << 16
#: Neurons that treat samples each by itself, element by element.
_BY_ELEMENT = (Leaky, Synaptic)


class BulkEngine(FullEngine):
    """Runs the network's own forward with one trial of a rate in place, whatever it has of faults.

    Several trials share a test run; each is put in place for itself, batch by batch. A network that
    declares a chain of stages starts at the first one that has a fault, from what the golden run
    gave there, where that is kept: by the same calls on the same values. There small batches are
    stepped together: synapses see them one by one, since matrix products of other sizes may be
    summed in another order.

    Args:
        network: any network with snnTorch neurons.
        infer: its scores.
        space: the bits that are hit.
        memory: for golden inputs of stages, in bytes.
        protection: the code of the memory, where it has one.

    Example:
        >>> from fi.faults.fault_sites import Kind, SiteFamily
        >>> from fi.faults.fault_space import FaultSpace
        >>> from fi.faults.hits.rate_trial import RateTrial
        >>> from fi.models import NMNIST
        >>> network = NMNIST(input_shape=(2, 4, 4), hidden=8, resize=None).eval()
        >>> weights = SiteFamily("fc1.weight", (8, 32), Kind.SYNAPSE)
        >>> engine = BulkEngine(network, network, HitSpace(FaultSpace((weights,))))
        >>> trial = RateTrial.make(engine.space, 0, 1e-2, "network", seed=3)
        >>> with torch.inference_mode(), engine.injected([trial]):
        ...     (pairs,) = engine.pairs(torch.ones(5, 4, 2, 4, 4), 0)
        >>> trial.hits, pairs.scores.shape
        (70, torch.Size([4, 10]))
    """

    def __init__(
        self,
        network: nn.Module,
        infer: Infer,
        space: HitSpace,
        memory: int = 0,
        protection: RateProtection | None = None,
    ) -> None:
        super().__init__(network, infer)
        self.space, self.protection = space, protection
        self._tail: _Tail | None = None
        if memory and isinstance(network, SpikingNetwork) and _is_chain(network, infer):
            self._tail = _Tail(network, memory)
        self._drawn: list[_Placed] = []

    def group_size(self, faults: int) -> int:
        return TOGETHER

    @contextmanager
    def injected(self, faults: Sequence[Any]) -> Iterator[None]:
        trials: Sequence[RateTrial] = faults
        self._drawn = [self._take(trial) for trial in trials]
        try:
            yield
        finally:
            self._drawn = []

    def draw(self, trial: RateTrial) -> Sequence[FamilyHits]:
        """The hits of single words that the network has in a trial: behind a code, what it lets."""
        if self.protection is not None:
            return self.protection.decode(trial).hits
        return trial.draw_words(self.space)

    def _take(self, trial: RateTrial) -> _Placed:
        hits = self.draw(trial)
        start = None if self._tail is None else self._tail.find_start(hits)
        return _Placed(hits, trial.steps, start, {})

    def pairs(
        self, events: Tensor, batch: int, golden: Tensor | None = None, first: int = 0
    ) -> Iterator[Pairs]:
        for number, placed in enumerate(self._drawn):
            if placed.start is None:
                scores = self._run_forward(placed, events)
            else:
                scores = self._run_tail(placed, placed.start, batch)
            samples = torch.arange(len(scores), device=scores.device)
            yield Pairs(torch.full_like(samples, number), samples, scores)

    def _run_forward(self, placed: _Placed, events: Tensor) -> Tensor:
        """Scores ``[batch, classes]`` of the network's own forward."""
        infer = self.infer
        root = infer if isinstance(infer, nn.Module) else self.network
        axis, clock = getattr(infer, "time_axis", 0), getattr(infer, "clock", None)
        with hits_injected(self.network, placed.hits, placed.steps, axis, root, clock):
            return infer(events)

    def _run_tail(self, placed: _Placed, start: int, batch: int) -> Tensor:
        """The same from stage ``start`` on; batches that are run together are kept."""
        assert self._tail is not None
        if batch not in placed.scores:
            joined = [batch] if placed.steps is not None else self._tail.list_joined(batch)
            with hits_injected(self.network, placed.hits, placed.steps, 0, self._tail):
                found = self._tail(joined, start)
            placed.scores.update(zip(joined, found, strict=True))
        return placed.scores.pop(batch)

    def keep_golden(self, events: Tensor, batch: int) -> None:
        """Keep what the golden run gives each stage of a batch, as far as there is room.

        Args:
            events: the batch, ``[time, batch, ...]``, with no fault in place.
            batch: its number; batches come in their order.
        """
        if self._tail is not None:
            self._tail.keep(events, batch)

    def forget(self) -> None:
        if self._tail is not None:
            self._tail.inputs.clear()


@dataclass(frozen=True)
class _Placed:
    """A trial of the group: its hits, its time, the stage it starts at, scores that are ready."""

    hits: Sequence[FamilyHits]
    steps: range | None
    start: int | None
    scores: dict[int, Tensor]


def _is_chain(network: SpikingNetwork, infer: Infer) -> bool:
    """Whether the network's forward is that of its stages, one after another."""
    if infer is not network or not network.runs_by_stage or has_own_behaviour(network):
        return False
    sources = find_sources(network.stages())
    return all(found == (number - 1,) for number, found in enumerate(sources))


def _goes_by_element(stage: Stage) -> bool:
    """Whether a stage's neurons do the same with samples of several batches as with one's."""
    inhibits = getattr(stage.neuron, "inhibition", False)
    return type(stage.neuron) in _BY_ELEMENT and stage.recurrent is None and not inhibits


class _Tail(nn.Module):
    """The stages of a network from one of them on, from golden inputs that are kept.

    Attributes:
        inputs: batch and stage -> what comes in there, ``[time, batch, ...]``.
    """

    def __init__(self, network: SpikingNetwork, memory: int) -> None:
        super().__init__()
        self.network = network
        self.memory = memory
        self.stages = network.stages()
        self.inputs: dict[tuple[int, int], Tensor] = {}
        self.joins = all(map(_goes_by_element, self.stages))
        self._joined: list[list[int]] = []  # batches that are run together
        self._neurons = 0  # of the last of these

    @property
    def batches(self) -> list[int]:
        """All batches that were kept, as far as there was room."""
        return [batch for joined in self._joined for batch in joined]

    def list_joined(self, batch: int) -> list[int]:
        """The batches that are run together with ``batch``."""
        return next(joined for joined in self._joined if batch in joined)

    def find_start(self, hits: Sequence[FamilyHits]) -> int | None:
        """The first stage with a fault, if its inputs are kept for every batch; else ``None``."""
        if any(family.family.name == INPUT for family in hits):
            return None
        module = self.network.get_submodule
        stages = [find_stage(self.stages, module(family.family.layer)) for family in hits]
        first = min(stages, default=len(self.stages) - 1)
        kept = bool(self.batches) and all((batch, first) in self.inputs for batch in self.batches)
        return first if kept else None

    def keep(self, events: Tensor, batch: int) -> None:
        """Keep the inputs of every stage, those of the later ones first."""
        found = list(self.network.activities(events))
        self._join(batch, max(activity.spikes[0].numel() for activity in found))
        used = sum(signal.nbytes for signal in self.inputs.values())
        for number, activity in reversed(list(enumerate(found))):
            used += activity.inputs.nbytes
            if used <= self.memory:
                self.inputs[batch, number] = activity.inputs

    def _join(self, batch: int, neurons: int) -> None:
        """Run ``batch`` with those before it, or begin anew; ``neurons`` of its largest stage."""
        if self.joins and self._joined and self._neurons + neurons <= AT_ONCE:
            self._joined[-1].append(batch)
            self._neurons += neurons
        else:
            self._joined.append([batch])
            self._neurons = neurons

    def forward(self, batches: Sequence[int], first: int) -> list[Tensor]:
        """Scores of each batch, ``[batch, classes]``."""
        reset_neurons(self.network)
        signals = [self.inputs[batch, first] for batch in batches]
        sizes = [signal.shape[1] for signal in signals]
        spikes, membranes = torch.empty(0), list[Tensor]()
        for stage in self.stages[first:]:
            spikes, membranes = self._run_stage(stage, signals)
            signals = list(spikes.split(sizes, dim=1))
        steps = [membrane.split(sizes) for membrane in membranes]
        readout = self.network.readout
        return [
            readout.scores(readout.gather(zip(own, [step[row] for step in steps], strict=True)))
            for row, own in enumerate(signals)
        ]

    def _run_stage(self, stage: Stage, signals: Sequence[Tensor]) -> tuple[Tensor, list[Tensor]]:
        """Spikes ``[time, samples, ...]`` and, of the last stage, the membranes of each step.

        A synapse sees batches one by one. What it gives is integrated before it gives more, and
        states are not kept: they stay in a processor's cache.
        """
        if "run_stage" in vars(self.network):  # words that change in time
            activity = self.network.run_stage(stage, signals[0])
            return activity.spikes, [state["mem"] for state in activity.states]
        parts = stage.conduct_parts(signals[0])
        if len(signals) > 1:
            parts = iter([torch.cat([stage.currents(signal) for signal in signals], dim=1)])
        spikes: list[Tensor] = []
        membranes: list[Tensor] = []
        for part in parts:
            for current in part:
                spikes.append(stage.fire(current, spikes[-1] if spikes else None))
                if stage is self.stages[-1]:
                    membranes.append(stage.states()["mem"])
        return torch.stack(spikes), membranes
