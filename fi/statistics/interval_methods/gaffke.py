"""Gaffke's upper end for faults drawn without replacement, from one stratum or several.

``n`` of the ``N`` faults of a stratum were run and had rates in [0, 1]. Gaffke's bound (Math.
Methods Statist. 14, 2005; Learned-Miller and Thomas, arXiv 1905.06208) adds one more fault at the
worst end, 1, and lets random weights that are uniform over all ways to share say how much of the
population each of these ``n + 1`` rates stands for. Of a finite population the ``R = N - n`` faults
that were not run are such shares: Polya's urn has the ``n + 1`` rates in it, and ``R`` times a rate
is drawn and put back twice (Lo, Ann. Statist. 16, 1988). With ``c_j`` of the faults at the rate
``x_j`` it gives each of these rates to ``U_j`` of the others, Dirichlet-multinomial, and the upper
end is the ``1 - a/2`` quantile of ``T = sum U_j x_j``. For faults that are a yes or no that is
Clopper and Pearson's interval, hypergeometric.

The quantile is a double saddlepoint approximation (Skovgaard, J. Appl. Prob. 24, 1987), in the
form ``r* = r + log(w / r) / r``. ``U_j`` are negative binomial under the condition that they add up
to ``R``; a tilt ``s > 0`` makes large rates likelier, ``u_j`` is their mean under it,

    u_j = c_j rho_j / (1 - rho_j),   rho_j = exp(-b - s (x_max - x_j)),   sum u_j = R for ``b``

and ``r*`` of the tilt whose mean is ``t`` is the normal quantile of P(T <= t). Of several strata
the totals are independent, each counts as much as a fault of it stands for, and one tilt is shared.

What is seen of a stratum is beyond doubt: the end is the total of the rates that were seen, the
quantile, and one whole fault more, since faults come whole, over ``N``; at most what there would be
if all others were at 1.

Each function is plain Python, and is compiled as it stands where there is much to compute
(``compiled_functions``): both give the same bits.
"""

from __future__ import annotations

from math import exp, expm1, inf, log, log1p, sqrt
from typing import Any, NamedTuple

#: Numbers ``[n]``: a list, or an array where it is compiled.
Numbers = Any
#: So many times as many faults as were run are as good as endlessly many.
_ENDLESS = 1e6


class Urns(NamedTuple):
    """The strata whose others are searched, with room for as many as there are.

    Attributes:
        values: rates of each stratum, ascending ``[values]``.
        counts: faults at each of them, the extra one among them ``[values]``.
        drops: room for ``1 - exp(-s (x_max - x_j))`` ``[values]``.
        starts: where the values of each stratum start, and the end of the last ``[strata + 1]``.
        unrun: faults that were not run ``[strata]``.
        scales: how much the rate of a fault counts, 1 at most ``[strata]``.
        betas: room for the last solution of each stratum ``[strata]``.
    """

    values: Numbers
    counts: Numbers
    drops: Numbers
    starts: Numbers
    unrun: Numbers
    scales: Numbers
    betas: Numbers


def solve_beta(
    counts: Numbers, drops: Numbers, first: int, last: int, seen: float, unrun: float, guess: float
) -> float:
    """``exp(b) - 1`` at which the tilted counts of a stratum add up to ``unrun``.

    ``f = sum c_j (1 - d_j) / (beta + d_j)`` falls with ``beta``: Newton's steps for ``log f`` over
    ``log beta``, within a bracket.

    Args:
        counts: faults at each rate, ascending by rate ``[values]``.
        drops: ``d_j = 1 - exp(-s (x_max - x_j))`` ``[values]``.
        first, last: the values of the stratum, ``last`` left out.
        seen: sum of its counts.
        unrun: faults of the stratum that were not run.
        guess: where to start, if it is inside the bracket.
    """
    low, high = counts[last - 1] / unrun, seen / unrun
    beta = guess if low < guess < high else high
    for _ in range(100):
        total, slope = 0.0, 0.0
        for j in range(first, last):
            term = counts[j] * (1.0 - drops[j]) / (beta + drops[j])
            total += term
            slope += term / (beta + drops[j])
        excess = total - unrun
        if abs(excess) <= 1e-12 * unrun:
            break
        if excess > 0:
            low = beta
        else:
            high = beta
        new = beta * exp(total * log(total / unrun) / (beta * slope))
        if not low < new < high:
            new = (low + high) / 2
        if new == beta:
            break
        beta = new
    return beta


def root_and_total(s: float, strata: int, urns: Urns) -> tuple[float, float, float]:
    """``r``, ``r*`` and the total rate of all faults that were not run, under the tilt ``s``.

    Args:
        s: the tilt, above 0.
        strata: how many ``urns`` has.
        urns: the strata.
    """
    values, counts, drops, starts, unrun, scales, betas = urns
    half, spread, factor, total = 0.0, 0.0, 1.0, 0.0
    for h in range(strata):
        first, last, rest = starts[h], starts[h + 1], unrun[h]
        tilt, top, seen = s * scales[h], values[starts[h + 1] - 1], 0.0
        for j in range(first, last):
            drops[j] = -expm1(-tilt * (top - values[j]))
            seen += counts[j]
        beta = solve_beta(counts, drops, first, last, seen, rest, betas[h])
        betas[h] = beta
        logs = log1p(beta)
        level = logs + log(seen / (seen + rest))
        below, mean, square, weight = 0.0, 0.0, 0.0, 0.0
        half += rest * (log1p(seen / rest) - logs)
        for j in range(first, last):
            drop = top - values[j]
            more = beta + drops[j]
            u = counts[j] * (1.0 - drops[j]) / more
            v = u * (1.0 + beta) / more
            half += counts[j] * (log(more) - level) - tilt * drop * u
            below += u * drop
            weight += v
            mean += v * drop
            square += v * drop * drop
        total += scales[h] * (rest * top - below)
        spread += scales[h] * scales[h] * max(square - mean * mean / weight, 0.0)
        factor *= sqrt(weight * seen / (rest * (seen + rest)))
    r = sqrt(2.0 * max(half, 0.0))
    w = -expm1(-s) * sqrt(spread) * factor
    if r < 0.5:
        return r, r, total
    return r, (r + log(w / r) / r if w > 0 else inf), total


def start_tilt(z: float, strata: int, urns: Urns) -> float:
    """About the tilt of the quantile: where a normal distribution has it; infinite without spread.

    Arguments as ``root_and_total``; ``z`` is the normal quantile.
    """
    values, counts, _, starts, unrun, scales, _ = urns
    variance = 0.0
    for h in range(strata):
        seen, mean, square = 0.0, 0.0, 0.0
        for j in range(starts[h], starts[h + 1]):
            drop = values[starts[h + 1] - 1] - values[j]
            seen += counts[j]
            mean += counts[j] * drop
            square += counts[j] * drop * drop
        spread = max(square / seen - mean / seen * (mean / seen), 0.0)
        variance += scales[h] * scales[h] * spread * unrun[h] * (seen + unrun[h]) / seen
    return z / sqrt(variance) if variance > 0 else inf


def upper_total(z: float, strata: int, urns: Urns) -> float:
    """The quantile of the total rate of all faults that were not run; infinite for the largest.

    Where no tilt reaches ``z`` the quantile is next to the largest total that there is. Arguments
    as ``root_and_total``; ``z`` is the normal quantile.
    """
    s = start_tilt(z, strata, urns)
    low, high, below, above, total = 0.0, 0.0, 0.0, 0.0, 0.0
    while low == 0 or high == 0:
        if s > 1e8:
            return inf
        r, root, total = root_and_total(s, strata, urns)
        # r* rises with the tilt until it is next to the end, where it falls again; r always rises
        excess = 1.0 if r > z + 1 or root == inf else root - z
        if abs(excess) <= 1e-8:
            return total
        if excess > 0:
            high, above = s, excess
            s = s / 2 if low == 0 else s
        else:
            low, below = s, excess
            s = 2 * s if high == 0 else s
    side = 0
    for _ in range(200):
        s = (low * above - high * below) / (above - below)
        r, root, total = root_and_total(s, strata, urns)
        excess = 1.0 if r > z + 1 or root == inf else root - z
        if abs(excess) <= 1e-8 or high - low <= 1e-13 * high:
            break
        if excess > 0:
            high, above = s, excess
            below = below / 2 if side > 0 else below
            side = 1
        else:
            low, below = s, excess
            above = above / 2 if side < 0 else above
            side = -1
    return total


def fill_urn(
    values: Numbers,
    counts: Numbers,
    first: int,
    last: int,
    factor: float,
    mirror: bool,
    extra: bool,
    urns: Urns,
    place: int,
) -> int:
    """Put a stratum's rates (or ``1 - rate``) and counts, times ``factor``, from ``place`` on.

    Returns:
        The place behind them; ``extra`` adds a fault of rate 1.
    """
    for k in range(last - first):
        j = last - 1 - k if mirror else first + k
        urns.values[place] = 1.0 - values[j] if mirror else values[j]
        urns.counts[place] = counts[j] * factor
        place += 1
    if extra and urns.values[place - 1] == 1.0:
        urns.counts[place - 1] += 1.0
    elif extra:
        urns.values[place] = 1.0
        urns.counts[place] = 1.0
        place += 1
    return place


def upper_end(
    z: float,
    values: Numbers,
    counts: Numbers,
    starts: Numbers,
    populations: Numbers,
    weights: Numbers,
    mirror: bool,
    urns: Urns,
) -> float:
    """The upper end of the mean rate, or of the mean of ``1 - rate``.

    A stratum of which nothing was run, or a single fault among several strata, may have any rate.
    With several strata a count has the factor ``(n - 1) / n``, since the spread within a sample is
    too small by that (Bessel's correction). The extra fault is in the stratum in which it counts
    the most, as the one of Fay and Feuer (Stat. Med. 16, 1997).

    Args:
        z: the normal quantile.
        values: rates of each stratum, ascending ``[values]``.
        counts: faults at each of them ``[values]``.
        starts: where the values of each stratum start, and the end of the last ``[strata + 1]``.
        populations: faults of each ``[strata]``.
        weights: its part of all faults ``[strata]``.
        mirror: whether ``1 - rate`` is meant.
        urns: room for all of them, and one value more.
    """
    left, most, largest, extra, steepest = 0, 0.0, -1.0, -1, 0.0
    for h in range(len(populations)):
        n = 0.0
        for j in range(starts[h], starts[h + 1]):
            n += counts[j]
        left += 0 < n < populations[h]
    base, strata, place = 0.0, 0, 0
    for h in range(len(populations)):
        n, total = 0.0, 0.0
        for j in range(starts[h], starts[h + 1]):
            n += counts[j]
            total += counts[j] * (1.0 - values[j] if mirror else values[j])
        size, seen = populations[h], weights[h] * (total / populations[h]) if n > 0 else 0.0
        rest = weights[h] * (1.0 - n / size) if size > 0 else 0.0
        most += seen + rest
        base += seen
        if not 0 < n < size or (n == 1 and left > 1):
            base += rest
            continue
        if rest / n > largest:
            largest, extra = rest / n, h
        unrun = min(size - n, _ENDLESS * n)
        steepest = max(steepest, rest / unrun)
    if extra < 0:
        return min(most, 1.0)
    for h in range(len(populations)):
        n = 0.0
        for j in range(starts[h], starts[h + 1]):
            n += counts[j]
        if not 0 < n < populations[h] or (n == 1 and left > 1):
            continue
        factor = 1.0 - 1.0 / n if left > 1 else 1.0
        urns.starts[strata] = place
        place = fill_urn(
            values, counts, starts[h], starts[h + 1], factor, mirror, h == extra, urns, place
        )
        rest, unrun = weights[h] * (1.0 - n / populations[h]), min(populations[h] - n, _ENDLESS * n)
        urns.unrun[strata], urns.scales[strata], urns.betas[strata] = (
            unrun,
            rest / unrun / steepest,
            0.0,
        )
        strata += 1
    urns.starts[strata] = place
    whole = weights[extra] / populations[extra]  # faults come whole
    end: float = base + steepest * upper_total(z, strata, urns) + whole
    return min(end, most, 1.0)
