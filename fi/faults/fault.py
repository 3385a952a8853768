"""What a fault is: a site, a fault model, bits and a time."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby

from torch import Tensor

from fi.base.garbage import pause_collection
from fi.faults.bits import WORD_BITS, WordMasks, corrupt
from fi.faults.family_names import common_family
from fi.faults.models import FAULT_MODELS, cached_by_model, fault_model

Index = tuple[int, ...]
Bits = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Fault:
    """One hardware fault, one row of a fault list.

    Attributes:
        injection: number of its trial in the list; the faults of one trial share it.
        layer: the site family, ``fc1.weight`` or ``lif1.potential``.
        index: the word in that tensor; states and spikes leave the batch dimension out.
        bits: the bits of the word that are hit, 0 is the least significant; a number is taken as a
            tuple of one. Empty for models that change the whole word.
        model: name of the fault model, ``bit-flip`` or ``scale:0.8``.
        steps: the time steps at which it is active; a number is taken as a range of one. ``None``
            is permanent.

    Raises:
        ValueError: bits outside the word, twice or not in order, bits that the model does not take
            or lacks, or steps that are no window.

    >>> print(Fault(0, "fc1.weight", (3, 101), bits=30))
    bit-flip of bit 30 in fc1.weight[3, 101]
    >>> print(Fault(1, "lif1.spike", (7,), model="dead", steps=range(3, 8)))
    dead in lif1.spike[7] at step 3-7
    >>> Fault(2, "fc1.weight", (3, 101), bits=32)
    Traceback (most recent call last):
        ...
    ValueError: bit 32 is outside the word: 0 to 31
    """

    injection: int
    layer: str
    index: Index
    bits: Bits = ()
    model: str = "bit-flip"
    steps: range | None = None

    def __post_init__(self) -> None:
        if isinstance(self.bits, int):
            object.__setattr__(self, "bits", (self.bits,))
        if isinstance(self.steps, int):
            object.__setattr__(self, "steps", range(self.steps, self.steps + 1))
        _check_bits(self.bits, self.model)
        if self.steps is not None:
            _check_steps(self.steps)

    def __reduce__(self) -> tuple[type[Fault], tuple[object, ...]]:
        """Long lists travel between processes; a dataclass takes three times as long by itself."""
        parts = (self.injection, self.layer, self.index, self.bits, self.model, self.steps)
        return Fault, parts

    def active(self, step: int) -> bool:
        """Whether it is active at time step ``step``."""
        return self.steps is None or step in self.steps

    @property
    def masks(self) -> WordMasks:
        """What it does to the float32 word at its site, whatever that holds."""
        return masks_of(self.model, self.bits)

    def corrupt(self, values: Tensor) -> Tensor:
        """``values`` (any shape) of states, spikes or inputs as they read under this fault.

        >>> import torch
        >>> Fault(0, "lif1.potential", (7,), bits=31).corrupt(torch.tensor([0.5, -2.0]))
        tensor([-0.5000,  2.0000])
        """
        return corrupt(values, *signed_masks(self.model, self.bits))

    def __str__(self) -> str:
        what = f"{self.model} of bit {format_bits(self.bits)}" if self.bits else self.model
        when = "" if self.steps is None else f" at step {format_steps(self.steps)}"
        where = f"{self.layer}[{', '.join(map(str, self.index))}]" if self.index else self.layer
        return f"{what} in {where}{when}"


#: The faults that are in place at the same time.
Trial = tuple[Fault, ...]


def group_trials(faults: Iterable[Fault]) -> list[Trial]:
    """The trials of a fault list: neighbours with the same injection number are one.

    >>> listed = [Fault(0, "fc1.bias", (1,), 3), Fault(0, "fc1.bias", (2,), 3)]
    >>> [len(trial) for trial in group_trials([*listed, Fault(1, "fc1.bias", (1,), 3)])]
    [2, 1]
    """
    with pause_collection():
        return [tuple(group) for _, group in groupby(faults, key=lambda fault: fault.injection)]


def family_of(trial: Trial) -> str:
    """The site family of a trial: that of its faults, ``fc1.several`` or ``several``."""
    if len(trial) == 1:
        return trial[0].layer
    return common_family([fault.layer for fault in trial])


@cached_by_model(65536)
def masks_of(model: str, bits: Bits) -> WordMasks:
    """What a fault model does to a word of which ``bits`` are hit."""
    return fault_model(model).masks(sum(1 << bit for bit in bits))


@cached_by_model(65536)
def signed_masks(model: str, bits: Bits) -> tuple[int, int, int]:
    """The same as int32 values, ``keep, force, flip``: quick to ask for many faults."""
    return masks_of(model, bits).signed()


@cached_by_model(65536)
def _check_bits(bits: Bits, model: str) -> None:
    """Raise ``ValueError`` where the bits are none of a word, or not what the model takes."""
    if list(bits) != sorted(set(bits)):
        raise ValueError(f"bits are {bits}; allowed: each once, in ascending order")
    if bits and not 0 <= bits[0] <= bits[-1] < WORD_BITS:
        raise ValueError(f"bit {format_bits(bits)} is outside the word: 0 to {WORD_BITS - 1}")
    known = FAULT_MODELS.get(model.partition(":")[0])
    if known is None:  # a user's model may be read back where it is not loaded
        return
    if fault_model(model).takes_bits != bool(bits):
        wanted = "needs a bit" if known.takes_bits else f"takes no bit, not {format_bits(bits)}"
        raise ValueError(f"fault model {model} {wanted}")


def _check_steps(steps: range) -> None:
    if steps.step != 1 or not steps or steps[0] < 0:
        raise ValueError(f"steps are {steps}; allowed: one step or a window, from 0 on")


def format_bits(bits: Sequence[int]) -> str:
    """Bits as in fault lists.

    >>> format_bits((11,)), format_bits((3, 4, 5)), format_bits((3, 7, 9))
    ('11', '3-5', '3+7+9')
    """
    if len(bits) > 1 and bits[-1] - bits[0] == len(bits) - 1:
        return f"{bits[0]}-{bits[-1]}"
    return "+".join(map(str, bits))


def format_steps(steps: range | None) -> str:
    """Steps as in fault lists: nothing is permanent.

    >>> format_steps(None), format_steps(range(5, 6)), format_steps(range(3, 8))
    ('', '5', '3-7')
    """
    if steps is None:
        return ""
    return str(steps[0]) if len(steps) == 1 else f"{steps[0]}-{steps[-1]}"
