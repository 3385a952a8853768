"""Risk that is left behind a protection, estimated on faults that its choice did not see."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fi.base.errors import UserError
from fi.faults.models import fault_model
from fi.statistics.estimators import Estimate
from fi.statistics.group_estimates import estimate_groups
from fi.statistics.survey_design import STRATUM, Design, stratum_name
from fi.store.campaign_reader import PastCampaign

#: What is to become small: the column of results, and what it is called.
MEASURES = {"sdc1": ("sdc_1", "SDC-1"), "facc": ("correct", "accuracy loss")}


@dataclass(frozen=True)
class RiskSample:
    """Faults of a finished campaign, as far as a protection is chosen or measured on them.

    Attributes:
        name: how a line calls them.
        results: rows of ``results.csv``, one a fault, ascending by injection.
        design: how they were drawn.
        shapes: of the site families' tensors.
        of: one of ``MEASURES``.
    """

    name: str
    results: pd.DataFrame
    design: Design
    shapes: dict[str, tuple[int, ...]]
    of: str = "sdc1"

    @classmethod
    def read(cls, campaign: PastCampaign, of: str) -> RiskSample:
        """All faults of a campaign.

        Raises:
            UserError: it is not of single bits from a known fault space, is protected itself, or
                has not come to its end.
        """
        campaign.refuse_rates("fi.protect")
        summary, entries, path = campaign.summary(), campaign.entries(), campaign.path
        if summary.status != "finished":
            raise UserError(f"{path}: the campaign is {summary.status}; allowed: finished")
        for key in ("ecc", "protect"):
            if key in entries:
                raise UserError(
                    f"{path}: its words are protected already, by {entries[key]['code']}; a plan "
                    "follows from a campaign without --ecc and --protect"
                )
        _check_design(summary.design, path.name)
        shapes = {f["name"]: tuple(f["shape"]) for f in entries["families"]}
        results = campaign.results.load().sort_values("Injection", kind="stable")
        return cls("all faults", results.reset_index(drop=True), summary.design, shapes, of)

    @property
    def rates(self) -> NDArray[np.float64]:
        """What each fault does: part of the samples; of ``facc`` it may be below 0."""
        column = self.results[MEASURES[self.of][0]]
        changed = self.results["golden_correct"] - column if self.of == "facc" else column
        return np.asarray(changed / self.results["samples"], np.float64)

    @property
    def weights(self) -> NDArray[np.float64]:
        """The part of the fault space that each fault stands for ``[faults]``; they add up to 1."""
        pairs = zip(self.results["Layer"], self.results["Bit"], strict=True)
        strata = pd.Series([stratum_name(self.design.scheme, *pair) for pair in pairs])
        sizes = self.design.populations().set_index(STRATUM)["population"].astype(float)
        each = (strata.map(sizes) / strata.map(strata.value_counts())).to_numpy(np.float64)
        return np.asarray(each / each.sum(), np.float64)

    def split(self, seed: int) -> tuple[RiskSample, RiskSample]:
        """Two halves at random: one to choose on, one to measure on.

        Where every fault was run nothing is estimated: both are all of it.
        """
        if self.design.scheme == "exhaustive":
            return self, self
        order = np.random.default_rng(seed).permutation(len(self.results))
        first, second = (np.sort(half) for half in np.array_split(order, 2))
        return self._take("one half", first), self._take("the other half", second)

    def _take(self, name: str, rows: NDArray[np.int64]) -> RiskSample:
        results = self.results.iloc[rows].reset_index(drop=True)
        return RiskSample(name, results, self.design, self.shapes, self.of)

    def estimate(self, protected: NDArray[np.bool_], confidence: float, method: str) -> Estimate:
        """The risk that is left in the whole fault space, and its interval.

        It is the rate of a campaign in which the faults that are ``protected`` ``[faults]`` change
        no score, as each is corrected or detected. Others than these faults led to the protection:
        the interval is that of any campaign of so many faults.
        """
        column = MEASURES[self.of][0]
        safe = self.results["golden_correct"] if self.of == "facc" else 0
        left = self.results.assign(**{column: self.results[column].mask(protected, safe)})
        row = estimate_groups(left, self.design, [], confidence, [column], method).iloc[0]
        rate, low, high = (float(row[f"{column}{end}"]) for end in ("", " low", " high"))
        if self.of == "sdc1":
            return Estimate(rate, low, high)
        golden = self.results["golden_correct"].iloc[0] / self.results["samples"].iloc[0]
        return Estimate(golden - rate, golden - high, golden - low)


def _check_design(design: Design, name: str) -> None:
    """Raise ``UserError`` for a campaign that is not of single bits of a known fault space."""
    if not design.known:
        raise UserError(f"{name}: a given list, of which is not known what it was drawn from")
    if design.together > 1:
        raise UserError(f"{name}: trials of {design.together} faults; allowed: single faults")
    for family in design.families:
        if "@" in family.name:
            raise UserError(f"{name}: faults of groups, {family.name}; allowed: faults of words")
        for model, bits in family.bits.items():
            wrong = [bit for bit in bits if not bit.isdecimal()]
            if wrong or fault_model(model).gives_values():
                what = f"bits {wrong[0]}" if wrong and wrong[0] else "whole words"
                raise UserError(f"{name}: {model} of {what}; allowed: faults of single bits")
