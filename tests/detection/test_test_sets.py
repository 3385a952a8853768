"""Which samples detect most: held against sets and plain loops."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import sparse

from fi.detection.test_sets import (
    choose_best,
    choose_greedily,
    count_detected,
    draw_orders,
    find_first,
)


def draw(seed: int, trials: int = 40, samples: int = 9, part: float = 0.2) -> NDArray[np.bool_]:
    found: NDArray[np.bool_] = np.random.default_rng(seed).random((trials, samples)) < part
    return found


def greedy(seen: NDArray[np.bool_], size: int) -> list[int]:
    """With sets."""
    left, chosen = set(range(len(seen))), list[int]()
    while len(chosen) < size:
        gains = [len({row for row in left if seen[row, s]}) for s in range(seen.shape[1])]
        if not max(gains):
            break
        best = gains.index(max(gains))
        chosen.append(best)
        left -= {row for row in left if seen[row, best]}
    return chosen


@pytest.mark.parametrize("seed", range(8))
def test_the_greedy_choice(seed: int) -> None:
    seen = draw(seed)
    assert choose_greedily(sparse.csr_array(seen), 6).tolist() == greedy(seen, 6)


@pytest.mark.parametrize("seed", range(8))
def test_the_best_set_and_the_guarantee(seed: int) -> None:
    seen = draw(seed)
    for size in (1, 2, 3):
        best = choose_best(sparse.csr_array(seen), size)
        assert best is not None
        most = max(int(seen[:, c].any(axis=1).sum()) for c in combinations(range(9), size))
        assert int(seen[:, best].any(axis=1).sum()) == most
        chosen = choose_greedily(sparse.csr_array(seen), size)
        assert int(seen[:, chosen].any(axis=1).sum()) >= (1 - 1 / np.e) * most


def test_too_many_sets_are_not_tried() -> None:
    assert choose_best(sparse.csr_array(draw(0, 40, 200)), 10) is None


def test_nothing_is_chosen_where_nothing_is_detected() -> None:
    nothing = sparse.csr_array(np.zeros((5, 4), bool))
    assert not len(choose_greedily(nothing, 3))
    assert choose_best(nothing, 3) is None
    assert count_detected(nothing, np.arange(4)).tolist() == [0] * 5


@pytest.mark.parametrize("seed", range(4))
def test_counts_along_an_order(seed: int) -> None:
    seen = draw(seed)
    seen[7] = False
    for order in draw_orders(9, 5, 3, seed):
        counts = count_detected(sparse.csr_array(seen), order)
        wanted = [int(seen[:, order[:k]].any(axis=1).sum()) for k in range(6)]
        assert counts.tolist() == wanted
        first = find_first(sparse.csr_array(seen), order)
        assert first[7] == 5
        for row, place in enumerate(first):
            assert not seen[row, order[:place]].any()
            assert place == 5 or seen[row, order[place]]


def test_random_sets_are_those_of_their_seed() -> None:
    one, two, other = (list(draw_orders(20, 4, 3, seed)) for seed in (1, 1, 2))
    assert all(np.array_equal(a, b) for a, b in zip(one, two, strict=True))
    assert not all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))
    assert all(len(set(order.tolist())) == 4 for order in one)
