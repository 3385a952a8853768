"""``hits_injected(network, hits)``: ``injected`` for as many faults as a rate asks for.

What each fault does is what ``fi.faults.injection`` does, word for word; here the words of a tensor
are written, and the states and outputs of a neuron changed, in one operation each.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from fi.faults.family_names import attribute_of, layer_of
from fi.faults.fault_sites import INPUT
from fi.faults.formats.state_faults import corrupt_states
from fi.faults.formats.state_formats import output_format_of
from fi.faults.hits.held_words import HitWords, unravel_words
from fi.faults.hits.hit_space import FamilyHits
from fi.faults.injecting.injection_hooks import (
    Clock,
    ValueOf,
    calls_per_step,
    change_inputs,
    hold_words_by_stage,
    hold_words_by_step,
)
from fi.faults.injection import find_output
from fi.faults.stored_words import FaultNotApplied, StoredWord
from fi.faults.word_formats import FLOAT32, WordFormat
from fi.network.stages import SpikingNetwork
from fi.network.trial.step_clock import StepClock

#: Where one word of so many is hit, or more, all words of a family go through masks.
FEW_OF = 32
#: Combines int32 words with a mask, in place.
Operation = Callable[[Tensor, Tensor], Tensor]


@contextmanager
def hits_injected(
    network: nn.Module,
    hits: Sequence[FamilyHits],
    steps: range | None = None,
    time_axis: int = 0,
    root: nn.Module | None = None,
    clock: StepClock | None = None,
) -> Iterator[None]:
    """The network with all hits in place; they are taken out again whatever happens.

    Args:
        network: to be changed.
        hits: of different site families.
        steps: the time steps at which all of them are active; ``None`` is permanent.
        time_axis, root, clock: as ``injected`` takes them.

    Raises:
        FaultNotApplied: an inference ran without the faults.

    >>> from fi.faults.fault_sites import Kind, SiteFamily
    >>> from fi.faults.fault_space import FaultSpace
    >>> from fi.faults.hits.hit_space import HitSpace
    >>> from fi.faults.hits.random_numbers import HitDraw
    >>> network = nn.Sequential(nn.Linear(2, 2, bias=False))
    >>> _ = network[0].weight.data.fill_(1.0)
    >>> signs = FaultSpace((SiteFamily("0.weight", (2, 2), Kind.SYNAPSE),), bits=(31,))
    >>> with hits_injected(network, HitSpace(signs).draw(1.0, HitDraw(0))):
    ...     network[0].weight.flatten().tolist()
    [-1.0, -1.0, -1.0, -1.0]
    >>> network[0].weight.flatten().tolist()
    [1.0, 1.0, 1.0, 1.0]
    """
    placed_at = _Places(network, steps, time_axis, root or network, clock)
    with ExitStack() as placed:
        for changer in placed_at.make_changers(hits):
            placed.enter_context(changer)
        yield


class _Places:
    """Makes the context managers that put hits in place; making them changes nothing yet."""

    def __init__(
        self,
        network: nn.Module,
        steps: range | None,
        time_axis: int,
        root: nn.Module,
        clock: StepClock | None,
    ) -> None:
        self.network, self.steps, self.time_axis = network, steps, time_axis
        self.root, self.clock = root, clock

    def make_changers(self, hits: Sequence[FamilyHits]) -> list[AbstractContextManager[None]]:
        """Inputs, then states and spikes, then stored words."""
        inputs: list[AbstractContextManager[None]] = []
        outputs: list[AbstractContextManager[None]] = []
        words: list[StoredWord] = []
        for family in hits:
            layer, attribute = layer_of(family.family.name), attribute_of(family.family.name)
            value_of = find_output(self.network, layer, attribute) if layer else None
            if family.family.name == INPUT:
                change = _InputChange(family, self.steps)
                axis = self.time_axis if self.root is self.network else 0
                inputs.append(change_inputs(self.network, self.root, change, axis))
            elif value_of is not None:
                form = output_format_of(self.network.get_submodule(layer), attribute)
                outputs.append(self._corrupt_output(layer, value_of, family, form))
            else:
                words.append(HitWords(self.network, family, self.steps))
        return [*inputs, *outputs, *self._hold(words)]

    def _hold(self, words: Sequence[StoredWord]) -> list[AbstractContextManager[None]]:
        if self.steps is None:
            return [word.hold() for word in words]
        if not words:
            return []
        network = self.network
        if isinstance(network, SpikingNetwork) and network.runs_by_stage:
            return [hold_words_by_stage(network, words)]
        clock = Clock(network, self.root, self.clock, self.time_axis)
        return [hold_words_by_step(clock, words)]

    def _corrupt_output(
        self, layer: str, value_of: ValueOf, hits: FamilyHits, form: WordFormat
    ) -> AbstractContextManager[None]:
        neuron = self.network.get_submodule(layer)
        calls = calls_per_step(self.clock, layer)
        return corrupt_outputs(self.root, neuron, value_of, hits, self.steps, calls, form)


@contextmanager
def corrupt_outputs(
    root: nn.Module,
    neuron: nn.Module,
    value_of: ValueOf,
    hits: FamilyHits,
    steps: range | None,
    calls_per_step: int = 1,
    form: WordFormat = FLOAT32,
) -> Iterator[None]:
    """Change words of a state or of the spikes, ``[batch, ...]``, after each update of a neuron."""
    calls, applied = 0, False
    change = _Change(hits, form)

    def begin(module: nn.Module, args: tuple[Any, ...]) -> None:
        nonlocal calls, applied
        calls, applied = 0, False

    def apply(module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        nonlocal calls, applied
        step = calls // calls_per_step
        calls += 1
        if steps is None or step in steps:
            applied = True
            change(value_of(output).detach())

    def check(module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        reached = range(calls // calls_per_step)
        if not applied and any(steps is None or step in steps for step in reached):
            raise FaultNotApplied(
                f"{len(hits)} faults in {hits.family.name} were not applied: the inference has "
                f"{len(reached)} steps"
            )

    with ExitStack() as handles:
        handles.callback(root.register_forward_pre_hook(begin).remove)
        handles.callback(neuron.register_forward_hook(apply, prepend=True).remove)
        handles.callback(root.register_forward_hook(check).remove)
        yield


class _Change:
    """Changes the words of a family that are hit in values ``[batch, ...]``, in place.

    Where many are hit, masks go over all of them: that takes a third of the time of picking out and
    putting back.

    Args:
        hits: of states, spikes or input lines.
        form: of the words.
    """

    def __init__(self, hits: FamilyHits, form: WordFormat = FLOAT32) -> None:
        self._shape, self._form = hits.family.shape, form
        self._masks = torch.from_numpy(hits.combine_masks(form))  # [3, words]
        self._index = unravel_words(hits.words, self._shape)
        self._many = len(hits.words) * FEW_OF >= hits.family.words
        self._whole: list[tuple[Operation, Tensor]] | None = None  # masks of all words

    def __call__(self, values: Tensor) -> None:
        if self._many and self._form is FLOAT32 and values.dtype == torch.float32:
            for operate, mask in self._whole or self._make_whole(values):
                operate(values.view(torch.int32), mask)
            return
        last = values.movedim(0, -1)
        places = tuple(axis.to(values.device) for axis in self._index)
        keep, force, flip = self._masks.to(values.device)[:, :, None]
        if places:
            last[places] = corrupt_states(last[places], (keep, force, flip), self._form)
        else:
            last.copy_(corrupt_states(last, (keep[0], force[0], flip[0]), self._form))

    def _make_whole(self, values: Tensor) -> list[tuple[Operation, Tensor]]:
        """The masks that change something, in the layout of ``values``."""
        self._whole = []
        operations = (Tensor.bitwise_and_, Tensor.bitwise_or_, Tensor.bitwise_xor_)
        for operate, mask, neutral in zip(operations, self._masks, (-1, 0, 0), strict=True):
            if bool((mask == neutral).all()):
                continue
            whole = torch.full((1, *self._shape), neutral, dtype=torch.int32)
            whole[0][self._index] = mask if self._index else mask[0]
            form = torch.contiguous_format
            if whole.ndim == 4 and values.is_contiguous(memory_format=torch.channels_last):
                form = torch.channels_last
            whole = whole.to(values.device).contiguous(memory_format=form)
            self._whole.append((operate, whole))
        return self._whole


class _InputChange:
    """Hits of input lines, of a signal ``[time, batch, ...]``; the given one stays as it is."""

    def __init__(self, hits: FamilyHits, steps: range | None) -> None:
        self.steps, self._change = steps, _Change(hits)

    def __call__(self, signal: Tensor) -> Tensor:
        signal = signal.clone()
        active = slice(None) if self.steps is None else slice(self.steps[0], self.steps[-1] + 1)
        for now in signal[active]:
            self._change(now)
        return signal
