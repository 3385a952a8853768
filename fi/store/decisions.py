"""How the pairs of a campaign were decided: without a simulation, by one, or at the readout."""

from __future__ import annotations

from collections.abc import Mapping

#: Ways to decide a pair, in words, the cheapest first.
WAYS = {
    "no_change": "no word changes",
    "proof": "proved: no spike can change",
    "own_stage": "simulated: its own stage heals",
    "later_stage": "simulated: a later stage heals",
    "readout": "computed to the readout",
    "forward": "a whole forward",
    "not_counted": "not counted",
}


def add_decision_counts(first: Mapping[str, int], second: Mapping[str, int]) -> dict[str, int]:
    """Add two counts, in the order of the ways."""
    return {
        way: first.get(way, 0) + second.get(way, 0) for way in WAYS if {*first, *second} & {way}
    }
