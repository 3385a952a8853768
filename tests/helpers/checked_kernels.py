"""Run every kernel with checks of bounds: to be started with ``FAULTY_SNN_CHECK_BOUNDS=1``."""

from __future__ import annotations

import json

import numpy as np
import torch
from compile_kernels import compile_kernels
from numpy.typing import NDArray

from fi.engine.compiled import kernels
from fi.engine.compiled.kernels.building.compiling import CHECK_BOUNDS, compiled
from fi.engine.compiled.kernels.simd import WIDTH, load, store

CELLS = 2 * WIDTH


@compiled
def load_at(array: NDArray[np.float32], place: int) -> None:
    """Read a vector from a place of an array on."""
    store(np.zeros(WIDTH, np.float32), 0, load(array, place))


@compiled
def store_at(array: NDArray[np.float32], place: int) -> None:
    """Write a vector to a place of an array."""
    store(array, place, load(np.zeros(WIDTH, np.float32), 0))


@compiled
def read_at(array: NDArray[np.float32], place: int) -> float:
    """Read one number."""
    return array[place // WIDTH, place % WIDTH]


def find_raising() -> dict[str, list[int]]:
    """Places of an array of two lines at which each way to use it raises ``IndexError``."""
    array, found = np.zeros((2, WIDTH), np.float32), dict[str, list[int]]()
    for use in (load_at, store_at, read_at):
        found[use.__name__] = []
        for place in (0, 1, WIDTH, WIDTH + 1, CELLS, -CELLS - 1):
            try:
                use(array, place)
            except IndexError:
                found[use.__name__].append(place)
    return found


if __name__ == "__main__":
    torch.set_num_threads(1)
    compile_kernels(torch.float32)
    uncalled = [name for name in kernels.__all__ if not getattr(kernels, name).signatures]
    print(json.dumps({"checked": CHECK_BOUNDS, "uncalled": uncalled, "raising": find_raising()}))
