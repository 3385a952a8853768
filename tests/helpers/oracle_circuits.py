"""One neuron with a broken circuit by hand, sample by sample, in plain Python on float32 numbers.

Nothing of the tool is imported. ``f`` rounds to float32 after every operation, as PyTorch does.
"""

from __future__ import annotations

from collections.abc import Sequence

from oracle import AnyFault
from oracle import float32 as f
from torch import Tensor, tensor


class Circuit:
    """The update of one neuron in one step.

    Args:
        faults: that are active in this step, in their order.
        beta, threshold: of this neuron.
        before: its membrane after the step before, ``[batch]``.
        fired: per sample the steps at which its circuit has fired, added to.
    """

    def __init__(
        self,
        faults: Sequence[AnyFault],
        beta: Tensor,
        threshold: Tensor,
        before: Tensor,
        fired: list[list[int]],
    ) -> None:
        self.models = [fault.model.partition(":")[::2] for fault in faults]
        self.beta, self.threshold = float(beta), float(threshold)
        for name, number in self.models:
            if name == "scale-threshold":
                self.threshold = f(self.threshold * float(number))
            if name == "scale-leak":
                self.beta = f(self.beta * float(number))
            if name == "no-leak":
                self.beta = 1.0
        self.beta = min(max(self.beta, 0.0), 1.0)
        self.before, self.fired = before.tolist(), fired

    def leaky(self, current: Tensor, step: int) -> tuple[Tensor, Tensor]:
        """Membranes and spikes ``[batch]``."""
        found = []
        for sample, given in enumerate(current.tolist()):
            fed = self.fed(given, sample, step)
            found.append(self.integrate(fed, sample, step))
        membranes, spikes = zip(*found, strict=True)
        return tensor(membranes), tensor(spikes)

    def synaptic(
        self, decayed: Tensor, current: Tensor, step: int
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Synaptic currents, membranes and spikes ``[batch]``."""
        found = []
        for sample, (left, given) in enumerate(
            zip(decayed.tolist(), current.tolist(), strict=True)
        ):
            synapse = f(left + self.fed(given, sample, step))
            found.append((synapse, *self.integrate(synapse, sample, step)))
        synapses, membranes, spikes = zip(*found, strict=True)
        return tensor(synapses), tensor(membranes), tensor(spikes)

    def fed(self, current: float, sample: int, step: int) -> float:
        stopped = any(name == "no-integration" for name, _ in self.models)
        return 0.0 if stopped or self.is_refractory(sample, step) else current

    def is_refractory(self, sample: int, step: int) -> bool:
        last = self.fired[sample][-1:]
        return any(
            name == "refractory" and any(step - other <= float(number) for other in last)
            for name, number in self.models
        )

    def integrate(self, fed: float, sample: int, step: int) -> tuple[float, float]:
        before = self.before[sample]
        reset = f(before - self.threshold) > 0
        for name, _ in self.models:
            if name in ("no-reset", "no-fire", "always-fire"):
                reset = name == "always-fire"
        decayed = f(f(self.beta * before) + fed)
        membrane = f(decayed - (self.threshold if reset else 0.0))
        fires = f(membrane - self.threshold) > 0
        for name, _ in self.models:
            if name in ("no-fire", "always-fire"):
                fires = name == "always-fire"
            if name == "refractory" and self.is_refractory(sample, step):
                fires = False
        if fires:
            self.fired[sample].append(step)
        return membrane, float(fires)
