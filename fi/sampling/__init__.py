"""Which faults are drawn: schemes, priors, sequential draws, shards.

Public names: the plans of a draw, and the draw itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fi.base.public_names import load_lazily

if TYPE_CHECKING:
    from fi.sampling.fault_draw import draw
    from fi.sampling.pilot import PilotPlan
    from fi.sampling.plan import SamplingPlan
    from fi.sampling.prior import read_prior
    from fi.sampling.sequential_plan import IterativePlan

__all__ = [
    "IterativePlan",
    "PilotPlan",
    "SamplingPlan",
    "draw",
    "read_prior",
]

if not TYPE_CHECKING:
    __getattr__, __dir__ = load_lazily(
        __name__,
        {
            "fault_draw": ("draw",),
            "pilot": ("PilotPlan",),
            "plan": ("SamplingPlan",),
            "prior": ("read_prior",),
            "sequential_plan": ("IterativePlan",),
        },
    )
