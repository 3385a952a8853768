"""Small test sets: which few samples detect most of the faults."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations
from math import comb

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

Ints = NDArray[np.int64]
#: Sets that are tried one by one, at most.
TRIED_SETS = 200_000


def choose_greedily(detected: sparse.csr_array, size: int) -> Ints:
    """Samples one by one, each the one that detects most of the trials that are left.

    Of all sets of as many samples, the best detects at most ``1 / (1 - 1/e)``, 1.58 times as many
    trials (Nemhauser, Wolsey and Fisher 1978, doi 10.1007/BF01588971). Of samples that detect as
    many, the first in the test set is taken. Where nothing is left to detect, no more are chosen.

    Args:
        detected: ``bool [trials, samples]``.
        size: of the set, at most.

    Returns:
        ``int64 [chosen]``, in the order in which they were chosen.

    >>> seen = np.array([[1, 0, 0], [1, 0, 1], [0, 1, 1], [0, 1, 0]], bool)
    >>> choose_greedily(sparse.csr_array(seen), 3).tolist()
    [0, 1]
    """
    by_sample = detected.astype(np.int64).tocsc()
    left = np.ones(detected.shape[0], np.int64)
    chosen: list[int] = []
    while len(chosen) < size:
        gains = left @ by_sample
        best = int(np.argmax(gains))
        if not gains[best]:
            break
        chosen.append(best)
        rows = by_sample.indices[by_sample.indptr[best] : by_sample.indptr[best + 1]]
        left[rows] = 0
    return np.array(chosen, np.int64)


def choose_best(detected: sparse.csr_array, size: int) -> Ints | None:
    """The set of ``size`` samples that detects most trials, by trying all.

    Returns:
        ``int64 [size]``; ``None`` where there are more than ``TRIED_SETS`` sets.

    >>> seen = np.array([[1, 1, 0], [0, 1, 0], [1, 0, 0], [0, 0, 1]], bool)
    >>> choose_best(sparse.csr_array(seen), 2).tolist()
    [0, 1]
    """
    useful = np.flatnonzero(detected.sum(axis=0))
    size = min(size, len(useful))
    if not size or comb(len(useful), size) > TRIED_SETS:
        return None
    table = detected.toarray()[:, useful]
    best: tuple[int, ...] = ()
    most = -1
    for places in combinations(range(len(useful)), size):
        found = int(table[:, places].any(axis=1).sum())
        if found > most:
            best, most = places, found
    return useful[list(best)].astype(np.int64)


def count_detected(detected: sparse.csr_array, order: Ints) -> Ints:
    """How many trials the first samples of ``order`` detect, ``int64 [len(order) + 1]``, from 0 on.

    Args:
        detected: ``bool [trials, samples]``.
        order: samples, each once.

    >>> seen = np.array([[1, 0, 0], [1, 0, 1], [0, 1, 1]], bool)
    >>> count_detected(sparse.csr_array(seen), np.array([2, 1, 0])).tolist()
    [0, 2, 2, 3]
    """
    first = find_first(detected, order)
    counts = np.bincount(first, minlength=len(order) + 1)[: len(order)]
    found: Ints = np.concatenate([[0], np.cumsum(counts)])
    return found


def find_first(detected: sparse.csr_array, order: Ints) -> Ints:
    """Which sample of ``order`` detects a trial first, ``int64 [trials]``: its length for none."""
    rank = np.full(detected.shape[1], len(order), np.int64)
    rank[order] = np.arange(len(order))
    found = np.full(detected.shape[0], len(order), np.int64)
    if detected.nnz:
        some = np.diff(detected.indptr) > 0
        ranks = rank[detected.indices]
        found[some] = np.minimum.reduceat(ranks, detected.indptr[:-1][some])
    return found


def draw_orders(samples: int, size: int, count: int, seed: int) -> Iterator[Ints]:
    """Random sets of samples, ``int64 [size]`` each."""
    draw = np.random.default_rng(seed)
    for _ in range(count):
        yield draw.permutation(samples)[:size].astype(np.int64)
