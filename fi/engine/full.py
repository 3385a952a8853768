"""The reference engine: one trial, one plain forward."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import ClassVar

import torch
from torch import Tensor, nn

from fi.engine.base import Engine, Infer
from fi.engine.spike_watch import SpikeLayers, SpikeWatch, Trains
from fi.faults.fault import Fault, Trial
from fi.faults.fault_sites import SiteFamily
from fi.faults.injection import injected
from fi.faults.lines.seeded_numbers import SamplePositions
from fi.metrics.pairs import Pairs


class FullEngine(Engine):
    """Runs the network's own forward with one trial in place; every pair is computed.

    This is the reference for all other engines.

    Args:
        network: any network with snnTorch neurons.
        infer: its scores.
        families: the network's site families; only faults of groups need them.

    Example:
        >>> import torch
        >>> from fi.faults.fault import Fault
        >>> from fi.models import NMNIST
        >>> network = NMNIST(input_shape=(2, 4, 4), hidden=8, resize=None).eval()
        >>> engine = FullEngine(network, network)
        >>> with torch.inference_mode(), engine.injected([Fault(0, "fc2.bias", (3,), 30)]):
        ...     (pairs,) = engine.pairs(torch.ones(5, 4, 2, 4, 4), 0)
        >>> pairs.sample.tolist(), pairs.scores.shape
        ([0, 1, 2, 3], torch.Size([4, 10]))
    """

    name: ClassVar[str] = "full"

    def __init__(
        self, network: nn.Module, infer: Infer, families: Sequence[SiteFamily] = ()
    ) -> None:
        super().__init__(network, infer, families)
        self._samples = SamplePositions()
        self._placed = ExitStack()
        self._trial: Trial = ()
        self._watch: SpikeWatch | None = None

    def watch_spikes(self, layers: SpikeLayers) -> None:
        super().watch_spikes(layers)
        self._watch = SpikeWatch(self.network, layers)

    def group_size(self, faults: int) -> int:
        return 1

    @contextmanager
    def injected(self, faults: Sequence[Fault | Trial]) -> Iterator[None]:
        (self._trial,) = self.expand(faults)
        with self._placed:
            self._place()
            yield

    def _place(self) -> None:
        """Put the trial in place, until ``_placed`` is closed."""
        infer = self.infer
        root = infer if isinstance(infer, nn.Module) else self.network
        axis, clock = getattr(infer, "time_axis", 0), getattr(infer, "clock", None)
        faulty = injected(
            self.network,
            *self._trial,
            time_axis=axis,
            root=root,
            clock=clock,
            samples=self._samples,
        )
        self._placed.enter_context(faulty)

    def pairs(
        self, events: Tensor, batch: int, golden: Tensor | None = None, first: int = 0
    ) -> Iterator[Pairs]:
        self._samples.numbers = torch.arange(first, first + events.shape[1])
        samples = torch.arange(events.shape[1], device=events.device)
        fault = torch.zeros_like(samples)
        if self._watch is None:
            yield Pairs(fault, samples, self.infer(events))
            return
        trains = self._find_golden(self._watch, events, batch)
        with self._watch.compare(trains, len(samples), events.device) as spikes:
            scores = self.infer(events)
        yield Pairs(fault, samples, scores, spikes)

    def _find_golden(self, watch: SpikeWatch, events: Tensor, batch: int) -> Trains:
        """The golden spikes of a batch; where they are not known the trial is taken out for it."""

        def run_golden() -> None:
            self._placed.close()
            try:
                self.infer(events)
            finally:
                self._place()

        return watch.find_golden(batch, events.shape[1], run_golden)

    def forget(self) -> None:
        if self._watch is not None:
            self._watch.forget()
