"""The reference engine: one trial, one plain forward."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import ClassVar

import torch
from torch import Tensor, nn

from fi.engine.base import Engine, Infer
from fi.engine.monitors.monitor_set import MonitorSet, watch_activity
from fi.engine.spike_watch import SpikeLayers, SpikeWatch
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
        self._in_place = False
        self._watch: SpikeWatch | None = None
        self._monitors: tuple[MonitorSet, SpikeLayers] | None = None
        self._usual: dict[int, Tensor] = {}

    def watch_spikes(self, layers: SpikeLayers) -> None:
        super().watch_spikes(layers)
        self._watch = SpikeWatch(self.network, layers)

    def watch_monitors(self, monitors: MonitorSet, layers: SpikeLayers) -> None:
        """From now on ask these monitors, which have learnt, about every pair."""
        self._monitors, self._usual = (monitors, layers), {}

    def group_size(self, faults: int) -> int:
        return 1

    @contextmanager
    def injected(self, faults: Sequence[Fault | Trial]) -> Iterator[None]:
        (self._trial,) = self.expand(faults)
        with self._placed:
            self._place()
            try:
                yield
            finally:
                self._in_place = False

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
        self._in_place = True

    def pairs(
        self, events: Tensor, batch: int, golden: Tensor | None = None, first: int = 0
    ) -> Iterator[Pairs]:
        self._samples.numbers = torch.arange(first, first + events.shape[1])
        samples = torch.arange(events.shape[1], device=events.device)
        fault = torch.zeros_like(samples)
        spikes = alarms = None
        with ExitStack() as watched:
            if self._watch is not None:
                spikes = watched.enter_context(self._compare(self._watch, events, batch))
            if self._monitors is not None:
                usual = self.find_golden_alarms(events, batch)
                activities = watched.enter_context(watch_activity(self.network, self._monitors[1]))
            scores = self.infer(events)
        if self._monitors is not None:
            alarms = self._monitors[0].find_alarms(activities[0], len(samples)) ^ usual
        yield Pairs(fault, samples, scores, spikes, alarms)

    def _compare(
        self, watch: SpikeWatch, events: Tensor, batch: int
    ) -> AbstractContextManager[Tensor]:
        """Compare the spikes of a forward with the golden ones of the batch."""
        count = events.shape[1]
        trains = watch.find_golden(batch, count, lambda: self._run_golden(events))
        return watch.compare(trains, count, events.device)

    def find_golden_alarms(self, events: Tensor, batch: int) -> Tensor:
        """What the monitors say of a batch without a fault, a bit each, uint8 ``[batch]``."""
        assert self._monitors is not None
        monitors, layers = self._monitors
        if batch not in self._usual:
            with watch_activity(self.network, layers) as activities:
                self._run_golden(events)
            self._usual[batch] = monitors.find_alarms(activities[0], events.shape[1])
        return self._usual[batch]

    def _run_golden(self, events: Tensor) -> None:
        """An inference without a fault; a trial that is in place is taken out for it."""
        if not self._in_place:
            self.infer(events)
            return
        self._placed.close()
        try:
            self.infer(events)
        finally:
            self._place()

    def forget(self) -> None:
        self._usual.clear()
        if self._watch is not None:
            self._watch.forget()
