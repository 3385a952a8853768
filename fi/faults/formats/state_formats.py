"""Membranes and synaptic currents in a number format: rounded after each update, golden ones too.

The rounding is snnTorch's ``state_quant``: after the update, before the neuron is compared with its
threshold. What a fault hits is the word of that format.
"""

from __future__ import annotations

from dataclasses import dataclass

from snntorch import SpikingNeuron
from torch import Tensor, nn

from fi.faults.formats.clamped_format import ClampedFormat
from fi.faults.formats.integer_formats import Fixed
from fi.faults.word_formats import BFLOAT16, FLOAT16, FLOAT32, FloatFormat, WordFormat
from fi.network.neurons import spiking_neurons

#: What ``--state-format`` takes.
STATE_FORMATS = "float32, float16, bfloat16, fixed:I.F"


@dataclass(frozen=True)
class StateRounding:
    """Rounds states to the nearest word of a format, or clamps them, as a ``state_quant``."""

    form: FloatFormat | Fixed | ClampedFormat

    def __call__(self, states: Tensor) -> Tensor:
        """``states`` of any shape, rounded, in their own dtype."""
        if isinstance(self.form, ClampedFormat):
            return self.form.round(states)
        return self.form.decode(self.form.encode(states.float())).to(states.dtype)


def find_state_format(name: str) -> FloatFormat | Fixed:
    """The format of a name; ``ValueError`` names those there are."""
    floats = {form.name: form for form in (FLOAT32, FLOAT16, BFLOAT16)}
    form = floats.get(name) or Fixed.parse(name)
    if form is None:
        raise ValueError(f"state format {name!r}; allowed: {STATE_FORMATS}, 2 to 24 bits in all")
    return form


def round_states(network: nn.Module, name: str) -> None:
    """Have every neuron of ``network`` round its states after each update; float32 undoes that.

    Raises:
        ValueError: there is no such format, or a neuron cannot, or rounds them already.
    """
    form = find_state_format(name)
    for layer, neuron in spiking_neurons(network).items():
        own = getattr(neuron, "state_quant", None)
        ours = isinstance(own, StateRounding)
        if form is FLOAT32:
            if ours:
                neuron.state_quant = False
            continue
        if own is None or (own and not ours):
            why = "has no state_quant" if own is None else "has a state_quant of its own"
            raise ValueError(f"{layer}, a {type(neuron).__name__}, {why}")
        neuron.state_quant = StateRounding(form)


def state_format_of(module: nn.Module) -> WordFormat:
    """The format of a neuron's states; float32 unless ``round_states`` gave it another."""
    rounding = getattr(module, "state_quant", None) if isinstance(module, SpikingNeuron) else None
    return rounding.form if isinstance(rounding, StateRounding) else FLOAT32
