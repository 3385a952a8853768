"""Clamps of what goes into neurons, and of what faulty spikes read."""

from __future__ import annotations

from typing import Any, ClassVar

from snntorch import SpikingNeuron
from torch import Tensor, nn

from fi.faults.formats.clamped_format import ClampedFormat, clamp_values
from fi.faults.formats.state_formats import SPIKE
from fi.faults.word_formats import FLOAT32, set_format
from fi.network.neurons import spiking_neurons

#: The name within its layer of what goes into its neurons; no words, so no site family.
CURRENT = "current"


class CurrentClamp:
    """Clamps the currents of a layer before each update, as a hook of its neuron's forward.

    Args:
        low, high: bounds of the layer, float32, no axis.
        beyond: what a current beyond them reads, ``zero`` or ``bound``.
    """

    #: Each current by itself: neurons of the layer can still be computed without the others.
    elementwise: ClassVar[bool] = True

    def __init__(self, low: Tensor, high: Tensor, beyond: str) -> None:
        self.low, self.high, self.beyond = low, high, beyond

    def __call__(
        self, neuron: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The arguments of a call, the first of them clamped."""
        if args:
            return (self.clamp(args[0]), *args[1:]), kwargs
        first = next(iter(kwargs))
        return args, {**kwargs, first: self.clamp(kwargs[first])}

    def clamp(self, currents: Tensor) -> Tensor:
        """Currents of any shape within the bounds."""
        return clamp_values(currents, self.low, self.high, self.beyond)


def clamp_currents(neuron: SpikingNeuron, low: Tensor, high: Tensor, beyond: str) -> None:
    """Clamp what goes into a neuron; ``forget_current_clamps`` undoes it."""
    hook = CurrentClamp(low, high, beyond)
    neuron.register_forward_pre_hook(hook, with_kwargs=True)


def forget_current_clamps(network: nn.Module) -> None:
    """Let currents be what they are again."""
    for neuron in spiking_neurons(network).values():
        for key, hook in list(neuron._forward_pre_hooks.items()):
            if isinstance(hook, CurrentClamp):
                neuron._forward_pre_hooks.pop(key)
                neuron._forward_pre_hooks_with_kwargs.pop(key, None)


def clamp_spikes(neuron: SpikingNeuron, low: Tensor, high: Tensor, beyond: str) -> None:
    """Take a neuron's output for words that read within the bounds, whatever a fault makes of them.

    Raises:
        ValueError: its spikes are not 0 and 1, or one of these is beyond the bounds.
    """
    if bool((neuron.graded_spikes_factor != 1).any()):
        raise ValueError("only spikes of 0 and 1 are clamped, and graded_spikes_factor is not 1")
    if not float(low) <= 0.0 < 1.0 <= float(high):
        raise ValueError(
            f"bounds are {float(low):g} and {float(high):g}; allowed for spikes: 0 and 1 are "
            "within them"
        )
    set_format(neuron, SPIKE, ClampedFormat(FLOAT32, low, high, beyond))
