"""Codes of a memory against matrices, and which bits of which words share a code word."""

from __future__ import annotations

import random
from itertools import combinations

import numpy as np
import pytest
import torch
from oracle_codes import MatrixCode
from torch import nn

from fi.faults.fault import Fault, Trial
from fi.faults.fault_sites import Kind, SiteFamily
from fi.faults.protection.codes import Decoded, parse_code
from fi.faults.protection.protected_words import ProtectedWords
from fi.faults.word_formats import convert

NAMES = [f"{kind}:{width}" for kind in ("secded", "parity") for width in (8, 16, 32, 64)]


def by_matrix(name: str, flips: tuple[int, ...], stored: int) -> Decoded:
    """What is left of the flips in a code word that stores the number ``stored``."""
    kind, _, width = name.partition(":")
    golden = np.array([stored >> bit & 1 for bit in range(int(width))])
    faulty = golden.copy()
    faulty[list(flips)] ^= 1
    detected, read = MatrixCode(kind, int(width)).read(golden, faulty)
    wrong = frozenset(np.flatnonzero(read != golden).tolist())
    return Decoded(detected, frozenset(flips) if detected else wrong)


@pytest.mark.parametrize("name", NAMES)
def test_all_single_and_double_errors_and_some_others_decode_as_the_matrix_says(name: str) -> None:
    code, choose = parse_code(name), random.Random(3)
    bits = range(code.width)
    several = [tuple(sorted(choose.sample(bits, n))) for n in (3, 3, 4, 5, 6) for _ in range(60)]
    seen = set()
    for flips in [(), *combinations(bits, 1), *combinations(bits, 2), *several]:
        detected, errors = code.decode(flips)
        wanted = by_matrix(name, flips, choose.getrandbits(code.width))
        assert detected == wanted.detected, flips
        assert detected or errors == wanted.errors, flips
        if name.startswith("secded") and len(flips) < 3:
            assert detected == (len(flips) == 2)
            assert detected or not errors
        seen.add((len(flips) % 2, detected, bool(errors)))
    assert len(seen) > 2  # something of each kind happened


@pytest.mark.parametrize(
    ("width", "checks"), [(4, 4), (8, 5), (16, 6), (32, 7), (64, 8), (128, 9)]
)  # Hamming's number of check bits, and one
def test_a_code_has_the_known_number_of_check_bits(width: int, checks: int) -> None:
    assert parse_code(f"secded:{width}").checks == checks
    assert len(MatrixCode("secded", width).matrix) == checks
    assert parse_code(f"parity:{width}").checks == 1


def test_three_errors_may_be_detected_or_corrected_wrongly() -> None:
    code = parse_code("secded:32")
    found = [code.decode(flips) for flips in combinations(range(32), 3)]
    assert any(one.detected for one in found)
    assert {len(one.errors) for one in found if not one.detected} <= {3, 4}


@pytest.mark.parametrize("name", ["secded", "secded:", "secded:3", "parity:1025", "parity:08", "x"])
def test_what_is_no_code_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=r"allowed: secded:W, parity:W, .* 4 to 1024"):
        parse_code(name)


def words_of(code: str, form: str = "float32", steps: int = 6) -> ProtectedWords:
    """A tensor of 2 x 3 words in a memory with that code."""
    layer = nn.Sequential(nn.Linear(3, 2, bias=False))
    with torch.no_grad():
        layer[0].weight.copy_(torch.tensor([[0.5, -1.0, 2.0], [0.25, 1.0, -3.0]]))
    convert(layer, form)
    width = {"float32": 32, "int8": 8}[form]
    families = [
        SiteFamily("0.weight", (2, 3), Kind.SYNAPSE, width),
        SiteFamily("1.spike", (2,), Kind.SPIKE),
    ]
    return ProtectedWords(layer, families, parse_code(code), steps)


def weight(row: int, column: int, *bits: int, steps: range | None = None) -> Fault:
    return Fault(0, "0.weight", (row, column), bits, steps=steps)


@pytest.mark.parametrize(
    ("code", "form", "trial", "fate"),
    [
        ("secded:32", "float32", (weight(0, 0, 30), weight(0, 1, 30)), "corrected"),
        ("secded:64", "float32", (weight(0, 0, 30), weight(0, 1, 30)), "detected"),
        ("secded:64", "float32", (weight(0, 1, 30), weight(0, 2, 30)), "corrected"),
        ("secded:64", "float32", (weight(0, 2, 30), weight(1, 0, 30)), "detected"),  # row by row
        ("secded:8", "float32", (weight(0, 0, 0, 8),), "corrected"),  # two bytes of a word
        ("secded:8", "float32", (weight(0, 0, 0, 7),), "detected"),
        ("secded:32", "int8", (weight(0, 0, 1), weight(1, 0, 1)), "detected"),
        ("secded:32", "int8", (weight(0, 0, 1), weight(1, 1, 1)), "corrected"),
        ("parity:32", "float32", (weight(0, 0, 3, 7),), "missed"),
        ("parity:16", "float32", (weight(0, 0, 3, 17),), "detected"),
        ("secded:32", "float32", (Fault(0, "0.weight", (0, 0), 31, "stuck-at-1"),), "corrected"),
        ("secded:32", "float32", (Fault(0, "0.weight", (0, 1), 31, "stuck-at-1"),), "unchanged"),
        ("secded:32", "float32", (Fault(0, "1.spike", (1,), 31),), "unprotected"),
    ],
)
def test_words_share_code_words_in_the_order_of_memory(
    code: str, form: str, trial: Trial, fate: str
) -> None:
    decoded = words_of(code, form).decode(trial)
    assert decoded.fate == fate
    assert bool(decoded.acting) == (fate in ("missed", "unprotected"))


def test_what_a_code_misses_acts_as_the_decoder_gives_it() -> None:
    """Three bits of the word (1, 2), which the decoder takes for one error in the word (1, 1)."""
    protected = words_of("secded:64")
    flips = next(
        flips
        for flips in combinations(range(32), 3)
        if not (one := protected.code.decode([32 + bit for bit in flips])).detected
        and any(bit < 32 for bit in one.errors)
    )
    decoded = protected.decode((weight(1, 2, *flips),))
    assert decoded.fate == "missed"
    by_word = {fault.index: fault.bits for fault in decoded.acting}
    assert set(by_word) == {(1, 1), (1, 2)}
    assert by_word[1, 2] == flips
    (wrong,) = by_word[1, 1]
    wanted = by_matrix("secded:64", tuple(32 + bit for bit in flips), stored=0)
    assert {wrong, *(32 + bit for bit in flips)} == wanted.errors


def test_faults_meet_only_while_both_are_there() -> None:
    protected = words_of("secded:32")
    apart = (weight(0, 0, 3, steps=range(0, 2)), weight(0, 0, 7, steps=range(2, 4)))
    meeting = (weight(0, 0, 3), weight(0, 0, 7, steps=range(2, 4)))
    assert protected.decode(apart).fate == "corrected"
    assert protected.decode(meeting).fate == "detected"
    missed = words_of("parity:32").decode((weight(0, 0, 3, 7, steps=range(2, 4)),))
    assert [fault.steps for fault in missed.acting] == [range(2, 4)]
    twice = (weight(0, 0, 3, 7), weight(0, 0, 9, 11, steps=range(2, 4)))
    acting = words_of("parity:32").decode(twice).acting
    assert [(fault.bits, fault.steps) for fault in acting] == [
        ((3, 7), range(0, 2)),
        ((3, 7, 9, 11), range(2, 4)),
        ((3, 7), range(4, 6)),
    ]


def test_a_flip_that_another_takes_back_is_none() -> None:
    trial = (weight(0, 0, 30), Fault(0, "0.weight", (0, 0), (30, 31), "bit-flip"))
    decoded = words_of("secded:32").decode(trial)
    assert decoded.fate == "corrected"
    assert not decoded.acting


def test_states_have_no_code() -> None:
    spike = Fault(0, "1.spike", (1,), 31)
    assert words_of("secded:32").decode((weight(0, 0, 30), spike)).acting == (spike,)
    assert words_of("secded:32").decode((weight(0, 0, 30, 31), spike)).acting == ()


def test_a_group_is_decoded_word_by_word() -> None:
    row = Fault(0, "0.weight@row", (1,), 30)
    assert words_of("secded:32").decode((row,)).fate == "corrected"
    assert words_of("secded:64").decode((row,)).fate == "detected"
