"""`injected(network, *faults)`: the only code that changes a network."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any

from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from fi.faults.fault import Fault
from fi.faults.fault_sites import INPUT
from fi.faults.stored_words import FaultNotApplied, StoredWord
from fi.network.neurons import output_spikes, reset_neurons, spiking_neurons, state_attributes
from fi.network.stages import SpikingNetwork, Stage, StageActivity

Hook = Callable[..., Any]


@contextmanager
def injected(
    network: nn.Module, *faults: Fault, time_axis: int = 0, within: StageRun | None = None
) -> Iterator[None]:
    """The network with the faults in place; they are taken out again whatever happens.

    Parameters are changed in place, for the whole inference or for some steps. States and spikes
    are changed after their neuron's update, inputs before the first stage sees them. Faults of one
    word act on it in the order in which they are given.

    Args:
        network: to be changed.
        faults: one trial.
        time_axis: where time is in the events of a network that is no ``SpikingNetwork``.
        within: the stage that is run instead of the network; it has all the faults.

    Raises:
        FaultNotApplied: an inference ran without a fault.
    """
    with ExitStack() as placed:
        for place in _Places(network, faults, time_axis, within).all():
            placed.enter_context(place)
        yield


class StageRun(nn.Module):
    """One stage as a module that is called once with all steps."""

    def __init__(self, stage: Stage) -> None:
        super().__init__()
        self.parts = nn.ModuleList([*stage.modules, stage.neuron])
        self.stage = stage

    def forward(self, inputs: Tensor) -> StageActivity:
        """What the stage does on ``inputs`` ``[time, batch, ...]``."""
        reset_neurons(self)
        return self.stage.run(inputs)


class _Places:
    """What is to be changed; nothing is at first, so that all words are read as they are.

    ``root`` is called once in every inference.
    """

    def __init__(
        self, network: nn.Module, faults: Sequence[Fault], time_axis: int, within: StageRun | None
    ) -> None:
        self.network, self.faults, self.time_axis = network, faults, time_axis
        self.root = network if within is None else within

    def all(self) -> list[AbstractContextManager[None]]:
        """Inputs, then states and spikes in the order of the faults, then stored words."""
        places: list[AbstractContextManager[None]] = []
        words: dict[tuple[nn.Module, str, tuple[int, ...]], list[Fault]] = {}
        inputs = [fault for fault in self.faults if fault.layer == INPUT]
        if inputs:
            places.append(_input(self.network, inputs, self.time_axis))
        for fault in self.faults:
            if fault.layer == INPUT:
                continue
            layer, _, attribute = fault.layer.rpartition(".")
            module = self.network.get_submodule(layer)
            value_of = _output_of(self.network, layer, attribute)
            if value_of is not None:
                places.append(_output(self.root, module, value_of, fault))
            else:
                words.setdefault((module, attribute, fault.index), []).append(fault)
        return places + self._words(words)

    def _words(
        self, words: dict[tuple[nn.Module, str, tuple[int, ...]], list[Fault]]
    ) -> list[AbstractContextManager[None]]:
        """Words held for the whole inference, or changed from step to step, by module."""
        places: list[AbstractContextManager[None]] = []
        changing: dict[nn.Module, list[StoredWord]] = {}
        for (module, attribute, index), faults in words.items():
            word = StoredWord(module, attribute, index, faults)
            if word.is_constant:
                places.append(word.held())
            else:
                changing.setdefault(module, []).append(word)
        for module, parts in changing.items():
            change = _slices if self._sees_all_steps_at_once(module) else _steps
            places.append(change(self.root, module, parts))
        return places

    def _sees_all_steps_at_once(self, module: nn.Module) -> bool:
        """Whether ``module`` is part of the synapse of a stage that runs all steps in one call."""
        if not isinstance(self.network, SpikingNetwork):
            return False
        if self.root is self.network and not self.network.layer_by_layer:
            return False
        synapses = (part for stage in self.network.stages() for part in stage.modules)
        return any(module is inner for part in synapses for inner in part.modules())


def _output_of(network: nn.Module, layer: str, attribute: str) -> Callable[[Any], Tensor] | None:
    """How to find a state or the spikes ``[batch, ...]`` after an update; ``None``: neither."""
    neuron = spiking_neurons(network).get(layer)
    if neuron is not None and attribute == "spike":
        return output_spikes
    if neuron is not None and attribute in state_attributes(neuron):
        state = state_attributes(neuron)[attribute]
        return lambda _: getattr(neuron, state)
    return None


class _Watch:
    """Whether each inference has the faults of one place.

    Attributes:
        calls: calls of the faulty module in the running inference.
        steps: time steps of the running inference, as its first neuron saw them.
    """

    def __init__(self, network: nn.Module, faults: Sequence[Fault]) -> None:
        self.network, self.faults = network, tuple(faults)
        self.calls = self.steps = 0
        self._missing: set[Fault] = set()

    def now(self, step: int) -> list[Fault]:
        """The faults that are active at ``step``; they count as applied."""
        active = [fault for fault in self.faults if fault.active(step)]
        self._missing.difference_update(active)
        return active

    @contextmanager
    def over(self, *handles: RemovableHandle, each_step: bool = True) -> Iterator[None]:
        """Watch every inference, and remove all hooks in the end."""
        clock = next(iter(spiking_neurons(self.network).values()))
        watch = (
            self.network.register_forward_pre_hook(self._start),
            clock.register_forward_hook(self._tick),
            self.network.register_forward_hook(self._finish if each_step else self._finish_once),
        )
        try:
            yield
        finally:
            for handle in (*handles, *watch):
                handle.remove()

    def _start(self, module: nn.Module, args: tuple[Any, ...]) -> None:
        self.calls = self.steps = 0
        self._missing = set(self.faults)

    def _tick(self, module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        self.steps += 1

    def _finish(self, module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        if self.calls != self.steps:
            raise FaultNotApplied(
                f"{_listed(self.faults)}: in an inference of {self.steps} time steps the module "
                f"was called {self.calls} times"
            )
        self._finish_once(module, args, output)

    def _finish_once(self, module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        if self._missing:
            raise FaultNotApplied(
                f"{_listed(self._missing)} was not applied: the inference has {self.steps} steps"
            )


def _listed(faults: Iterable[Fault]) -> str:
    return "; ".join(map(str, faults))


@contextmanager
def _output(
    network: nn.Module, neuron: nn.Module, value_of: Callable[[Any], Tensor], fault: Fault
) -> Iterator[None]:
    """Change a state or the spikes, ``[batch, ...]``, after each update of ``neuron``."""
    watch = _Watch(network, [fault])

    def strike(module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        if watch.now(watch.calls):
            values = value_of(output).detach()
            word = values.movedim(0, -1)[fault.index]  # [batch]
            word.copy_(fault.corrupt(word))
        watch.calls += 1

    with watch.over(neuron.register_forward_hook(strike)):
        yield


def struck_inputs(signal: Tensor, faults: Sequence[Fault]) -> Tensor:
    """``signal [time, batch, ...]`` under faults of input lines; the given one stays as it is."""
    signal = signal.clone()
    by_word = signal.movedim((0, 1), (-2, -1))
    for fault in faults:
        line = by_word[fault.index]  # [time, batch]
        now = [step for step in range(len(line)) if fault.active(step)]
        line[now] = fault.corrupt(line[now])
    return signal


@contextmanager
def _input(network: nn.Module, faults: Sequence[Fault], time_axis: int) -> Iterator[None]:
    """Change what the first stage sees; of a network with a forward of its own, its events."""
    watch = _Watch(network, faults)

    def struck(signal: Tensor) -> Tensor:
        for step in range(len(signal)):
            watch.now(step)
        return struck_inputs(signal, faults)

    def before(module: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
        return struck(args[0].movedim(time_axis, 0)).movedim(0, time_axis), *args[1:]

    if not isinstance(network, SpikingNetwork):
        with watch.over(each_step=False):
            handle = network.register_forward_pre_hook(before)  # after the watch's own
            try:
                yield
            finally:
                handle.remove()
        return
    plain, own = network.encode, vars(network)
    kept = own.get("encode")
    own["encode"] = lambda events: struck(plain(events))
    try:
        with watch.over(each_step=False):
            yield
    finally:
        own.pop("encode")
        if kept is not None:
            own["encode"] = kept


@contextmanager
def _steps(network: nn.Module, module: nn.Module, words: Sequence[StoredWord]) -> Iterator[None]:
    """Change words for some of the module's calls; it is called once a step."""
    watch = _Watch(network, [fault for word in words for fault in word.faults])

    def before(module: nn.Module, args: tuple[Any, ...]) -> None:
        watch.now(watch.calls)
        for word in words:
            word.write(word.at(watch.calls))

    def after(module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        for word in words:
            word.check(word.at(watch.calls))
            word.restore()
        watch.calls += 1

    handles = module.register_forward_pre_hook(before), module.register_forward_hook(after)
    with ExitStack() as restored:
        for word in words:
            restored.callback(word.restore)
        restored.enter_context(watch.over(*handles))
        yield


@contextmanager
def _slices(network: nn.Module, module: nn.Module, words: Sequence[StoredWord]) -> Iterator[None]:
    """Change words for some steps of a synapse that computes many steps in one call."""
    watch = _Watch(network, [fault for word in words for fault in word.faults])
    steps = batch = done = 0

    def start(module: nn.Module, args: tuple[Any, ...]) -> None:
        nonlocal steps, batch, done
        (steps, batch), done = args[0].shape[:2], 0

    def recompute(module: nn.Module, args: tuple[Any, ...], output: Tensor) -> None:
        nonlocal done
        starts = sorted({step for word in words for step in word.starts if step < steps})
        by_step = output.unflatten(0, (-1, batch))
        begin, done = done, done + len(by_step)
        for first, end in zip(starts, [*starts[1:], steps], strict=True):
            if first >= done or end <= begin:
                continue
            here = slice(max(first - begin, 0), end - begin)
            watch.now(first)
            if any(word.changed_at(first) for word in words):
                faulty = _under(module, args, words, first)
                by_step[here] = faulty.unflatten(0, (-1, batch))[here]

    handles = network.register_forward_pre_hook(start), module.register_forward_hook(recompute)
    with watch.over(*handles, each_step=False):
        yield


def _under(
    module: nn.Module, args: tuple[Any, ...], words: Sequence[StoredWord], step: int
) -> Tensor:
    """What ``module`` makes of ``args`` with the words as they read at ``step``."""
    try:
        for word in words:
            word.write(word.at(step))
        output: Tensor = module.forward(*args)
    finally:
        for word in words:
            word.restore()
    return output
