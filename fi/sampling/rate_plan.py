"""What a campaign of rates is to do: which rates, of which bits, and how many trials."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from fi.faults.fault_sites import SiteFamily
from fi.faults.hits.hit_space import NETWORK, HitSpace
from fi.faults.hits.random_numbers import derive_seed
from fi.faults.hits.rate_trial import RateTrial
from fi.sampling.plan import SamplingPlan
from fi.sampling.sequential_plan import TRACKABLE, TRACKED

#: Trials of each rate.
TRIALS = 100


@dataclass(frozen=True)
class RatePlan:
    """Rates at which bits are hit, and trials of each.

    Attributes:
        rates: probabilities of a hit, of each bit in each trial; ascending.
        trials: of each rate; with ``iterative`` at most.
        plan: models, bits, sites, times, seed and word format; ``layer-wise`` also runs each layer
            alone. Its margin is the half-width at which an iterative campaign stops a rate.
        iterative: stop each rate by itself.
        tracked: whose intervals are to be as narrow as the margin then.

    Raises:
        ValueError: a value outside its range; the message says what is allowed.

    >>> plan = RatePlan(rates=(1e-5, 1e-6), trials=10)
    >>> plan.rates
    (1e-06, 1e-05)
    """

    rates: tuple[float, ...]
    trials: int = TRIALS
    plan: SamplingPlan = field(default_factory=SamplingPlan)
    iterative: bool = False
    tracked: tuple[str, ...] = TRACKED

    def __post_init__(self) -> None:
        for rate in self.rates:
            if not 0 < rate <= 1:
                raise ValueError(f"rate is {rate}; allowed: above 0, and 1 at most")
        if not self.rates or len(set(self.rates)) < len(self.rates):
            raise ValueError(f"rates are {self.rates}; allowed: one or more, each once")
        object.__setattr__(self, "rates", tuple(sorted(self.rates)))
        if self.trials < 1:
            raise ValueError(f"trials are {self.trials}; allowed: 1 or more")
        if self.plan.scheme not in ("network-wise", "layer-wise"):
            raise ValueError(
                f"scheme is {self.plan.scheme!r}; allowed with rates: network-wise, layer-wise"
            )
        if self.plan.together > 1:
            raise ValueError(f"together is {self.plan.together}; allowed with rates: 1")
        if not self.tracked or not set(self.tracked) <= set(TRACKABLE):
            raise ValueError(f"tracked are {self.tracked}; allowed: {', '.join(TRACKABLE)}")

    def space(self, families: Sequence[SiteFamily], steps: int) -> HitSpace:
        """The bits that the rates are of; errors as ``SamplingPlan.space``."""
        return HitSpace(self.plan.space(families, steps), families)

    def cells(self, space: HitSpace) -> list[tuple[float, str]]:
        """Rate and scope of everything that has an interval of its own."""
        scopes = [NETWORK, *(space.layers if self.plan.scheme == "layer-wise" else ())]
        return [(rate, scope) for rate in self.rates for scope in scopes]

    def make_trials(
        self, space: HitSpace, cell: tuple[float, str], places: range, first: int
    ) -> list[RateTrial]:
        """The trials of a cell at ``places``, numbered from ``first`` on.

        A trial depends on the seed, its cell and its place there, not on what else is run.
        """
        rate, scope = cell
        seeds = [derive_seed(self.plan.seed, scope, repr(rate), place) for place in places]
        return [
            RateTrial.make(space, first + number, rate, scope, seed)
            for number, seed in enumerate(seeds)
        ]

    def record(self) -> dict[str, Any]:
        """Plain values, of which a list follows together with the space."""
        return {
            "rates": list(self.rates),
            "trials": self.trials,
            "iterative": self.iterative,
            "tracked": list(self.tracked) if self.iterative else None,
            "plan": {**self.plan.record(), "margin": self.plan.margin if self.iterative else None},
        }
