"""The differential engine in torch operations: any device, any elementwise neuron, any synapse.

Faults of one site family are stacked. Only the neurons that they affect are stepped through time,
for all faults of a chunk and all samples at once; the pairs whose spikes differ from the golden
ones pass the remaining stages. Nothing is read back from the device within a time loop.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

import torch
from torch import Tensor

from fi.engine.generic.affected_stage import AffectedStage, ScoredPairs
from fi.engine.generic.carried_lines import group_carried
from fi.engine.generic.eligible import why_not
from fi.engine.generic.fault_batch import FaultBatch
from fi.engine.generic.fault_groups import FamilyFaults, find_stage, group_by_family
from fi.engine.generic.faulty_runs import FaultyRuns
from fi.engine.generic.golden_stage import GoldenStage
from fi.engine.generic.propagation import Propagation, Tail
from fi.engine.generic.spike_differences import SpikeDifferences
from fi.engine.generic.stage_changes import flatten_index
from fi.engine.tally import Tally
from fi.faults.family_names import layer_of
from fi.faults.fault import Fault, Trial
from fi.faults.fault_sites import INPUT
from fi.metrics.pairs import Pairs
from fi.network.stages import EVENTS, SpikingNetwork, StageActivity, find_sources

#: A block of samples, a chunk of faults and a portion of pairs each get the budget divided by this.
_SHARES = 4


class GenericPath:
    """Computes the pairs of many faults by what they change.

    Args:
        network: of elementwise neurons, see ``why_not``.
        memory: budget for working tensors, in bytes.
    """

    def __init__(self, network: SpikingNetwork, memory: int) -> None:
        self.network, self.memory = network, memory
        self.stages = network.stages()
        self.tally = Tally()

    @staticmethod
    def why_not(network: SpikingNetwork) -> str | None:
        """Why the network cannot be run this way; ``None`` if it can."""
        return why_not(network)

    @torch.no_grad()
    def pairs(
        self,
        activities: Sequence[StageActivity],
        scores: Tensor,
        faults: Sequence[Fault],
        positions: Tensor,
        make_tail: Callable[[slice], Tail] | None = None,
    ) -> Iterator[Pairs]:
        """The pairs whose scores differ from the golden ones, in portions.

        Args:
            activities: golden activity of every stage on one batch.
            scores: the golden scores ``[batch, classes]``.
            faults: of any families and models.
            positions: of each fault in its group, int64 ``[faults]``.
            make_tail: gives what takes the stages behind the faulty one for some samples; torch
                takes them where it is not given.
        """
        positions = positions.to(scores.device)
        families = group_by_family(self.network, faults, positions, len(activities[0].inputs))
        for samples, propagation in self._cut(activities, len(scores), make_tail):
            for family in families:
                self.tally.pairs += len(family.faults) * len(scores[samples])
                found = self._score_family(family, propagation)
                yield from self._list_differing(found, scores, samples)

    @torch.no_grad()
    def carried_pairs(
        self,
        activities: Sequence[StageActivity],
        scores: Tensor,
        faults: Sequence[Fault],
        positions: Tensor,
        make_tail: Callable[[slice], Tail] | None = None,
        start: int = 0,
    ) -> Iterator[Pairs]:
        """``pairs`` for faults of how lines carry spikes, those that ``can_carry`` takes.

        ``start`` is the position in the test set of the first sample.
        """
        positions = positions.to(scores.device)
        groups = group_carried(self.network, faults, positions, len(activities[0].inputs))
        for samples, propagation in self._cut(activities, len(scores), make_tail):
            elements = self._elements_per_step(propagation.goldens[0])
            for group in groups:
                self.tally.pairs += len(group.faults) * len(scores[samples])
                found = group.score(propagation, start + samples.start, elements, self.tally)
                yield from self._list_differing(found, scores, samples)

    def _cut(
        self,
        activities: Sequence[StageActivity],
        batch: int,
        make_tail: Callable[[slice], Tail] | None,
    ) -> Iterator[tuple[slice, Propagation]]:
        """Blocks of samples that fit into memory, and what carries differences on in each."""
        size = self._block_size(activities)
        for first in range(0, batch, size):
            samples = slice(first, first + size)
            tail = None if make_tail is None else make_tail(samples)
            yield samples, self.make_propagation(activities, samples, tail)

    def _list_differing(
        self, found: Iterable[ScoredPairs], scores: Tensor, samples: slice
    ) -> Iterator[Pairs]:
        """Those of the pairs of a block whose scores are not the golden ones."""
        for position, sample, faulty in found:
            apart = (faulty != scores[samples][sample]).flatten(1).any(1)
            differs = apart.nonzero().squeeze(1)
            self.tally.computed += len(differs)
            yield Pairs(position[differs], samples.start + sample[differs], faulty[differs])

    def _elements_per_step(self, golden: GoldenStage) -> int:
        """Elements per time step that a share of the memory holds."""
        return self.memory // (_SHARES * golden.steps * golden.inputs.element_size())

    def _block_size(self, activities: Sequence[StageActivity]) -> int:
        """How many samples to take at a time."""
        goldens = self.make_propagation(activities, slice(0, 1)).goldens
        elements = sum(golden.footprint for golden in goldens)
        return max(1, self._elements_per_step(goldens[0]) // elements)

    def make_propagation(
        self,
        activities: Sequence[StageActivity],
        samples: slice,
        tail: Tail | None = None,
    ) -> Propagation:
        """The stages on some samples of their golden run, and what carries differences on."""
        last = len(self.stages) - 1
        sources = find_sources(self.stages)
        goldens = [
            GoldenStage(stage, activity, samples, number == last, sources[number])
            for number, (stage, activity) in enumerate(zip(self.stages, activities, strict=True))
        ]
        return Propagation(goldens, self.network.readout, tail)

    def _score_family(
        self, family: FamilyFaults, propagation: Propagation
    ) -> Iterator[ScoredPairs]:
        """Position of the fault, sample and scores of the pairs computed to the readout."""
        if family.attribute == INPUT:
            yield from self._score_input_faults(family.faults, propagation)
            return
        golden, faults = propagation.goldens[family.stage], family.faults
        elements = self._elements_per_step(golden)
        portion = max(1, elements // propagation.footprint(family.stage))
        if not golden.steps_apart:
            yield from self._score_by_stage(family, propagation, portion)
            return
        first_change = family.make_change(golden, faults[:1])
        size = first_change.largest_chunk or max(1, elements // (golden.batch * first_change.width))
        for first in range(0, len(faults), size):
            chunk = faults[first : first + size]
            stage = AffectedStage(family.make_change(golden, chunk), family.stage, propagation)
            self.tally.simulated += len(chunk) * golden.batch
            for fault, sample, scores in stage.score_pairs(portion):
                yield chunk.position[fault], sample, scores
            self.tally.diverged += stage.diverged

    def _score_by_stage(
        self, family: FamilyFaults, propagation: Propagation, portion: int
    ) -> Iterator[ScoredPairs]:
        """The same for faults of a stage that is run as a whole, once for each fault."""
        batch = propagation.goldens[family.stage].batch
        size = max(1, portion // batch)
        for first in range(0, len(family.faults), size):
            chunk = family.faults[first : first + size]
            trials = [(fault,) for fault in chunk.listed]
            found = self._run_stage(trials, family.stage, propagation)
            for fault, sample, scores in found:
                yield chunk.position[fault], sample, scores

    def _run_stage(
        self, trials: Sequence[Trial], number: int, propagation: Propagation, start: int = 0
    ) -> Iterator[ScoredPairs]:
        """The pairs of trials in a stage that is run as a whole, once for each trial."""
        stage = FaultyRuns(self.network, trials, number, propagation, start)
        self.tally.simulated += len(trials) * propagation.goldens[number].batch
        yield from stage.score_pairs()
        self.tally.diverged += stage.diverged

    @torch.no_grad()
    def trial_pairs(
        self,
        activities: Sequence[StageActivity],
        scores: Tensor,
        trials: Sequence[Trial],
        positions: Tensor,
        make_tail: Callable[[slice], Tail] | None = None,
        start: int = 0,
    ) -> Iterator[Pairs]:
        """``pairs`` for trials in one stage each, which is run as a whole; none in input lines.

        ``start`` is the position in the test set of the first sample.
        """
        numbers = [self._find_stage(trial[0]) for trial in trials]
        for samples, propagation in self._cut(activities, len(scores), make_tail):
            self.tally.pairs += len(trials) * len(scores[samples])
            for row, number in enumerate(numbers):
                ran = self._run_stage([trials[row]], number, propagation, start)
                found = ((positions[row].expand(len(own)), own, faulty) for _, own, faulty in ran)
                yield from self._list_differing(found, scores, samples)

    def in_one_stage(self, trial: Trial) -> bool:
        """Whether ``trial_pairs`` takes a trial."""
        lines = any(fault.layer == INPUT for fault in trial)
        return not lines and len({self._find_stage(fault) for fault in trial}) == 1

    def _find_stage(self, fault: Fault) -> int:
        """The number of the stage of a fault."""
        return find_stage(self.stages, self.network.get_submodule(layer_of(fault.layer)))

    def _score_input_faults(
        self, faults: FaultBatch, propagation: Propagation
    ) -> Iterator[ScoredPairs]:
        """The same for faults of input lines."""
        events = propagation.events
        batch = events.spikes.shape[1]
        elements = self._elements_per_step(propagation.goldens[0])
        size = max(1, elements // (batch * propagation.footprint(EVENTS)))
        for first in range(0, len(faults), size):
            chunk = faults[first : first + size]
            faulty, golden = chunk.corrupt_lines(events.spikes, events.shape)
            sample, fault = (faulty != golden).any(0).nonzero().unbind(1)
            self.tally.simulated += len(fault)
            self.tally.diverged += len(fault)
            spikes = SpikeDifferences.compare(
                sample,
                faulty[chunk.start :, sample, fault].unsqueeze(2),
                golden[chunk.start :, sample, fault].unsqueeze(2),
                flatten_index(chunk.index, events.shape)[fault].unsqueeze(1),
            )
            pairs, scores = propagation.propagate(EVENTS, chunk.start, spikes)
            yield chunk.position[fault[pairs]], sample[pairs], scores
