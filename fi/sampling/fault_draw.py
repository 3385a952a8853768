"""Which faults to inject: seeded draws that never list the fault space."""

from __future__ import annotations

from fi.base.garbage import pause_collection
from fi.faults.fault import Fault
from fi.faults.fault_space import FaultSpace
from fi.sampling.combinations import TrialNumbers
from fi.sampling.plan import SamplingPlan
from fi.sampling.shuffle import draw_distinct, random_words
from fi.statistics.survey_design import BIT_WISE

#: A list of more faults is refused: it would be held in memory.
LONGEST_LIST = 10_000_000


def draw(space: FaultSpace, plan: SamplingPlan) -> list[Fault]:
    """The fault list of the plan: no fault twice, numbered from 0 in random order.

    The order is random so that the first rows are a sample of their own, should a campaign stop
    early. The same plan and space give the same list on every platform.

    Args:
        space: what is drawn from, ``plan.space(families, steps)``.
        plan: how much of it, and the seed.

    Raises:
        ValueError: the list would have more than ``LONGEST_LIST`` faults.

    >>> from fi.faults.fault_sites import Kind, SiteFamily
    >>> plan = SamplingPlan(margin=0.1)
    >>> space = plan.space([SiteFamily("fc1.weight", (3, 5), Kind.SYNAPSE)], steps=10)
    >>> faults = draw(space, plan)
    >>> len(faults), space.size
    (123, 480)
    >>> print(faults[0])
    bit-flip of bit 17 in fc1.weight[1, 1]
    """
    if plan.together > 1:
        return draw_trials(space, plan)
    with pause_collection():
        return [space.fault(number, row) for row, number in enumerate(draw_numbers(space, plan))]


def draw_numbers(space: FaultSpace, plan: SamplingPlan) -> list[int]:
    """The numbers in the space of the faults that ``draw`` lists, for plans of single faults."""
    parts = plan.sizes(space)
    length = sum(size for _, size in parts)
    if length > LONGEST_LIST:
        raise ValueError(f"the plan asks for {length} faults; allowed: {LONGEST_LIST} in a list")
    words = random_words(plan.seed)
    numbers = [
        part.number(position)
        for part, size in parts
        for position in draw_distinct(words, part.population, size)
    ]
    if len(parts) > 1:
        numbers = [numbers[position] for position in draw_distinct(words, length, length)]
    return numbers


def draw_trials(space: FaultSpace, plan: SamplingPlan) -> list[Fault]:
    """Trials of ``plan.together`` different faults each, no trial twice, in random order.

    The population are all sets of so many faults: of the network, or within one layer.
    """
    if plan.scheme in BIT_WISE:
        raise ValueError(
            f"trials of several faults are drawn network-wise or layer-wise, not {plan.scheme}"
        )
    populations = _trial_populations(space, plan)
    sizes = [plan.size(population.size) for population in populations]
    if sum(sizes) > LONGEST_LIST:
        raise ValueError(
            f"the plan asks for {sum(sizes)} trials; allowed: {LONGEST_LIST} in a list"
        )
    words = random_words(plan.seed)
    drawn = [
        population[position]
        for population, size in zip(populations, sizes, strict=True)
        for position in draw_distinct(words, population.size, size)
    ]
    if len(populations) > 1:
        drawn = [drawn[trial] for trial in draw_distinct(words, len(drawn), len(drawn))]
    return [space.fault(n, injection) for injection, trial in enumerate(drawn) for n in trial]


def _trial_populations(space: FaultSpace, plan: SamplingPlan) -> list[TrialNumbers]:
    """The trials that each part of the draw is from: of each layer, or of the network."""
    layers = list(_spans_by_layer(space).values())
    if plan.scheme == "layer-wise":
        return [TrialNumbers([layer], plan.together) for layer in layers]
    groups = layers if plan.within_layer else [[range(space.size)]]
    return [TrialNumbers(groups, plan.together)]


def _spans_by_layer(space: FaultSpace) -> dict[str, list[range]]:
    """Fault numbers of each module."""
    layers: dict[str, list[range]] = {}
    for family in space.families:
        layers.setdefault(family.layer, []).append(space.range_of(family.name))
    return layers
