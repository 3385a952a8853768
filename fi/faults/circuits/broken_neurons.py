"""Neurons of a layer whose circuits are broken: snnTorch's own update with a part replaced."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from snntorch import SpikingNeuron
from torch import Tensor

from fi.faults.circuits.replacing import replaced
from fi.faults.modelling.circuit_models import CircuitModel
from fi.network.neurons import neuron_words, output_spikes

#: Steps since a spike where there was none.
_NEVER = 1 << 40


class BrokenNeurons:
    """Some neurons of a layer under one circuit fault model, step by step.

    Args:
        model: what is wrong.

    Attributes:
        ago: steps since the last spike of each neuron, int64, of the shape of the currents;
            ``None`` before the first step, or where the model does not ask.
    """

    def __init__(self, model: CircuitModel) -> None:
        self.model = model
        self.ago: Tensor | None = None

    def forget(self) -> None:
        """Begin an inference."""
        self.ago = None

    def step(
        self,
        neuron: SpikingNeuron,
        forward: Callable[[Tensor], Any],
        current: Tensor,
        where: Tensor,
    ) -> Any:
        """What ``forward`` of the layer gives for ``current`` while neurons are broken.

        Args:
            neuron: the layer.
            forward: its update, from currents.
            current: ``[..., neurons]``.
            where: which neurons are broken in this step, bool, broadcasts to ``current``.
        """
        ago = self._find_ago(current)
        fed = torch.where(where, self.model.current(current, ago), current)
        with self._broken(neuron, where, ago, current.dtype):
            output = forward(fed)
        if self.model.remembers:
            spiked = output_spikes(output) != 0
            self.ago = torch.where(spiked, 1, ago + 1)
        return output

    def _find_ago(self, current: Tensor) -> Tensor:
        if self.ago is not None and self.ago.shape == current.shape:
            return self.ago
        shape = current.shape if self.model.remembers else ()
        return torch.full(shape, _NEVER, dtype=torch.int64, device=current.device)

    @contextmanager
    def _broken(
        self, neuron: SpikingNeuron, where: Tensor, ago: Tensor, dtype: torch.dtype
    ) -> Iterator[None]:
        """The layer with its comparators and parameters as the broken neurons have them."""
        model, compare, fire = self.model, neuron.mem_reset, neuron.fire
        height = neuron.graded_spikes_factor

        def mem_reset(membrane: Tensor) -> Tensor:
            fired: Tensor = compare(membrane)
            return torch.where(where, model.reset(fired != 0).to(fired.dtype), fired)

        def spikes(membrane: Tensor) -> Tensor:
            fired: Tensor = fire(membrane)
            broken = model.fire(fired != 0, ago).to(fired.dtype) * height.to(fired.dtype)
            return torch.where(where, broken, fired)

        with ExitStack() as placed:
            placed.enter_context(replaced(neuron, "mem_reset", mem_reset))
            placed.enter_context(replaced(neuron, "fire", spikes))
            for name in neuron_words(neuron):
                own = neuron._parameters if name in neuron._parameters else neuron._buffers
                golden = own[name]
                assert golden is not None
                value = golden.detach().to(dtype) if golden.ndim == 0 else golden.detach()
                broken = model.parameter_value(name, value)
                if broken is not value:
                    placed.callback(own.__setitem__, name, golden)
                    own[name] = torch.where(where, broken, value)
            yield
