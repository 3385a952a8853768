"""Networks whose forward is their own: what goes in, and what becomes scores."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from snntorch import SpikingNeuron
from torch import Tensor, nn

from fi.network.adapting.forms import Asked, Form, find_form
from fi.network.adapting.outputs import ScoreReader
from fi.network.adapting.own_reset import OwnReset
from fi.network.adapting.seeding import seeded
from fi.network.batch_forms import Layout
from fi.network.neurons import output_spikes, reset_neurons, spiking_neurons
from fi.network.spikingjet_stub import silence


class Adapter:
    """Scores ``[batch, classes]`` of a network that is no ``SpikingNetwork``.

    What is not said is found out by a trial of the first events.

    Args:
        network: any module with snnTorch neurons.
        readout: how what its forward returns becomes scores, one of ``READOUTS``: ``scores``
            ``[batch, classes]`` as they are; ``count`` and ``mean`` of spikes, ``membrane-last``
            and ``membrane-max`` of membranes, all ``[time, batch, classes]``; ``population:K``
            adds up the counts of neighbouring outputs to K classes.
        time_axis: where the forward wants time in the events; 0 gives ``[time, batch, ...]``,
            ``none`` images ``[batch, ...]``.
        forward: whether it takes a ``sequence`` of steps or one ``step`` a call.
        forward_seed: of random numbers that it draws, the same in every call; ``None`` leaves them
            as they come.
        decision_threshold: of one output for two classes: above it is class 1.

    Raises:
        UserError: there is no such readout or form, or, when it is called, the forward takes the
            events in no form or returns something else than the readout says.

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

    def __init__(
        self,
        network: nn.Module,
        readout: str = "auto",
        time_axis: int | str = "auto",
        forward: str = "auto",
        forward_seed: int | None = None,
        decision_threshold: float | None = None,
    ) -> None:
        self.reader = ScoreReader(readout, decision_threshold)
        self.asked = Asked(forward, time_axis)
        self.network = network
        self.forward_seed = forward_seed
        self.form: Form | None = None
        silence(network)
        for neuron in spiking_neurons(network).values():
            neuron.register_forward_hook(cast_spikes)
        self._reset = OwnReset(network)

    @property
    def time_axis(self) -> int:
        """Where time is in what the forward gets; 0 where that is not known or it gets none."""
        return (self.form.time_axis or 0) if self.form else 0

    @property
    def has_steps(self) -> bool:
        """Whether the events have time; images have none."""
        return self.form is None or self.form.step or self.form.time_axis is not None

    def find_form(self, events: Tensor, layouts: Sequence[Layout]) -> Form:
        """Find out how the forward is called, of ``events`` as the loader gives them.

        Raises:
            UserError: it takes them in no form.
        """
        with seeded(self.forward_seed):
            self.form = find_form(self.network, events, layouts, self.asked, self._reset)
        return self.form

    def __call__(self, events: Tensor) -> Tensor:
        """Scores ``[batch, classes]`` of ``events`` ``[time, batch, ...]``, which do not change."""
        form = self.form or self.find_form(events, [Layout.TIME_FIRST])
        reset_neurons(self.network)
        self._reset(events.shape[1])
        with seeded(self.forward_seed):
            returned = form.call(self.network, events.clone())
        return self.scores(returned)

    def scores(self, returned: Any) -> Tensor:
        """What the forward returned, of a forward of one step for each, as scores."""
        assert self.form is not None
        output = self.form.output
        if not self.form.step:
            return self.reader.read(output.tensors(returned), output)
        by_tensor = zip(*map(output.tensors, returned), strict=True)
        return self.reader.read([torch.stack(steps) for steps in by_tensor], output)

    def describe(self) -> list[str]:
        """What was found out and is not usual, a sentence each."""
        if self.form is None:
            return []
        found = [f"the forward takes {self.form}"] if self._is_unusual(self.form) else []
        if self._reset.names:
            found.append(f"{', '.join(self._reset.names)}() is called before each batch")
        if self._reset.left_out:
            names = ", ".join(self._reset.left_out)
            found.append(f"{names}() changes words of the network: it is not called")
        return found

    def warn(self) -> list[str]:
        """What makes the scores other than one may think, a sentence each."""
        if self.form is None:
            return []
        output = self.form.output
        found = list(output.notes)
        reads_membranes = self.reader.readout.startswith("membrane-")
        if reads_membranes and output.membranes is None and not output.graded:
            found.append(
                f"--readout {self.reader.readout} reads what the forward returns, which had one "
                "value beside 0 in a trial, as spikes have: return membranes behind them"
            )
        if output.graded and self.reader.readout == "auto":
            found.append(
                "what the forward returns for each step is added up as if it were spikes, but has "
                "other values: --readout membrane-last, membrane-max or mean reads membranes, and "
                "count says that the sum is meant"
            )
        return found

    def _is_unusual(self, form: Form) -> bool:
        asked = self.asked.forward != "auto" or self.asked.time_axis != "auto"
        return not asked and (form.step or form.time_axis != 0)


def cast_spikes(neuron: nn.Module, args: tuple[Any, ...], output: Any) -> Any:
    """Cast a neuron's spikes to its membrane's type: the surrogates return float32 for float64."""
    assert isinstance(neuron, SpikingNeuron)
    spikes, membrane = output_spikes(output), getattr(neuron, "mem", None)
    if not isinstance(membrane, Tensor) or spikes.dtype == membrane.dtype:
        return None
    cast = spikes.to(membrane.dtype)
    return (cast, *output[1:]) if isinstance(output, tuple) else cast


cast_spikes.casts_only = True  # type: ignore[attr-defined]  # see has_own_behaviour
