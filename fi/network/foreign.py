"""Networks whose forward is their own: what goes in, and what becomes scores."""

from __future__ import annotations

from typing import Any

from snntorch import SpikingNeuron
from torch import Tensor, nn

from fi.base.errors import UserError
from fi.network.neurons import output_spikes, reset_neurons, spiking_neurons
from fi.network.spikingjet_stub import silence

#: What a forward may return: found out from its shape, or one of the three.
READOUTS = ("auto", "scores", "spikes", "pair")


class Adapter:
    """Scores ``[batch, classes]`` of a network that is no ``SpikingNetwork``.

    Args:
        network: any module with snnTorch neurons.
        readout: what its forward returns: ``scores`` ``[batch, classes]``, ``spikes``
            ``[time, batch, classes]`` (they are counted), a ``pair`` (spikes, membranes) of the
            same shape, or ``auto`` to tell by the shape.
        time_axis: where the forward wants time in the events; 0 gives ``[time, batch, ...]``.

    Raises:
        UserError: there is no such readout, or, when it is called, the events have no such axis
            or the forward returns something else than the readout says.

    Example:
        >>> import snntorch as snn
        >>> import torch
        >>> class Counting(nn.Module):
        ...     def __init__(self) -> None:
        ...         super().__init__()
        ...         self.fc, self.lif = nn.Linear(12, 3), snn.Leaky(beta=0.9, init_hidden=True)
        ...
        ...     def forward(self, events: Tensor) -> Tensor:
        ...         return torch.stack([self.lif(self.fc(step)) for step in events])
        >>> Adapter(Counting())(torch.ones(5, 4, 12)).shape
        torch.Size([4, 3])
    """

    def __init__(self, network: nn.Module, readout: str = "auto", time_axis: int = 0) -> None:
        if readout not in READOUTS:
            raise UserError(f"--readout {readout}: allowed are {', '.join(READOUTS)}")
        self.network = network
        self.readout = readout
        self.time_axis = time_axis
        silence(network)
        for neuron in spiking_neurons(network).values():
            neuron.register_forward_hook(cast_spikes)

    def __call__(self, events: Tensor) -> Tensor:
        """Scores ``[batch, classes]`` of ``events`` ``[time, batch, ...]``."""
        if not -events.ndim <= self.time_axis < events.ndim:
            raise UserError(
                f"--time-axis {self.time_axis}: the events have {events.ndim} axes, "
                f"allowed are {-events.ndim} to {events.ndim - 1}"
            )
        reset_neurons(self.network)
        return self.scores(self.network(events.movedim(0, self.time_axis)))

    def scores(self, output: Any) -> Tensor:
        """What the forward returned, as scores ``[batch, classes]``."""
        spikes = self._find_spikes(output)
        if spikes is None:
            return self._check(output, 2, "scores [batch, classes]")
        return self._check(spikes, 3, "spikes [time, batch, classes]").sum(dim=0)

    def _find_spikes(self, output: Any) -> Any:
        """The spikes in ``output``, or ``None`` where it holds scores."""
        if self.readout == "pair" or (self.readout == "auto" and isinstance(output, (tuple, list))):
            if not isinstance(output, (tuple, list)) or not output:
                raise UserError(
                    f"--readout pair: the forward returned {_describe(output)}, no pair"
                )
            return output[0]
        has_time = isinstance(output, Tensor) and output.ndim == 3
        is_spikes = self.readout == "spikes" or (self.readout == "auto" and has_time)
        return output if is_spikes else None

    def _check(self, value: Any, axes: int, wanted: str) -> Tensor:
        """The value, a tensor of so many axes; ``UserError`` where it is none."""
        if not isinstance(value, Tensor) or value.ndim != axes:
            raise UserError(
                f"--readout {self.readout}: wanted {wanted}, but got {_describe(value)}"
            )
        return value


def cast_spikes(neuron: nn.Module, args: tuple[Any, ...], output: Any) -> Any:
    """Cast a neuron's spikes to its membrane's type: the surrogates return float32 for float64."""
    assert isinstance(neuron, SpikingNeuron)
    spikes, membrane = output_spikes(output), getattr(neuron, "mem", None)
    if not isinstance(membrane, Tensor) or spikes.dtype == membrane.dtype:
        return None
    cast = spikes.to(membrane.dtype)
    return (cast, *output[1:]) if isinstance(output, tuple) else cast


def _describe(value: Any) -> str:
    if isinstance(value, Tensor):
        return f"a tensor of shape {list(value.shape)}"
    if isinstance(value, (tuple, list)):
        return f"a {type(value).__name__} of {len(value)} ({', '.join(map(_describe, value))})"
    return f"a {type(value).__name__}"
