"""Faults in what a network calls once, after the last step, and the scores that this makes.

The stages are run as if what they gather were the scores. What follows is called for the pairs that
gathered something else; for a fault in its own words it is called anew, on all samples at once.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import torch
from torch import Tensor, nn

from fi.engine.tally import Tally
from fi.faults.family_names import layer_of
from fi.faults.fault import Fault, Trial
from fi.faults.injection import injected
from fi.metrics.pairs import Pairs
from fi.network.recorder.recorded_network import RecordedNetwork


class ClosingFaults:
    """A group of trials of a network that calls modules with words after its last step.

    Args:
        network: the network.
        closing: what it calls.
        trials: the group.

    Attributes:
        inner: the trials without the faults in what is called after the last step.
        tally: how pairs of trials with no other faults were decided.
    """

    def __init__(
        self, network: RecordedNetwork, closing: nn.Module, trials: Sequence[Trial]
    ) -> None:
        self.network, self.closing = network, closing
        self.inner: list[Trial] = []
        self.tally = Tally()
        self._faults: dict[int, list[Fault]] = {}
        layers = {layer_of(fault.layer) for trial in trials for fault in trial}
        behind = {layer for layer in layers if network.is_closing(layer)}
        for position, trial in enumerate(trials):
            own = [fault for fault in trial if layer_of(fault.layer) in behind]
            if own:
                self._faults[position] = own
            self.inner.append(tuple(fault for fault in trial if fault not in own))

    def score(
        self, found: Iterable[Pairs], statistic: Tensor, rows: slice, spikes: bool = False
    ) -> Iterator[Pairs]:
        """The pairs whose scores may differ.

        Args:
            found: pairs that may have gathered something else, which is in the place of scores.
            statistic: what was gathered in the golden run, ``[samples, ...]``.
            rows: the first of these samples in the batch, and how many the batch has.
            spikes: list the pairs in which a spike differs, too.
        """
        both: dict[int, list[Pairs]] = {position: [] for position in self._faults}
        marks: dict[int, Tensor] = {}
        if spikes:
            nothing = statistic.new_zeros(len(statistic), dtype=torch.uint8)
            marks = {position: nothing.clone() for position in self._faults}
        positions = torch.tensor(list(both), dtype=torch.int64, device=statistic.device)
        for pairs in found:
            differs = (pairs.scores != statistic[pairs.sample]).flatten(1).any(1)
            shared = torch.isin(pairs.fault, positions)
            for position in pairs.fault[shared & differs].unique().tolist():
                both[position].append(_choose(pairs, differs & (pairs.fault == position)))
            yield from self._score_pairs(_choose(pairs, differs & ~shared), statistic, rows)
            if pairs.spikes is not None:
                quiet = _choose(pairs, ~differs & ~shared & (pairs.spikes != 0))
                yield quiet._replace(scores=self.close(statistic, rows)[quiet.sample])
                for position in pairs.fault[shared].unique().tolist():
                    own = pairs.fault == position
                    marks[position][pairs.sample[own]] |= pairs.spikes[own]
        for position, changed in both.items():
            yield self._score_trial(position, changed, statistic, rows, marks.get(position))

    def close(self, statistic: Tensor, rows: slice) -> Tensor:
        """Scores ``[samples, classes]``, each computed in the row that it has in the whole batch.

        How PyTorch rounds a row may depend on where it is, and among how many.

        Args:
            statistic: what was gathered, ``[samples, ...]``.
            rows: the first of these samples in the batch, and how many the batch has.
        """
        batch = statistic.new_zeros((rows.stop, *statistic.shape[1:]))
        own = slice(rows.start, rows.start + len(statistic))
        batch[own] = statistic
        scores: Tensor = self.closing(batch)[own]
        return scores

    def _score_pairs(self, pairs: Pairs, statistic: Tensor, rows: slice) -> Iterator[Pairs]:
        """Scores of pairs that gathered something else, each in the row of its sample."""
        rank = _number_within(pairs.sample)
        for number in range(int(rank.max()) + 1 if len(rank) else 0):
            chosen = _choose(pairs, rank == number)
            scores = self.close(statistic.index_copy(0, chosen.sample, chosen.scores), rows)
            yield chosen._replace(scores=scores[chosen.sample])

    def _score_trial(
        self,
        position: int,
        changed: Sequence[Pairs],
        statistic: Tensor,
        rows: slice,
        marks: Tensor | None,
    ) -> Pairs:
        """A trial with faults after the last step, on all samples."""
        golden = self.close(statistic, rows)
        for pairs in changed:
            statistic = statistic.index_copy(0, pairs.sample, pairs.scores)
        with injected(self.network, *self._faults[position]):
            scores = self.close(statistic, rows)
        differs = (scores != golden).any(1)
        if not self.inner[position]:
            count = int(differs.sum())
            self.tally += Tally(len(golden), len(golden), count, count)
        if marks is not None:
            differs |= marks != 0
        sample = differs.nonzero().squeeze(1)
        spikes = None if marks is None else marks[sample]
        return Pairs(torch.full_like(sample, position), sample, scores[sample], spikes)


def _number_within(sample: Tensor) -> Tensor:
    """How many pairs of the same sample come before each, int64 ``[pairs]``."""
    order = sample.argsort(stable=True)
    counts = torch.bincount(sample)
    starts = counts.cumsum(0) - counts
    rank = torch.empty_like(sample)
    rank[order] = torch.arange(len(sample), device=sample.device) - starts[sample[order]]
    return rank


def _choose(pairs: Pairs, chosen: Tensor) -> Pairs:
    """Some of the pairs, bool ``[pairs]``."""
    spikes = None if pairs.spikes is None else pairs.spikes[chosen]
    return Pairs(pairs.fault[chosen], pairs.sample[chosen], pairs.scores[chosen], spikes)
