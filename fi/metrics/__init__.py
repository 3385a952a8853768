"""What a pair did, and how these outcomes are counted.

Public names: the outcomes of one fault on samples, and their counts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fi.base.public_names import load_lazily

if TYPE_CHECKING:
    from fi.metrics.counts import COUNT_COLUMNS
    from fi.metrics.fault_counts import FaultCounts
    from fi.metrics.judgement import judge
    from fi.metrics.outcomes import BAND_ENDS, OUTCOMES

__all__ = [
    "BAND_ENDS",
    "COUNT_COLUMNS",
    "OUTCOMES",
    "FaultCounts",
    "judge",
]

if not TYPE_CHECKING:
    __getattr__, __dir__ = load_lazily(
        __name__,
        {
            "counts": ("COUNT_COLUMNS",),
            "fault_counts": ("FaultCounts",),
            "judgement": ("judge",),
            "outcomes": ("BAND_ENDS", "OUTCOMES"),
        },
    )
