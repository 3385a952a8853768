"""Stored words, weights and parameters: what faults make of them."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor, nn

from fi.base.errors import UserError
from fi.faults.bits import apply_masks, are_same_words
from fi.faults.fault import Bits, Fault, Index, signed_masks
from fi.faults.groups.alike import Words
from fi.faults.models import fault_model
from fi.faults.word_formats import WordFormat, format_of


def golden_and_faulty(
    module: nn.Module, attribute: str, faults: Sequence[Fault]
) -> tuple[Tensor, Tensor]:
    """Values before and after each fault, ``[faults]``, in the type of the tensor.

    This is the one place that says what a fault makes of a weight or a parameter.

    Args:
        module: that holds the tensor.
        attribute: of the module: ``weight``, ``beta``.
        faults: in words of that tensor.
    """
    tensor: Tensor = getattr(module, attribute).detach()
    golden = tensor.flatten()[flat_indices(faults, tuple(tensor.shape))]
    return golden, apply_faults(module, attribute, golden, faults)


def apply_faults(
    module: nn.Module, attribute: str, golden: Tensor, faults: Sequence[Fault]
) -> Tensor:
    """What each fault makes of a value in ``golden`` ``[faults]`` of that tensor."""
    tensor: Tensor = getattr(module, attribute).detach()
    form = format_of(module, attribute)
    faulty = golden.clone()
    rows: dict[str, list[int]] = {}
    for row, fault in enumerate(faults):
        rows.setdefault(fault.model, []).append(row)
    for name, chosen in rows.items():
        places = torch.from_numpy(np.array(chosen)).to(tensor.device)
        before = golden[places]
        own = form.select(find_channels([faults[row].index for row in chosen]))
        stored = own.encode(before.float())
        words = _apply_model(name, [faults[row].bits for row in chosen], stored, own, tensor)
        after = own.decode(words).to(golden.dtype)
        faulty[places] = torch.where(words == stored, before, after)
    return faulty


def _apply_model(
    model: str, bits: Sequence[Bits], words: Tensor, form: WordFormat, tensor: Tensor
) -> Tensor:
    """What a model that hits these bits makes of each of ``words`` ``[faults]`` of a tensor."""
    maker = fault_model(model)
    if maker.gives_values():
        return form.encode(maker.value(form.decode(words), tensor.float()))
    known = {hit: signed_masks(model, hit) for hit in set(bits)}
    signed = np.array([known[hit] for hit in bits], np.int32)
    masks = torch.from_numpy(signed).to(words.device)
    return apply_masks(words, *masks.unbind(1))


def find_channels(index: Sequence[Index]) -> Tensor:
    """The place in the first axis of each word, int64 ``[words]``; 0 in a tensor of one word."""
    return torch.tensor([place[0] if place else 0 for place in index])


def flat_indices(faults: Sequence[Fault], shape: tuple[int, ...]) -> Tensor:
    """The row-major number of each fault's word, int64 ``[faults]``."""
    if not shape:
        return torch.zeros(len(faults), dtype=torch.int64)
    index = np.array([fault.index for fault in faults], np.int64).reshape(-1, len(shape))
    return torch.from_numpy(np.asarray(np.ravel_multi_index(tuple(index.T), shape), np.int64))


class FaultNotApplied(UserError):
    """An inference ran without a fault that it was meant to have."""


class StoredWord:
    """A word of a parameter or buffer under some faults, which act in their order.

    Several words have the same faults. Its values are computed when it is made: the tensor has to
    be without faults then.

    Attributes:
        faults: that act on it.
        golden: its value without them.
        starts: the time steps from which on it may read otherwise, ascending, from 0 on.
    """

    def __init__(
        self, module: nn.Module, attribute: str, index: Index | Words, faults: Sequence[Fault]
    ) -> None:
        self.faults, self.index = tuple(faults), index
        self.tensor: Tensor = getattr(module, attribute).detach()
        self.golden = self.tensor[index].clone()
        windows = [fault.steps for fault in faults if fault.steps is not None]
        ends = {end for window in windows for end in (window[0], window[-1] + 1)}
        self.starts = sorted({0, *ends})
        channel = torch.as_tensor(index[0] if index else 0).reshape(-1)
        form = format_of(module, attribute).select(channel)
        self._values = [self._read_at(form, step) for step in self.starts]

    def _read_at(self, form: WordFormat, step: int) -> Tensor:
        """Each fault finds the word of the one before, whose value may have none (int8 -128)."""
        golden = word = form.encode(self.golden.reshape(-1).float())
        for fault in self.faults:
            if fault.active(step):
                word = _apply_model(fault.model, [fault.bits], word, form, self.tensor)
        faulty = form.decode(word).to(self.golden.dtype)
        return torch.where(word == golden, self.golden.reshape(-1), faulty).view_as(self.golden)

    @property
    def is_constant(self) -> bool:
        """Whether all its faults are permanent."""
        return len(self.starts) == 1

    def value_at(self, step: int) -> Tensor:
        """What it reads at ``step``."""
        return self._values[bisect_right(self.starts, step) - 1]

    def differs_at(self, step: int) -> bool:
        """Whether it reads otherwise than without faults."""
        return not are_same_words(self.value_at(step), self.golden)

    def write(self, value: Tensor) -> None:
        """Store ``value`` and read it back."""
        self.tensor[self.index] = value
        self.check(value)

    def restore(self) -> None:
        """Store the golden value."""
        self.write(self.golden)

    def check(self, value: Tensor) -> None:
        """Raise ``FaultNotApplied`` unless the word reads ``value``."""
        if not are_same_words(self.tensor[self.index], value):
            reads = self.tensor[self.index]
            place = 0 if reads.ndim == 0 else int((reads != value).float().argmax())
            found, wanted = reads.reshape(-1)[place], value.reshape(-1)[place]
            raise FaultNotApplied(
                f"{'; '.join(map(str, self.faults))} was never applied, or did not stay: the word "
                f"reads {float(found)}, not {float(wanted)}; where a forward "
                "changes its own words under a fault, leave these out with --faults.layers"
            )

    @contextmanager
    def hold(self) -> Iterator[None]:
        """Hold the faulty value while the context lasts; it must still be there at the end."""
        try:
            self.write(self.value_at(0))
            yield
            self.check(self.value_at(0))
        finally:
            self.restore()
