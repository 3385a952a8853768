"""Trials in which something large is rounded: sums whose value is that of their order."""

from __future__ import annotations

from itertools import product

import torch
from shipped_networks import first_digits, shipped
from small_networks import SmallLinear, event_batches, small

from fi.campaign.subject import Subject
from fi.engine.agreement import agreement, outcomes
from fi.engine.differential.engine import DifferentialEngine
from fi.engine.full import FullEngine
from fi.faults.fault import Fault, Trial


def check(subject: Subject, trials: list[Trial]) -> tuple[int, int]:
    """How many pairs differ from the full engine, and how many are not masked."""
    network, batches = subject.network, list(subject.batches)
    full = FullEngine(network, subject.infer, subject.sites)
    fast = DifferentialEngine(network, subject.infer, families=subject.sites)
    found = agreement(outcomes(full, trials, batches), outcomes(fast, trials, batches), trials)
    return found.differing, found.unmasked


def test_a_spike_that_is_nearly_nothing_before_a_huge_weight(subject: Subject) -> None:
    trials = [
        (
            Fault(number, "lif1.spike", (neuron,), spike),
            Fault(number, "fc2.weight", (output, neuron), weight),
        )
        for number, (neuron, output, spike, weight) in enumerate(
            product(range(4), range(3), (29, 28, 27, 26), (30, 29))
        )
    ]
    differing, unmasked = check(subject, trials)
    assert differing == 0
    assert unmasked > 100


def test_two_large_weights_of_opposite_signs_in_one_neuron(subject: Subject) -> None:
    weight = subject.network.fc1.weight
    trials: list[Trial] = []
    for row in range(len(weight)):
        for one, other in product(range(4), range(4, 8)):
            sign = 31 if (weight[row, one] < 0) == (weight[row, other] < 0) else None
            bits = (30,) if sign is None else (30, sign)
            trials.append(
                (
                    Fault(len(trials), "fc1.weight", (row, one), 30),
                    Fault(len(trials), "fc1.weight", (row, other), bits),
                )
            )
    differing, unmasked = check(subject, trials)
    assert differing == 0
    assert unmasked > 100


def test_low_bits_of_spikes_where_membranes_stand_on_the_threshold() -> None:
    """Words of a fixed-point format: all sums are exact, and often equal to the threshold."""
    network = shipped("NMNIST", 40).network
    subject = Subject(network, [first_digits(40)], word_format="fixed:4.4")
    trials: list[Trial] = [
        (Fault(number, "lif1.spike", (neuron,), bit),)
        for number, (neuron, bit) in enumerate(product(range(20), (0, 1, 2, 4, 8, 11, 14, 20)))
    ]
    differing, unmasked = check(subject, trials)
    assert differing == 0
    assert unmasked > 100


def test_the_network_is_one_that_the_kernels_take() -> None:
    network = small(SmallLinear)
    ((events, _), *_) = event_batches((12,))
    engine = DifferentialEngine(network, network)
    with torch.inference_mode():
        kernels = engine.prepare(events).kernels
    assert kernels is not None
    assert kernels.multiple.takes_network
