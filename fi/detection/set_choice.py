"""A test set chosen on some faults of a campaign, and its coverage of others."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import sparse

from fi.base.errors import UserError
from fi.detection.critical_coverage import Coverage, Rule, detects, estimate_coverage
from fi.detection.stored_pairs import StoredPairs
from fi.detection.test_sets import (
    Ints,
    choose_best,
    choose_greedily,
    count_detected,
    draw_orders,
)
from fi.statistics.survey_design import Design
from fi.store.campaign_reader import PastCampaign

#: Random sets that a chosen one is held against, and the part of them between the ends of the band.
RANDOM_SETS, BAND = 200, 0.9


@dataclass(frozen=True)
class FaultSet:
    """Faults, and the samples that detect them.

    Attributes:
        name: how a table calls it.
        results: rows of ``results.csv``, one a trial.
        detected: ``bool [trials, samples]``.
        design: how they were drawn.
    """

    name: str
    results: pd.DataFrame
    detected: sparse.csr_array
    design: Design

    @classmethod
    def read(cls, pairs: StoredPairs, by: str) -> FaultSet:
        """All faults of a campaign."""
        design = PastCampaign(pairs.folder).summary().design
        trials = design.by_trial()
        return cls(pairs.folder.name, pairs.results, pairs.detected(by), trials)

    def split(self, seed: int) -> tuple[FaultSet, FaultSet]:
        """Two halves at random: one to choose on, one to measure on."""
        order = np.random.default_rng(seed).permutation(len(self.results))
        halves = np.array_split(order, 2)
        names = ("half of its faults", "the other half")
        return tuple(  # type: ignore[return-value]
            FaultSet(name, self.results.iloc[rows], self.detected[rows], self.design)
            for name, rows in zip(names, map(np.sort, halves), strict=True)
        )

    def measure(self, rule: Rule, samples: Ints, confidence: float) -> Coverage:
        """The coverage of its critical faults by some samples."""
        found = detects(self.detected, samples)
        return estimate_coverage(
            self.results, rule.find(self.results), found, self.design, confidence
        )

    def critical(self, rule: Rule) -> sparse.csr_array:
        """The rows of the critical faults."""
        return self.detected[rule.find(self.results).nonzero()[0]]


@dataclass(frozen=True)
class ChosenSet:
    """A test set, and what it covers.

    Attributes:
        rule: which faults are critical.
        samples: the set, in the order in which it was chosen, ``int64 [size]``.
        best: a set of as many samples that detects most, where all could be tried.
        chosen_on, measured_on: the faults.
        whole, chosen, random: coverage by the whole test set, by the set, and in the mean by random
            sets of its size, of the faults that it is measured on.
        curve: a row for each number of samples, from 1 on: ``sample``, ``chosen_on``, ``coverage``,
            ``low``, ``high``, ``random``, ``random low``, ``random high``.
    """

    rule: Rule
    samples: Ints
    best: Ints | None
    chosen_on: FaultSet
    measured_on: FaultSet
    whole: Coverage
    chosen: Coverage
    random: float
    curve: pd.DataFrame

    @property
    def guarantee(self) -> str:
        """What is known of the choice."""
        if self.best is None:
            return "The choice is greedy: at least 63 % of what the best set of as many detects"
        own = self.chosen_on.critical(self.rule)
        mine = int(detects(own, self.samples).sum())
        most = int(detects(own, self.best).sum())
        return f"The choice is greedy: {mine} of {own.shape[0]} detected; the best set {most}"


def choose_set(
    first: FaultSet, second: FaultSet, rule: Rule, size: int, seed: int, confidence: float = 0.99
) -> ChosenSet:
    """Choose samples on the faults of ``first`` and measure them on those of ``second``.

    Args:
        first: to choose on.
        second: other faults, on the same samples.
        rule: which faults matter.
        size: of the set, at most.
        seed: of the random sets.
        confidence: nominal coverage of the intervals.

    Raises:
        UserError: the test sets differ, or no critical fault is detected by any sample.
    """
    samples = first.detected.shape[1]
    if second.detected.shape[1] != samples:
        raise UserError(
            f"{second.name} has {second.detected.shape[1]} samples and {first.name} {samples}: the "
            "test sets must be the same"
        )
    own = first.critical(rule)
    chosen = choose_greedily(own, size)
    if not len(chosen):
        raise UserError(
            f"--critical {rule.text}: no sample detects any such fault of {first.name}, of which "
            f"{own.shape[0]} are critical"
        )
    others = second.critical(rule)
    drawn = _cover_at_random(others, samples, len(chosen), seed)
    return ChosenSet(
        rule,
        chosen,
        choose_best(own, len(chosen)),
        first,
        second,
        second.measure(rule, np.arange(samples), confidence),
        second.measure(rule, chosen, confidence),
        float(drawn[:, -1].mean()),
        _make_curve(own, second, rule, chosen, drawn, confidence),
    )


def _cover_at_random(
    critical: sparse.csr_array, samples: int, size: int, seed: int
) -> NDArray[np.float64]:
    """The part of the critical faults that random sets detect, ``[sets, size]``, by their size."""
    total = max(1, critical.shape[0])
    orders = draw_orders(samples, size, RANDOM_SETS, seed)
    return np.stack([count_detected(critical, order)[1:] / total for order in orders])


def _make_curve(
    own: sparse.csr_array,
    second: FaultSet,
    rule: Rule,
    chosen: Ints,
    drawn: NDArray[np.float64],
    confidence: float,
) -> pd.DataFrame:
    here = count_detected(own, chosen)[1:] / max(1, own.shape[0])
    there = [second.measure(rule, chosen[: k + 1], confidence) for k in range(len(chosen))]
    low, high = np.quantile(drawn, [(1 - BAND) / 2, (1 + BAND) / 2], axis=0)
    return pd.DataFrame(
        {
            "samples": np.arange(1, len(chosen) + 1),
            "sample": chosen,
            "chosen_on": here,
            "coverage": [found.rate for found in there],
            "low": [found.low for found in there],
            "high": [found.high for found in there],
            "random": drawn.mean(axis=0),
            "random low": low,
            "random high": high,
        }
    )
