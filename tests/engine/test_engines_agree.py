"""The differential engine gives, pair by pair, what the full engine gives."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from itertools import product

import pytest
import torch
from engine_scores import scores
from stage_kinds import (
    FAST,
    GENERIC,
    MIXED,
    MODELS,
    STEPS,
    Chain,
    coupled,
    cut,
    events,
    every_fault,
    families,
    input_shape,
    late_recurrence,
    linear,
    max_pools,
    mean_pools,
    network_of,
    padded,
    pools_of_spikes,
    recurrent,
    recurrent_at_the_end,
    six_stages,
    synaptic,
)
from torch import Tensor

from fi.engine.agreement import TOLERATED, Agreement, agreement, outcomes
from fi.engine.differential.engine import DifferentialEngine
from fi.engine.differential.path_choice import choose_kernels
from fi.engine.full import FullEngine
from fi.faults.fault import Fault
from fi.faults.fault_sites import Kind
from fi.faults.fault_space import unravel
from fi.metrics.outcomes import FULLY_MASKED
from fi.metrics.pairs import Pairs
from fi.network.batches import Batch
from fi.network.stages import Stage, find_sources

Build = Callable[[], list[Stage]]
FLOAT32, FLOAT64 = torch.float32, torch.float64
SIGNALS = ("spikes", "counts", "signed")


def compared(
    network: Chain,
    faults: Sequence[Fault],
    batches: Sequence[Batch],
    engine: DifferentialEngine | None = None,
) -> Agreement:
    """Both engines on all pairs, which are not all masked."""
    reference = outcomes(FullEngine(network, network), faults, batches)
    other = outcomes(engine or DifferentialEngine(network, network), faults, batches)
    found = agreement(reference, other, faults)
    assert found.pairs == len(faults) * sum(len(labels) for _, labels in batches)
    assert 0.01 < found.unmasked / found.pairs < 0.9, f"vacuous: {found}"
    return found


def data(network: Chain, sizes: Sequence[int], steps: int = STEPS, kind: str = "spikes") -> list:
    """Batches of these sizes, in the network's precision."""
    signal = events(input_shape(network), sum(sizes), steps, kind)
    return cut(signal.to(next(network.parameters()).dtype), sizes)


def explained(found: Agreement) -> str:
    return f"{found}: {'; '.join(map(str, found.examples))}"


def reads_last_bits(network: Chain, fault: Fault) -> bool:
    """Whether a change of a spike's last bit reaches a membrane that is read out.

    In float32 its own last bit depends on the order of summation.
    """
    read = find_sources(network.stages())[-1]
    return fault.layer in {f"neuron{number}.spike" for number in read}


@pytest.mark.parametrize("dtype", [FLOAT32, FLOAT64])
@pytest.mark.parametrize("readout", ["count", "membrane"])
@pytest.mark.parametrize("kind", [*FAST, *GENERIC, *MIXED])
def test_every_family_model_and_time(kind: Build, readout: str, dtype: torch.dtype) -> None:
    if dtype == FLOAT64 and kind in (coupled, recurrent_at_the_end):
        pytest.skip("snnTorch's neurons feed float32 spikes back into float64 layers")
    number = [*FAST, *GENERIC, *MIXED].index(kind) + (readout == "count") + (dtype == FLOAT64)
    signal = SIGNALS[number % len(SIGNALS)]
    network = network_of(kind, readout, dtype, signal)
    faults = every_fault(network, each=1)[::2]  # of fifteen a family: not the same in the next
    assert len({fault.layer for fault in faults}) == len(families(network)) > 8
    if dtype == FLOAT32 and readout == "membrane":
        faults = [fault for fault in faults if not reads_last_bits(network, fault)]
    found = compared(network, faults, data(network, (23,), kind=signal))
    assert found.holds(TOLERATED if dtype == FLOAT32 else 0), explained(found)


@pytest.mark.parametrize("kind", [linear, synaptic])
def test_last_bits_of_a_membrane_that_is_read_out(kind: Build) -> None:
    network = network_of(kind, "membrane")
    faults = [f for f in every_fault(network, each=20) if reads_last_bits(network, f)]
    found = compared(network, faults, data(network, (23,)))
    assert found.rate > 0.97, explained(found)


@pytest.mark.parametrize("kind", FAST)
def test_the_kernels_are_used(kind: Build) -> None:
    network = network_of(kind)
    engine = DifferentialEngine(network, network)
    faults, batches = every_fault(network, each=1), data(network, (3,))
    outcomes(engine, faults, batches)
    kernels = engine.prepare(batches[0][0]).kernels
    assert kernels is not None
    taken = choose_kernels(kernels.single, faults)
    left = {fault.layer for fault, fast in zip(faults, taken, strict=True) if not fast}
    if kind in (linear, six_stages, synaptic):
        assert not left
        assert 0 < engine.tally.computed < engine.tally.simulated < engine.tally.pairs
    if kind is mean_pools:
        assert left >= {"synapse0.1.weight", "synapse0.1.running_var"}
    assert taken.mean() > 0.6
    assert all(name.startswith(("synapse", "recurrent")) for name in left)


@pytest.mark.parametrize("kind", GENERIC)
def test_what_has_no_kernel_takes_the_generic_path(kind: Build) -> None:
    network = network_of(kind)
    engine = DifferentialEngine(network, network)
    batches = data(network, (3,))
    outcomes(engine, every_fault(network, each=1)[:4], batches)
    paths = engine.prepare(batches[0][0])
    assert paths.kernels is not None
    assert re.search("has no kernel|takes torch", paths.why_no_kernels)
    assert 0 < engine.tally.simulated <= engine.tally.pairs <= 4 * 3


@pytest.mark.parametrize("kind", [kind for kind in MIXED if kind is not coupled])
def test_graphs_and_stages_of_both_kinds_take_kernels_where_there_are_any(kind: Build) -> None:
    network = network_of(kind)
    engine = DifferentialEngine(network, network)
    faults, batches = every_fault(network, each=1), data(network, (3,))
    outcomes(engine, faults, batches)
    kernels = engine.prepare(batches[0][0]).kernels
    assert kernels is not None
    in_torch = set(kernels.single.reasons)
    wanted = {pools_of_spikes: {2}, recurrent_at_the_end: {1, 2}}
    assert in_torch == wanted.get(kind, set())
    assert choose_kernels(kernels.single, faults).any()


@pytest.mark.parametrize("kind", [linear, max_pools])
def test_both_paths_count_pairs_alike(kind: Build) -> None:
    network = network_of(kind)
    faults, shown = every_fault(network, each=1), data(network, (5,))
    kernels = DifferentialEngine(network, network)
    generic = DifferentialEngine(network, network, kernels=False)
    for engine in (kernels, generic):
        outcomes(engine, faults, shown)
    assert kernels.prepare(shown[0][0]).kernels is not None
    assert generic.prepare(shown[0][0]).kernels is None
    assert 0 < kernels.tally.diverged == generic.tally.diverged
    assert kernels.tally.simulated < generic.tally.simulated <= generic.tally.pairs


def test_words_that_overflow_behind_padding_or_a_norm_take_the_generic_path() -> None:
    for kind in (padded, mean_pools):
        network = network_of(kind)
        with torch.no_grad():
            network.stages()[0].modules[0].weight[0, 0, 0, 0] = 1.0
        word = Fault(0, "synapse0.0.weight", (0, 0, 0, 0), 30)
        engine, batches = DifferentialEngine(network, network), data(network, (3,))
        outcomes(engine, [word], batches)
        small = Fault(0, "synapse0.0.weight", (0, 0, 0, 0), 20)
        kernels = engine.prepare(batches[0][0]).kernels
        assert kernels is not None
        assert choose_kernels(kernels.single, [word, small]).tolist() == [False, True]


#: Golden words from which one bit leads to: infinity, NaN, 2.7e38, -0.0, a denormal.
SPECIAL = (1.0, -1.0, 1.5, 0.8, 0.0, 1.2e-38)
SPECIAL_FAULTS = (("bit-flip", 30), ("bit-flip", 31), ("stuck-at-1", 0), ("stuck-at-0", 23))


def special_faults(network: Chain, value: float, kind: Kind, every: bool) -> list[Fault]:
    """Put ``value`` in the middle word of all families of a kind, and hit that word in all ways.

    Each is permanent and at one step where ``every`` is set, else one of the two, in turn.
    """
    faults: list[Fault] = []
    turn = 0
    words = dict(network.named_parameters()) | dict(network.named_buffers())
    for family in families(network):
        if family.attribute == "threshold" and kind is not Kind.NEURON:
            # no membrane that stands at its threshold, which is a float32 word still
            threshold = words[family.name].data
            threshold.copy_((1.01 * threshold).float())
        if family.kind is not kind:
            continue
        index = unravel(family.words // 2, family.shape)
        stored = torch.tensor(abs(value) if family.attribute == "running_var" else value)
        words[family.name].data[index] = stored  # as float32
        turn += 1
        for number, ((model, bit), step) in enumerate(product(SPECIAL_FAULTS, (None, 2))):
            if not every and (number // 2 + number + turn) % 2:
                continue
            faults.append(Fault(len(faults), family.name, index, bit, model, step))
    return faults


@pytest.mark.parametrize("every", [False, pytest.param(True, marks=pytest.mark.slow)])
@pytest.mark.parametrize("where", [Kind.SYNAPSE, Kind.NEURON])
@pytest.mark.parametrize(
    ("kind", "readout", "dtype"),
    [
        (linear, "membrane", FLOAT32),
        (max_pools, "count", FLOAT32),
        (mean_pools, "count", FLOAT32),
        (padded, "count", FLOAT32),
        (padded, "membrane", FLOAT64),
        (synaptic, "membrane", FLOAT64),
    ],
)
def test_infinities_nans_and_denormals(
    kind: Build, readout: str, dtype: torch.dtype, where: Kind, every: bool
) -> None:
    unmasked = pairs = 0
    for value in SPECIAL:
        network = network_of(kind, readout, dtype)
        faults = special_faults(network, value, where, every)
        batches = data(network, (5,), kind="counts")
        reference = outcomes(FullEngine(network, network), faults, batches)
        other = outcomes(DifferentialEngine(network, network), faults, batches)
        found = agreement(reference, other, faults)
        assert found.holds(TOLERATED if dtype == FLOAT32 else 0), f"{value}: {explained(found)}"
        unmasked, pairs = unmasked + found.unmasked, pairs + found.pairs
    assert unmasked > 0.05 * pairs


@pytest.mark.parametrize("kind", [linear, padded, synaptic])
def test_high_bits_of_potentials_and_spikes(kind: Build) -> None:
    network = network_of(kind, "membrane", FLOAT64)
    faults = [
        Fault(0, family.name, unravel(family.words // 2, family.shape), bit, model, step)
        for family in families(network)
        if family.kind in (Kind.STATE, Kind.SPIKE)
        for model, bit, step in product(MODELS, (28, 29, 30, 31), (None, 2))
    ]
    found = compared(network, faults, data(network, (5,), kind="counts"))
    assert found.differing == 0, explained(found)


@pytest.mark.parametrize("steps", [1, 32, 70])
@pytest.mark.parametrize("kind", [linear, max_pools, synaptic])
def test_any_number_of_steps(kind: Build, steps: int) -> None:
    network = network_of(kind, dtype=FLOAT64)
    faults = every_fault(network, each=1, steps=steps)[:: 4 if steps == 1 else 12]
    found = compared(network, faults, data(network, (9,), steps, "counts"))
    assert found.differing == 0, explained(found)


def test_odd_batch_sizes() -> None:
    network = network_of(max_pools, dtype=FLOAT64)
    faults = every_fault(network, each=1)[::2]
    found = compared(network, faults, data(network, (1, 7, 33, 1)))
    assert found.differing == 0, explained(found)


@pytest.mark.parametrize("kind", [linear, max_pools, synaptic, six_stages])
def test_threads_groups_and_memory_change_nothing(kind: Build) -> None:
    network = network_of(kind, "count")
    faults = every_fault(network, each=1)
    faults = [faults[(7 * i) % len(faults)] for i in range(len(faults))]  # families mixed
    batches = data(network, (11, 3))

    def run(group: int, **options: int) -> Tensor:
        return scores(DifferentialEngine(network, network, **options), faults, batches, group)

    wanted = run(len(faults), threads=1)
    assert torch.equal(run(len(faults), threads=2), wanted)
    assert torch.equal(run(17, threads=2), wanted)
    assert torch.equal(run(len(faults), threads=1, memory=1 << 14), wanted)
    with torch.inference_mode():
        golden = torch.cat([network(signal) for signal, _ in batches])
    assert 0.01 < float((wanted != golden).any(-1).float().mean()) < 0.9


@pytest.mark.parametrize("kind", [linear, max_pools, synaptic, recurrent])
def test_a_trace_for_neurons_alone_serves_no_weights(kind: Build) -> None:
    """A stage's trace is made anew where faults in its currents follow those in its neurons."""
    network = network_of(kind, "count")
    faults = every_fault(network, each=1)
    neurons = [fault for fault in faults if fault.layer.startswith("neuron")]
    others = [fault for fault in faults if not fault.layer.startswith("neuron")]
    batches = data(network, (11, 3))
    engine = DifferentialEngine(network, network)
    for part in (neurons, others, neurons):
        alone = scores(DifferentialEngine(network, network), part, batches, len(part))
        assert torch.equal(scores(engine, part, batches, len(part)), alone)
    fresh = DifferentialEngine(network, network)
    held = []
    for part in (neurons, others):
        scores(fresh, part, batches, len(part))
        held.append(fresh.traces.bytes)
    assert held[0] < held[1]


def test_the_generic_path_in_groups_and_little_memory() -> None:
    network = network_of(late_recurrence, "count", FLOAT64)
    faults = every_fault(network, each=1)[::4]
    batches = data(network, (11, 3))
    reference = outcomes(FullEngine(network, network), faults, batches)
    assert (reference != FULLY_MASKED).any()
    for group, memory in ((len(faults), 1 << 26), (13, 1 << 26), (len(faults), 1 << 14)):
        engine = DifferentialEngine(network, network, memory=memory)
        engine.group_size = lambda faults, size=group: size  # type: ignore[method-assign]
        assert torch.equal(outcomes(engine, faults, batches), reference)


def test_a_disagreement_is_seen() -> None:
    network = network_of(linear)
    faults = every_fault(network, each=1)
    batches = data(network, (5,))
    reference = outcomes(FullEngine(network, network), faults, batches)
    found = agreement(reference, outcomes(Forgetful(network, network), faults, batches), faults)
    assert not found.holds(TOLERATED)
    assert found.examples


class Forgetful(DifferentialEngine):
    """Calls every pair masked."""

    def pairs(
        self, events: Tensor, batch: int, golden: Tensor | None = None, first: int = 0
    ) -> Iterator[Pairs]:
        return iter(())
