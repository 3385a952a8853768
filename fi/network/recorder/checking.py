"""Whether a recorded graph gives a network's own spikes and scores, bit for bit."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from snntorch import SpikingNeuron
from torch import Tensor, nn

from fi.network.neurons import output_spikes, reset_neurons, spiking_neurons, watch_neurons
from fi.network.recorder.folds import OtherSteps
from fi.network.recorder.recorded_network import RecordedNetwork
from fi.network.stages import EVENTS, Stage, find_sources

#: One in so many samples may have other scores by the order of summation.
_ROUNDED = 1000


class SpikeDigest:
    """A hash of what each neuron gave at each step of one inference.

    Example:
        >>> import snntorch as snn
        >>> network = nn.Sequential(nn.Linear(2, 2), snn.Leaky(beta=0.9, init_hidden=True))
        >>> digests = [SpikeDigest(), SpikeDigest()]
        >>> for digest in digests:
        ...     with digest.watching(network), torch.no_grad():
        ...         _ = network(torch.ones(3, 2))
        ...     reset_neurons(network)
        >>> digests[0].first_difference(digests[1]) is None
        True
    """

    def __init__(self) -> None:
        self._hashes: dict[str, list[bytes]] = {}

    @contextmanager
    def watching(self, network: nn.Module) -> Iterator[None]:
        """Take what the neurons of a network give within."""

        def note(name: str, neuron: SpikingNeuron, output: Any) -> None:
            self.add(name, output_spikes(output))

        with watch_neurons(network, note):
            yield

    def add(self, name: str, spikes: Tensor) -> None:
        """Take the output of the next step of a neuron."""
        words = spikes.detach().cpu().contiguous() + 0  # a zero has one sign
        digest = hashlib.blake2b(words.numpy().data, digest_size=16)
        digest.update(f"{words.dtype}{list(words.shape)}".encode())
        self._hashes.setdefault(name, []).append(digest.digest())

    def first_difference(self, other: SpikeDigest, beside: Collection[str] = ()) -> str | None:
        """The neuron, not one ``beside``, and the step at which another inference gave another."""
        for name in {**self._hashes, **other._hashes}:
            if name in beside:
                continue
            one, two = self._hashes.get(name, []), other._hashes.get(name, [])
            if len(one) != len(two):
                return f"numbers of steps of {name} ({len(one)} and {len(two)})"
            for step, (mine, theirs) in enumerate(zip(one, two, strict=True)):
                if mine != theirs:
                    return f"spikes of {name} at step {step}"
        return None


@torch.no_grad()
def why_not_the_same(
    recorded: RecordedNetwork, infer: Callable[[Tensor], Tensor], events: Tensor
) -> str | None:
    """What a recorded graph gives otherwise than the network itself; ``None``: nothing.

    Args:
        recorded: the graph.
        infer: the network's own scores.
        events: ``[time, batch, ...]``.
    """
    own = SpikeDigest()
    with own.watching(recorded):
        scores = infer(events)
    return compare(recorded, own, scores, events)


@torch.no_grad()
def compare(
    recorded: RecordedNetwork, own: SpikeDigest, scores: Tensor, events: Tensor
) -> str | None:
    """The same, of an inference that was watched.

    The graph is run layer by layer, as the engine does. Where that gives something else, it is run
    step by step: what is the same then was the order of summation, which engines may differ in.
    """
    try:
        found, by_layer = _run_by_layer(recorded, events)
    except OtherSteps as error:
        return str(error)
    apart = own.first_difference(found, recorded.idle)
    if apart is None and _are_same(scores, by_layer):
        return None
    found, by_step = _run_by_step(recorded, events)
    difference = own.first_difference(found, recorded.idle)
    if difference or not _are_same(scores, by_step):
        return difference or "scores"
    close = torch.isclose(by_layer, scores, rtol=1e-4, atol=1e-4).all(dim=1)
    if int((~close).sum()) > max(1, len(scores) // _ROUNDED):
        return f"{apart or 'scores'} where all steps of a stage are run at once"
    return None


def _run_by_layer(recorded: RecordedNetwork, events: Tensor) -> tuple[SpikeDigest, Tensor]:
    """What the neurons gave, and the scores, all steps of a stage at once."""
    names = {id(neuron): name for name, neuron in spiking_neurons(recorded).items()}
    found = SpikeDigest()
    last = None
    for stage, last in zip(recorded.stages(), recorded.activities(events), strict=True):
        for spikes in last.spikes if id(stage.neuron) in names else ():
            found.add(names[id(stage.neuron)], spikes)
    assert last is not None
    readout = recorded.readout
    membranes = (state["mem"] for state in last.states)
    statistic = readout.gather(zip(last.spikes, membranes, strict=True))
    reset_neurons(recorded)
    return found, readout.scores(statistic)


def _run_by_step(recorded: RecordedNetwork, events: Tensor) -> tuple[SpikeDigest, Tensor]:
    """The same, all stages of a step at once."""
    found = SpikeDigest()
    with found.watching(recorded):
        statistic = recorded.readout.gather(_run_steps(recorded, events))
    reset_neurons(recorded)
    return found, recorded.readout.scores(statistic)


def _run_steps(recorded: RecordedNetwork, events: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """``(spikes, membrane)`` of the last stage per step; the layout of images stays theirs."""
    reset_neurons(recorded)
    stages = recorded.stages()
    sources = find_sources(stages)
    fired: dict[int, Tensor] = {}
    for events_now in recorded.encode(events):
        fired[EVENTS] = events_now
        for number, stage in enumerate(stages):
            signal = stage.merge_sources([fired[source] for source in sources[number]], 1)
            fired[number] = stage.fire(_conduct(stage, signal), fired.get(number))
        yield fired[len(stages) - 1], stages[-1].states()["mem"]


def _conduct(stage: Stage, signal: Tensor) -> Tensor:
    for module in stage.modules:
        signal = module(signal)
    return signal


def _are_same(scores: Tensor, other: Tensor) -> bool:
    return scores.shape == other.shape and torch.equal(scores, other)
