"""The faults of a group by site family, and how to compute what they change."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from snntorch import SpikingNeuron
from torch import Tensor, nn

from fi.engine.generic.channel_changes import channel_change
from fi.engine.generic.eligible import parts
from fi.engine.generic.fault_batch import Struck, first_step, stacked_masks
from fi.engine.generic.golden_stage import Golden
from fi.engine.generic.stage_changes import (
    Change,
    NeuronChange,
    ParameterChange,
    RecurrentLinearChange,
    RecurrentModuleChange,
    StageChange,
)
from fi.faults.bits import to_words
from fi.faults.fault import Fault
from fi.faults.fault_sites import INPUT
from fi.faults.stored_words import golden_and_faulty
from fi.network.neurons import state_attributes
from fi.network.stages import SpikingNetwork, Stage


@dataclass(frozen=True)
class Family:
    """Faults of one site family that change something.

    Attributes:
        network: the whole network.
        stage: number of the stage that they strike.
        module: the module that holds the words.
        attribute: of the module: ``weight``, ``beta``, ``potential``, ``spike``.
        struck: the faults.
        whole: whether their stage is to be computed as a whole.
    """

    network: SpikingNetwork
    stage: int
    module: nn.Module
    attribute: str
    struck: Struck
    whole: bool = False

    def change(self, golden: Golden, struck: Struck) -> Change:
        """What ``struck``, some faults of the family, do to their stage."""
        stage = golden.stage
        if self.module is stage.neuron:
            state = state_attributes(stage.neuron).get(self.attribute)
            if state or self.attribute == "spike":
                return NeuronChange(golden, struck, state or "spike")
            return ParameterChange(golden, struck, self.attribute)
        if self._is_recurrent(stage):
            if self.module is stage.recurrent and RecurrentLinearChange.fits(golden):
                return RecurrentLinearChange(golden, struck, getattr(self.module, self.attribute))
            return RecurrentModuleChange(golden, struck, self.network)
        return self._synaptic(golden, struck)

    def _synaptic(self, golden: Golden, struck: Struck) -> Change:
        modules = golden.stage.modules
        depths = [depth for depth, part in enumerate(modules) if part is self.module]
        kind = channel_change(golden, depths[0]) if depths and not self.whole else None
        if kind is None:
            return StageChange(golden, struck, self.network)
        return kind(golden, struck, depths[0], self.attribute)

    def _is_recurrent(self, stage: Stage) -> bool:
        recurrent = stage.recurrent
        return recurrent is not None and any(self.module is part for part in recurrent.modules())


def families(
    network: SpikingNetwork, faults: Sequence[Fault], positions: Tensor, steps: int
) -> list[Family]:
    """All but the faults that change no stored word or come after the last of ``steps``.

    Args:
        network: that they strike.
        faults: in any order.
        positions: of each in its group, int64 ``[faults]``.
        steps: time steps of the run.
    """
    rows: dict[tuple[str, bool], list[int]] = {}
    for row, fault in enumerate(faults):
        if first_step(fault) < steps:
            rows.setdefault((fault.layer, fault.steps is None), []).append(row)
    found: list[Family] = []
    for chosen in rows.values():
        position = positions[torch.tensor(chosen, device=positions.device)]
        found += _families_of(network, [faults[row] for row in chosen], position)
    return [family for family in found if len(family.struck)]


def _families_of(
    network: SpikingNetwork, faults: Sequence[Fault], position: Tensor
) -> Iterator[Family]:
    """One family, or two where some of a convolution's words turn infinite or NaN."""
    name, _, attribute = faults[0].layer.rpartition(".")
    module = network.get_submodule(name)
    if attribute == INPUT:
        struck = Struck.of(faults, position, _masks(module, attribute, faults))
        yield Family(network, 0, module, attribute, struck)
        return
    number = stage_of(network.stages(), module)
    struck = Struck.of(faults, position, _masks(module, attribute, faults))
    family = Family(network, number, module, attribute, struck)
    if not hasattr(module, attribute) or _is_state(module, attribute):
        yield family
        return
    struck = struck.changing(getattr(module, attribute))
    if not isinstance(module, nn.Conv2d):
        yield replace(family, struck=struck)
        return
    finite = struck.words(getattr(module, attribute))[1].isfinite()
    yield replace(family, struck=struck.where(finite))
    # what an infinite weight makes of a zero, or of the padding, is PyTorch's own affair
    yield replace(family, struck=struck.where(~finite), whole=True)


def _masks(module: nn.Module, attribute: str, faults: Sequence[Fault]) -> Tensor:
    """What the faults do to their words, int32 ``[faults, 3]``: a stored one is held at a value."""
    if attribute == INPUT or not hasattr(module, attribute) or _is_state(module, attribute):
        return torch.from_numpy(stacked_masks(faults))
    held = to_words(golden_and_faulty(module, attribute, faults)[1].cpu())
    return torch.stack([torch.zeros_like(held), held, torch.zeros_like(held)], dim=1)


def _is_state(module: nn.Module, attribute: str) -> bool:
    return isinstance(module, SpikingNeuron) and attribute in state_attributes(module)


def stage_of(stages: Sequence[Stage], module: nn.Module) -> int:
    """The number of the stage that ``module`` is part of."""
    for number, stage in enumerate(stages):
        if any(module is part for part in parts(stage)):
            return number
    raise ValueError(f"{module} is part of no stage")
