"""Words under masks: laws that hold for any values, of any type and shape."""

from __future__ import annotations

import struct

import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from fi.faults.bits import corrupt, from_words, to_words
from fi.faults.fault import Fault

patterns = st.integers(0, 2**32 - 1)
bits = st.sets(st.integers(0, 31), min_size=1, max_size=6).map(lambda found: tuple(sorted(found)))
shapes = st.lists(st.integers(0, 3), max_size=4).map(tuple)


@st.composite
def tensors(draw: st.DrawFn) -> Tensor:
    """Any float32 words, NaN and infinities among them, in float32 or float64, of any rank."""
    shape = draw(shapes)
    size = int(torch.tensor(shape).prod()) if shape else 1
    words = draw(st.lists(patterns, min_size=size, max_size=size))
    signed = [word - 2**32 if word >> 31 else word for word in words]
    values = from_words(torch.tensor(signed, dtype=torch.int32).reshape(shape))
    quiet = torch.where(values.isnan(), torch.full_like(values, torch.nan), values)
    dtype = draw(st.sampled_from((torch.float32, torch.float64)))
    return quiet.to(dtype)


def fault(model: str, hit: tuple[int, ...]) -> Fault:
    return Fault(0, "fc1.weight", (), hit, model)


def unchanged(left: Tensor, right: Tensor) -> bool:
    return left.dtype == right.dtype and torch.equal(to_words(left), to_words(right))


@given(tensors(), bits)
def test_a_flip_twice_is_nothing(values: Tensor, hit: tuple[int, ...]) -> None:
    words = to_words(values)
    masks = fault("bit-flip", hit).masks.signed()
    once = (words & masks[0] | masks[1]) ^ masks[2]
    assert not (once == words).any()
    assert torch.equal((once & masks[0] | masks[1]) ^ masks[2], words)
    if values.dtype == torch.float32:  # a signalling NaN does not survive float64
        flip = fault("bit-flip", hit)
        assert unchanged(flip.corrupt(flip.corrupt(values)), values)


@given(tensors(), bits, st.sampled_from(("stuck-at-0", "stuck-at-1", "dead", "stuck-value:0.3")))
def test_stuck_once_is_stuck_for_good(values: Tensor, hit: tuple[int, ...], model: str) -> None:
    stuck = fault(model, hit if model.startswith("stuck-at") else ())
    once = stuck.corrupt(values)
    assert once.shape == values.shape
    if values.dtype == torch.float32 or not once.isnan().any():
        assert unchanged(stuck.corrupt(once), once)


@given(st.floats(width=32), bits, st.sampled_from(("bit-flip", "stuck-at-0", "stuck-at-1")))
def test_bits_are_those_of_struct(value: float, hit: tuple[int, ...], model: str) -> None:
    (word,) = struct.unpack("<I", struct.pack("<f", value))
    for bit in hit:
        changed = {"bit-flip": word ^ 1 << bit, "stuck-at-0": word & ~(1 << bit)}
        word = changed.get(model, word | 1 << bit)
    found = fault(model, hit).corrupt(torch.tensor(value))
    assert int(to_words(found)) & 0xFFFFFFFF == word


@given(tensors(), bits)
def test_a_float64_value_whose_word_stays_is_not_rounded(
    values: Tensor, hit: tuple[int, ...]
) -> None:
    finer = values.double() * (1 + 2**-40)
    set_already = (to_words(finer) & sum(1 << b for b in hit)) == sum(1 << b for b in hit if b < 31)
    found = corrupt(finer, *fault("stuck-at-1", hit).masks.signed())
    if max(hit) < 31:
        same = (found == finer) | (found.isnan() & finer.isnan())
        assert bool(same[set_already].all())
