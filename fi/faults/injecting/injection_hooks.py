"""Hooks that change outputs, inputs and words while a network runs, and see that it happened."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

from torch import Tensor, nn

from fi.faults.circuits.replacing import replaced
from fi.faults.fault import Fault
from fi.faults.injecting.stage_words import run_stage_with
from fi.faults.lines.faulty_lines import FaultyLines, apply_line_faults
from fi.faults.lines.seeded_numbers import SamplePositions
from fi.faults.stored_words import FaultNotApplied, StoredWord
from fi.faults.word_formats import FLOAT32, WordFormat
from fi.network.stages import SpikingNetwork, Stage, StageActivity
from fi.network.trial.step_clock import StepClock, find_clock

#: Finds values ``[batch, ...]`` in what a neuron's forward returned.
ValueOf = Callable[[Any], Tensor]


class Clock:
    """Counts the time steps of the running inference.

    Args:
        network: whose neurons are called.
        root: what is called once for every inference.
        known: the neuron that ends a step; told by a first inference without faults if not given.
        time_axis: where time is in the arguments of ``root``.

    Attributes:
        step: the running time step.
    """

    def __init__(
        self, network: nn.Module, root: nn.Module, known: StepClock | None, time_axis: int = 0
    ) -> None:
        self.network, self.root, self.known, self.time_axis = network, root, known, time_axis
        self.step = self._calls = 0

    @contextmanager
    def over(
        self, begin: Callable[[], None], tick: Callable[[], None], end: Callable[[], None]
    ) -> Iterator[None]:
        """Call these at the begin of every inference, after every step, and at the end."""

        def start(module: nn.Module, args: tuple[Any, ...]) -> None:
            self.step = self._calls = 0
            if self.known is None:
                self.known = self._observe(args)
                listen(self.known)
            begin()

        def count(module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
            assert self.known is not None
            self._calls += 1
            if self._calls % self.known.calls[self.known.neuron] == 0:
                self.step += 1
                tick()

        def listen(known: StepClock) -> None:
            neuron = self.network.get_submodule(known.neuron)
            handles.callback(neuron.register_forward_hook(count).remove)

        with ExitStack() as handles:
            handles.callback(self.root.register_forward_pre_hook(start).remove)
            handles.callback(self.root.register_forward_hook(lambda *_: end()).remove)
            if self.known is not None:
                listen(self.known)
            yield

    def _observe(self, args: tuple[Any, ...]) -> StepClock:
        """The clock, from an inference past the hooks of ``root``."""
        steps = args[0].shape[self.time_axis]
        return find_clock(self.network, lambda: self.root.forward(*args), steps)


@contextmanager
def corrupt_output(
    root: nn.Module,
    neuron: nn.Module,
    value_of: ValueOf,
    faults: Sequence[Fault],
    samples: SamplePositions,
    calls_per_step: int = 1,
    form: WordFormat = FLOAT32,
) -> Iterator[None]:
    """Change a state or the spikes, ``[batch, ...]``, after each update of ``neuron``.

    The faults do the same to different words.

    A neuron that is called several times a step is struck at each of these calls. Hooks of the
    user's, such as one that clamps, see what the fault has left.
    """
    calls, applied = 0, False
    fault, lines = faults[0], FaultyLines(faults, samples, form)

    def begin(module: nn.Module, args: tuple[Any, ...]) -> None:
        nonlocal calls, applied
        calls, applied = 0, False
        lines.forget()

    def corrupt(module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        nonlocal calls, applied
        step = calls // calls_per_step
        calls += 1
        active = fault.active(step)
        applied = applied or active
        lines.carry(value_of(output).detach(), active)

    def check(module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        steps = calls // calls_per_step
        due = any(fault.active(step) for step in range(steps))
        if due and not applied:
            raise FaultNotApplied(f"{fault} was not applied: the inference has {steps} steps")

    with ExitStack() as handles:
        handles.callback(root.register_forward_pre_hook(begin).remove)
        handles.callback(neuron.register_forward_hook(corrupt, prepend=True).remove)
        handles.callback(root.register_forward_hook(check).remove)
        yield


@contextmanager
def corrupt_inputs(
    network: nn.Module,
    root: nn.Module,
    faults: Sequence[Fault],
    time_axis: int,
    samples: SamplePositions,
) -> Iterator[None]:
    """Change what the first stage sees; of a network with a forward of its own, its events."""

    def change(seen: Tensor) -> Tensor:
        return apply_line_faults(seen, faults, samples)

    with change_inputs(network, root, change, time_axis):
        yield


@contextmanager
def change_inputs(
    network: nn.Module, root: nn.Module, change: Callable[[Tensor], Tensor], time_axis: int
) -> Iterator[None]:
    """``change`` makes what the first stage sees, ``[time, batch, ...]``, of what it would see."""

    def before(module: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
        return change(args[0].movedim(time_axis, 0)).movedim(0, time_axis), *args[1:]

    if not isinstance(network, SpikingNetwork):
        handle = root.register_forward_pre_hook(before)
        try:
            yield
        finally:
            handle.remove()
        return
    plain = network.encode
    with replaced(network, "encode", lambda events: change(plain(events))):
        yield


@contextmanager
def hold_words_by_step(clock: Clock, words: Sequence[StoredWord]) -> Iterator[None]:
    """Change words at the boundaries of time steps, whoever reads them.

    They read otherwise from the last call of the neuron that ends a step to that of the next one.
    """

    def write() -> None:
        for word in words:
            word.write(word.value_at(clock.step))

    def tick() -> None:
        for word in words:
            word.check(word.value_at(clock.step - 1))
        write()

    def end() -> None:
        for word in words:
            word.restore()

    with ExitStack() as restored:
        for word in words:
            restored.callback(word.restore)
        restored.enter_context(clock.over(write, tick, end))
        yield


@contextmanager
def hold_words_by_stage(root: nn.Module, words: Sequence[StoredWord]) -> Iterator[None]:
    """Change words for some steps of a network that runs all steps of a stage at once."""

    def run(stage: Stage, inputs: Tensor) -> StageActivity:
        return run_stage_with(stage, inputs, words)

    with ExitStack() as restored:
        for word in words:
            restored.callback(word.restore)
        restored.enter_context(replaced(root, "run_stage", run))
        yield


def calls_per_step(known: StepClock | None, layer: str) -> int:
    """How often the neuron ``layer`` is called in a step."""
    calls: Mapping[str, int] = {} if known is None else known.calls
    return calls.get(layer, 1)
