"""The kernels as what carries on differences that torch has found in a faulty stage."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from fi.engine.compiled.fast_path import FastPath
from fi.engine.compiled.golden_trace import Trace
from fi.engine.compiled.kernels.arrays import PairList
from fi.engine.compiled.kernels.pair_lists import choose_pairs
from fi.engine.compiled.kernels.read_out import Statistics
from fi.engine.compiled.torch_stages import to_pairs
from fi.engine.generic.propagation import Propagation
from fi.engine.generic.spike_differences import SpikeDifferences
from fi.engine.work_sharing import share_work

#: Pairs that are worth a thread of their own.
_WORTH = 256


@dataclass(frozen=True)
class KernelTail:
    """Carries differences of some samples of a block to the readout, see ``Tail``.

    Attributes:
        fast: the kernels.
        trace: of the block.
        samples: of the block that the differences are of.
    """

    fast: FastPath
    trace: Trace
    samples: slice

    def takes(self, number: int) -> bool:
        """Whether the kernels can take over behind a stage, or the events."""
        return self.fast.can_finish(number)

    def finish(
        self, propagation: Propagation, number: int, start: int, spikes: SpikeDifferences
    ) -> tuple[Tensor, Tensor]:
        """The pairs that still differ at the readout, and their scores ``[pairs, classes]``."""
        spikes = spikes.drop_equal_pairs()
        sample = spikes.sample + (self.samples.start or 0)
        golden = propagation.golden(number)
        pairs = to_pairs(spikes, golden, start, spikes.origin.numpy(), sample.numpy())
        parts = self._cut(pairs)
        every = share_work(lambda part: self._finish(number, part), parts, self.fast.threads)
        found = [part for part in every if len(part.fault)]
        if not found:
            return spikes.origin[:0], propagation.readout.golden_scores[:0]
        origin = np.concatenate([part.fault for part in found]).astype(np.int64)
        statistic = np.concatenate([part.statistic for part in found])
        scores = propagation.readout.scores(torch.from_numpy(statistic))
        return torch.from_numpy(origin), scores

    def _finish(self, number: int, pairs: PairList) -> Statistics:
        return self.fast.runner.finish(number, pairs, self.trace)

    def _cut(self, pairs: PairList) -> Iterator[PairList]:
        """Parts of the pairs for the threads, in the order of their samples."""
        count = len(pairs.fault)
        parts = max(1, min(self.fast.threads, count // _WORTH))
        part = np.arange(count) * parts // max(1, count)
        if parts == 1:
            yield pairs
            return
        for number in range(parts):
            yield choose_pairs(pairs, part == number)
