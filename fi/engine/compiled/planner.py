"""A group of faults resolved: which arrays of which stage, and what they need of a golden trace."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple

from torch import nn

from fi.engine.compiled.fault_arrays import (
    FaultArrays,
    NeuronFaultArrays,
    knows_word,
    resolve_input_faults,
    resolve_neuron_faults,
    resolve_weight_faults,
)
from fi.engine.compiled.kernels.arrays import Array
from fi.engine.compiled.output_layer import LastLayer, RowFaults, resolve_row_faults
from fi.engine.compiled.stage_constants import StageModel
from fi.engine.generic.fault_groups import find_stage
from fi.faults.fault import Fault
from fi.faults.fault_sites import INPUT
from fi.network.stages import EVENTS, SpikingNetwork


class Part(Enum):
    """Of a golden trace: a stage's neurons, its currents, what flows in, what is behind it."""

    NEURONS = 0
    CURRENTS = 1
    FLOW = 2
    BEHIND = 3


class Need(NamedTuple):
    """What faults need of a golden trace."""

    stage: int
    part: Part


@dataclass(frozen=True)
class Plan:
    """A group of faults, resolved.

    Attributes:
        tasks: faults of one kind, each with its stage.
        needs: what they need of a golden trace.
        rows: faults of the last layer that PyTorch computes.
    """

    tasks: list[tuple[int, FaultArrays]]
    needs: frozenset[Need]
    rows: tuple[RowFaults, ...] = ()

    @property
    def empty(self) -> bool:
        """Whether there is nothing to do."""
        return not self.tasks and not self.rows


class Planner:
    """Resolves faults of a graph of stages.

    Args:
        network: which has the stages.
        models: of the stages; ``None`` where the kernels do not know one.
        steps: of an inference.
        frame: shape of the events of one sample and step.
        last_layer: where its faults are computed by PyTorch.
    """

    def __init__(
        self,
        network: SpikingNetwork,
        models: Sequence[StageModel | None],
        steps: int,
        frame: tuple[int, ...],
        last_layer: LastLayer | None,
    ) -> None:
        self.network, self.models = network, models
        self.steps, self.frame, self.last_layer = steps, frame, last_layer

    def takes(self, fault: Fault) -> bool:
        """Whether the kernels know the word that is hit."""
        return fault.layer == INPUT or self._find_stage(fault.layer) is not None

    def _find_stage(self, layer: str) -> int | None:
        """The number of the stage of which the kernels know these words."""
        module, attribute = self.find_module(layer)
        for number, model in enumerate(self.models):
            if model is not None and knows_word(model, module, attribute):
                return number
        return None

    def find_module(self, layer: str) -> tuple[nn.Module, str]:
        """The module and the attribute of a site family."""
        name, _, attribute = layer.rpartition(".")
        return self.network.get_submodule(name), attribute

    def find_needs(self, faults: Sequence[Fault]) -> frozenset[Need]:
        """What differences behind faults need that torch finds in their own stage."""
        stages, numbers = self.network.stages(), set[int]()
        for layer in {fault.layer for fault in faults}:
            found = EVENTS if layer == INPUT else find_stage(stages, self.find_module(layer)[0])
            numbers.add(found)
        return frozenset(Need(number, Part.BEHIND) for number in numbers)

    def plan(self, faults: Sequence[Fault], positions: Array) -> Plan:
        """Resolve faults; ``positions`` are their places in the group."""
        families: dict[str, list[int]] = defaultdict(list)
        for place, fault in enumerate(faults):
            if fault.steps is None or fault.steps.start < self.steps:
                families[fault.layer].append(place)
        tasks: list[tuple[int, FaultArrays]] = []
        rows: list[RowFaults] = []
        for layer, places in families.items():
            chosen = [faults[place] for place in places]
            found = self._resolve(layer, chosen, positions[places])
            if isinstance(found, RowFaults):
                rows.append(found)
            else:
                tasks.append(found)
        tasks = _join_tasks(task for task in tasks if len(task[1]))
        return Plan(tasks, _find_needs(tasks), tuple(filter(len, rows)))

    def _resolve(
        self, layer: str, faults: list[Fault], positions: Array
    ) -> RowFaults | tuple[int, FaultArrays]:
        """The faults of one family: those of the last layer by row, or with their stage."""
        if layer == INPUT:
            return EVENTS, resolve_input_faults(self.frame, faults, positions)
        module, attribute = self.find_module(layer)
        number = self._find_stage(layer)
        model = None if number is None else self.models[number]
        assert number is not None
        assert model is not None
        if self.last_layer and module is self.last_layer.model.synapse.weights:
            return resolve_row_faults(model, attribute, faults, positions)
        if module is model.stage.neuron:
            return number, resolve_neuron_faults(model, attribute, faults, positions)
        recurrent = module is model.stage.recurrent
        return number, resolve_weight_faults(model, attribute, faults, positions, recurrent)


def _find_needs(tasks: Iterable[tuple[int, FaultArrays]]) -> frozenset[Need]:
    """What faults, each with its stage, need of a trace; one for currents serves neurons, too."""
    found = {
        Need(number, Part.NEURONS if isinstance(faults, NeuronFaultArrays) else Part.CURRENTS)
        for number, faults in tasks
    }
    return frozenset(found | {Need(number, Part.NEURONS) for number, _ in found})


def _join_tasks(tasks: Iterable[tuple[int, FaultArrays]]) -> list[tuple[int, FaultArrays]]:
    """The faults that one call of a kernel can take in one: few calls cost less than many."""
    found: dict[tuple[int, type, bool], FaultArrays] = {}
    for number, faults in tasks:
        key = (number, type(faults), getattr(faults, "recurrent", False))
        found[key] = found[key].join(faults) if key in found else faults  # type: ignore[arg-type]
    return [(number, faults) for (number, *_), faults in found.items()]
