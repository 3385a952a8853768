"""Words of one stored tensor, many at once, and what hits make of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from fi.faults.bits import apply_masks, are_same_words
from fi.faults.family_names import attribute_of, layer_of
from fi.faults.fault import signed_masks
from fi.faults.hits.hit_space import FamilyHits, Ints
from fi.faults.models import fault_model
from fi.faults.stored_words import FaultNotApplied, StoredWord
from fi.faults.word_formats import WordFormat, format_of


def unravel_words(words: Ints, shape: tuple[int, ...]) -> tuple[Tensor, ...]:
    """The index of each word in a tensor of ``shape``: one int64 ``[words]`` for each axis."""
    if not shape:
        return ()
    return tuple(torch.unravel_index(torch.from_numpy(words), shape))


class HitWords(StoredWord):
    """All words of one parameter or buffer that are hit: ``StoredWord`` for many at once.

    Its values are computed when it is made: the tensor has to be without faults then.

    Attributes:
        golden: their values without faults ``[words]``.
        starts: the time steps from which on they may read otherwise, ascending, from 0 on.
    """

    def __init__(self, network: nn.Module, hits: FamilyHits, steps: range | None) -> None:
        name = hits.family.name
        module, attribute = network.get_submodule(layer_of(name)), attribute_of(name)
        self.faults, self.hits = (), hits
        self.tensor = getattr(module, attribute).detach()
        index = unravel_words(hits.words, tuple(self.tensor.shape))
        self.index: Any = tuple(axis.to(self.tensor.device) for axis in index)
        self.golden = self.tensor[self.index].clone()
        faulty = corrupt_stored(hits, self.golden, format_of(module, attribute), self.tensor)
        self.starts, self._values = [0], [faulty]
        if steps is not None:
            changes = {0: self.golden, steps[0]: faulty, steps[-1] + 1: self.golden}
            self.starts, self._values = sorted(changes), [changes[s] for s in sorted(changes)]

    def check(self, value: Tensor) -> None:
        if not are_same_words(self.tensor[self.index], value):
            raise FaultNotApplied(
                f"{len(self.hits)} faults in {self.hits.family.name} were never applied, or did "
                "not stay: a forward changes its own words under them; leave these out with "
                "--faults.layers"
            )


def corrupt_stored(hits: FamilyHits, golden: Tensor, form: WordFormat, tensor: Tensor) -> Tensor:
    """What the words that are hit read, in the type and shape of ``golden``: ``[words]``.

    Args:
        hits: of one tensor.
        golden: its words that are hit, as they are without.
        form: of its stored words.
        tensor: all of it, without faults.
    """
    before = golden.reshape(-1)
    places = hits.words // max(1, tensor[0].numel()) if tensor.ndim else np.zeros(1, np.int64)
    own = form.select(torch.from_numpy(places))
    stored = own.encode(before.float())
    if hits.takes_bits:
        masks = torch.from_numpy(hits.combine_masks()).to(stored.device)
        words = apply_masks(stored, *masks)
    else:
        words = stored.clone()
        for number, name in enumerate(hits.models):
            chosen = torch.from_numpy(hits.model == number).to(stored.device)  # each word once
            some = form.select(torch.from_numpy(places[hits.model == number]))
            words[chosen] = _change_whole_words(name, stored[chosen], some, tensor)
    after = own.decode(words).to(golden.dtype)
    return torch.where(words == stored, before, after).reshape(golden.shape)


def _change_whole_words(name: str, words: Tensor, form: WordFormat, tensor: Tensor) -> Tensor:
    """What a model of whole words makes of ``words`` ``[words]`` of a tensor."""
    model = fault_model(name)
    if model.gives_values():
        return form.encode(model.value(form.decode(words), tensor.float()))
    return apply_masks(words, *signed_masks(name, ()))
