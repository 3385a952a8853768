"""Faults of the last linear layer where a membrane is read out: PyTorch's own products.

A score is then a membrane, whose last bit depends on the order in which a product adds up its
terms: ``golden + change * input`` rounds otherwise than the network does, and a pair that is masked
would count as changed. So the faulty rows are multiplied by PyTorch: many rows in one product
where that gives the golden currents bit for bit, else one faulty row for each output.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from fi.engine.compiled import kernels
from fi.engine.compiled.fault_arrays import parameter_values, window
from fi.engine.compiled.stage_constants import Array, StageModel
from fi.engine.compiled.synapse_matrix import RESHAPING, Ints
from fi.faults.fault import Fault
from fi.network.stages import StageActivity

#: Rows of a stacked product: enough for an efficient one.
STACKED = 256


@dataclass(frozen=True)
class RowStrikes:
    """Faults in weights and biases of the last layer.

    ``fault`` position in the group; ``row`` of weights (-1 for a bias); ``channel`` the output;
    ``value`` of the faulty word; ``since, until`` the first and the last step of it.
    """

    fault: Array
    row: Ints
    channel: Ints
    value: Array
    since: Ints
    until: Ints

    def __len__(self) -> int:
        return len(self.fault)

    def part(self, chosen: Array) -> RowStrikes:
        """Some of the strikes."""
        return RowStrikes(*(getattr(self, name)[chosen] for name in self.__dataclass_fields__))


def row_strikes(
    model: StageModel, attribute: str, faults: Sequence[Fault], at: Array
) -> RowStrikes:
    """Faults at the places ``at`` of the group; those that change nothing are left out."""
    weights = model.synapse.weights
    golden, faulty, flat = parameter_values(weights, attribute, faults)
    per_channel = getattr(weights, attribute)[0].numel()
    row = flat % per_channel if attribute == "weight" else np.full(len(flat), -1)
    channel = (flat // per_channel).astype(np.int32)
    strikes = RowStrikes(at, row.astype(np.int32), channel, faulty, *window(faults))
    bits = f"u{golden.itemsize}"
    return strikes.part((golden.view(bits) != faulty.view(bits)).nonzero()[0])


@dataclass(frozen=True)
class LastLayer:
    """The last stage's linear layer, and which products of stacked rows are known to be exact."""

    model: StageModel
    exact: dict[tuple[int, int], bool] = field(default_factory=dict)

    @staticmethod
    def fits(model: StageModel) -> bool:
        """Whether nothing but the layer makes the currents."""
        others = [m for m in model.stage.modules if m is not model.synapse.weights]
        is_linear = isinstance(model.synapse.weights, nn.Linear)
        return is_linear and all(isinstance(module, RESHAPING) for module in others)

    def seen(self, activity: StageActivity) -> Tensor:
        """What the layer sees of a golden run, ``[time * batch, inputs]``."""
        signal = activity.inputs.flatten(0, 1)
        for module in self.model.stage.modules:
            if module is self.model.synapse.weights:
                break
            signal = module(signal)
        return signal

    def copies(self, golden: GoldenLayer, strikes: RowStrikes) -> int:
        """How often the layer's rows are stacked in a product."""
        most = int(np.bincount(strikes.channel).max(initial=1))
        wanted = max(1, min(most, STACKED // self.model.neurons))
        shape = (len(golden.seen), wanted)
        if shape not in self.exact:
            weights = self.model.synapse.weights
            product = functional.linear(golden.seen, *_stacked(weights, wanted))
            same = golden.currents.flatten(0, 1).repeat(1, wanted)
            self.exact[shape] = torch.equal(product, same)
        return wanted if self.exact[shape] else 1

    def statistics(
        self, golden: GoldenLayer, strikes: RowStrikes
    ) -> Iterator[tuple[RowStrikes, Array]]:
        """The largest membranes ``f [B, strikes]`` of the struck outputs, in portions."""
        copies = self.copies(golden, strikes)
        order = np.argsort(strikes.channel, kind="stable")
        channel = strikes.channel[order]
        turn = np.arange(len(order)) - np.searchsorted(channel, channel)
        model = self.model
        neurons = [np.tile(a, copies) for a in (model.alpha, model.beta, model.threshold)]
        for product in range(int(turn.max(initial=-1)) // copies + 1):
            chosen = (turn // copies == product).nonzero()[0]
            slot = (turn[chosen] % copies) * model.neurons + channel[chosen]
            part = strikes.part(order[chosen])
            currents = golden.under(part, slot, model.synapse.weights, copies)
            largest = kernels.largest_membranes(
                currents.numpy(), *neurons, model.synaptic, model.reset
            )
            yield part, largest[:, slot]


@dataclass(frozen=True)
class GoldenLayer:
    """The golden run of the last layer: what it ``seen`` and its ``currents [time, batch, N]``."""

    seen: Tensor
    currents: Tensor

    def under(self, strikes: RowStrikes, slot: Array, weights: nn.Module, copies: int) -> Tensor:
        """Currents ``[time, batch, copies * N]``, of each strike in its ``slot``."""
        weight, bias = _stacked(weights, copies)
        of_bias = strikes.row < 0
        value = torch.from_numpy(strikes.value)
        weight[slot[~of_bias], strikes.row[~of_bias]] = value[~of_bias]
        if bias is not None:
            bias[slot[of_bias]] = value[of_bias]
        steps, batch = self.currents.shape[:2]
        currents = functional.linear(self.seen, weight, bias).unflatten(0, (steps, batch))
        if (strikes.since > 0).any() or (strikes.until < steps - 1).any():
            step = np.arange(steps)[:, None]
            active = torch.from_numpy((strikes.since <= step) & (step <= strikes.until))
            golden = self.currents[:, :, strikes.channel]
            now = torch.where(active[:, None], currents[:, :, slot], golden)
            currents[:, :, slot] = now
        return currents


def _stacked(weights: nn.Module, copies: int) -> tuple[Tensor, Tensor | None]:
    """Weight and bias of the layer, its rows ``copies`` times."""
    assert isinstance(weights, nn.Linear)
    weight = weights.weight.detach().repeat(copies, 1)
    bias = None if weights.bias is None else weights.bias.detach().repeat(copies)
    return weight, bias
