"""The ends of an interval for a rate over strata, by one of three methods.

- ``gaffke``, the default: as narrow as the spread of the rates allows (``fi.statistics.gaffke``);
- ``betting``: wider, with a proof, and holds whenever one stops (``fi.statistics.betting``);
- ``wilson``: every fault counts as a yes or no (``fi.statistics.profile_interval``).

All hold over faults. Exact checks are in ``tests/statistics``, draws from real campaigns in
``docs/coverage.md``.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from fi.statistics.betting import betting_interval
from fi.statistics.compiled_functions import compile_upper_total
from fi.statistics.gaffke import upper_total
from fi.statistics.histogram import FloatArray, Histogram
from fi.statistics.profile_interval import Sample, profile_interval
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

#: A population that is not known, or larger, counts as so many times what was run.
_ENDLESS = 1e6
#: So many values are searched in plain Python before numba is loaded to search the others: as much
#: time as loading it takes.
_PLAIN = 10_000
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
    z = _quantile(confidence)
    high = _gaffke_end(strata, z)
    return max(0.0, 1 - _gaffke_end([stratum.mirrored() for stratum in strata], z)), high


@lru_cache
def _quantile(confidence: float) -> float:
    """Kept, because scipy is slower than the search."""
    return normal_quantile(confidence)


def _gaffke_end(strata: Sequence[Histogram], z: float) -> float:
    """The upper end: what was seen, the quantile of the faults that were not run, one fault more.

    A stratum of which nothing was run, or a single fault among several strata, may have any rate.
    With several strata a count has the factor ``(n - 1) / n``, since the spread within a sample is
    too small by that (Bessel's correction).
    """
    most = sum(_largest_rate(stratum) for stratum in strata)
    left = [s for s in strata if s.n and s.n != s.population]
    several = len(left) > 1
    searched = [s for s in left if s.n > 1 or not several]
    if not searched:
        return min(most, 1.0)
    extra = max(range(len(searched)), key=lambda h: _extra_weight(searched[h]))
    scales = np.array([s.weight * (1 - _part_run(s)) / _unrun(s) for s in searched])
    total = _largest_total(searched, extra, several, scales / scales.max(), z)
    seen = sum(s.weight * s.rate * _part_run(s) for s in searched)
    others = sum(_largest_rate(s) for s in strata if s not in searched)
    whole = searched[extra].weight / _population(searched[extra])  # faults come whole
    return min(others + seen + float(scales.max()) * total + whole, most, 1.0)


def _largest_rate(stratum: Histogram) -> float:
    """What the stratum has at most of the whole: all that was not run is faulty."""
    unseen = (1 - stratum.rate) * _part_run(stratum) if stratum.n else 0.0
    return stratum.weight * (1 - unseen)


def _population(stratum: Histogram) -> float:
    """How many faults there are, as a float; of an unknown number, as good as endless."""
    return 1e300 if stratum.population is None else float(min(stratum.population, 1e300))


def _part_run(stratum: Histogram) -> float:
    return stratum.n / _population(stratum)


def _unrun(stratum: Histogram) -> float:
    """Faults that were not run; many more than were run are as good as endless."""
    return min(_population(stratum) - stratum.n, _ENDLESS * stratum.n)


def _extra_weight(stratum: Histogram) -> float:
    """How much a fault more counts in a stratum: the extra one is where that is the most."""
    return stratum.weight / stratum.n * (1 - _part_run(stratum))


def _largest_total(
    strata: Sequence[Histogram], extra: int, several: bool, scales: FloatArray, z: float
) -> float:
    """The quantile of the total rate of the faults that were not run, each with its scale."""
    global _searched
    parts = [
        _add_fault(s.values, s.counts * (1 - 1 / s.n if several else 1.0), h == extra)
        for h, s in enumerate(strata)
    ]
    values, counts = (np.concatenate([part[i] for part in parts]) for i in (0, 1))
    starts = np.cumsum([0, *(len(part[0]) for part in parts)])
    unrun = np.array([_unrun(s) for s in strata])
    arguments = (z, values, counts, np.zeros(len(values)), starts, unrun, scales)
    if _searched < _PLAIN and "numba" not in sys.modules:
        _searched += len(values)
        total = upper_total(*(a if isinstance(a, float) else a.tolist() for a in arguments))
    else:
        total = compile_upper_total()(*arguments)
    return total


def _add_fault(values: FloatArray, counts: FloatArray, one: bool) -> tuple[FloatArray, FloatArray]:
    """The histogram with ``one`` fault of rate 1 more."""
    if not one:
        return values, counts
    if values[-1] < 1:
        return np.append(values, 1.0), np.append(counts, 1.0)
    return values, np.append(counts[:-1], counts[-1] + 1)


_FUNCTIONS: dict[str, Callable[[Sequence[Histogram], float], tuple[float, float]]] = {
    "gaffke": _gaffke,
    "betting": betting_interval,
    "wilson": _wilson,
}
