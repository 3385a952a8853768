"""A recurrent network for spoken digits: 700-200-20 by default."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import snntorch as snn
import torch
from snntorch import surrogate
from torch import Tensor, nn

from fi.network.readouts import MaxMembrane
from fi.network.stages import SpikingNetwork, Stage


class SHD(SpikingNetwork):
    """fc1 and, on lif1's spikes of the step before, fb1; lif1; fc2; lif2. Neurons are Synaptic.

    The structure of SpikingJET's network (arXiv 2404.00383), whose state dict it loads. Events are
    ``[time, batch, inputs]`` counts, axes after the second are flattened; the scores are a softmax
    of each output neuron's largest membrane potential.

    Args:
        inputs: number of input channels.
        num_classes: number of output neurons.
        hidden: number of hidden neurons.
        alpha: decay of the synaptic current per step, 0 to 1; fixed, as published.
        beta: membrane decay per step, 0 to 1; fixed.
        threshold: above 0; fixed.
        softmax: scores are a softmax of the membranes, else the membranes.
    """

    default_data: ClassVar[str | None] = "SHD"
    default_checkpoint: ClassVar[str | None] = "SHD.pt"  # not there: its data is not ours to give
    default_training: ClassVar[dict[str, Any]] = {"temperature": 1.0}

    def __init__(
        self,
        inputs: int = 700,
        num_classes: int = 20,
        hidden: int = 200,
        alpha: float = math.exp(-1 / 5),
        beta: float = math.exp(-1 / 10),
        threshold: float = 1.0,
        softmax: bool = True,
    ) -> None:
        super().__init__(MaxMembrane(softmax))
        self.inputs = inputs
        self.fc1 = nn.Linear(inputs, hidden)
        self.fb1 = nn.Linear(hidden, hidden)
        self.lif1 = synaptic(hidden, alpha, beta, threshold)
        self.fc2 = nn.Linear(hidden, num_classes)
        self.lif2 = synaptic(num_classes, alpha, beta, threshold)

    def encode(self, events: Tensor) -> Tensor:
        """Events as ``[time, batch, inputs]``.

        Raises:
            ValueError: they have another number of channels.
        """
        if events.ndim < 3 or events.shape[2:].numel() != self.inputs:
            raise ValueError(
                f"built for events [time, batch, {self.inputs}], not {list(events.shape)}; "
                "see inputs"
            )
        return events.flatten(2)

    def extra_repr(self) -> str:
        return f"softmax={self.readout.softmax}"

    def stages(self) -> list[Stage]:
        return [Stage(self.fc1, self.lif1, recurrent=self.fb1), Stage(self.fc2, self.lif2)]


def synaptic(neurons: int, alpha: float, beta: float, threshold: float) -> snn.Synaptic:
    """Neurons with a synaptic current, each with an alpha, a beta and a threshold of its own.

    Raises:
        ValueError: alpha or beta is not in 0..1, or the threshold is not above 0.
    """
    for name, decay in (("alpha", alpha), ("beta", beta)):
        if not 0 <= decay <= 1:
            raise ValueError(f"{name} must lie in 0..1, got {decay}")
    if not threshold > 0:
        raise ValueError(f"threshold must be above 0, got {threshold}")
    return snn.Synaptic(
        alpha=torch.full((neurons,), float(alpha)),
        beta=torch.full((neurons,), float(beta)),
        threshold=torch.full((neurons,), float(threshold)),
        spike_grad=surrogate.atan(alpha=2.0),
    )
