"""Hooks that change outputs, inputs and words while a network runs, and see that it happened."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from fi.faults.fault import Fault
from fi.faults.stored_words import FaultNotApplied, StoredWord
from fi.network.neurons import spiking_neurons
from fi.network.stages import SpikingNetwork


class _Watch:
    """Whether each inference has the faults of one module.

    Attributes:
        calls: calls of the faulty module in the running inference.
        steps: time steps of the running inference, as its first neuron saw them.
    """

    def __init__(self, network: nn.Module, faults: Sequence[Fault]) -> None:
        self.network, self.faults = network, tuple(faults)
        self.calls = self.steps = 0
        self._missing: set[Fault] = set()

    def apply_at(self, step: int) -> list[Fault]:
        """The faults that are active at ``step``; they count as applied from now on."""
        active = [fault for fault in self.faults if fault.active(step)]
        self._missing.difference_update(active)
        return active

    @contextmanager
    def over(self, *handles: RemovableHandle, each_step: bool = True) -> Iterator[None]:
        """Watch every inference, and remove all hooks in the end."""
        clock = next(iter(spiking_neurons(self.network).values()))
        check = self._check_calls if each_step else self._check_applied
        own = (
            self.network.register_forward_pre_hook(self._begin),
            clock.register_forward_hook(self._count_step),
            self.network.register_forward_hook(check),
        )
        try:
            yield
        finally:
            for handle in (*handles, *own):
                handle.remove()

    def _begin(self, module: nn.Module, args: tuple[Any, ...]) -> None:
        self.calls = self.steps = 0
        self._missing = set(self.faults)

    def _count_step(self, module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        self.steps += 1

    def _check_calls(self, module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        if self.calls != self.steps:
            raise FaultNotApplied(
                f"{_join(self.faults)}: in an inference of {self.steps} time steps the module "
                f"was called {self.calls} times"
            )
        self._check_applied(module, args, output)

    def _check_applied(self, module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        if self._missing:
            raise FaultNotApplied(
                f"{_join(self._missing)} was not applied: the inference has {self.steps} steps"
            )


def _join(faults: Iterable[Fault]) -> str:
    return "; ".join(map(str, faults))


@contextmanager
def corrupt_output(
    network: nn.Module, neuron: nn.Module, value_of: Callable[[Any], Tensor], fault: Fault
) -> Iterator[None]:
    """Change a state or the spikes, ``[batch, ...]``, after each update of ``neuron``."""
    watch = _Watch(network, [fault])

    def corrupt(module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        if watch.apply_at(watch.calls):
            values = value_of(output).detach()
            word = values.movedim(0, -1)[fault.index]  # [batch]
            word.copy_(fault.corrupt(word))
        watch.calls += 1

    with watch.over(neuron.register_forward_hook(corrupt)):
        yield


def apply_input_faults(signal: Tensor, faults: Sequence[Fault]) -> Tensor:
    """``signal [time, batch, ...]`` under faults of input lines; the given one stays as it is."""
    signal = signal.clone()
    by_word = signal.movedim((0, 1), (-2, -1))
    for fault in faults:
        line = by_word[fault.index]  # [time, batch]
        active = [step for step in range(len(line)) if fault.active(step)]
        line[active] = fault.corrupt(line[active])
    return signal


@contextmanager
def corrupt_inputs(network: nn.Module, faults: Sequence[Fault], time_axis: int) -> Iterator[None]:
    """Change what the first stage sees; of a network with a forward of its own, its events."""
    watch = _Watch(network, faults)

    def corrupt(signal: Tensor) -> Tensor:
        for step in range(len(signal)):
            watch.apply_at(step)
        return apply_input_faults(signal, faults)

    def before(module: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
        return corrupt(args[0].movedim(time_axis, 0)).movedim(0, time_axis), *args[1:]

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
    own["encode"] = lambda events: corrupt(plain(events))
    try:
        with watch.over(each_step=False):
            yield
    finally:
        own.pop("encode")
        if kept is not None:
            own["encode"] = kept


@contextmanager
def hold_words_by_call(
    network: nn.Module, module: nn.Module, words: Sequence[StoredWord]
) -> Iterator[None]:
    """Change words for some of the module's calls; it is called once a step."""
    watch = _Watch(network, [fault for word in words for fault in word.faults])

    def before(module: nn.Module, args: tuple[Any, ...]) -> None:
        watch.apply_at(watch.calls)
        for word in words:
            word.write(word.value_at(watch.calls))

    def after(module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        for word in words:
            word.check(word.value_at(watch.calls))
            word.restore()
        watch.calls += 1

    handles = module.register_forward_pre_hook(before), module.register_forward_hook(after)
    with ExitStack() as restored:
        for word in words:
            restored.callback(word.restore)
        restored.enter_context(watch.over(*handles))
        yield


@contextmanager
def hold_words_by_slice(
    network: nn.Module, module: nn.Module, words: Sequence[StoredWord]
) -> Iterator[None]:
    """Change words for some steps of a synapse that computes many steps in one call."""
    watch = _Watch(network, [fault for word in words for fault in word.faults])
    steps = batch = done = 0

    def start(module: nn.Module, args: tuple[Any, ...]) -> None:
        nonlocal steps, batch, done
        (steps, batch), done = args[0].shape[:2], 0

    def recompute(module: nn.Module, args: tuple[Any, ...], output: Tensor) -> None:
        nonlocal done
        starts = sorted({step for word in words for step in word.starts if step < steps})
        by_step = _split_steps(output, batch)
        begin, done = done, done + len(by_step)
        for first, end in zip(starts, [*starts[1:], steps], strict=True):
            if first >= done or end <= begin:
                continue
            here = slice(max(first - begin, 0), end - begin)
            watch.apply_at(first)
            if any(word.differs_at(first) for word in words):
                faulty = _recompute(module, args, words, first)
                by_step[here] = _split_steps(faulty, batch)[here]

    handles = network.register_forward_pre_hook(start), module.register_forward_hook(recompute)
    with watch.over(*handles, each_step=False):
        yield


def _recompute(
    module: nn.Module, args: tuple[Any, ...], words: Sequence[StoredWord], step: int
) -> Tensor:
    """What ``module`` makes of ``args`` with the words as they read at ``step``."""
    try:
        for word in words:
            word.write(word.value_at(step))
        output: Tensor = module.forward(*args)
    finally:
        for word in words:
            word.restore()
    return output


def _split_steps(output: Tensor, batch: int) -> Tensor:
    """``[time * batch, ...]`` as a view ``[time, batch, ...]``."""
    return output.view(-1, batch, *output.shape[1:])
