"""The neurons of NIR: words of the file, and a step of time as a framework takes it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from snntorch import SpikingNeuron
from torch import Tensor

#: How a membrane is reset: to ``v_reset``, or by the threshold.
RESETS = ("value", "subtract")


#: Words that constants are derived of.
_DERIVED_FROM = ("tau", "tau_mem", "tau_syn", "r", "v_leak", "w_in")
_BEYOND = "_beyond"


class NirNeuron(SpikingNeuron):  # type: ignore[misc]
    """A neuron whose words are those of a NIR node; subclasses have a rule of discretisation.

    Words are float32, of any shape that spreads to the neurons. What is derived of them, a decay
    ``1 - dt / tau``, is computed in float64 at every step and rounded to the type of the currents,
    so that a fault in a word acts from the step on at which it is there. Where the file has a
    float64 value, what it has beyond the float32 word, a factor of 1 +- 6e-8, is kept beside the
    word and is no word itself: the constants are those of the file, bit for bit.

    Args:
        kind: the type of the node: ``IF``, ``LIF``, ``LI``, ``CubaLIF`` or ``CubaLI``.
        words: its arrays by NIR's names, float64.
        dt: seconds a step, in the unit of the file's ``tau``.
        reset: one of ``RESETS``.
        variant: what a rule may do otherwise, see ``rules.py``.
    """

    elementwise = True
    mem: Tensor
    syn: Tensor
    tau: Tensor
    r: Tensor
    v_leak: Tensor
    v_threshold: Tensor
    v_reset: Tensor
    w_in: Tensor
    no_words = frozenset(name + _BEYOND for name in _DERIVED_FROM)
    rule: ClassVar[str]

    def __init__(
        self,
        kind: str,
        words: Mapping[str, Tensor],
        dt: float,
        reset: str,
        variant: frozenset[str] = frozenset(),
    ) -> None:
        super().__init__(init_hidden=True)
        SpikingNeuron.instances.remove(self)  # resets of the user's are none of its business
        del self.threshold, self.graded_spikes_factor, self.reset_mechanism_val
        self.kind, self.dt, self.reset_to, self.variant = kind, dt, reset, variant
        for name, value in words.items():
            self.register_buffer(name, value.to(torch.float32))
        for name, value in self.find_meant(words).items():
            if name in _DERIVED_FROM:
                self._keep_beyond(name, value)
        if self.synaptic:
            self.register_buffer("syn", torch.zeros(0), False)
        self.register_buffer("mem", torch.zeros(0), False)

    @property
    def synaptic(self) -> bool:
        """Whether a current of its own stands before the membrane."""
        return self.kind.startswith("Cuba")

    @property
    def leaks(self) -> bool:
        """Whether its membrane decays."""
        return self.kind != "IF"

    @property
    def fires(self) -> bool:
        """Whether its output is spikes; else it is the membrane."""
        return self.kind.endswith("IF")

    @property
    def tau_name(self) -> str:
        """The word that is its membrane's time constant."""
        return "tau_mem" if self.synaptic else "tau"

    def find_meant(self, words: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """What the values of the file mean, float64, where its writer has rounded them."""
        return words

    def _keep_beyond(self, name: str, value: Tensor) -> None:
        """Keep the factor by which a word is less than the value of the file."""
        word = getattr(self, name).double()
        factor = torch.where(word.isfinite() & (word != 0), value / word, 1.0)
        if (factor != 1).any():
            uniform = bool((factor == factor.flatten()[0]).all())
            self.register_buffer(name + _BEYOND, factor.flatten()[0] if uniform else factor)

    def exact(self, name: str) -> Tensor:
        """The value of a word in float64, with what the file has beyond it."""
        word: Tensor = getattr(self, name).double()
        beyond = self._buffers.get(name + _BEYOND)
        return word if beyond is None else word * beyond

    def ratio(self, tau: str) -> Tensor:
        """``dt / tau`` in float64."""
        return self.dt / self.exact(tau)

    def constants(self, dtype: torch.dtype) -> dict[str, Tensor]:
        """What the rule derives of the words, rounded to ``dtype``."""
        raise NotImplementedError

    def initial_membrane(self) -> Tensor:
        """Where membranes are before the first step."""
        raise NotImplementedError

    def step(self, current: Tensor, derived: Mapping[str, Tensor]) -> Tensor:
        """The output ``[batch, ...]`` of one step; it sets the states."""
        raise NotImplementedError

    def forward(self, input_: Tensor) -> Tensor:
        """Spikes ``[batch, ...]`` of currents ``[batch, ...]``."""
        if self.mem.shape != input_.shape:
            start = self.initial_membrane().to(input_.dtype)
            self.mem = torch.zeros_like(input_) + start
        if self.synaptic and self.syn.shape != input_.shape:
            self.syn = torch.zeros_like(input_)
        output = self.step(input_, self.constants(input_.dtype))
        return output if self.fires else output.clone()  # a fault in it is none in the membrane

    def extra_repr(self) -> str:
        variant = "".join(f", {name}" for name in sorted(self.variant))
        return f"{self.kind}, {self.rule}{variant}, dt={self.dt!r}, reset={self.reset_to}"


class ThresholdNeuron(SpikingNeuron):  # type: ignore[misc]
    """``Threshold`` of NIR: a spike where what comes in is above the threshold; it keeps nothing.

    The membrane is what comes in, so that readouts can take it; no word of hardware has it.
    """

    elementwise = True
    has_states = False
    threshold: Tensor

    def __init__(self, threshold: Tensor) -> None:
        super().__init__(init_hidden=True)
        SpikingNeuron.instances.remove(self)
        del self.threshold, self.graded_spikes_factor, self.reset_mechanism_val
        self.register_buffer("threshold", threshold)
        self.register_buffer("mem", torch.zeros(0), False)

    def forward(self, input_: Tensor) -> Tensor:
        """Spikes ``[batch, ...]`` of currents ``[batch, ...]``."""
        self.mem = input_
        return (input_ > self.threshold).to(input_.dtype)
