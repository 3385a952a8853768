"""Sample sizes as published; draws that are seeded, without repeats, and never list the space."""

from __future__ import annotations

import tracemalloc
from collections import Counter
from itertools import islice

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chisquare

from fi.faults.fault_sites import Kind, SiteFamily
from fi.faults.fault_space import FaultSpace
from fi.sampling.fault_draw import draw
from fi.sampling.plan import SamplingPlan
from fi.sampling.shuffle import _draw_below, draw_distinct, random_words
from fi.statistics.sample_size import sample_size

FAMILIES = (
    SiteFamily("fc1.weight", (20, 30), Kind.SYNAPSE),
    SiteFamily("fc1.bias", (20,), Kind.SYNAPSE),
    SiteFamily("lif1.beta", (), Kind.NEURON),
    SiteFamily("lif1.potential", (20,), Kind.STATE),
)
SPACE = FaultSpace(FAMILIES)


@pytest.mark.parametrize(
    ("population", "floor", "nearest"),
    [
        (381_120, 15_944, 15_945),  # SpikingJET's N-MNIST network: 15,944.84
        (17_174_144, 16_624, 16_625),  # ResNet-20: 16,624.89
        (141_029_376, 16_639, 16_639),  # MobileNetV2
        (27_648, 10_388, 10_389),  # layers of DATE 2023: 10,388.6
        (147_456, 14_953, 14_954),
        (2_359_296, 16_524, 16_524),
        (1, 1, 1),
        (2, 1, 2),
    ],
)
def test_sample_sizes_are_the_published_ones(population: int, floor: int, nearest: int) -> None:
    assert sample_size(population) == floor
    assert sample_size(population, rounding="nearest") == nearest


def test_sample_size_by_hand() -> None:
    # N = 1000, e = 0.1, t = 2, p = 0.2: 1000 / (1 + 0.01 * 999 / (4 * 0.16)) = 60.21
    assert sample_size(1000, margin=0.1, t=2, p=0.2) == 60
    # e^2 (N - 1) = t^2 p (1 - p), hence exactly N / 2: no rounding error may make it 49
    assert sample_size(101, margin=0.1, t=2, p=0.5) == 50


#: Weights by layer. MobileNetV2 for CIFAR-10: every block (expansion, outputs, repeats) has an
#: expanding, a depthwise and a projecting convolution.
RESNET_20 = [432, *[2304] * 6, 4608, *[9216] * 5, 18432, *[36864] * 5, 640]
#: The same as the paper counts it: 10 more in one layer of 9216, as many as the network has biases.
COUNTED = [*RESNET_20[:8], 9226, *RESNET_20[9:]]
BLOCKS = ((1, 16, 1), (6, 24, 2), (6, 32, 3), (6, 64, 4), (6, 96, 3), (6, 160, 3), (6, 320, 1))


def mobilenet() -> list[int]:
    sizes, inputs = [3 * 32 * 9], 32
    for expansion, outputs, repeats in BLOCKS:
        for _ in range(repeats):
            hidden = expansion * inputs
            sizes += [inputs * hidden, 9 * hidden, hidden * outputs]
            inputs = outputs
    return [*sizes, 320 * 1280, 1280 * 10]


def network_of(sizes: list[int]) -> FaultSpace:
    families = (SiteFamily(f"layer{n}.weight", (w,), Kind.SYNAPSE) for n, w in enumerate(sizes))
    return FaultSpace(tuple(families), ("stuck-at-0", "stuck-at-1"))


def drawn(space: FaultSpace, scheme: str) -> int:
    return sum(size for _, size in SamplingPlan(scheme, rounding="nearest").sizes(space))


def test_mobilenet_has_the_sizes_of_date_2023() -> None:
    space = network_of(mobilenet())
    assert (len(space.families), space.size) == (54, 141_029_376)
    assert drawn(space, "network-wise") == 16_639
    assert drawn(space, "layer-wise") == 838_988
    assert drawn(space, "data-unaware") == 14_894_400


def test_resnet_20_has_the_sizes_of_date_2023() -> None:
    """All of its totals follow if one layer of 9,216 weights counts 9,226, and from no other."""
    space = network_of(COUNTED)
    assert (len(space.families), space.size) == (20, 17_174_144)
    assert drawn(space, "network-wise") == 16_625
    sizes = {
        part.population: n
        for part, n in SamplingPlan("layer-wise", rounding="nearest").sizes(space)
    }
    assert (sizes[27_648], sizes[147_456], sizes[2_359_296]) == (10_389, 14_954, 16_524)
    assert drawn(space, "layer-wise") == 307_650
    assert drawn(space, "data-unaware") == 4_885_760


def test_resnet_20_by_its_own_weights_differs_by_ten_of_them() -> None:
    space = network_of(RESNET_20)
    assert space.size == 17_174_144 - 640
    assert drawn(space, "network-wise") == 16_625
    assert drawn(space, "layer-wise") == 307_650 - 1
    assert drawn(space, "data-unaware") == 4_885_760 - 4 * 32


@pytest.mark.parametrize("weights", [432, 2304, 4608, 18432, 36864, 640])
def test_no_other_layer_of_resnet_20_explains_the_totals(weights: int) -> None:
    place = RESNET_20.index(weights)
    space = network_of([*RESNET_20[:place], weights + 10, *RESNET_20[place + 1 :]])
    totals = drawn(space, "layer-wise"), drawn(space, "data-unaware")
    assert totals != (307_650, 4_885_760)


@given(st.integers(1, 10**30), st.floats(0.0001, 0.5), st.floats(0.01, 0.99))
def test_sample_size_is_within_the_population(population: int, margin: float, p: float) -> None:
    floor = sample_size(population, margin, p=p)
    nearest = sample_size(population, margin, p=p, rounding="nearest")
    assert 1 <= floor <= nearest <= min(population, floor + 1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"population": 0}, "population is 0"),
        ({"margin": 0}, "margin is 0"),
        ({"margin": float("nan")}, "margin is nan"),
        ({"t": -1}, "t is -1"),
        ({"p": 1}, "p is 1"),
        ({"rounding": "up"}, "rounding is 'up'; allowed: floor, nearest"),
    ],
)
def test_sample_size_names_a_wrong_argument(arguments: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        sample_size(**{"population": 10, **arguments})


def test_network_wise_draw_has_the_published_size_and_no_repeats() -> None:
    faults = draw(SPACE, SamplingPlan())
    assert len(faults) == sample_size(len(SPACE)) < len(SPACE)
    assert len({SPACE.number(fault) for fault in faults}) == len(faults)
    assert [fault.injection for fault in faults] == list(range(len(faults)))


def test_a_draw_is_the_same_on_every_platform() -> None:
    faults = draw(SPACE, SamplingPlan(margin=0.1))
    numbers = [SPACE.number(fault) for fault in faults]
    assert numbers == shuffled(np.random.PCG64(51196), len(SPACE))[: len(faults)]
    assert numbers[:2] == [13389, 16500]
    assert draw(SPACE, SamplingPlan(margin=0.1)) == faults
    assert draw(SPACE, SamplingPlan(margin=0.1, seed=1)) != faults


def shuffled(generator: np.random.PCG64, size: int) -> list[int]:
    """A plain Fisher-Yates shuffle of a whole list; only the top bits of a word are used."""
    numbers = list(range(size))
    for place in range(size - 1):
        bits = (size - place - 1).bit_length()
        while (step := int(generator.random_raw()) >> (64 - bits)) >= size - place:
            pass
        numbers[place], numbers[place + step] = numbers[place + step], numbers[place]
    return numbers


def test_layer_wise_draws_each_layer_on_its_own() -> None:
    plan = SamplingPlan("layer-wise", margin=0.05)
    faults = draw(SPACE, plan)
    sizes = Counter(fault.layer.split(".")[0] for fault in faults)
    assert sizes == {"fc1": sample_size(620 * 32, 0.05), "lif1": sample_size(21 * 32, 0.05)}
    assert {part.name: size for part, size in plan.sizes(SPACE)} == sizes
    assert len({SPACE.number(fault) for fault in faults}) == len(faults)


def test_layer_wise_order_mixes_the_layers() -> None:
    faults = draw(SPACE, SamplingPlan("layer-wise", margin=0.05))
    early = Counter(fault.layer.split(".")[0] for fault in faults[: len(faults) // 2])
    everywhere = Counter(fault.layer.split(".")[0] for fault in faults)
    assert early["lif1"] == pytest.approx(everywhere["lif1"] / 2, rel=0.2)


def test_exhaustive_takes_every_fault_once() -> None:
    faults = draw(SPACE, SamplingPlan("exhaustive"))
    assert sorted(SPACE.number(fault) for fault in faults) == list(range(len(SPACE)))
    with pytest.raises(ValueError, match=r"asks for 32000000000 faults; allowed: 10000000"):
        draw(huge_space(10**9), SamplingPlan("exhaustive"))


def huge_space(words: int) -> FaultSpace:
    return FaultSpace((SiteFamily("fc1.weight", (words,), Kind.SYNAPSE),))


@pytest.mark.parametrize("words", [10**9, 10**18, 10**40])
def test_a_huge_space_is_never_listed(words: int) -> None:
    space = huge_space(words)
    tracemalloc.start()
    faults = draw(space, SamplingPlan())
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(faults) == 16_640  # t^2 p (1 - p) / e^2 = 16,641, and a little less
    assert peak < 50e6
    assert sum(fault.index[0] for fault in faults) / len(faults) == pytest.approx(
        words / 2, rel=0.03
    )


def test_every_ordered_sample_is_as_likely() -> None:
    words = random_words(3)
    seen = Counter(tuple(draw_distinct(words, 5, 3)) for _ in range(12_000))
    assert len(seen) == 60
    assert chisquare(list(seen.values())).pvalue > 0.001


def test_integers_are_uniform_over_more_than_one_word() -> None:
    words = random_words(4)
    bound = 3 * 2**64
    thirds = Counter(_draw_below(words, bound) // 2**64 for _ in range(6000))
    assert set(thirds) == {0, 1, 2}
    assert chisquare(list(thirds.values())).pvalue > 0.001
    assert _draw_below(words, 1) == 0


def test_random_words_are_those_of_pcg64() -> None:
    assert list(islice(random_words(0), 2)) == [11749869230777074271, 4976686463289251617]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"scheme": "all"}, "scheme is 'all'; allowed: network-wise, layer-wise, data-unaware"),
        ({"margin": 1.0}, "margin is 1.0"),
        ({"seed": -1}, "seed is -1"),
        ({"models": ("flip",)}, "unknown fault model 'flip'"),
        ({"models": ()}, "models are"),
        ({"bits": (3, 3)}, "each once"),
        ({"bits": (32,)}, "allowed: 0 to 31"),
        ({"bits": (3,), "models": ("dead",)}, "dead strikes whole words: leave bits and burst out"),
        ({"sites": ()}, "sites are"),
    ],
)
def test_a_plan_names_a_wrong_argument(arguments: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SamplingPlan(**arguments)


def test_list_names_tell_plans_apart() -> None:
    assert SamplingPlan().list_name == "51196_fault_list.csv"
    assert SamplingPlan(seed=7).list_name == "7_fault_list.csv"
    wide = SamplingPlan(margin=0.05)
    assert wide.list_name == f"51196-{wide.tag}_fault_list.csv"
    assert wide.tag == "238a3cfd"  # stable: lists of an earlier version are found again
    plans = [wide, SamplingPlan("layer-wise"), SamplingPlan(bits=(31,)), SamplingPlan(p=0.1)]
    assert len({plan.tag for plan in plans}) == len(plans)
    assert SamplingPlan(margin=0.05, seed=3).tag == wide.tag


def test_a_plan_restricts_the_space() -> None:
    plan = SamplingPlan(
        models=("stuck-at-0", "stuck-at-1"), bits=(30, 31), sites=("*.potential", "fc1.bias")
    )
    space = plan.space(FAMILIES, steps=5)
    assert [family.name for family in space.families] == ["fc1.bias", "lif1.potential"]
    assert len(space) == 40 * 2 * 2
    assert len(SamplingPlan(transient=True).space(FAMILIES, steps=5)) == 5 * len(SPACE)
    with pytest.raises(
        ValueError, match=r"sites are 'fc2\.\*': that fits no site family; known: fc1.weight"
    ):
        SamplingPlan(sites=("fc2.*",)).space(FAMILIES, steps=5)
