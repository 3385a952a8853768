"""What a fault model is: one way in which a word, or a circuit, goes wrong."""

from __future__ import annotations

from collections.abc import Collection
from typing import ClassVar

from torch import Tensor

from fi.faults.bits import WordMasks
from fi.faults.fault_sites import Kind

#: Words whose value is known before a run; states, spikes and inputs differ by sample and step.
STORED = frozenset({Kind.SYNAPSE, Kind.NEURON})
#: All kinds of words; what else may break is no word.
WORDS = frozenset(Kind) - {Kind.CIRCUIT}

#: The largest number of steps that a model takes, above that of any run.
MOST_STEPS = 1_000_000


class FaultModel:
    """One way in which a word goes wrong; a model of your own overrides one of the two methods.

    ``masks`` serves words of any kind. ``value`` serves stored words (weights and parameters), and
    comes first there. A parameter of the constructor, a float, stands behind the name:
    ``scale:0.8``.

    Class attributes:
        name: in fault lists and on the command line, lower case and hyphens.
        takes_bits: whether it changes given bits of the word, else all of it.
        kinds: the kinds of sites that it may be at; words of any kind by default.
        parameter: what the number behind the name is called; empty where there is none.

    >>> import torch
    >>> class SignLost(FaultModel):
    ...     takes_bits = False
    ...     kinds = frozenset({Kind.SYNAPSE})
    ...
    ...     def value(self, golden, tensor):
    ...         return golden.abs()
    >>> SignLost().value(torch.tensor([-0.5, 2.0]), torch.zeros(3))
    tensor([0.5000, 2.0000])
    """

    name: ClassVar[str] = ""
    takes_bits: ClassVar[bool] = True
    kinds: ClassVar[Collection[Kind]] = WORDS
    parameter: ClassVar[str] = ""

    def masks(self, bits: int) -> WordMasks:
        """What it does to a word of which the set bits of ``bits`` are hit."""
        raise NotImplementedError(f"{type(self).__name__} says nothing of such words")

    def value(self, golden: Tensor, tensor: Tensor) -> Tensor:
        """What the values ``golden`` ``[faults]`` of ``tensor`` become, both float32."""
        raise NotImplementedError(f"{type(self).__name__} says nothing of stored values")

    @classmethod
    def gives_values(cls) -> bool:
        """Whether it says what a stored value becomes, rather than which bits change."""
        return cls.value is not FaultModel.value
