"""``record(network, adapter, events)``: the stage graph of a network whose forward is its own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from snntorch import SpikingNeuron
from torch import Tensor, nn

from fi.network.adapting.seeding import keep_generators
from fi.network.foreign import Adapter
from fi.network.neurons import spiking_neurons
from fi.network.recorder.checking import why_not_the_same
from fi.network.recorder.closing import ReadsWords, check_samples
from fi.network.recorder.expression.expressions import (
    AllFired,
    Fired,
    Moment,
    Node,
    NotRecordable,
    signals_of,
)
from fi.network.recorder.expression.replay import Passive
from fi.network.recorder.generalising import Differs, Generaliser, deep_recursion
from fi.network.recorder.heads import Head, find_head
from fi.network.recorder.idle import check_idle, find_idle
from fi.network.recorder.recorded_network import RecordedNetwork
from fi.network.recorder.recording import Recording, recorded_calls
from fi.network.recorder.synapses import Synapse, SynapseMaker
from fi.network.stages import Stage, has_own_behaviour
from fi.network.trial.own_state import OwnState

#: Levels of Python calls for each step of a running sum, and beside them.
_DEPTH, _MORE_DEPTH = 24, 2000


def record(network: nn.Module, adapter: Adapter, events: Tensor) -> RecordedNetwork:
    """Run a few samples and derive the stage graph from what is seen; the network stays as it was.

    Args:
        network: any module with snnTorch neurons.
        adapter: knows how it is called.
        events: of the test set, ``[time, batch, ...]``.

    Raises:
        NotRecordable: no stage graph gives what the network gives.

    Example:
        >>> import snntorch as snn
        >>> class Net(nn.Module):
        ...     def __init__(self) -> None:
        ...         super().__init__()
        ...         self.fc, self.lif = nn.Linear(12, 3), snn.Leaky(beta=0.9, init_hidden=True)
        ...
        ...     def forward(self, events: Tensor) -> Tensor:
        ...         return torch.stack([self.lif(self.fc(step)) for step in events])
        >>> network, events = Net().eval(), torch.ones(5, 4, 12)
        >>> adapter = Adapter(network)
        >>> scores = adapter(events)
        >>> recorded = record(network, adapter, events)
        >>> [type(module).__name__ for module in recorded.stages()[0].modules]
        ['Linear']
        >>> torch.equal(recorded(events), scores)
        True
    """
    with torch.no_grad(), keep_generators(), deep_recursion(_DEPTH * len(events) + _MORE_DEPTH):
        taken = list(_run_all(network, adapter, events))
        with _kept(network):
            recorded = _Derivation(network, adapter, taken).make()
        few = events[:, : len(taken)]
        with _kept(network):
            reason = why_not_the_same(recorded, adapter, few)
        if reason:
            raise NotRecordable(f"the graph recorded from its forward gives other {reason}")
        with _kept(network):
            samples = torch.arange(3, device=events.device) % events.shape[1]
            check_samples(recorded.readout, recorded.statistic(events[:, samples]))
        with _kept(network) as own:
            _check_idle(recorded, network, adapter, own, few)
    return recorded


def _run_all(network: nn.Module, adapter: Adapter, events: Tensor) -> Iterator[_Taken]:
    """Record inferences; not that of fewer steps where the network takes one number of them."""
    for few in _choose(adapter, events):
        try:
            yield _run(network, adapter, few)
        except NotRecordable:
            raise
        except Exception:
            if len(few) == len(events):
                raise


def _choose(adapter: Adapter, events: Tensor) -> Iterator[Tensor]:
    """Events of two numbers of samples, and of one step less: numbers that follow them show."""
    steps = len(events)
    sizes = [size for size in (2, 3, 4, 5) if size not in (steps, steps - 1)]
    chosen = [torch.arange(size, device=events.device) % events.shape[1] for size in sizes[:2]]
    yield from (events[:, some].clone() for some in chosen)
    if adapter.has_steps and steps > 2:
        yield events[:-1][:, chosen[0]].clone()


def _check_idle(
    recorded: RecordedNetwork, network: nn.Module, adapter: Adapter, own: OwnState, events: Tensor
) -> None:
    """Try other words where they are to change no score, each inference as if it were the first."""
    adapter(events.clone())
    own.find_changes()

    def infer(samples: Tensor) -> Tensor:
        own.reset()
        return adapter(samples.clone())

    check_idle(network, recorded.idle, infer, events)


@contextmanager
def _kept(network: nn.Module) -> Iterator[OwnState]:
    """Afterwards the network is as it was."""
    own = OwnState(network)
    try:
        yield own
    finally:
        own.find_changes()
        own.reset()


@dataclass(frozen=True)
class _Taken:
    """A recorded inference.

    Attributes:
        recording: of it.
        scores: the expression of its scores.
        steps: how many it made.
    """

    recording: Recording
    scores: Node
    steps: int

    @property
    def calls(self) -> dict[str, int]:
        """How often each neuron was called."""
        return {name: len(calls.currents) for name, calls in self.recording.calls.items()}


def _run(network: nn.Module, adapter: Adapter, events: Tensor) -> _Taken:
    """Record an inference."""
    recording = Recording(network, events)
    with _kept(network) as own:
        with recorded_calls(recording), recording:
            scores = adapter(events)
        node = recording.node_of(scores)
        _check_leaves(recording, own.find_changes())
    calls = {name: len(calls.currents) for name, calls in recording.calls.items()}
    steps = len(events) if adapter.has_steps else max(calls.values(), default=0)
    for name, count in calls.items():
        if count != steps:
            said = f"{name} is called {count} times in {steps} steps"
            raise NotRecordable(f"{said}: a stage calls its neuron once a step")
    if recording.wrong_states:
        raise NotRecordable(recording.wrong_states[0])
    return _Taken(recording, node, steps)


def _check_leaves(recording: Recording, changed: Sequence[str]) -> None:
    """Raise where a module that is called as a whole keeps something: a step may depend on it."""
    kept = {recording.names.get(number, "") for number in recording.leaves}
    for name in changed:
        if name.rpartition(".")[0] in kept - {""}:
            raise NotRecordable(f"{name} is changed by an inference")


class _Derivation:
    """Derives the graph from recorded inferences of one network."""

    def __init__(self, network: nn.Module, adapter: Adapter, taken: Sequence[_Taken]) -> None:
        self.network, self.adapter, self.taken = network, adapter, taken
        self.neurons = spiking_neurons(network)
        calls = self._first.recording.calls
        if any(list(one.recording.calls) != list(calls) for one in taken):
            raise NotRecordable("its neurons are called in another order for other samples")
        self.like = next(iter(calls.values())).spikes[0]

    @property
    def _first(self) -> _Taken:
        return self.taken[0]

    def make(self) -> RecordedNetwork:
        """The network of stages."""
        shapes = self._find_shapes()
        steps, dtype, device = self._first.steps, self.like.dtype, self.like.device
        recording = self._first.recording
        maker = SynapseMaker(steps, recording.steps, shapes, dtype, device, recording.names)
        head = self._find_head(maker)
        currents = self._find_currents(head.layer)
        synapses: dict[str, Synapse] = {}
        for name, current in currents.items():
            with _named(name):
                synapses[name] = maker.make(current, name)
        ordered = self._put_last(synapses, head.layer)
        stages = [self._make_stage(name, synapse) for name, synapse in ordered.items()]
        if not self._is_read(head.layer, ordered):
            stages.append(self._make_head(maker, head.layer))
        made = None if self.adapter.has_steps else steps
        recordings = [one.recording for one in self.taken]
        recorded = RecordedNetwork(self.network, stages, head.readout, made)
        roots = [*currents.values(), head.layer]
        recorded.idle = frozenset(find_idle(self.network, recorded, recordings, roots))
        return recorded

    def _find_shapes(self) -> dict[str | None, tuple[int, ...]]:
        calls = self._first.recording.calls
        frame = self._first.recording.frame
        return {None: frame, **{name: tuple(c.spikes[0].shape[1:]) for name, c in calls.items()}}

    def _find_currents(self, layer: Node) -> dict[str, Node]:
        """What drives the neurons that ``layer`` is made of, in the order of their calls.

        Those that nothing else reads are no stages.
        """
        found: dict[str, Node] = {}
        left = _neurons_of(layer)
        while left:
            name = left.pop()
            if name not in found:
                with _named(name):
                    found[name] = self._find_current(name)
                left += _neurons_of(found[name])
        return {name: found[name] for name in self._first.recording.calls if name in found}

    def _find_current(self, name: str) -> Node:
        """The expression of what drives a neuron at every step."""
        nodes: list[Node] = []
        moments: list[Moment] = []
        counts: list[Mapping[str, int]] = []
        for one in self.taken:
            for step, node in enumerate(one.recording.calls[name].currents):
                nodes.append(node)
                moments.append(Moment(step, one.steps, one.recording.batch))
                counts.append(one.calls)
        return Generaliser(moments, counts, True, self._first.recording.names).node(nodes)

    def _find_head(self, maker: SynapseMaker) -> Head:
        alike = [one for one in self.taken if one.steps == self._first.steps]
        moments = [Moment(0, one.steps, one.recording.batch) for one in alike]
        general = Generaliser(moments, [one.calls for one in alike], by_step=False)
        try:
            scores = general.node([one.scores for one in alike])
        except Differs as error:
            raise NotRecordable(f"the scores: {error}") from None
        try:
            steps, whole = self._first.steps, self._find_whole()
            return find_head(scores, steps, self.like, whole, maker.shape_of)
        except ReadsWords as error:
            owner = self._first.recording.names.get(id(error.module), "")
            name = f"{owner}.{error.word}" if owner else error.word
            raise NotRecordable(
                f"{name} is read after the last step, by no module of its own"
            ) from None

    def _find_whole(self) -> list[str]:
        """The neurons that give whole numbers."""
        found = []
        for name, calls in self._first.recording.calls.items():
            neuron = self.neurons[name]
            plain = bool((neuron.graded_spikes_factor == 1).all()) and not has_own_behaviour(neuron)
            if plain and all(torch.equal(spikes, spikes.round()) for spikes in calls.spikes):
                found.append(name)
        return found

    def _put_last(self, synapses: dict[str, Synapse], layer: Node) -> dict[str, Synapse]:
        """The stages in an order in which the one that is read comes last, where it can."""
        names = list(synapses)
        for place, name in enumerate(names):
            later = [s for s in synapses[name].sources if s is not None and s in names[place:]]
            if later:
                raise NotRecordable(f"{name} is driven by {later[0]}, which is called after it")
        if isinstance(layer, Fired) and layer.neuron in synapses:
            feeds = any(layer.neuron in synapse.sources for synapse in synapses.values())
            if not feeds:
                names = [name for name in names if name != layer.neuron] + [layer.neuron]
        return {name: synapses[name] for name in names}

    def _is_read(self, layer: Node, ordered: dict[str, Synapse]) -> bool:
        """Whether the last neuron is the layer that is read."""
        last = list(ordered)[-1]
        if isinstance(layer, Fired) and layer.neuron == last and layer.call == 0:
            return layer.output in ("spk", "mem")
        if any(isinstance(node, Fired) and node.output != "spk" for node in signals_of(layer)):
            raise NotRecordable("the scores read states of a neuron that is not the last one")
        return False

    def _make_stage(self, name: str, synapse: Synapse) -> Stage:
        return _stage(synapse, self.neurons[name], self.neurons)

    def _make_head(self, maker: SynapseMaker, layer: Node) -> Stage:
        """The stage of a layer that has no neurons."""
        try:
            synapse = maker.make(layer, None)
        except NotRecordable as error:
            raise NotRecordable(f"the layer that is read out: {error}") from None
        return _stage(synapse, Passive(), self.neurons)


@contextmanager
def _named(neuron: str) -> Iterator[None]:
    """What is not recordable within is told of a neuron."""
    try:
        yield
    except (Differs, NotRecordable) as error:
        raise NotRecordable(f"{neuron}: {error}") from None


def _neurons_of(root: Node) -> list[str]:
    """The neurons whose outputs an expression reads."""
    return [node.neuron for node in signals_of(root) if isinstance(node, (Fired, AllFired))]


def _stage(synapse: Synapse, neuron: SpikingNeuron, neurons: Mapping[str, SpikingNeuron]) -> Stage:
    modules = synapse.modules or [nn.Identity()]
    sources = tuple(None if name is None else neurons[name] for name in synapse.sources)
    return Stage(modules, neuron, synapse.recurrent, sources, synapse.merge, channels_last=False)
