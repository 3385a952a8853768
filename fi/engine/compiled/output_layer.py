"""The last linear layer where a membrane is read out: PyTorch's own products.

A score is then a membrane, whose last bit depends on the order in which a product adds up its
terms: ``golden + change * input`` rounds otherwise than the network does, and a pair that is masked
would count as changed. So the faulty rows are multiplied by PyTorch: many rows in one product
where that gives the golden currents bit for bit, else one faulty row for each output.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from fi.engine.compiled import kernels
from fi.engine.compiled.fault_arrays import (
    find_changed,
    find_parameter_values,
    find_window,
)
from fi.engine.compiled.kernels.arrays import NO_ROW, Array, PairList
from fi.engine.compiled.kernels.pair_lists import choose_pairs
from fi.engine.compiled.kernels.read_out import Statistics
from fi.engine.compiled.stage_constants import StageModel
from fi.engine.compiled.synapse_matrix import RESHAPING, Ints
from fi.faults.fault import Fault
from fi.network.stages import StageActivity

#: Rows of a stacked product: enough for an efficient one.
STACKED = 256
#: Rows of a product that are tried, for frames that differ.
CHUNKS = (256, 64, 1024)
#: Currents of pairs that are read out at a time.
PORTION = 1 << 22


@dataclass(frozen=True)
class RowFaults:
    """Faults in weights and biases of the last layer.

    Attributes:
        fault: position in the group, ``[faults]`` as all.
        row: of weights, NO_ROW for a bias.
        channel: the output.
        value: of the faulty word.
        since, until: the first and the last step of it.
    """

    fault: Array
    row: Ints
    channel: Ints
    value: Array
    since: Ints
    until: Ints

    def __len__(self) -> int:
        return len(self.fault)

    def part(self, chosen: Array) -> RowFaults:
        """Some of the faults."""
        return RowFaults(*(getattr(self, name)[chosen] for name in self.__dataclass_fields__))


def resolve_row_faults(
    model: StageModel, attribute: str, faults: Sequence[Fault], positions: Array
) -> RowFaults:
    """Faults at ``positions`` of the group; those that change nothing are left out."""
    weights = model.synapse.weights
    golden, faulty, flat = find_parameter_values(weights, attribute, faults)
    per_channel = getattr(weights, attribute)[0].numel()
    row = flat % per_channel if attribute == "weight" else np.full(len(flat), NO_ROW)
    channel = (flat // per_channel).astype(np.int32)
    found = RowFaults(positions, row.astype(np.int32), channel, faulty, *find_window(faults))
    return found.part(find_changed(golden, faulty))


@dataclass(frozen=True)
class LastLayer:
    """The last stage's linear layer, and which products are known to be exact.

    Attributes:
        model: of the stage.
        exact: whether so many golden rows, with the weights so often stacked, are.
        chunks: by golden rows how many others in a product are, ``None`` where none tried are.
    """

    model: StageModel
    exact: dict[tuple[int, int], bool] = field(default_factory=dict)
    chunks: dict[int, int | None] = field(default_factory=dict)

    @staticmethod
    def fits(model: StageModel) -> bool:
        """Whether nothing but the layer makes the currents."""
        others = [m for m in model.stage.modules if m is not model.synapse.weights]
        is_linear = isinstance(model.synapse.weights, nn.Linear)
        return is_linear and all(isinstance(module, RESHAPING) for module in others)

    def find_seen(self, activity: StageActivity) -> Tensor:
        """What the layer sees of a golden run, ``[time * batch, inputs]``."""
        signal = activity.inputs.flatten(0, 1)
        for module in self.model.stage.modules:
            if module is self.model.synapse.weights:
                break
            signal = module(signal)
        return signal

    def count_copies(self, golden: GoldenLayer, faults: RowFaults) -> int:
        """How often the layer's rows are stacked in a product."""
        most = int(np.bincount(faults.channel).max(initial=1))
        wanted = max(1, min(most, STACKED // self.model.neurons))
        shape = (len(golden.seen), wanted)
        if shape not in self.exact:
            weights = self.model.synapse.weights
            product = functional.linear(golden.seen, *_stack(weights, wanted))
            same = golden.currents.flatten(0, 1).repeat(1, wanted)
            self.exact[shape] = torch.equal(product, same)
        return wanted if self.exact[shape] else 1

    def run_faults(
        self, golden: GoldenLayer, faults: RowFaults
    ) -> Iterator[tuple[RowFaults, Array]]:
        """The largest membranes ``f [B, faults]`` of the faulty outputs, in portions."""
        copies = self.count_copies(golden, faults)
        order = np.argsort(faults.channel, kind="stable")
        channel = faults.channel[order]
        turn = np.arange(len(order)) - np.searchsorted(channel, channel)
        model = self.model
        constants = model.constants
        neurons = constants._replace(
            alpha=np.tile(constants.alpha, copies),
            beta=np.tile(constants.beta, copies),
            threshold=np.tile(constants.threshold, copies),
        )
        for product in range(int(turn.max(initial=-1)) // copies + 1):
            chosen = (turn // copies == product).nonzero()[0]
            slot = (turn[chosen] % copies) * model.neurons + channel[chosen]
            part = faults.part(order[chosen])
            currents = golden.run_faulty(part, slot, model.synapse.weights, copies)
            largest = kernels.find_largest_membranes(currents.numpy(), neurons)
            yield part, largest[:, slot]

    def read_out(self, golden: GoldenLayer, pairs: PairList, final: Array) -> Statistics:
        """Carry differences through the layer: the pairs whose largest membranes are others.

        Args:
            golden: of the batch.
            pairs: what differs in the inputs of the layer.
            final: the golden statistic, ``f [B, N]``.
        """
        steps = len(golden.currents)
        portion = max(1, PORTION // (steps * self.model.neurons))
        number = np.arange(len(pairs.fault)) // portion
        found = [
            self._read_out(golden, choose_pairs(pairs, number == part), final)
            for part in range(int(number.max(initial=0)) + 1)
        ]
        return Statistics(*(np.concatenate(parts) for parts in zip(*found, strict=True)))

    @torch.no_grad()  # in a thread of its own, which knows nothing of the campaign's
    def _read_out(self, golden: GoldenLayer, pairs: PairList, final: Array) -> Statistics:
        pairs = kernels.order_by_time(pairs, len(golden.currents))
        frames = kernels.find_frames(pairs)
        driven = self._multiply(golden, pairs, *frames).numpy()
        currents = golden.currents.numpy()
        return kernels.read_maxima(pairs, *frames, driven, currents, self.model.constants, final)

    def _multiply(
        self, golden: GoldenLayer, pairs: PairList, begins: Array, owner: Array
    ) -> Tensor:
        """The layer's products ``[frames, N]`` of frames that differ.

        So many rows at a time as give the golden products bit for bit; where no number does, each
        in its own row among the golden ones.
        """
        seen, batch = golden.seen.numpy(), golden.currents.shape[1]
        given = (begins, owner, pairs, seen, batch)
        size = self._find_chunk(golden)
        frames = golden.seen.new_zeros(size or len(owner), seen.shape[1])
        if size is None:
            kernels.fill_frames(frames.numpy(), 0, *given)
            rows = pairs.step[begins[:-1]].astype(np.int64) * batch + pairs.sample[owner]
            return self._multiply_in_place(golden, torch.from_numpy(rows), frames)
        driven = frames.new_empty(-(-len(owner) // size) * size, self.model.neurons)
        for first in range(0, len(owner), size):
            kernels.fill_frames(frames.numpy(), first, *given)
            driven[first : first + size] = self.model.synapse.weights(frames)
        return driven

    def _find_chunk(self, golden: GoldenLayer) -> int | None:
        """How many rows of a product round as the golden ones do; ``None``: no number tried."""
        count = len(golden.seen)
        if count not in self.chunks:
            self.chunks[count] = next(
                filter(partial(self._is_exact, golden), (*CHUNKS, count)), None
            )
        return self.chunks[count]

    def _is_exact(self, golden: GoldenLayer, size: int) -> bool:
        """Whether golden rows in another order, ``size`` at a time, have the golden products."""
        count = len(golden.seen)
        order = torch.arange(-(-max(count, size) // size) * size).flip(0) * 7919 % count
        currents = golden.currents.flatten(0, 1)
        weights = self.model.synapse.weights
        return all(
            torch.equal(weights(golden.seen[rows]), currents[rows]) for rows in order.split(size)
        )

    def _multiply_in_place(self, golden: GoldenLayer, rows: Tensor, frames: Tensor) -> Tensor:
        order = torch.argsort(rows, stable=True)
        ordered = rows[order]
        turn = torch.arange(len(rows)) - torch.searchsorted(ordered, ordered)
        product = frames.new_empty(len(frames), self.model.neurons)
        for now in turn.unique():
            chosen = order[turn == now]
            seen = golden.seen.clone()
            seen[rows[chosen]] = frames[chosen]
            product[chosen] = self.model.synapse.weights(seen)[rows[chosen]]
        return product


@dataclass(frozen=True)
class GoldenLayer:
    """The golden run of the last layer: what it ``seen`` and its ``currents [time, batch, N]``."""

    seen: Tensor
    currents: Tensor

    def run_faulty(self, faults: RowFaults, slot: Array, weights: nn.Module, copies: int) -> Tensor:
        """Currents ``[time, batch, copies * N]``, of each fault in its ``slot``."""
        weight, bias = _stack(weights, copies)
        of_bias = faults.row == NO_ROW
        value = torch.from_numpy(faults.value)
        weight[slot[~of_bias], faults.row[~of_bias]] = value[~of_bias]
        if bias is not None:
            bias[slot[of_bias]] = value[of_bias]
        steps, batch = self.currents.shape[:2]
        product = functional.linear(self.seen, weight, bias)
        currents: Tensor = product.unflatten(0, (steps, batch))
        if (faults.since > 0).any() or (faults.until < steps - 1).any():
            step = np.arange(steps)[:, None]
            active = torch.from_numpy((faults.since <= step) & (step <= faults.until))
            golden = self.currents[:, :, faults.channel]
            now = torch.where(active[:, None], currents[:, :, slot], golden)
            currents[:, :, slot] = now
        return currents


def _stack(weights: nn.Module, copies: int) -> tuple[Tensor, Tensor | None]:
    """Weight and bias of the layer, its rows ``copies`` times."""
    assert isinstance(weights, nn.Linear)
    weight = weights.weight.detach().repeat(copies, 1)
    bias = None if weights.bias is None else weights.bias.detach().repeat(copies)
    return weight, bias
