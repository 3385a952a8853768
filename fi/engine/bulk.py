"""The reference engine for trials of a rate: one plain forward under all faults at once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from fi.engine.base import Infer
from fi.engine.full import FullEngine
from fi.engine.generic.fault_groups import find_stage
from fi.faults.fault_sites import INPUT
from fi.faults.hits.hit_injection import hits_injected
from fi.faults.hits.hit_space import FamilyHits, HitSpace
from fi.metrics.pairs import Pairs
from fi.network.neurons import reset_neurons
from fi.network.stages import SpikingNetwork, find_sources, has_own_behaviour


class BulkEngine(FullEngine):
    """Runs the network's own forward with one trial of a rate in place, whatever it has of faults.

    A network that declares a chain of stages starts at the first one that has a fault, from what
    the golden run gave there, where that is kept: by the same calls on the same values.

    Args:
        network: any network with snnTorch neurons.
        infer: its scores.
        space: the bits that are hit.
        memory: for golden inputs of stages, in bytes.

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

    def __init__(self, network: nn.Module, infer: Infer, space: HitSpace, memory: int = 0) -> None:
        super().__init__(network, infer)
        self.space = space
        self._tail: _Tail | None = None
        if memory and isinstance(network, SpikingNetwork) and _is_chain(network, infer):
            self._tail = _Tail(network, memory)
        self._start: int | None = None

    @contextmanager
    def injected(self, faults: Sequence[Any]) -> Iterator[None]:
        (trial,) = faults
        infer = self.infer
        root = infer if isinstance(infer, nn.Module) else self.network
        axis, clock = getattr(infer, "time_axis", 0), getattr(infer, "clock", None)
        hits = trial.draw(self.space)
        if self._tail is not None:
            self._start = self._tail.find_start(hits)
            root = self._tail if self._start is not None else root
        try:
            with hits_injected(self.network, hits, trial.steps, axis, root, clock):
                yield
        finally:
            self._start = None

    def pairs(
        self, events: Tensor, batch: int, golden: Tensor | None = None, first: int = 0
    ) -> Iterator[Pairs]:
        if self._tail is None or self._start is None:
            yield from super().pairs(events, batch, golden, first)
            return
        scores = self._tail(batch, self._start)
        samples = torch.arange(len(scores), device=scores.device)
        yield Pairs(torch.zeros_like(samples), samples, scores)

    def keep_golden(self, events: Tensor, batch: int) -> None:
        """Keep what the golden run gives each stage of a batch, as far as there is room.

        Args:
            events: the batch, ``[time, batch, ...]``, with no fault in place.
            batch: its number.
        """
        if self._tail is not None:
            self._tail.keep(events, batch)

    def forget(self) -> None:
        if self._tail is not None:
            self._tail.inputs.clear()


def _is_chain(network: SpikingNetwork, infer: Infer) -> bool:
    """Whether the network's forward is that of its stages, one after another."""
    if infer is not network or not network.runs_by_stage or has_own_behaviour(network):
        return False
    sources = find_sources(network.stages())
    return all(found == (number - 1,) for number, found in enumerate(sources))


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
        self.batches: set[int] = set()

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
        self.batches.add(batch)
        found = list(self.network.activities(events))
        used = sum(signal.nbytes for signal in self.inputs.values())
        for number, activity in reversed(list(enumerate(found))):
            used += activity.inputs.nbytes
            if used <= self.memory:
                self.inputs[batch, number] = activity.inputs

    def forward(self, batch: int, first: int) -> Tensor:
        """Scores ``[batch, classes]``."""
        reset_neurons(self.network)
        signal, activity = self.inputs[batch, first], None
        for stage in self.stages[first:]:
            activity = self.network.run_stage(stage, signal)
            signal = activity.spikes
        assert activity is not None
        membranes = (state["mem"] for state in activity.states)
        readout = self.network.readout
        scores: Tensor = readout.scores(
            readout.gather(zip(activity.spikes, membranes, strict=True))
        )
        return scores
