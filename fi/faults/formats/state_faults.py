"""Faults of states whose words are of a number format."""

from __future__ import annotations

import torch
from torch import Tensor

from fi.faults.bits import apply_masks, as_signed, corrupt, from_words
from fi.faults.fault import Bits, masks_of, signed_masks
from fi.faults.word_formats import BFLOAT16, FLOAT16, FLOAT32, WordFormat

_QUIET_NAN: dict[WordFormat, int] = {FLOAT16: 0x7E00, BFLOAT16: 0x7FC0}


def state_masks(model: str, bits: Bits, form: WordFormat) -> tuple[int, int, int]:
    """What a fault model does to a state's word of that format: keep, force and flip, signed.

    A value that is held is the nearest word.
    """
    masks = masks_of(model, bits)
    if form is FLOAT32 or masks.keep:
        return signed_masks(model, bits)
    pattern = torch.tensor([as_signed(masks.force ^ masks.flip)], dtype=torch.int32)
    return 0, int(form.encode(from_words(pattern))[0]), 0


def corrupt_states(
    states: Tensor, masks: tuple[Tensor | int, Tensor | int, Tensor | int], form: WordFormat
) -> Tensor:
    """``states`` as they read with their words under ``masks``, in their own dtype.

    A NaN of 16 bits is the positive quiet one: which PyTorch makes depends on how many it makes.
    """
    if form is FLOAT32:
        return corrupt(states, *masks)
    stored = form.encode(states.float())
    if form in _QUIET_NAN:
        stored = stored.masked_fill(states.isnan(), _QUIET_NAN[form])
    faulty = apply_masks(stored, *masks) & ((1 << form.bits) - 1)
    return torch.where(faulty == stored, states, form.decode(faulty).to(states.dtype))
