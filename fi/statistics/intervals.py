"""The ends of an interval for a rate over strata, by one of three methods.

- ``gaffke``, the default: as narrow as the rates' spread allows (``interval_methods.gaffke``);
- ``betting``: wider, with a proof, and holds whenever one stops (``interval_methods.betting``);
- ``wilson``: every fault counts as a yes or no (``interval_methods.profile_interval``).

All hold over faults. Exact checks are in ``tests/statistics``, draws from real campaigns in
``docs/coverage.md``.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fi.statistics.histogram import FloatArray, Histogram
from fi.statistics.interval_methods.betting import betting_interval
from fi.statistics.interval_methods.compiled_functions import compile_upper_end
from fi.statistics.interval_methods.gaffke import Urns, upper_end
from fi.statistics.interval_methods.profile_interval import Sample, profile_interval
from fi.statistics.sample_size import normal_quantile


class Method(NamedTuple):
    """A way to find an interval.

    Attributes:
        title: what a footer calls it.
        guarantee: how it is known to cover: tested, conjectured or proven.
        basis: the same in a sentence.
    """

    title: str
    guarantee: str
    basis: str


#: What ``--interval`` takes; the first is the default.
METHODS = {
    "gaffke": Method(
        "Gaffke's by fault",
        "conjectured",
        "conjectured to cover at every sample size, and tested",
    ),
    "betting": Method(
        "betting by fault", "proven", "proven to cover at every sample size, whenever one stops"
    ),
    "wilson": Method(
        "Wilson's by fault, wider where faults are rare", "tested", "tested, without a proof"
    ),
}
DEFAULT_METHOD = "gaffke"

#: Stands for a population that is not known: as good as endless.
_UNKNOWN = 1e300
#: So many values are searched in plain Python before numba is loaded to search the others: as much
#: time as loading it takes.
_PLAIN = 5_000
_searched = 0


def check_method(method: str) -> None:
    """Raise ``ValueError`` for an unknown method."""
    if method not in METHODS:
        raise ValueError(f"interval is {method!r}; allowed: {', '.join(METHODS)}")


def interval(
    strata: Sequence[Histogram], confidence: float = 0.99, method: str = DEFAULT_METHOD
) -> tuple[float, float]:
    """Both ends for the rate of the whole population, from independent samples of its strata.

    Args:
        strata: what was seen of each.
        confidence: nominal coverage, above 0 and below 1.
        method: one of ``METHODS``.

    Raises:
        ValueError: the confidence is outside its range, or the method is unknown.

    >>> rates = [0.0] * 180 + [1.0] * 20
    >>> [round(end, 4) for end in interval([Histogram.of(rates, population=10_000)])]
    [0.0533, 0.1664]
    >>> mild = [Histogram.of([0.0] * 180 + [0.1] * 20, population=10_000)]
    >>> [round(end, 4) for end in interval(mild)]
    [0.0052, 0.0363]
    >>> [round(end, 4) for end in interval(mild, 0.99, "wilson")]
    [0.0004, 0.0489]
    """
    check_method(method)
    normal_quantile(confidence)
    return _FUNCTIONS[method](strata, confidence)


def _wilson(strata: Sequence[Histogram], confidence: float) -> tuple[float, float]:
    means = [Sample(s.rate, s.n, s.population, s.weight) for s in strata]
    return profile_interval(means, confidence)


def _gaffke(strata: Sequence[Histogram], confidence: float) -> tuple[float, float]:
    if all(s.n == s.population for s in strata):
        rate = min(sum(s.weight * s.rate for s in strata if s.n), 1.0)
        return rate, rate
    z, (values, counts, starts) = _quantile(confidence), _join(strata)
    populations = np.array([_population(s) for s in strata])
    weights = np.array([s.weight for s in strata])
    urns = _make_urns(len(values) + 1, len(strata))
    end = _choose_search(len(values))
    if end is upper_end:
        given = [each.tolist() for each in (values, counts, starts, populations, weights)]
        urns = Urns(*(each.tolist() for each in urns))
    else:
        given = [values, counts, starts, populations, weights]
    return max(0.0, 1 - end(z, *given, True, urns)), end(z, *given, False, urns)


@lru_cache
def _quantile(confidence: float) -> float:
    """Kept, because scipy is slower than the search."""
    return normal_quantile(confidence)


def _choose_search(values: int) -> Callable[..., float]:
    """``upper_end`` as it is, or compiled once more is searched than loading numba takes."""
    global _searched
    if _searched < _PLAIN and "numba" not in sys.modules:
        _searched += values
        return upper_end
    return compile_upper_end()


def _join(strata: Sequence[Histogram]) -> tuple[FloatArray, FloatArray, NDArray[np.int64]]:
    """Values and counts of all strata, and where each starts."""
    if len(strata) == 1:
        only = strata[0]
        return only.values, only.counts, np.array([0, len(only.values)])
    starts = np.cumsum([0, *(len(s.values) for s in strata)])
    values = np.concatenate([s.values for s in strata])
    counts = np.concatenate([s.counts for s in strata])
    return values, counts, starts


def _make_urns(values: int, strata: int) -> Urns:
    starts = np.empty(strata + 1, dtype=np.int64)
    (rates, counts, drops), (unrun, scales, betas) = np.empty((3, values)), np.empty((3, strata))
    return Urns(rates, counts, drops, starts, unrun, scales, betas)


def _population(stratum: Histogram) -> float:
    """How many faults there are, as a float; of an unknown number, as good as endless."""
    return _UNKNOWN if stratum.population is None else float(min(stratum.population, _UNKNOWN))


_FUNCTIONS: dict[str, Callable[[Sequence[Histogram], float], tuple[float, float]]] = {
    "gaffke": _gaffke,
    "betting": betting_interval,
    "wilson": _wilson,
}
