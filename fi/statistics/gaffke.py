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

Each function is plain Python, and is compiled as it stands where there is much to compute
(``compiled_functions``): both give the same bits.
"""

from __future__ import annotations

from math import exp, expm1, inf, log, log1p, sqrt
from typing import Any

#: Numbers ``[n]``: a list, or an array where it is compiled.
Numbers = Any


def solve_beta(
    counts: Numbers, drops: Numbers, first: int, last: int, seen: float, unrun: float
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
    """
    low, high = counts[last - 1] / unrun, seen / unrun
    beta = high
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


def root_and_total(
    s: float,
    values: Numbers,
    counts: Numbers,
    drops: Numbers,
    starts: Numbers,
    unrun: Numbers,
    scales: Numbers,
) -> tuple[float, float, float]:
    """``r``, ``r*`` and the total rate of all faults that were not run, under the tilt ``s``.

    Args:
        s: the tilt, above 0.
        values: rates of each stratum, ascending ``[values]``.
        counts: faults at each of them ``[values]``.
        drops: room for ``solve_beta`` ``[values]``.
        starts: where the values of each stratum start, and their end ``[strata + 1]``.
        unrun: faults that were not run ``[strata]``.
        scales: how much the rate of a fault counts, 1 at most ``[strata]``.
    """
    half, spread, factor, total = 0.0, 0.0, 1.0, 0.0
    for h in range(len(unrun)):
        first, last, rest = starts[h], starts[h + 1], unrun[h]
        tilt, top, seen = s * scales[h], values[starts[h + 1] - 1], 0.0
        for j in range(first, last):
            drops[j] = -expm1(-tilt * (top - values[j]))
            seen += counts[j]
        beta = solve_beta(counts, drops, first, last, seen, rest)
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


def start_tilt(
    z: float, values: Numbers, counts: Numbers, starts: Numbers, unrun: Numbers, scales: Numbers
) -> float:
    """About the tilt of the quantile: where a normal distribution has it; infinite without spread.

    Arguments as ``root_and_total``; ``z`` is the normal quantile.
    """
    variance = 0.0
    for h in range(len(unrun)):
        seen, mean, square = 0.0, 0.0, 0.0
        for j in range(starts[h], starts[h + 1]):
            drop = values[starts[h + 1] - 1] - values[j]
            seen += counts[j]
            mean += counts[j] * drop
            square += counts[j] * drop * drop
        spread = max(square / seen - mean / seen * (mean / seen), 0.0)
        variance += scales[h] * scales[h] * spread * unrun[h] * (seen + unrun[h]) / seen
    return z / sqrt(variance) if variance > 0 else inf


def upper_total(
    z: float,
    values: Numbers,
    counts: Numbers,
    drops: Numbers,
    starts: Numbers,
    unrun: Numbers,
    scales: Numbers,
) -> float:
    """The quantile of the total rate of all faults that were not run; infinite for the largest.

    Where no tilt reaches ``z`` the quantile is next to the largest total that there is. Arguments
    as ``root_and_total``; ``z`` is the normal quantile.
    """
    s = start_tilt(z, values, counts, starts, unrun, scales)
    if s == inf:
        return inf
    low, high, below, above, total = 0.0, 0.0, 0.0, 0.0, 0.0
    for _ in range(400):  # r* rises with the tilt until it is next to the end, r always does
        r, root, total = root_and_total(s, values, counts, drops, starts, unrun, scales)
        excess = 1.0 if r > z + 1 or root == inf else root - z
        if abs(excess) <= 1e-9:
            return total
        if excess > 0:
            high, above = s, excess
            if low > 0:
                break
            s /= 2
        else:
            if low > 0 and s > 1e4 and root <= below:
                return inf
            low, below = s, excess
            if high > 0:
                break
            s *= 2
        if s > 1e8:
            return inf
    side = 0
    for _ in range(200):
        s = (low * above - high * below) / (above - below)
        r, root, total = root_and_total(s, values, counts, drops, starts, unrun, scales)
        excess = 1.0 if r > z + 1 or root == inf else root - z
        if abs(excess) <= 1e-9 or high - low <= 1e-13 * high:
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
