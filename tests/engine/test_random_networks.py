"""Networks drawn from a grammar: each is right on both engines, or refused in one line.

A failure prints the smallest network that fails likewise, to be pasted.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable

import pytest
from network_grammar import draw_network
from random_networks import Verdict, shrink, try_network

CHUNK = 20
#: Of each chunk: networks that may be refused, and faults that must not be masked everywhere.
REFUSED_AT_MOST, AFFECTED_AT_LEAST = 0.4, 0.25
#: Networks of a chunk whose checks before the first fault end in the full engine.
TAKEN_OVER_AT_MOST = 2


def try_chunk(first: int, faults: int, note: Callable[[str, object], None]) -> None:
    """Try the networks of ``CHUNK`` seeds; the first that fails is shrunk and shown."""
    verdicts: list[Verdict] = []
    for seed in range(first, first + CHUNK):
        network = draw_network(seed)
        verdict = try_network(network, most=faults)
        if verdict.kind not in ("right", "refused"):
            smallest = shrink(network, verdict, most=faults)
            pytest.fail(f"seed {seed}: {verdict.said}\n\n{describe(smallest)}")
        verdicts.append(verdict)
    kinds = Counter(verdict.kind for verdict in verdicts)
    ran = sum(verdict.faults for verdict in verdicts)
    affected = sum(verdict.affected for verdict in verdicts)
    over = [verdict.taken_over for verdict in verdicts if verdict.taken_over]
    only = sum(bool(verdict.transient_refused) for verdict in verdicts)
    reasons = Counter(shorten(verdict) for verdict in verdicts if verdict.kind == "refused")
    note(
        "tally",
        f"random networks {first} to {first + CHUNK - 1}: {kinds['right']} right, "
        f"{kinds['refused']} refused, {only} of transient faults; {ran} faults, {affected} with "
        f"effect {dict(reasons) or ''} {over or ''}",
    )
    assert kinds["refused"] <= REFUSED_AT_MOST * CHUNK, reasons
    assert len(over) <= TAKEN_OVER_AT_MOST, over
    assert affected >= AFFECTED_AT_LEAST * ran


def shorten(verdict: Verdict) -> str:
    """The kind of reason for a refusal, without names, numbers and shapes."""
    reason = re.sub(r"\[[^]]*\]|\S*\d\S*", "", verdict.said.partition("Net")[2])
    return " ".join(reason.split())[:90]


def describe(verdict: Verdict) -> str:
    """The network as a file that a person can run, and what is wrong with it."""
    features = ", ".join(sorted(verdict.network.features))
    return "\n".join([verdict.network.source, f"# {features}", verdict.said, verdict.details])


@pytest.mark.parametrize("first", range(0, 40, CHUNK))
def test_networks_are_right_or_refused(
    first: int, record_property: Callable[[str, object], None]
) -> None:
    try_chunk(first, faults=10, note=record_property)


@pytest.mark.slow
@pytest.mark.parametrize("first", range(40, 2100, CHUNK))
def test_many_networks_are_right_or_refused(
    first: int, record_property: Callable[[str, object], None]
) -> None:
    try_chunk(first, faults=24, note=record_property)


def test_a_feature_that_is_left_out_leaves_the_others() -> None:
    for seed in range(40):
        features = draw_network(seed).features
        for feature in features & {"learn_beta", "learn_threshold", "dropout"}:
            assert draw_network(seed, {feature}).features == features - {feature}
