"""The faults of a group by site family, and how to compute what they change."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from snntorch import SpikingNeuron
from torch import Tensor, nn

from fi.engine.generic.channel_changes import choose_channel_change
from fi.engine.generic.eligible import stage_modules
from fi.engine.generic.fault_batch import FaultBatch, first_step, stack_masks
from fi.engine.generic.golden_stage import GoldenStage
from fi.engine.generic.stage_changes import (
    Change,
    CircuitChange,
    NeuronChange,
    ParameterChange,
    RecurrentLinearChange,
    RecurrentModuleChange,
    WholeStageChange,
)
from fi.faults.bits import to_words
from fi.faults.family_names import attribute_of
from fi.faults.fault import Fault
from fi.faults.fault_sites import CIRCUIT, INPUT
from fi.faults.formats.state_faults import state_masks
from fi.faults.formats.state_formats import output_format_of
from fi.faults.stored_words import golden_and_faulty
from fi.faults.word_formats import FLOAT32
from fi.network.neurons import state_attributes
from fi.network.stages import SpikingNetwork, Stage


@dataclass(frozen=True)
class FamilyFaults:
    """Faults of one site family that change something.

    Attributes:
        network: the whole network.
        stage: number of the stage that they are in.
        module: the module that holds the words.
        attribute: of the module: ``weight``, ``beta``, ``potential``, ``spike``.
        faults: the faults.
        needs_whole_stage: whether their stage is to be computed as a whole.
    """

    network: SpikingNetwork
    stage: int
    module: nn.Module
    attribute: str
    faults: FaultBatch
    needs_whole_stage: bool = False

    def make_change(self, golden: GoldenStage, faults: FaultBatch) -> Change:
        """What some faults of the family do to their stage."""
        stage = golden.stage
        if self.module is stage.neuron:
            if self.attribute == CIRCUIT:
                return CircuitChange(golden, faults)
            state = state_attributes(stage.neuron).get(self.attribute)
            if state or self.attribute == "spike":
                return NeuronChange(golden, faults, state or "spike")
            return ParameterChange(golden, faults, self.attribute)
        if self._is_recurrent(stage):
            if self.module is stage.recurrent and RecurrentLinearChange.fits(golden):
                return RecurrentLinearChange(golden, faults, getattr(self.module, self.attribute))
            return RecurrentModuleChange(golden, faults, self.network)
        return self._make_synaptic_change(golden, faults)

    def _make_synaptic_change(self, golden: GoldenStage, faults: FaultBatch) -> Change:
        modules = golden.stage.modules
        depths = [depth for depth, module in enumerate(modules) if module is self.module]
        if depths and not self.needs_whole_stage:
            kind = choose_channel_change(golden, depths[0])
            if kind is not None:
                return kind(golden, faults, depths[0], self.attribute)
        return WholeStageChange(golden, faults, self.network)

    def _is_recurrent(self, stage: Stage) -> bool:
        recurrent = stage.recurrent
        return recurrent is not None and any(
            self.module is module for module in recurrent.modules()
        )


def group_by_family(
    network: SpikingNetwork, faults: Sequence[Fault], positions: Tensor, steps: int
) -> list[FamilyFaults]:
    """All but the faults that change no stored word or come after the last of ``steps``.

    Args:
        network: that has the faults.
        faults: in any order.
        positions: of each in its group, int64 ``[faults]``.
        steps: time steps of the run.
    """
    rows: dict[tuple[str, bool, str], list[int]] = {}
    for row, fault in enumerate(faults):
        if first_step(fault) < steps:
            circuit = fault.model if attribute_of(fault.layer) == CIRCUIT else ""
            rows.setdefault((fault.layer, fault.steps is None, circuit), []).append(row)
    families: list[FamilyFaults] = []
    for chosen in rows.values():
        position = positions[torch.tensor(chosen, device=positions.device)]
        families += _stack_family(network, [faults[row] for row in chosen], position)
    return [family for family in families if len(family.faults)]


def _stack_family(
    network: SpikingNetwork, listed: Sequence[Fault], position: Tensor
) -> Iterator[FamilyFaults]:
    """One family, or two where some of a convolution's words turn infinite or NaN."""
    name, _, attribute = listed[0].layer.rpartition(".")
    module = network.get_submodule(name)
    faults = FaultBatch.stack(listed, position, _word_masks(module, attribute, listed))
    if attribute == INPUT:
        yield FamilyFaults(network, 0, module, attribute, faults)
        return
    number = find_stage(network.stages(), module)
    if not _is_stored(module, attribute):
        yield FamilyFaults(network, number, module, attribute, faults)
        return
    words = getattr(module, attribute)
    faults = faults.select_changing(words)
    family = FamilyFaults(network, number, module, attribute, faults)
    if not isinstance(module, nn.Conv2d):
        yield family
        return
    finite = faults.corrupt_words(words)[1].isfinite()
    yield replace(family, faults=faults.select(finite))
    # What an infinite weight makes of a zero, or of the padding, is up to PyTorch's convolution.
    yield replace(family, faults=faults.select(~finite), needs_whole_stage=True)


def _word_masks(module: nn.Module, attribute: str, faults: Sequence[Fault]) -> Tensor:
    """What the faults do to their words, int32 ``[faults, 3]``: a stored one is held at a value."""
    if attribute == CIRCUIT:
        return torch.zeros((len(faults), 3), dtype=torch.int32)
    if attribute == INPUT or not _is_stored(module, attribute):
        form = FLOAT32 if attribute == INPUT else output_format_of(module, attribute)
        if form is FLOAT32:
            return torch.from_numpy(stack_masks(faults))
        masks = [state_masks(fault.model, fault.bits, form) for fault in faults]
        return torch.tensor(masks, dtype=torch.int32)
    held = to_words(golden_and_faulty(module, attribute, faults)[1].cpu())
    return torch.stack([torch.zeros_like(held), held, torch.zeros_like(held)], dim=1)


def _is_stored(module: nn.Module, attribute: str) -> bool:
    """Whether the words stay as they are during a run: neither a state nor an output."""
    is_state = isinstance(module, SpikingNeuron) and attribute in state_attributes(module)
    return hasattr(module, attribute) and not is_state


def find_stage(stages: Sequence[Stage], module: nn.Module) -> int:
    """The number of the stage that has ``module``.

    Raises:
        ValueError: none has it.
    """
    for number, stage in enumerate(stages):
        if any(module is other for other in stage_modules(stage)):
            return number
    raise ValueError(f"{module} is part of no stage")
