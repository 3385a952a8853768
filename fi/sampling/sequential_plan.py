"""What an iterative campaign is to find out: a plan, and whose intervals are to be narrow."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from fi.metrics.outcomes import RATES
from fi.sampling.plan import SamplingPlan
from fi.statistics.intervals import DEFAULT_METHOD, check_method
from fi.statistics.sample_size import quantile
from fi.statistics.survey_design import FAMILY_WISE

#: The rates whose intervals result tables show.
TRACKED = ("fully_masked", "sdc_1", "correct")
#: Rates that may be tracked.
TRACKABLE = tuple(rate for rate in RATES if rate != "golden_correct")


@dataclass(frozen=True)
class IterativePlan:
    """A plan that is drawn part by part, see ``fi.sampling.sequential``.

    Attributes:
        plan: scheme, margin, seed, minimum and what to draw from.
        confidence: of the intervals that are to be as narrow as the margin.
        rates: which intervals these are.
        interval: by which method, see ``fi.statistics.intervals``.

    Raises:
        ValueError: an exhaustive plan, one with trials of several faults, a confidence that is not
            between 0 and 1, an unknown method, or a rate that is unknown or named twice.

    >>> IterativePlan(SamplingPlan(margin=0.05), confidence=0.95).rates
    ('fully_masked', 'sdc_1', 'correct')
    >>> IterativePlan(SamplingPlan(scheme="exhaustive"))
    Traceback (most recent call last):
        ...
    ValueError: an exhaustive draw takes every fault: there is nothing to stop early
    """

    plan: SamplingPlan = field(default_factory=SamplingPlan)
    confidence: float = 0.99
    rates: tuple[str, ...] = TRACKED
    interval: str = DEFAULT_METHOD

    def __post_init__(self) -> None:
        check_method(self.interval)
        check_iterative(self.plan, self.confidence, self.rates)


def iterative_scheme(plan: SamplingPlan) -> str:
    """The scheme of the design: a network-wise draw is stratified by site family."""
    return FAMILY_WISE if plan.scheme == "network-wise" else plan.scheme


def check_iterative(plan: SamplingPlan, confidence: float, rates: Sequence[str]) -> None:
    """Raise ``ValueError`` for a plan that is never drawn iteratively, or an unknown rate."""
    quantile(confidence)
    if plan.scheme == "exhaustive":
        raise ValueError("an exhaustive draw takes every fault: there is nothing to stop early")
    if plan.together > 1:
        raise ValueError(
            f"trials of {plan.together} faults are not drawn iteratively; allowed: 1 fault a trial"
        )
    if not rates or len(set(rates)) < len(rates) or not set(rates) <= set(TRACKABLE):
        raise ValueError(
            f"the tracked rates are {', '.join(rates) or 'none'}; "
            f"allowed, each once: {', '.join(TRACKABLE)}"
        )
