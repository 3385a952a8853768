"""A group of trials, each on the path that takes it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from fi.engine.compiled.kernels.arrays import Array
from fi.engine.compiled.planner import Need, Plan
from fi.engine.differential.golden_block import GoldenBlock
from fi.engine.differential.kernel_tail import KernelTail
from fi.engine.differential.multi_fault import MultiFaultPlan
from fi.engine.differential.path_choice import choose_kernels
from fi.engine.differential.paths import KernelPaths, Paths
from fi.engine.generic.carried_lines import can_carry
from fi.engine.generic.propagation import Tail
from fi.faults.fault import Fault, Trial
from fi.faults.lines.faulty_lines import find_line_models
from fi.metrics.pairs import Pairs


@dataclass(frozen=True)
class KernelPlan:
    """What the kernels take of a group."""

    kernels: KernelPaths
    single: Plan
    multiple: MultiFaultPlan

    @classmethod
    def make(
        cls, kernels: KernelPaths, group: Sequence[Trial], single: Array, multiple: Array
    ) -> KernelPlan:
        """The plan for trials at the positions ``single`` and ``multiple``, int64 ``[trials]``."""
        return cls(
            kernels,
            kernels.single.plan(only_faults(group, single), single),
            kernels.multiple.plan(trials_at(group, multiple), multiple),
        )

    @property
    def needs(self) -> frozenset[Need]:
        """What a golden trace must have for these faults."""
        return self.single.needs | self.multiple.needs

    def pairs(
        self, block: GoldenBlock, needs: frozenset[Need], spikes: bool = False
    ) -> Iterator[Pairs]:
        """The pairs of a block whose scores may differ, with a trace that meets ``needs``."""
        if self.single.empty and not self.multiple.chunks:
            return
        trace = block.trace(self.kernels.single, needs)
        if not self.single.empty:
            yield from self.kernels.single.pairs(self.single, trace, spikes)
        if self.multiple.chunks:
            yield from self.kernels.multiple.pairs(self.multiple, trace, block.activities)


@dataclass(frozen=True)
class GroupPlan:
    """A group of trials, divided among the paths.

    Attributes:
        paths: through the network.
        group: the trials.
        kernels: what the kernels take, ``None`` where there are none.
        generic: positions of the single faults on the generic path, int64 ``[faults]``.
        carried: positions of the single faults of how lines carry spikes, int64 ``[faults]``.
        whole: positions of the trials that run their one stage as a whole, int64 ``[trials]``.
        late: positions of the trials that start late, int64 ``[trials]``.
        needs: what a golden trace must have, for the kernels and behind the generic path.
        spikes: whether pairs in which only a spike differs are listed, too.
    """

    paths: Paths
    group: Sequence[Trial]
    kernels: KernelPlan | None
    generic: Array
    carried: Array
    whole: Array
    late: Array
    needs: frozenset[Need] = frozenset()
    spikes: bool = False

    @classmethod
    def make(cls, paths: Paths, group: Sequence[Trial], spikes: bool = False) -> GroupPlan:
        """Choose the path of each trial; one without faults needs none.

        Which ``spikes`` differ is told by the kernels of faults of their own and by ``LateStart``.
        """
        if spikes:
            return cls._make_for_spikes(paths, group)
        faults = np.fromiter(map(len, group), int, len(group))
        of_lines = _are_carried(group)
        single = np.flatnonzero((faults == 1) & ~of_lines)
        carried = _choose_carried(paths, group, np.flatnonzero((faults == 1) & of_lines))
        multiple = np.setdiff1d(np.flatnonzero((faults > 1) | of_lines), carried)
        if paths.kernels is None:
            whole, late = _split_by_stage(paths, group, multiple)
            return cls(paths, group, None, single, carried, whole, late)
        by_single = choose_kernels(paths.kernels.single, only_faults(group, single))
        by_multiple = paths.kernels.multiple.takes(trials_at(group, multiple))
        kernels = KernelPlan.make(paths.kernels, group, single[by_single], multiple[by_multiple])
        generic = single[~by_single]
        whole, late = _split_by_stage(paths, group, multiple[~by_multiple])
        alone = np.concatenate([generic, carried])
        struck = [*only_faults(group, alone), *(trial[0] for trial in trials_at(group, whole))]
        needs = kernels.needs | paths.kernels.single.planner.find_needs(struck)
        return cls(paths, group, kernels, generic, carried, whole, late, needs)

    @classmethod
    def _make_for_spikes(cls, paths: Paths, group: Sequence[Trial]) -> GroupPlan:
        late = np.array([bool(trial) for trial in group], bool)
        nothing = np.zeros(0, int)
        kernels = None
        if paths.kernels is not None and paths.kernels.single.tells_spikes:
            faults = np.fromiter(map(len, group), int, len(group))
            single = np.flatnonzero((faults == 1) & ~_are_carried(group))
            single = single[choose_kernels(paths.kernels.single, only_faults(group, single))]
            kernels = KernelPlan.make(paths.kernels, group, single, nothing)
            late[single] = False
        needs = frozenset() if kernels is None else kernels.needs
        late_ones = np.flatnonzero(late)
        none = nothing, nothing, nothing
        return cls(paths, group, kernels, *none, late_ones, needs, spikes=True)

    def pairs(self, block: GoldenBlock, first: int = 0) -> Iterator[Pairs]:
        """The pairs of a block whose scores may differ, path by path.

        Args:
            block: samples and their golden run.
            first: position in the test set of the first of them.
        """
        if self.kernels is not None:
            yield from self.kernels.pairs(block, self.needs, self.spikes)
        if len(self.generic):
            yield from self.paths.generic.pairs(
                block.activities,
                block.scores,
                only_faults(self.group, self.generic),
                _positions(self.generic, block.scores),
                self._make_tail(block),
            )
        if len(self.carried):
            yield from self.paths.generic.carried_pairs(
                block.activities,
                block.scores,
                only_faults(self.group, self.carried),
                _positions(self.carried, block.scores),
                self._make_tail(block),
                first,
            )
        if len(self.whole):
            yield from self.paths.generic.trial_pairs(
                block.activities,
                block.scores,
                trials_at(self.group, self.whole),
                _positions(self.whole, block.scores),
                self._make_tail(block),
                first,
            )
        if len(self.late):
            yield from self.paths.late.pairs(
                block.activities,
                block.scores,
                trials_at(self.group, self.late),
                _positions(self.late, block.scores),
                first,
                self.spikes,
            )

    def _make_tail(self, block: GoldenBlock) -> Callable[[slice], Tail] | None:
        """The kernels behind the generic path, where there are any."""
        if self.kernels is None:
            return None
        fast = self.kernels.kernels.single
        trace = block.trace(fast, self.needs)
        return lambda samples: KernelTail(fast, trace, samples)


def _are_carried(group: Sequence[Trial]) -> Array:
    """Which trials have a fault of how a line carries spikes, bool ``[trials]``."""
    models = find_line_models(fault for trial in group for fault in trial)
    if not models:
        return np.zeros(len(group), bool)
    return np.array([any(fault.model in models for fault in trial) for trial in group], bool)


def _choose_carried(paths: Paths, group: Sequence[Trial], positions: Array) -> Array:
    """Those of single faults of how lines carry spikes that are run many at a time."""
    faults = only_faults(group, positions)
    taken = {layer: can_carry(paths.network, layer) for layer in {f.layer for f in faults}}
    chosen: Array = positions[np.array([taken[fault.layer] for fault in faults], bool)]
    return chosen


def _split_by_stage(paths: Paths, group: Sequence[Trial], positions: Array) -> tuple[Array, Array]:
    """The positions of trials that are in one stage each, and of the others."""
    trials = trials_at(group, positions)
    inside = np.array([paths.generic.in_one_stage(trial) for trial in trials], bool)
    return positions[inside], positions[~inside]


def only_faults(group: Sequence[Trial], positions: Array) -> list[Fault]:
    """The faults of the trials at ``positions``, which have one each."""
    return [group[position][0] for position in positions.tolist()]


def trials_at(group: Sequence[Trial], positions: Array) -> list[Trial]:
    """The trials at ``positions``, int64 ``[trials]``."""
    return [group[position] for position in positions.tolist()]


def _positions(positions: Array, scores: Tensor) -> Tensor:
    """On the device of the scores."""
    return torch.from_numpy(positions).to(scores.device)
