"""The test run of a group of faults."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor

from fi.base.errors import UserError
from fi.campaign.golden_run import GoldenRun
from fi.campaign.trainer import StaysOnDevice
from fi.engine.base import Engine
from fi.engine.full import FullEngine
from fi.faults.fault import Trial
from fi.metrics.fault_counts import FaultCounts
from fi.metrics.pairs import Pairs
from fi.network.batches import Batch


class FaultTest(StaysOnDevice):
    """Tests a network under a group of faults, against its golden run.

    The callback ``FaultInjection`` puts the faults in place. With several processes each one takes
    its share of every group and sees all samples.

    Args:
        engine: runs the faults.
        golden: what the fault-free network gave, batch by batch.
        metric: counts for the largest group.
        keep_pairs: hand each batch's pairs to ``on_test_batch_end``, as ``{"pairs": [...]}``.

    Attributes:
        found: after a test run what the metric gives of it, over all processes.
    """

    def __init__(
        self, engine: Engine, golden: GoldenRun, metric: FaultCounts, keep_pairs: bool = False
    ) -> None:
        super().__init__()
        self.network = engine.network
        self.engine = engine
        self.golden = golden
        self.metric = metric
        self.keep_pairs = keep_pairs
        self.found: dict[str, Tensor] = {}
        self.group: Sequence[Trial] = ()
        self.entries = slice(0, 0)
        self._in_place = False
        self._suspect: tuple[int, Tensor] | None = None

    def take_group(self, group: Sequence[Trial], rank: int = 0, processes: int = 1) -> None:
        """Make ``group`` the faults of the next test run, and part of it this process's."""
        self.group = group
        ends = [len(group) * part // processes for part in (rank, rank + 1)]
        self.entries = slice(*ends)
        self.metric.reset()

    @property
    def faults(self) -> Sequence[Trial]:
        """The trials of the group that this process runs."""
        return self.group[self.entries]

    @contextmanager
    def inject(self) -> Iterator[None]:
        """Put this process's faults in place.

        Raises:
            RuntimeError: they are in place already; a bit that is flipped twice is no fault.
        """
        if self._in_place:
            raise RuntimeError("the faults are in place already: one FaultInjection too many")
        self._in_place, self._suspect = True, None
        try:
            with self.engine.injected(self.faults) if self.faults else nullcontext():
                yield
        finally:
            self._in_place = False
        self._check_golden()

    def _check_golden(self) -> None:
        """Raise ``UserError`` where a fault has changed what the network does without it.

        Only values that are not finite are known to survive what networks do to forget. Only a
        forward of the network's own can keep them.
        """
        if self._suspect is None or not isinstance(self.engine, FullEngine):
            return
        number, events = self._suspect
        with torch.inference_mode():
            scores = self.engine.infer(events).cpu()
        if not torch.equal(scores, self.golden.scores[number]):
            raise UserError(
                f"{'; '.join(map(str, self.faults[0]))}: its infinite or NaN values outlast it: "
                f"without the fault batch {number} no longer has its golden scores. The network "
                "keeps something where it is not seen (in another object, or a global): clear it "
                "at the start of every forward, other than by multiplying it with 0"
            )

    def test_step(self, batch: Batch, number: int) -> dict[str, Any] | None:
        if not self._in_place:
            raise RuntimeError("no fault is in place: the Trainer has no callback FaultInjection")
        if not self.faults:
            return None
        events, labels = batch
        golden = self.golden.scores[number].to(events.device)
        first = self.golden.first_sample(number)
        portions: Iterable[Pairs] = self.engine.pairs(events, number, golden, first)
        if self.keep_pairs or isinstance(self.engine, FullEngine):
            portions = list(portions)
            if not all(bool(pairs.scores.isfinite().all()) for pairs in portions):
                self._suspect = number, events
        self.metric.update(portions, golden, labels, self.entries, first)
        return {"pairs": portions} if self.keep_pairs else None

    def on_test_epoch_end(self) -> None:
        """Add up the counts of all processes, while the metric is where the processes compute."""
        self.found = dict(self.metric.compute())
