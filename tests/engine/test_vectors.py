"""Vectors in compiled kernels compute what numpy does; traces of lines are exact."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numba import njit
from numpy.typing import NDArray

from fi.engine.compiled import kernels
from fi.engine.compiled.kernels.simd import (
    WIDTH,
    aligned_zeros,
    begin_at_line,
    bits,
    differing,
    load,
    load_first,
    nonzero,
    prefetch,
    select,
    spread,
    store,
)
from fi.engine.compiled.time_innermost import time_innermost, turn_lines

SPECIAL = [0.0, -0.0, 1.0, -1.0, np.inf, -np.inf, np.nan, 1e-40, 3e38]


@njit(error_model="numpy")
def computed(a, b, c, out):  # type: ignore[no-untyped-def]
    """Sum, difference, product, and what is larger, of two vectors."""
    one, other = load(a, 1), load(b, 1)
    store(out, 0, one * other + spread(c))
    store(out, WIDTH, one - other)
    store(out, 2 * WIDTH, select(one > other, one, other))
    return bits(one > other), bits(one < other), bits((one > other) | differing(one, other))


@njit
def gathered(words, flags):  # type: ignore[no-untyped-def]
    """Integers: either bit, and which are not 0."""
    store(words, WIDTH, load(words, 0) | spread(np.uint32(6)))
    return bits(nonzero(load(flags, 0)))


@njit
def read_first(values, place, count, out):  # type: ignore[no-untyped-def]
    """Some numbers from a place on, asked for before; far beyond the end as well."""
    prefetch(values, place)
    prefetch(values, place + 1_000_000)
    store(out, 0, load_first(values, place, count))


def as_bits(answers: NDArray[np.bool_]) -> int:
    return sum(1 << lane for lane, answer in enumerate(answers) if answer)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.uint8])
def test_the_first_of_a_vector_are_read_and_no_others(dtype: type) -> None:
    values = np.arange(1, WIDTH + 4).astype(dtype)
    for count in range(2 * WIDTH):
        place = max(0, len(values) - count)
        out = np.full(WIDTH, 99, dtype)
        read_first(values, place, count, out)
        found = values[place : place + min(count, WIDTH)]
        np.testing.assert_array_equal(out, np.pad(found, (0, WIDTH - len(found))))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_arrays_begin_at_lines_of_the_cache(dtype: type) -> None:
    values = np.arange(35.0).reshape(5, 7).astype(dtype)
    for _ in range(20):
        copy, zeros = begin_at_line(values), aligned_zeros(33, values.ravel())
        np.testing.assert_array_equal(copy, values)
        np.testing.assert_array_equal(zeros, np.zeros(33, dtype))
        assert copy.ctypes.data % 64 == zeros.ctypes.data % 64 == 0
        assert copy.flags.c_contiguous
        assert zeros.dtype == copy.dtype == dtype


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_lanes_compute_as_numpy_does(dtype: type) -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        a, b = rng.choice(SPECIAL, (2, WIDTH + 1)).astype(dtype)
        out = np.zeros(3 * WIDTH, dtype)
        greater, less, other = computed(a, b, dtype(0.5), out)
        one, two = a[1:], b[1:]
        with np.errstate(all="ignore"):
            product, difference = one * two + dtype(0.5), one - two
        np.testing.assert_array_equal(out[:WIDTH], product)
        np.testing.assert_array_equal(out[WIDTH : 2 * WIDTH], difference)
        np.testing.assert_array_equal(out[2 * WIDTH :], np.where(one > two, one, two))
        assert (greater, less) == (as_bits(one > two), as_bits(one < two))
        assert other == as_bits(one != two)


def test_a_product_and_a_sum_round_twice() -> None:
    a, b = np.full((2, WIDTH + 1), 1 + 2**-12, np.float32)
    out = np.zeros(3 * WIDTH, np.float32)
    computed(a, b, np.float32(-1), out)
    assert out[0] == np.float32(a[0] * b[0]) - np.float32(1)
    assert out[0] != (1 + 2**-12) ** 2 - 1  # what a fused operation gives


def test_integers() -> None:
    words, flags = np.arange(2 * WIDTH, dtype=np.uint32), np.zeros(WIDTH, np.uint8)
    flags[[0, 5, 15]] = 1, 2, 255
    assert gathered(words, flags) == 1 | 1 << 5 | 1 << 15
    np.testing.assert_array_equal(words[WIDTH:], np.arange(WIDTH) | 6)


@pytest.mark.parametrize("lines", [WIDTH, 37, 64])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_lines_and_peaks_are_those_of_the_general_way(lines: int, dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(lines)
    signals = torch.randn(9, 5, lines, generator=generator, dtype=dtype)
    signals[torch.rand(signals.shape, generator=generator) < 0.8] = 0
    signals[3, 2, 1], signals[4, 1, 0], signals[:, :, 5] = torch.nan, torch.inf, 0
    decays = np.array([[0.0, 0.9], [0.5, 0.99]])
    found, peak = turn_lines(signals, decays)
    turned = time_innermost(signals)
    np.testing.assert_array_equal(found, turned)
    windows = np.arange(lines, dtype=np.int32)[:, None]
    wanted = kernels.find_peaks(turned, windows, decays.astype(turned.dtype))
    np.testing.assert_array_equal(peak, wanted)
    assert (wanted > 0).any()
    assert (wanted == 0).any()
