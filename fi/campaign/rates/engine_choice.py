"""Which engine runs a trial of a rate: by its differences, or by one plain forward."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from fi.campaign.subject import Subject
from fi.engine.bulk import BulkEngine
from fi.engine.differential.engine import DifferentialEngine
from fi.engine.differential.path_choice import EVEN_MODELS, LARGE
from fi.engine.generic.fault_groups import find_stage
from fi.faults.family_names import attribute_of
from fi.faults.fault_sites import Kind
from fi.faults.groups.grouped_families import split_group
from fi.faults.hits.held_words import corrupt_stored, unravel_words
from fi.faults.hits.hit_space import FamilyHits
from fi.faults.hits.rate_trial import RateTrial
from fi.faults.word_formats import format_of
from fi.network.stages import EVENTS, Stage, find_sources

CPU = torch.device("cpu")
#: So many faults of a trial are run by their differences, whatever stages they are in.
FEW = 16
#: The same where all of them are in linear stages, whose kernel takes any number of faults at once:
#: one of so many words, since a plain forward takes as much longer as there are more of them, and
#: so many at most. Measured: they meet at 96 faults of NMNIST's 11,910 words.
WORDS_OF_ONE = 128
FEW_LINEAR = 512


class EngineChoice:
    """Says of each trial whether it is run by its differences or by a plain forward.

    By a plain forward go trials of many faults, and those in which something large is rounded: two
    large weights of opposite signs meet in one neuron (what is left of their sum hangs on the order
    of summation, in which the engines differ), or one meets a spike that is a tiny number. The
    choice depends on the network and the trial alone, not on the machine: a campaign that is
    continued elsewhere goes on with the same engines.

    Args:
        engine: the differential engine; ``None`` where the network has none.
        subject: the network and its test set.
        bulk: draws the faults.
        many: take the differential engine for many faults too, as ``--engine differential`` asks.
        device: on which the trials are run; only a CPU has kernels.

    Attributes:
        bulk: the engine of plain forwards.
    """

    def __init__(
        self,
        engine: DifferentialEngine | None,
        subject: Subject,
        bulk: BulkEngine,
        many: bool = False,
        device: torch.device = CPU,
    ) -> None:
        self.engine, self.bulk, self._many = engine, bulk, many
        self._linear: set[str] = set()
        self._few_linear = FEW
        if engine is not None and device == CPU:
            with torch.inference_mode():
                first = subject.batches.first()[0].to(subject.dtype)
                kernels = engine.prepare(first).kernels
            if kernels is not None:
                runs = kernels.multiple.runs_overlaps
                names = {split_group(family.name)[0] for family in bulk.space.space.families}
                linear = [f for f in subject.sites if f.name in names and runs(f.name)]
                self._linear = {family.name for family in linear}
                words = sum(family.words for family in linear)
                self._few_linear = max(FEW, min(FEW_LINEAR, words // WORDS_OF_ONE))

    def is_sparse(self, trial: RateTrial) -> bool:
        """Whether a trial is run by its differences."""
        if self.engine is None:
            return False
        protected = self.bulk.protection is not None  # a code may leave few of many
        if trial.hits > self._few_linear and not self._many and not protected:
            return False
        drawn = self.bulk.draw(trial)
        words = sum(map(len, drawn))
        if words > self._few_linear and not self._many:
            return False
        few = words <= FEW or all(hits.family.name in self._linear for hits in drawn)
        return (few or self._many) and not self._may_round(drawn)

    def _may_round(self, drawn: Sequence[FamilyHits]) -> bool:
        """Whether differences may round what plain forwards do not: a large weight is met by more.

        That is another one of the other sign, or a spike that is neither 0 nor 1: of what a
        difference to 1 rounds away, a large weight may make much.
        """
        assert self.engine is not None
        stages = self.engine.staged.stages()
        signs: dict[tuple[int, int], int] = {}
        uneven: set[int] = set()
        for hits in drawn:
            kind = hits.family.kind
            if kind in (Kind.SPIKE, Kind.INPUT) and not EVEN_MODELS.issuperset(hits.models):
                uneven.add(EVENTS if kind is Kind.INPUT else self._find_stage(stages, hits))
            if kind is Kind.SYNAPSE and hits.family.shape:
                stage = self._find_stage(stages, hits)
                for neuron, sign in zip(*self._find_large(hits), strict=True):
                    if signs.setdefault((stage, neuron), sign) != sign:
                        return True
        large, sources = {stage for stage, _ in signs}, find_sources(stages)
        return any(uneven.intersection(sources[n]) for n in large if n < len(stages))

    def _find_stage(self, stages: Sequence[Stage], hits: FamilyHits) -> int:
        """The number of the stage that has the words; one more than there are: behind all."""
        assert self.engine is not None
        try:
            return find_stage(stages, self.engine.network.get_submodule(hits.family.layer))
        except ValueError:
            return len(stages)

    def _find_large(self, hits: FamilyHits) -> tuple[list[int], list[int]]:
        """Neuron or channel, and sign, of every word that becomes large."""
        module = self.bulk.network.get_submodule(hits.family.layer)
        attribute = attribute_of(hits.family.name)
        tensor = getattr(module, attribute).detach()
        index = tuple(a.to(tensor.device) for a in unravel_words(hits.words, tuple(tensor.shape)))
        faulty = corrupt_stored(hits, tensor[index], format_of(module, attribute), tensor)
        usual = max(1.0, float(tensor.abs().nan_to_num(1.0).max()))
        values = faulty.double().cpu().numpy()
        large = np.flatnonzero(np.abs(values) > LARGE * usual)
        neurons = index[0].cpu().numpy()[large]
        return neurons.tolist(), np.sign(values[large]).astype(int).tolist()
