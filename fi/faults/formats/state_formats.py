"""Membranes and synaptic currents in a number format: rounded after each update, golden ones too.

The rounding is snnTorch's ``state_quant``: after the update, before the neuron is compared with its
threshold. What a fault hits is the word of that format.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from snntorch import SpikingNeuron
from torch import Tensor, nn

from fi.faults.formats.clamped_format import ClampedFormat
from fi.faults.formats.integer_formats import Fixed
from fi.faults.word_formats import (
    BFLOAT16,
    FLOAT16,
    FLOAT32,
    FloatFormat,
    WordFormat,
    format_of,
)
from fi.network.neurons import spiking_neurons, state_attributes

#: What ``--state-format`` takes.
STATE_FORMATS = "float32, float16, bfloat16, fixed:I.F"
#: The name within its layer of the site family of a neuron's output.
SPIKE = "spike"


@dataclass(frozen=True)
class StateRounding:
    """Rounds states to the nearest word of a format, as a ``state_quant``."""

    form: FloatFormat | Fixed

    def __call__(self, states: Tensor) -> Tensor:
        """``states`` of any shape, rounded, in their own dtype."""
        return round_to(self.form, states)


class OwnStates:
    """Rounds or clamps each state of one neuron by itself, as its ``state_quant``.

    snnTorch hands it one state after another; which one it is, is told by what the neuron holds.

    Args:
        neuron: whose states they are.
        forms: snnTorch's name of each of its states -> the format of its words.
    """

    def __init__(self, neuron: SpikingNeuron, forms: Mapping[str, WordFormat]) -> None:
        self.neuron, self.forms = neuron, dict(forms)

    def bind(self, neuron: SpikingNeuron) -> OwnStates:
        """The same for a copy of the neuron."""
        return OwnStates(neuron, self.forms)

    def __call__(self, states: Tensor) -> Tensor:
        """One state, as it is stored after an update.

        Raises:
            ValueError: it is none that the neuron holds.
        """
        for name, form in self.forms.items():
            if states is getattr(self.neuron, name):
                return round_to(form, states)
        raise ValueError(
            f"a {type(self.neuron).__name__} rounds what is none of its states "
            f"{', '.join(self.forms)}: they cannot be clamped"
        )


def round_to(form: WordFormat, states: Tensor) -> Tensor:
    """``states`` as words of a format hold them, in their own dtype."""
    if form is FLOAT32:
        return states
    if isinstance(form, ClampedFormat) and form.form is FLOAT32:
        return form.clamp(states)
    return form.decode(form.encode(states.float())).to(states.dtype)


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
        ours = is_ours(own)
        if form is FLOAT32:
            if ours:
                neuron.state_quant = False
            continue
        if own is None or (own and not ours):
            why = "has no state_quant" if own is None else "has a state_quant of its own"
            raise ValueError(f"{layer}, a {type(neuron).__name__}, {why}")
        neuron.state_quant = StateRounding(form)


def is_ours(quantiser: object) -> bool:
    """Whether a ``state_quant`` is none of the user's."""
    return isinstance(quantiser, (StateRounding, OwnStates))


def own_states_of(neuron: SpikingNeuron) -> dict[str, WordFormat]:
    """snnTorch's name of each state of a neuron -> the format of its words."""
    own = getattr(neuron, "state_quant", None)
    if isinstance(own, OwnStates):
        return dict(own.forms)
    form = own.form if isinstance(own, StateRounding) else FLOAT32
    return dict.fromkeys(state_attributes(neuron).values(), form)


def output_format_of(module: nn.Module, attribute: str) -> WordFormat:
    """The format of a state of a neuron, by its name in fault lists, or of its spikes.

    It is float32 unless ``round_states`` gave it another, or it is clamped.
    """
    if attribute == SPIKE:
        return format_of(module, SPIKE)
    assert isinstance(module, SpikingNeuron)
    return own_states_of(module)[state_attributes(module)[attribute]]
