"""The differential engine in torch operations: any device, any elementwise neuron, any synapse.

Faults of one site family are stacked. Only the neurons that they strike are stepped through time,
for all faults of a chunk and all samples at once; the pairs whose spikes differ from the golden
ones pass the remaining stages. Nothing is read back from the device within a time loop.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from fi.engine.generic.eligible import why_not
from fi.engine.generic.fault_batch import Struck
from fi.engine.generic.fault_groups import Family, families
from fi.engine.generic.golden_stage import Golden
from fi.engine.generic.propagation import Onward
from fi.engine.generic.spike_differences import Differences
from fi.engine.generic.stage_changes import flat_index
from fi.engine.generic.struck_stage import Cone
from fi.engine.tally import Tally
from fi.faults.fault import Fault
from fi.faults.fault_sites import INPUT
from fi.metrics.pairs import Pairs
from fi.network.stages import SpikingNetwork, StageActivity

#: A block of samples, a chunk of cones and a portion of pairs each get this part of the memory.
_SHARE = 4


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
    ) -> Iterator[Pairs]:
        """The pairs whose scores differ from the golden ones, in portions.

        Args:
            activities: golden activity of every stage on one batch.
            scores: the golden scores ``[batch, classes]``.
            faults: of any families and models.
            positions: of each fault in its group, int64 ``[faults]``.
        """
        positions = positions.to(scores.device)
        found = families(self.network, faults, positions, len(activities[0].inputs))
        block = self._block(activities)
        for first in range(0, len(scores), block):
            samples = slice(first, first + block)
            onward = self._onward(activities, samples)
            for family in found:
                self.tally.pairs += len(family.struck) * len(scores[samples])
                for position, sample, faulty in self._scored(family, onward):
                    differ = (faulty != scores[samples][sample]).any(-1).nonzero().squeeze(1)
                    self.tally.computed += len(differ)
                    yield Pairs(position[differ], first + sample[differ], faulty[differ])

    def _room(self, golden: Golden) -> int:
        """Elements per time step that a share of the memory holds."""
        return self.memory // (_SHARE * golden.steps * golden.inputs.element_size())

    def _block(self, activities: Sequence[StageActivity]) -> int:
        """How many samples to take at a time."""
        goldens = self._onward(activities, slice(0, 1)).goldens
        return max(1, self._room(goldens[0]) // sum(golden.footprint for golden in goldens))

    def _onward(self, activities: Sequence[StageActivity], samples: slice) -> Onward:
        last = len(self.stages) - 1
        goldens = [
            Golden(stage, activity, samples, number == last)
            for number, (stage, activity) in enumerate(zip(self.stages, activities, strict=True))
        ]
        return Onward(goldens, self.network.readout)

    def _scored(self, family: Family, onward: Onward) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Position of the fault, sample and scores of the pairs computed to the readout."""
        if family.attribute == INPUT:
            yield from self._from_inputs(family.struck, onward)
            return
        golden, struck = onward.goldens[family.stage], family.struck
        room = self._room(golden)
        portion = max(1, room // onward.footprint(family.stage))
        one = family.change(golden, struck[:1])
        size = one.most or max(1, room // (golden.batch * one.width))
        for first in range(0, len(struck), size):
            chunk = struck[first : first + size]
            cone = Cone(family.change(golden, chunk), family.stage, onward)
            self.tally.simulated += len(chunk) * golden.batch
            for fault, sample, scores in cone.scored(portion):
                yield chunk.position[fault], sample, scores
            self.tally.diverged += cone.diverged

    def _from_inputs(
        self, struck: Struck, onward: Onward
    ) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """The same for faults of input lines."""
        events = onward.events
        batch = events.spikes.shape[1]
        size = max(1, self._room(onward.goldens[0]) // (batch * onward.footprint(-1)))
        for first in range(0, len(struck), size):
            chunk = struck[first : first + size]
            faulty, golden = chunk.lines(events.spikes, events.shape)  # [time, batch, faults]
            sample, fault = (faulty != golden).any(0).nonzero().unbind(1)
            self.tally.simulated += len(fault)
            self.tally.diverged += len(fault)
            line = flat_index(chunk.index, events.shape)[fault].unsqueeze(1)
            spikes = Differences.between(
                sample,
                faulty[chunk.start :, sample, fault].unsqueeze(2),
                golden[chunk.start :, sample, fault].unsqueeze(2),
                line,
            )
            pairs, scores = onward.scores(-1, chunk.start, spikes)
            yield chunk.position[fault[pairs]], sample[pairs], scores
