"""The fault space: from a number to a fault and back, in spaces of any networks and models."""

from __future__ import annotations

from math import comb

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fi.faults.fault_checks import check_fault
from fi.faults.fault_sites import Kind, SiteFamily
from fi.faults.fault_space import FaultSpace
from fi.sampling.combinations import TrialNumbers, unrank_subset

MODELS = ("bit-flip", "stuck-at-0", "stuck-at-1", "dead", "saturated", "stuck-value:2", "scale:0.5")
STEPS = 9
sets = st.sets(st.integers(0, 31), min_size=1, max_size=4).map(lambda bits: tuple(sorted(bits)))
times = st.none() | st.tuples(st.integers(0, 4), st.integers(1, 5)).map(
    lambda window: range(window[0], window[0] + window[1])
)


@st.composite
def spaces(draw: st.DrawFn) -> FaultSpace:
    """Random networks: families of any kind, rank, size and width."""
    families = tuple(
        SiteFamily(
            f"layer{number}.word",
            tuple(draw(st.lists(st.integers(1, 10**6), max_size=4))),
            kind,
            draw(st.sampled_from((8, 16, 32))) if kind in (Kind.SYNAPSE, Kind.NEURON) else 32,
        )
        for number, kind in enumerate(draw(st.lists(st.sampled_from(list(Kind)), min_size=1)))
    )
    models = tuple(draw(st.lists(st.sampled_from(MODELS), min_size=1, unique=True)))
    bits = tuple(draw(st.lists(st.integers(0, 31) | sets, min_size=1, max_size=6, unique=True)))
    bits = tuple(dict.fromkeys((b,) if isinstance(b, int) else b for b in bits))
    steps = tuple(draw(st.lists(times, min_size=1, max_size=4, unique=True)))
    try:
        return FaultSpace(families, models, bits, steps)
    except ValueError:  # none of the models strikes any of the families
        return FaultSpace((SiteFamily("fc1.weight", (3, 4), Kind.SYNAPSE),), ("dead",))


@given(st.data())
def test_number_fault_number(data: st.DataObject) -> None:
    space = data.draw(spaces())
    for number in {0, space.size - 1, data.draw(st.integers(0, space.size - 1))}:
        fault = space.fault(number)
        assert space.number(fault) == number
        check_fault(fault, space.families, STEPS + 1)


@given(st.data())
def test_the_space_is_the_sum_of_its_parts(data: st.DataObject) -> None:
    space = data.draw(spaces())
    assert space.size == sum(map(space.size_of, space.families))
    for family in space.families:
        parts = [space.numbers_with(family.name, bits) for bits in space.choices_of(family.name)]
        assert sum(part.size for part in parts) == space.size_of(family)
        for part, bits in zip(parts, space.choices_of(family.name), strict=True):
            place = data.draw(st.integers(0, part.size - 1))
            assert part[place] in space.range_of(family.name)
            assert space.fault(part[place]).bits == bits
            assert place == 0 or part[place] > part[0]
    for name in space.left_out:
        assert name not in [family.name for family in space.families]


def test_small_parts_list_every_number_once() -> None:
    families = (
        SiteFamily("a.weight", (2, 3), Kind.SYNAPSE),
        SiteFamily("a.spike", (2,), Kind.SPIKE),
    )
    models = ("bit-flip", "dead", "stuck-at-1", "scale:2")
    space = FaultSpace(families, models, (0, (3, 4), 7), (None, range(1, 3)))
    found = [
        number
        for family in families
        for bits in space.choices_of(family.name)
        for number in map(space.numbers_with(family.name, bits).__getitem__,
                          range(space.numbers_with(family.name, bits).size))
    ]  # fmt: skip
    assert sorted(found) == list(range(space.size))
    assert space.size == 6 * 2 * (3 + 1 + 3 + 1) + 2 * 2 * (3 + 1 + 3)
    listed = [space.fault(number) for number in range(space.size)]
    assert len(set(listed)) == space.size
    assert all(f.layer != "a.spike" or f.model != "scale:2" for f in listed)


def test_what_no_model_strikes_is_left_out_and_said() -> None:
    families = (
        SiteFamily("a.weight", (2,), Kind.SYNAPSE, width=8),
        SiteFamily("b.beta", (2,), Kind.NEURON, width=8),
        SiteFamily("b.spike", (2,), Kind.SPIKE),
    )
    space = FaultSpace(families, ("dead",))
    assert space.left_out == ("b.beta",)
    high = FaultSpace(families, ("bit-flip",), tuple(range(8, 32)))
    assert high.left_out == ("a.weight", "b.beta")
    with pytest.raises(ValueError, match=r"space is empty: .*models scale:2; sites b.spike"):
        FaultSpace(families[2:], ("scale:2",))


@given(st.integers(0, 10**30), st.integers(1, 6))
def test_sets_are_numbered(position: int, size: int) -> None:
    members = unrank_subset(position, size)
    assert len(members) == size
    assert members == sorted(set(members))
    assert position == sum(comb(member, place) for place, member in enumerate(members, 1))


def test_trials_of_a_small_space_are_all_its_sets() -> None:
    spans = [[range(0, 3), range(10, 12)], [range(20, 24)]]
    numbers = TrialNumbers(spans, 2)
    found = [tuple(numbers[position]) for position in range(numbers.size)]
    assert len(set(found)) == numbers.size == 10 + 6
    assert all((a < 20) == (b < 20) for a, b in found)
    with pytest.raises(ValueError, match="no 6 faults"):
        TrialNumbers(spans, 6)
