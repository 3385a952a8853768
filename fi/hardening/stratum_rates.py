"""Rates of bits and words for a choice: few faults count little, none is no zero."""

from __future__ import annotations

import numpy as np
import pandas as pd

from fi.faults.family_names import attribute_of
from fi.hardening.residual_risk import RiskSample

#: A stratum counts the rate of what it is a part of as so many faults more.
PSEUDO_FAULTS = 4.0
#: From the whole to the part: fault model; sort of word; its bit; of one family.
_LEVELS = (
    ["model"],
    ["model", "attribute"],
    ["model", "attribute", "bit"],
    ["model", "family", "bit"],
)


def shrink_rates(sample: RiskSample) -> pd.DataFrame:
    """The rate of every bit of every site family, drawn or not.

    Of ``n`` faults of a stratum with mean ``m`` the rate is ``(n m + k r) / (n + k)``, with ``r``
    that of the next larger one and ``k = PSEUDO_FAULTS * (1 - n / N)``: of all faults of the model,
    of those in words of that sort (``weight``, ``potential``), in that bit of them, in that bit of
    the family. A stratum of which nothing was drawn has the rate of the larger one; one of which
    all ``N`` were, its own (empirical Bayes with a fixed weight; Morris, J. Am. Stat. Assoc. 78,
    1983).

    Returns:
        A row for each: ``family, bit, model, population, faults, rate``, in the order of the
        network; ``bit`` is a number.
    """
    cells = sample.design.cells().drop(columns="layer")
    cells["bit"] = cells["bit"].astype(int)
    cells["population"] = cells["population"].astype(float)
    cells["attribute"] = cells["family"].map(attribute_of)
    seen = pd.DataFrame(
        {
            "family": sample.results["Layer"],
            "bit": sample.results["Bit"].astype(int),
            "model": sample.results["Model"],
            "seen": sample.rates,
        }
    )
    grouped = seen.groupby(["family", "bit", "model"])["seen"]
    sums = grouped.agg(["sum", "count"]).reset_index()
    cells = cells.merge(sums, how="left", on=["family", "bit", "model"])
    cells = cells.fillna({"sum": 0.0, "count": 0.0})
    rate = pd.Series(np.zeros(len(cells)))
    for level, keys in enumerate(_LEVELS):
        groups = cells.groupby(keys)
        total, n, size = (groups[name].transform("sum") for name in ("sum", "count", "population"))
        weight = PSEUDO_FAULTS * (1 - n / size) if level else 0 * n
        known = n + weight > 0
        rate = rate.where(~known, (total + weight * rate) / (n + weight).where(known, 1.0))
    return cells.assign(faults=cells["count"].astype(int), rate=rate)[
        ["family", "bit", "model", "population", "faults", "rate"]
    ]
