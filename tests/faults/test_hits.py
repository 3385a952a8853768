"""Hits of a rate: how many, where, and what they do to words."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from campaigns import subject_of
from hypothesis import given
from hypothesis import strategies as st
from oracle import corrupted
from small_networks import SmallConv, SmallLinear

from fi.faults.fault import Fault
from fi.faults.fault_sites import Kind, SiteFamily
from fi.faults.fault_space import FaultSpace
from fi.faults.hits.hit_injection import hits_injected
from fi.faults.hits.hit_space import HitSpace
from fi.faults.hits.random_numbers import HitDraw, derive_seed
from fi.faults.hits.rate_trial import RateTrial
from fi.faults.stored_words import FaultNotApplied
from fi.faults.word_formats import convert
from fi.sampling.rate_plan import RatePlan

WEIGHTS = SiteFamily("fc1.weight", (100, 50), Kind.SYNAPSE)
BETA = SiteFamily("lif1.beta", (7,), Kind.NEURON)


@pytest.mark.parametrize("rate", [1e-6, 1e-4, 0.003, 0.3, 0.9])
def test_numbers_have_the_binomial_mean_and_variance(rate: float) -> None:
    """Within five standard errors of each."""
    bits, trials = 160_224, 4000
    hits = np.array([HitDraw(derive_seed(rate, n)).binomial(bits, rate) for n in range(trials)])
    mean, variance = bits * rate, bits * rate * (1 - rate)
    assert abs(hits.mean() - mean) < 5 * np.sqrt(variance / trials)
    fourth = variance * (1 + (3 * bits - 6) / bits * variance)  # central moment of a binomial
    spread = np.sqrt((fourth - variance**2) / trials)
    assert abs(hits.var(ddof=1) - variance) < 5 * spread


def test_every_bit_is_hit_as_often() -> None:
    """The chi-squared statistic of all bits is within five standard deviations of its mean."""
    space = HitSpace(FaultSpace((BETA,)))
    seen, trials, rate = np.zeros((7, 32)), 3000, 0.1
    for seed in range(trials):
        for hits in space.draw(rate, HitDraw(seed)):
            seen[hits.word, hits.choice] += 1
    bits, expected = seen.size, trials * rate
    statistic = ((seen - expected) ** 2 / (expected * (1 - rate))).sum()
    assert abs(statistic - bits) < 5 * np.sqrt(2 * bits)


@given(st.integers(1, 3000), st.floats(0, 1), st.integers(0, 10**6))
def test_a_subset_has_each_number_once(population: int, part: float, seed: int) -> None:
    size = round(part * population)
    chosen = HitDraw(seed).subset(population, size)
    assert len(chosen) == size
    assert (np.diff(chosen) > 0).all()
    assert not size or 0 <= chosen[0] <= chosen[-1] < population


def test_small_subsets_are_all_as_likely() -> None:
    found: dict[tuple[int, ...], int] = {}
    for seed in range(6000):
        subset = tuple(HitDraw(seed).subset(5, 2).tolist())
        found[subset] = found.get(subset, 0) + 1
    assert len(found) == 10
    assert max(abs(n - 600) for n in found.values()) < 5 * np.sqrt(600 * 0.9)


def test_a_hundred_million_bits_are_never_listed() -> None:
    memory = SiteFamily("fc1.weight", (3_200_000,), Kind.SYNAPSE)
    space = HitSpace(FaultSpace((memory,)))
    trial = RateTrial.make(space, 0, 1e-3, "network", seed=5)
    (hits,) = trial.draw(space)
    assert space.size == 102_400_000
    assert trial.hits == len(hits) > 100_000
    assert len(hits.combine_masks()[0]) == len(hits.words)


def test_a_trial_is_the_same_wherever_it_is_in_a_list() -> None:
    plan, space = RatePlan((1e-3, 1e-2), 5), HitSpace(FaultSpace((WEIGHTS, BETA)))
    alone = plan.make_trials(space, (1e-2, "network"), range(3, 4), 40)[0]
    listed = plan.make_trials(space, (1e-2, "network"), range(5), 0)[3]
    assert (alone.seed, alone.hits) == (listed.seed, listed.hits)
    assert [str(f) for f in alone.list_faults(space)] == [str(f) for f in listed.list_faults(space)]


def test_a_layer_alone_has_all_faults() -> None:
    space = HitSpace(FaultSpace((WEIGHTS, BETA)))
    trial = RateTrial.make(space, 0, 0.1, "lif1", seed=2)
    assert 0 < trial.hits <= 7 * 32
    assert {fault.layer for fault in trial.list_faults(space)} == {"lif1.beta"}


def test_steps_are_drawn_for_the_trial() -> None:
    space = HitSpace(FaultSpace((BETA,), steps=tuple(range(t, t + 2) for t in range(9))))
    trials = [RateTrial.make(space, n, 0.1, "network", n) for n in range(60)]
    assert {trial.steps for trial in trials} == set(space.space.steps)
    assert all(len({f.steps for f in t.list_faults(space)}) <= 1 for t in trials)


@pytest.mark.parametrize(
    ("space", "message"),
    [
        (FaultSpace((WEIGHTS,), models=("bit-flip", "dead")), "bits or of whole words"),
        (FaultSpace((WEIGHTS,), bits=((0, 1), (1, 2))), "overlap"),
    ],
)
def test_spaces_without_a_rate(space: FaultSpace, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        HitSpace(space)


@pytest.mark.parametrize("form", ["float32", "float16", "bfloat16"])
@pytest.mark.parametrize("models", [("bit-flip",), ("stuck-at-0", "stuck-at-1", "bit-flip")])
def test_words_are_those_of_single_faults(form: str, models: tuple[str, ...]) -> None:
    """Every word of every tensor, by ``struct``; afterwards the network is as it was."""
    subject = subject_of(SmallConv, word_format=form)
    families = tuple(f for f in subject.families if f.kind in (Kind.SYNAPSE, Kind.NEURON))
    space, network = HitSpace(FaultSpace(families, models)), subject.network
    trial = RateTrial.make(space, 0, 0.1, "network", seed=8)
    golden = {name: value.clone() for name, value in network.state_dict().items()}
    faults: dict[tuple[str, tuple[int, ...]], list[Fault]] = {}
    for fault in trial.list_faults(space):
        faults.setdefault((fault.layer, fault.index), []).append(fault)
    dtype = getattr(torch, form)
    with hits_injected(network, trial.draw(space)):
        for name, value in network.state_dict().items():
            for index in np.ndindex(*value.shape):
                wanted = float(golden[name][index])
                for fault in faults.pop((name, index), []):
                    wanted = corrupted(wanted, fault, dtype)
                assert float(value[index]) == wanted or wanted != wanted
    assert not faults
    after = network.state_dict()
    assert all(torch.equal(after[name], value) for name, value in golden.items())


def test_int8_words_stay_words() -> None:
    network = torch.nn.Sequential(torch.nn.Linear(30, 20))
    convert(network, "int8")
    weights = SiteFamily("0.weight", (20, 30), Kind.SYNAPSE, width=8)
    space = HitSpace(FaultSpace((weights,)))
    golden = network[0].weight.detach().clone()
    unit = golden.abs().max() / 127
    with hits_injected(network, space.draw(0.2, HitDraw(1))):
        faulty = network[0].weight.detach() / unit
        assert (faulty - faulty.round()).abs().max() < 1e-3
        assert faulty.min() >= -128.001
        assert not torch.equal(network[0].weight, golden)
    assert torch.equal(network[0].weight, golden)


def test_a_forward_that_mends_its_words_is_found_out() -> None:
    subject = subject_of(SmallLinear)
    space = HitSpace(FaultSpace(tuple(subject.families)))
    trial = RateTrial.make(space, 0, 0.1, "fc1", seed=1)
    weight = subject.network.fc1.weight.detach()
    golden = weight.clone()
    with (
        pytest.raises(FaultNotApplied, match=r"fc1.weight"),
        hits_injected(subject.network, trial.draw(space)),
    ):
        weight.copy_(golden)
    assert torch.equal(weight, golden)
