"""Coverage: which part of the faults that matter a set of samples detects."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import sparse

from fi.base.errors import UserError
from fi.metrics.outcomes import DETECTED, OUTCOMES
from fi.statistics.group_estimates import estimate_groups
from fi.statistics.survey_design import Design

#: What ``--critical`` compares: parts of the samples, and the accuracy that a fault costs.
RATES = (*OUTCOMES, "unmasked", "non_finite", "facc_loss")
_RULE = re.compile(r"\s*(\w+)\s*(>=|>)\s*([0-9.]+(?:e-?[0-9]+)?)\s*(%?)\s*")
_COMPARE: dict[str, Callable[[pd.Series, float], pd.Series]] = {
    ">": operator.gt,
    ">=": operator.ge,
}


@dataclass(frozen=True)
class Rule:
    """Which faults matter: ``sdc_1>0``, ``facc_loss>=1%``.

    Attributes:
        text: as the user gave it.
        rate: one of ``RATES``, of the samples.
        sign: ``>`` or ``>=``.
        value: from 0 to 1.
    """

    text: str
    rate: str
    sign: str
    value: float

    @classmethod
    def parse(cls, text: str) -> Rule:
        """The rule in a text; ``UserError`` where it is none.

        >>> Rule.parse("facc_loss >= 1%")
        Rule(text='facc_loss >= 1%', rate='facc_loss', sign='>=', value=0.01)
        """
        found = _RULE.fullmatch(text)
        if not found or found[1] not in RATES:
            raise UserError(
                f"--critical {text}: allowed is RATE>VALUE or RATE>=VALUE, where RATE is one of "
                f"{', '.join(RATES)} and VALUE a part of the samples, as 0 or 1%"
            )
        try:
            value = float(found[3]) / (100 if found[4] else 1)
        except ValueError:
            raise UserError(f"--critical {text}: {found[3]} is no number") from None
        return cls(text, found[1], found[2], value)

    def find(self, results: pd.DataFrame) -> NDArray[np.bool_]:
        """Which faults it holds for, ``bool [faults]``, of rows of ``results.csv``."""
        if self.rate == "facc_loss":
            counts = results["golden_correct"] - results["correct"]
        elif self.rate == "unmasked":
            counts = results["samples"] - results["fully_masked"]
            if DETECTED in results:  # by the code of the memory, before anything is computed
                counts = counts - results[DETECTED]
        else:
            counts = results[self.rate]
        found = _COMPARE[self.sign](counts / results["samples"], self.value)
        return found.to_numpy(bool)


#: Every fault that changes the largest score, or the class, of some sample.
UNMASKED = Rule("unmasked>0", "unmasked", ">", 0.0)


@dataclass(frozen=True)
class Coverage:
    """A part of the faults that matter, with the ends of its interval.

    Attributes:
        detected, critical: numbers of faults that were run.
        rate: of the fault space; NaN where no critical fault was run.
        low, high: ends of the interval.
    """

    detected: int
    critical: int
    rate: float
    low: float
    high: float

    def __str__(self) -> str:
        if not self.critical:
            return "no such fault was run"
        ends = f"[{100 * self.low:.1f}, {100 * self.high:.1f}]"
        return f"{100 * self.rate:.1f} {ends} {self.detected:,}/{self.critical:,}"


def estimate_coverage(
    results: pd.DataFrame,
    critical: NDArray[np.bool_],
    detected: NDArray[np.bool_],
    design: Design,
    confidence: float = 0.99,
) -> Coverage:
    """The part of the critical faults of the fault space that is detected, see ``estimate_part``.

    Args:
        results: rows of ``results.csv``, one a trial.
        critical: which of them matter, ``bool [trials]``.
        detected: which of them the samples detect.
        design: how the faults were drawn.
        confidence: nominal coverage of the interval.
    """
    both, missed = critical & detected, critical & ~detected
    return estimate_part(results.assign(samples=1), both * 1, missed * 1, design, confidence)


def estimate_part(
    results: pd.DataFrame,
    found: NDArray[np.int64],
    missed: NDArray[np.int64],
    design: Design,
    confidence: float = 0.99,
) -> Coverage:
    """The part that is found of what is found or missed, over the fault space.

    A ratio of two rates, ``d`` of what is found and ``m`` of what is missed: ``d / (d + m)``. Its
    interval follows from those of ``d`` and ``m``, each at half the error (Bonferroni): from
    ``d_low / (d_low + m_high)`` to ``d_high / (d_high + m_low)``. It holds for every scheme of
    sampling for which that of a rate holds, over faults, for these samples.

    Args:
        results: rows of ``results.csv``, one a trial, with ``samples``.
        found, missed: how many of its samples, ``int64 [trials]``.
        design: how the faults were drawn.
        confidence: nominal coverage of the interval.
    """
    marks = results.assign(sdc_1=found, sdc_20=missed)
    half = (1 + confidence) / 2
    (row,) = estimate_groups(marks, design, [], half, ["sdc_1", "sdc_20"]).to_dict("records")
    d, m = row["sdc_1"], row["sdc_20"]
    return Coverage(
        int(found.sum()),
        int(found.sum() + missed.sum()),
        d / (d + m) if d + m else float("nan"),
        _ratio(row["sdc_1 low"], row["sdc_20 high"], 0.0),
        _ratio(row["sdc_1 high"], row["sdc_20 low"], 1.0),
    )


def _ratio(part: float, rest: float, otherwise: float) -> float:
    return part / (part + rest) if part + rest > 0 else otherwise


def detects(detected: sparse.csr_array, samples: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which trials a set of samples detects, ``bool [trials]``."""
    found: NDArray[np.bool_] = np.asarray(detected[:, samples].sum(axis=1)).ravel() > 0
    return found
