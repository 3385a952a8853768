"""The interval by betting: its capital step by step, coverage at any time, what it refuses."""

from __future__ import annotations

import subprocess
import sys
from math import log, sqrt

import numpy as np
import pytest
from markdown_pages import ROOT

from fi.statistics.histogram import Histogram
from fi.statistics.intervals import METHODS, interval


def capital(rates: list[float], population: int, mean: float, error: float) -> float:
    """The logarithm of the most that was owned at any time, step by step."""
    owned, most, seen, variance, total = 0.0, 0.0, 0.2, 0.25 * 0.2, 0.0
    for i, rate in enumerate(rates, start=1):
        expected = (population * mean - total) / (population - i + 1)
        bet = sqrt(2 * log(2 / error) / (variance / (i - 1 + 0.2) * i * log(1 + i)))
        owned += log(1 + min(0.9 / (1 - expected), bet) * (expected - rate))
        most, total, seen = max(most, owned), total + rate, 0.2 + i
        variance += (rate - (0.1 + total) / seen) ** 2
    return most


def test_the_ends_are_where_the_capital_is_200() -> None:
    rng = np.random.default_rng(2)
    rates = rng.binomial(10, 0.2, 60) / 10
    low, high = interval([Histogram.of(rates, 500)], 0.99, "betting")
    assert capital(list(rates), 500, high, 0.01) == pytest.approx(log(200), abs=1e-4)
    assert capital(list(1 - rates), 500, 1 - low, 0.01) == pytest.approx(log(200), abs=1e-4)
    assert low < rates.mean() < high


def test_by_hand() -> None:
    # one fault of rate 0, of endlessly many: 1 + 0.9 / (1 - m) m = 200 at 0.9 m = 199 (1 - m), as
    # long as the bet is allowed: sqrt(2 log(200) / (0.25 log(2))) = 7.8; so 1 + 7.8 m < 200
    assert interval([Histogram.of([0.0])], 0.99, "betting") == (0.0, 1.0)
    # 100 of them: every bet is won
    _, high = interval([Histogram.of([0.0] * 100)], 0.99, "betting")
    owned = capital([0.0] * 100, 10**12, high, 0.01)
    assert owned == pytest.approx(log(200), abs=1e-4)
    assert high == pytest.approx(0.0570, abs=5e-4)


def test_coverage_at_any_time() -> None:
    """Who stops at the first interval without the truth misses it in 5 of 100 at most, at 95 %."""
    rng, missed = np.random.default_rng(5), 0
    rates = np.round(rng.beta(0.3, 2, 300), 2)
    for _ in range(60):
        drawn = rng.permutation(rates)[:150]
        for n in (1, 2, 3, 5, 8, 13, 21, 34, 55, 89, 150):
            low, high = interval([Histogram.of(drawn[:n], 300)], 0.95, "betting")
            if not low - 1e-9 <= rates.mean() <= high + 1e-9:
                missed += 1
                break
    assert missed <= 7  # 8 or more have a probability of 1 %


def test_strata_share_the_error() -> None:
    rng = np.random.default_rng(0)
    parts = [rng.binomial(1, p, 80).astype(float) for p in (0.1, 0.6)]
    found = interval([Histogram.of(x, 800, 0.5) for x in parts], 0.99, "betting")
    alone = [interval([Histogram.of(x, 800)], 0.995, "betting") for x in parts]
    assert found == pytest.approx(tuple(np.mean(alone, axis=0)), abs=1e-6)
    known = Histogram.of([0.5] * 10, 10, 0.5)  # has no error to share
    one = interval([known, Histogram.of(parts[0], 800, 0.5)], 0.99, "betting")
    whole = interval([Histogram.of(parts[0], 800)], 0.99, "betting")
    assert one == pytest.approx((0.25 + whole[0] / 2, 0.25 + whole[1] / 2), abs=1e-6)


def test_nothing_and_everything() -> None:
    assert interval([Histogram.of([], 10)], method="betting") == (0.0, 1.0)
    low, high = interval([Histogram.of([0.3, 0.4], 2)], method="betting")
    assert (low, high) == pytest.approx((0.35, 0.35))


def test_the_order_is_needed() -> None:
    with pytest.raises(ValueError, match="in the order in which the faults were drawn"):
        interval([Histogram.of_counts([3, 0, 1], 10)], method="betting")


def test_shards_add_up() -> None:
    one, other = Histogram.of([0.0, 0.5, 0.5], 90), Histogram.of([1.0, 0.0], 90)
    both = one + other
    assert both.values.tolist() == [0, 0.5, 1]
    assert both.counts.tolist() == [2, 2, 1]
    assert interval([both]) == interval([Histogram.of([0.0, 0.5, 0.5, 1.0, 0.0], 90)])
    assert (both + Histogram.of_counts([1, 0, 2], 90)).drawn is None


def test_guarantees_are_in_these_words() -> None:
    words = {name: method.guarantee for name, method in METHODS.items()}
    assert words == {"gaffke": "conjectured", "betting": "proven", "wilson": "tested"}
    assert all(method.guarantee in method.basis for method in METHODS.values())


def test_numba_is_loaded_where_a_table_has_many_values_and_nowhere_else() -> None:
    script = """
import sys
import numpy as np
from fi.statistics.histogram import Histogram
from fi.statistics.intervals import interval
rates = np.arange(100) / 100
few = [interval([Histogram.of(rates[:n], 10_000)]) for n in range(10, 60, 10)]
print("numba" in sys.modules)
many = [interval([Histogram.of(rates[:n], 10_000)]) for _ in range(60) for n in range(10, 60, 10)]
print("numba" in sys.modules, many == 60 * few)
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert done.stdout.split() == ["False", "True", "True"]
