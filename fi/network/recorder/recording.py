"""One inference, recorded: every value as an expression, every call of a neuron."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from snntorch import SpikingNeuron
from torch import Tensor, nn
from torch.nn.utils import parametrize
from torch.overrides import TorchFunctionMode

from fi.network.neurons import spiking_neurons
from fi.network.recorder.expression.expressions import (
    Applied,
    Constant,
    Events,
    Fired,
    Node,
    NotRecordable,
    OnCopy,
    Part,
    Word,
    leaves_of,
    name_of,
    rebuild,
    signals_of,
    walk,
)
from fi.network.recorder.expression.functions import (
    ABOUT,
    RANDOM,
    SAME,
    is_output,
    simplify,
    unstack,
)


@dataclass
class Calls:
    """The calls of one neuron: what drove each, by expression and by value.

    Attributes:
        currents: expression of the first argument of each call.
        values: of the same.
        spikes: what each call gave.
    """

    currents: list[Node] = field(default_factory=list)
    values: list[Tensor] = field(default_factory=list)
    spikes: list[Tensor] = field(default_factory=list)


class Recording(TorchFunctionMode):
    """Records an inference while it is active; see ``record_inference``.

    Args:
        network: whose forward it is.
        events: ``[time, batch, ...]``.

    Attributes:
        calls: of each neuron, by name, in the order of the first calls.
        steps: that the events have.
        batch: the number of samples.
        frame: shape of the events of one sample and step.
        wrong_states: why calls of neurons do not go on from the call before.
        escaped: ids of modules of which the value of a word has left PyTorch.
    """

    def __init__(self, network: nn.Module, events: Tensor) -> None:
        super().__init__()
        self.network = network
        self.steps, self.batch = events.shape[:2]
        self.frame = tuple(events.shape[2:])
        self.calls: dict[str, Calls] = {}
        self.names = {id(module): name for name, module in network.named_modules()}
        self._neurons = spiking_neurons(network)
        self._nodes: dict[int, Node] = {id(events): Events()}
        self._alive: list[Any] = [events]
        self._memory: dict[int, list[int]] = {}
        self._stale: set[int] = set()
        self._depth = 0
        self.escaped: set[int] = set()
        self.leaves: dict[int, nn.Module] = {}
        self.wrong_states: list[str] = []
        self._words = _find_words(network)
        words = {_memory_of(getattr(*word)): word for word in self._words.values()}
        self._word_memory = {memory: word for memory, word in words.items() if memory}
        self._note_memory(events)

    # -- nodes -----------------------------------------------------------------------------------

    def node_of(self, value: Any) -> Any:
        """The expression of a value; what is no tensor stays."""
        if not isinstance(value, Tensor):
            return value
        if id(value) in self._stale:
            raise NotRecordable(
                f"a view of a tensor {list(value.shape)} was changed in place before it is used"
            )
        if id(value) not in self._nodes:
            word = self._words.get(id(value))
            self._keep(value, Word(*word) if word else Constant(value.detach().clone()))
        return self._nodes[id(value)]

    def _keep(self, value: Any, node: Node) -> None:
        """Note what a value is; of several tensors each."""
        if isinstance(value, Tensor):
            self._nodes[id(value)] = node
            self._alive.append(value)
            self._stale.discard(id(value))
            self._note_memory(value)
        elif isinstance(value, dict):
            for key, part in value.items():
                self._keep(part, Part(node, key))
        elif isinstance(value, (tuple, list)):
            for place, part in enumerate(value):
                self._keep(part, unstack(Part(node, place)))

    def _note_memory(self, value: Tensor) -> None:
        if _memory_of(value):
            self._memory.setdefault(_memory_of(value), []).append(id(value))

    def depends(self, value: Any) -> bool:
        """Whether an argument is made of events or spikes."""
        return isinstance(value, Node) and bool(signals_of(value))

    # -- functions -------------------------------------------------------------------------------

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        name = name_of(func)
        if self._depth or name in ABOUT:
            return func(*args, **kwargs)
        arguments, options = rebuild(tuple(args), self.node_of), rebuild(kwargs, self.node_of)
        if name in RANDOM or (name == "dropout" and options.get("training", True)):
            raise NotRecordable(f"{name}() draws random numbers")
        result = func(*args, **kwargs)
        self._take(func, name, args, arguments, options, result)
        return result

    def _take(
        self,
        func: Any,
        name: str,
        args: tuple[Any, ...],
        arguments: tuple[Any, ...],
        options: dict[str, Any],
        result: Any,
    ) -> None:
        """Note what a function gave."""
        first = args[0] if args and isinstance(args[0], Tensor) else None
        same = first is not None and isinstance(result, Tensor) and result.dtype == first.dtype
        if name in SAME and same:
            self._keep(result, arguments[0])
            return
        if options.get("out") is not None:
            raise NotRecordable(f"{name}() is called with out=")
        in_place = name.endswith("_") and not name.endswith("__")
        if in_place or name == "__setitem__" or (name.startswith("__i") and result is first):
            assert first is not None
            self._change(func, name, first, arguments, options)
            return
        tensors = isinstance(result, Tensor) or (
            isinstance(result, (tuple, list)) and any(isinstance(part, Tensor) for part in result)
        )
        if not tensors:
            if name != "__iter__":
                self._note_escape(name, list(leaves_of((arguments, options))))
            return
        if result is not first:
            self._keep(result, simplify(Applied(func, arguments, options)))

    def _note_escape(self, name: str, read: Sequence[Node]) -> None:
        """A function has given values that are no tensors: of signals none may, of words some."""
        if any(map(self.depends, read)):
            raise NotRecordable(f"{name}() reads values of signals: what follows may differ")
        for node in (inner for one in read for inner in walk(one)):
            if isinstance(node, Word):
                self.escaped.add(id(node.owner))
            if isinstance(node, Applied) and isinstance(node.function, nn.Module):
                self.escaped |= {id(module) for module in node.function.modules()}

    def _change(
        self, func: Any, name: str, first: Tensor, arguments: tuple[Any, ...], options: Any
    ) -> None:
        """Follow a function that changes its first argument."""
        changed = self._word_memory.get(_memory_of(first), self._words.get(id(first)))
        if changed is not None:
            owner, word = changed
            raise NotRecordable(f"{name}() changes {self.names.get(id(owner), '')}.{word} in place")
        for neuron_name, neuron in self._neurons.items():
            for state in neuron._non_persistent_buffers_set:
                value = getattr(neuron, state)
                if value.numel() and _memory_of(value) == _memory_of(first):
                    raise NotRecordable(f"{neuron_name}: {name}() changes its {state} in place")
        sharing = self._memory.get(_memory_of(first), [])
        self._stale |= {number for number in sharing if number != id(first)}
        self._nodes[id(first)] = Applied(OnCopy(func), arguments, options)

    # -- modules ---------------------------------------------------------------------------------

    def call_module(
        self, module: nn.Module, run: Callable[..., Any], args: Any, kwargs: Any
    ) -> Any:
        """A call of a module: of neurons and leaves one value, of others what is inside."""
        name = self.names.get(id(module))
        if self._depth:
            return run(module, *args, **kwargs)
        if isinstance(module, SpikingNeuron):
            if name is None:
                raise NotRecordable(f"a {type(module).__name__} that is no part of the network")
            return self._call_neuron(name, module, run, args, kwargs)
        if not _is_leaf(module):
            return run(module, *args, **kwargs)
        arguments, options = rebuild(tuple(args), self.node_of), rebuild(kwargs, self.node_of)
        if isinstance(module, nn.modules.dropout._DropoutNd) and module.training:
            raise NotRecordable(f"{name or type(module).__name__} draws random numbers")
        self.leaves[id(module)] = module
        before = [part._version for part in args if isinstance(part, Tensor)]
        result = self._within(run, module, args, kwargs)
        after = [part._version for part in args if isinstance(part, Tensor)]
        changed = before != after and not getattr(module, "inplace", False)
        if changed:
            raise NotRecordable(f"{name or type(module).__name__} changes what it is given")
        if not (isinstance(result, Tensor) and any(result is part for part in args)) or (
            before != after
        ):
            self._keep(result, Applied(module, arguments, options))
        return result

    def _within(self, run: Callable[..., Any], module: nn.Module, args: Any, kwargs: Any) -> Any:
        self._depth += 1
        try:
            return run(module, *args, **kwargs)
        finally:
            self._depth -= 1

    def _call_neuron(
        self, name: str, neuron: SpikingNeuron, run: Callable[..., Any], args: Any, kwargs: Any
    ) -> Any:
        try:
            bound = inspect.signature(type(neuron).forward).bind(neuron, *args, **kwargs)
        except TypeError:
            raise NotRecordable(f"{name} is called with other arguments than it takes") from None
        given = dict(list(bound.arguments.items())[1:])
        current = given.pop(next(iter(given)))
        calls = self.calls.setdefault(name, Calls())
        if not isinstance(current, Tensor) or current.shape[:1] != (self.batch,):
            raise NotRecordable(f"{name}: what drives it is no [batch, ...]")
        try:
            self._check_states(name, neuron, given, len(calls.currents))
        except NotRecordable as error:
            self.wrong_states.append(str(error))
        calls.currents.append(self.node_of(current))
        calls.values.append(current.clone())
        output = self._within(run, neuron, args, kwargs)
        number = len(calls.currents) - 1
        for state in neuron._non_persistent_buffers_set:
            self._keep(getattr(neuron, state), Fired(name, state, number))
        self._keep_outputs(name, neuron, output, number)
        calls.spikes.append((output[0] if isinstance(output, tuple) else output).clone())
        return output

    def _keep_outputs(self, name: str, neuron: SpikingNeuron, output: Any, number: int) -> None:
        outputs = output if isinstance(output, tuple) else (output,)
        states = neuron._non_persistent_buffers_set
        for place, value in enumerate(outputs):
            own = [state for state in states if getattr(neuron, state) is value]
            label = "spk" if place == 0 else (own[0] if own else f"output {place}")
            self._keep(value, Fired(name, label, number))

    def _check_states(
        self, name: str, neuron: SpikingNeuron, given: dict[str, Any], call: int
    ) -> None:
        """Raise where a call starts from other states than the call before has left."""
        states = sorted(neuron._non_persistent_buffers_set)
        for key, value in given.items():
            if value is not None and key not in states:
                raise NotRecordable(f"{name} is called with {key}")
        for state in states:
            value = given.get(state)
            value = getattr(neuron, state) if value is None else value
            if not isinstance(value, Tensor):
                raise NotRecordable(f"{name} is called with a {state} that is no tensor")
            node = self.node_of(value)
            if call == 0:
                zero = not value.numel() or (not self.depends(node) and not value.any())
                if not zero:
                    raise NotRecordable(f"{name} starts with a {state} that is not zero")
            elif state == "spk" and value is not neuron.spk:
                raise NotRecordable(f"{name} is fed with other spikes than those that it keeps")
            elif not (isinstance(node, Fired) and is_output(node, name, state, call - 1)):
                raise NotRecordable(
                    f"{name}: the {state} of call {call + 1} is not what its call before has left"
                )


def _memory_of(value: Tensor) -> int:
    """Where the elements of a tensor are; 0 for what has none."""
    return value.untyped_storage().data_ptr() if value.layout == torch.strided else 0


def _is_leaf(module: nn.Module) -> bool:
    """Whether a module is called as a whole: it has no parts, but for what makes its words."""
    if parametrize.is_parametrized(module):
        return set(module._modules) <= {"parametrizations"}
    return not module._modules


def _find_words(network: nn.Module) -> dict[int, tuple[nn.Module, str]]:
    """Parameters and buffers by the id of the tensor; states of neurons are none."""
    words: dict[int, tuple[nn.Module, str]] = {}
    for module in network.modules():
        states = module._non_persistent_buffers_set if isinstance(module, SpikingNeuron) else set()
        for key, value in (*module._parameters.items(), *module._buffers.items()):
            if value is not None and key not in states:
                words.setdefault(id(value), (module, key))
    return words


@contextmanager
def recorded_calls(recording: Recording) -> Iterator[None]:
    """Within, every call of a module passes through the recording."""
    plain = nn.Module.__call__

    def call(module: nn.Module, *args: Any, **kwargs: Any) -> Any:
        return recording.call_module(module, plain, args, kwargs)

    nn.Module.__call__ = call  # type: ignore[method-assign]
    try:
        yield
    finally:
        nn.Module.__call__ = plain  # type: ignore[method-assign]
