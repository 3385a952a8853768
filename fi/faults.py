"""What a fault is: a site, a fault model, a bit and a time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from fi.words import WORD_BITS, WordMasks, corrupt

Index = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class FaultModel:
    """One way in which a stored word goes wrong.

    ``masks`` gives what happens to the word when ``bit`` is hit.
    """

    name: str
    summary: str
    masks: Callable[[int], WordMasks]


FAULT_MODELS: dict[str, FaultModel] = {}


def register(name: str, summary: str, masks: Callable[[int], WordMasks]) -> FaultModel:
    """Make a fault model known under ``name``, in fault lists and on the command line."""
    if name in FAULT_MODELS:
        raise ValueError(f"fault model {name!r} is registered already")
    FAULT_MODELS[name] = FaultModel(name, summary, masks)
    return FAULT_MODELS[name]


register("bit-flip", "the bit reads inverted", lambda bit: WordMasks.flipping(1 << bit))
register("stuck-at-0", "the bit reads 0", lambda bit: WordMasks.clearing(1 << bit))
register("stuck-at-1", "the bit reads 1", lambda bit: WordMasks.setting(1 << bit))


def fault_model(name: str) -> FaultModel:
    """The fault model of that name; ``ValueError`` names the known ones."""
    if name not in FAULT_MODELS:
        known = ", ".join(FAULT_MODELS)
        raise ValueError(f"unknown fault model {name!r}; known: {known}")
    return FAULT_MODELS[name]


@dataclass(frozen=True, slots=True)
class Fault:
    """One hardware fault, one row of a fault list.

    Attributes:
        injection: its number in the list.
        layer: the site family, ``fc1.weight`` or ``lif1.potential``.
        index: the word in that tensor; states and spikes leave the batch dimension out.
        bit: the bit of the word, 0 is the least significant.
        model: name of the fault model.
        step: the only time step at which it is active; ``None`` is permanent.
    """

    injection: int
    layer: str
    index: Index
    bit: int
    model: str = "bit-flip"
    step: int | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.bit < WORD_BITS:
            raise ValueError(f"bit {self.bit} is outside the word: 0 to {WORD_BITS - 1}")
        if self.step is not None and self.step < 0:
            raise ValueError(f"step {self.step} is negative; steps count from 0")
        fault_model(self.model)

    @property
    def masks(self) -> WordMasks:
        """What it does to the word at its site."""
        return fault_model(self.model).masks(self.bit)

    def corrupt(self, values: Tensor) -> Tensor:
        """``values`` (any shape) as they read under this fault."""
        return corrupt(values, *self.masks.signed())

    def __str__(self) -> str:
        when = "" if self.step is None else f" at step {self.step}"
        where = f"{self.layer}[{', '.join(map(str, self.index))}]" if self.index else self.layer
        return f"{self.model} of bit {self.bit} in {where}{when}"
