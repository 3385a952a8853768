"""An independent oracle for any module: faults put in by hand, counts pair by pair in plain Python.

Nothing of the tool is imported. What a fault means:

- A stored word is changed with ``struct`` in its tensor's storage, so that whatever shares the
  storage has the fault: from the start (permanent), or while its steps last.
- A step ends with the last call of the clock: of the neurons that are called at least once in
  every step, the one whose last call comes last.
- A membrane, or another state, is changed after its neuron's update at that step, spikes in its
  output. A neuron's own calls are its steps; one that is called k times a step has the fault in
  all k calls, one that is called less often than there are steps counts its calls.
- A step that an inference does not reach leaves everything as it is.
- Each inference has a network of its own, its own events and neurons without a past.
"""

from __future__ import annotations

import math
import struct
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any, Protocol

import torch
from snntorch import SpikingNeuron
from torch import Tensor, nn

#: Counts of one fault, over all samples.
COUNTS = (
    "fully_masked", "sdc_1", "sdc_0_5", "sdc_5_10", "sdc_10_20", "sdc_20", "non_finite", "correct"
)  # fmt: skip
STATES = {"potential": "mem", "syn": "syn", "syn_exc": "syn_exc", "syn_inh": "syn_inh"}
#: Relative difference of scores that another order of summation may make in float32.
ROUNDING = 1e-5
#: Relative noise on currents, a few units in the last place: what rounding may decide shows itself.
NOISE = 2.0**-22

Batch = tuple[Tensor, Tensor]


class AnyFault(Protocol):
    """What the oracle reads of a fault."""

    layer: str
    index: tuple[int, ...]
    bits: tuple[int, ...]
    model: str
    steps: range | None


# Words


def corrupted(
    value: float,
    fault: AnyFault,
    dtype: torch.dtype = torch.float32,
    tensor: Tensor | None = None,
) -> float:
    """A stored ``value`` of ``tensor``, or an output (no tensor), as it reads under ``fault``."""
    name, _, parameter = fault.model.partition(":")
    if name == "dead":
        return 0.0
    if name == "saturated":
        if tensor is None:
            return 1.0
        return math.copysign(float(tensor.abs().max()), value)
    if name in ("stuck-value", "scale"):
        return rounded(float(parameter) * (value if name == "scale" else 1.0), dtype)
    before = to_word(value, dtype)
    word = change_bits(before, fault.bits, name)
    return value if word == before else from_word(word, dtype)


def change_bits(word: int, bits: Iterable[int], model: str) -> int:
    """A bit pattern with these bits inverted or stuck."""
    for bit in bits:
        word = {
            "bit-flip": word ^ 1 << bit,
            "stuck-at-0": word & ~(1 << bit),
            "stuck-at-1": word | 1 << bit,
        }[model]
    return word


def to_word(value: float, dtype: torch.dtype) -> int:
    """The bit pattern of ``value`` as hardware stores it."""
    if dtype == torch.float16:
        return int.from_bytes(struct.pack("<e", value), "little")
    word = int.from_bytes(struct.pack("<f", float32(value)), "little")
    return word >> 16 if dtype == torch.bfloat16 else word


def from_word(word: int, dtype: torch.dtype) -> float:
    """The value of a bit pattern."""
    if dtype == torch.float16:
        return float(struct.unpack("<e", word.to_bytes(2, "little"))[0])
    if dtype == torch.bfloat16:
        word <<= 16
    return float(struct.unpack("<f", word.to_bytes(4, "little"))[0])


def float32(value: float) -> float:
    """The nearest float32; what is too large is infinite."""
    try:
        return float(struct.unpack("<f", struct.pack("<f", value))[0])
    except OverflowError:
        return math.copysign(math.inf, value)


def rounded(value: float, dtype: torch.dtype) -> float:
    """The nearest value of that type, float32 for float64."""
    return (
        float(torch.tensor(float32(value)).to(dtype)) if dtype != torch.float64 else float32(value)
    )


# Faults in a network


def neurons_of(network: nn.Module) -> dict[str, SpikingNeuron]:
    """The spiking neurons by name."""
    return {n: m for n, m in network.named_modules() if isinstance(m, SpikingNeuron)}


def forget(network: nn.Module) -> None:
    """Every neuron as new."""
    for neuron in neurons_of(network).values():
        for name in neuron._non_persistent_buffers_set:
            setattr(neuron, name, torch.zeros(0, dtype=getattr(neuron, name).dtype))


@dataclass(frozen=True)
class Calls:
    """The calls of neurons in an inference of ``steps`` steps, by name in their order."""

    steps: int
    order: tuple[str, ...]

    @cached_property
    def counts(self) -> Counter[str]:
        return Counter(self.order)

    @cached_property
    def clock(self) -> str:
        """The neuron whose calls end the steps."""
        each_step = [name for name in self.order if self.counts[name] >= self.steps]
        if each_step:
            return each_step[-1]
        most = max(self.counts.values())
        return [name for name in self.order if self.counts[name] == most][-1]

    def step_of(self, name: str, call: int) -> int:
        """The step of a neuron's call, which is counted from 0."""
        often, rest = divmod(self.counts[name], self.steps)
        return call // often if often and not rest else call


def record_calls(network: nn.Module, infer: Callable[[nn.Module], Any], steps: int) -> Calls:
    """Which neuron was called when."""
    order: list[str] = []
    names = {neuron: name for name, neuron in neurons_of(network).items()}
    handles = [
        neuron.register_forward_hook(lambda module, *_: order.append(names[module]))
        for neuron in names
    ]
    infer(network)
    for handle in handles:
        handle.remove()
    return Calls(steps, tuple(order))


def is_active(fault: AnyFault, step: int) -> bool:
    return fault.steps is None or step in fault.steps


def inject(network: nn.Module, fault: AnyFault, calls: Calls, width: int = 32) -> None:
    """Put one fault into a network that is used for one inference."""
    layer, _, word = fault.layer.rpartition(".")
    if layer in neurons_of(network) and (word == "spike" or word in STATES):
        _change_output(network.get_submodule(layer), layer, word, fault, calls, width)
    else:
        _change_word(network, layer, word, fault, calls)


def _change_output(
    module: nn.Module, layer: str, word: str, fault: AnyFault, calls: Calls, width: int
) -> None:
    plain, call = module.forward, 0

    def forward(*args: Any, **kwargs: Any) -> Any:
        nonlocal call
        out, step = plain(*args, **kwargs), calls.step_of(layer, call)
        call += 1
        if not is_active(fault, step):
            return out
        if word == "spike":
            old = out[0] if isinstance(out, tuple) else out
        else:
            old = getattr(module, STATES[word])
        new = change_values(old, fault, width)
        for name in module._non_persistent_buffers_set:  # RLeaky feeds back what it gave
            if getattr(module, name) is old:
                setattr(module, name, new)
        if isinstance(out, tuple):
            return tuple(new if part is old else part for part in out)
        return new if word == "spike" else out

    module.forward = forward


def change_values(values: Tensor, fault: AnyFault, width: int = 32) -> Tensor:
    """``values [batch, ...]`` of states or spikes, wrong in each sample; words of 32 bits."""
    changed = values.detach().clone()
    dtype = values.dtype if width == 16 else torch.float32
    for sample in range(len(changed)):
        place = (sample, *fault.index)
        changed[place] = corrupted(float(changed[place]), fault, dtype)
    return changed


def _change_word(network: nn.Module, layer: str, word: str, fault: AnyFault, calls: Calls) -> None:
    module = network.get_submodule(layer)
    tensor = getattr(module, word).detach()
    if any(
        stride == 0 and size > 1 for stride, size in zip(tensor.stride(), tensor.shape, strict=True)
    ):
        tensor = _replace(module, word, tensor.clone())  # expanded words are made whole
    if not tensor.is_floating_point():  # a threshold of 1 is stored as 1.0
        tensor = _replace(module, word, tensor.float())
    golden = tensor[fault.index].clone()
    bad = torch.tensor(corrupted(float(golden), fault, tensor.dtype, tensor)).to(tensor.dtype)
    if fault.steps is None:
        tensor[fault.index] = bad
        return
    clock = network.get_submodule(calls.clock)
    plain, call = clock.forward, 0
    each = max(1, calls.counts[calls.clock] // calls.steps)
    tensor[fault.index] = bad if is_active(fault, 0) else golden

    def forward(*args: Any, **kwargs: Any) -> Any:
        nonlocal call
        out, call = plain(*args, **kwargs), call + 1
        tensor[fault.index] = bad if is_active(fault, call // each) else golden
        return out

    clock.forward = forward


def _replace(module: nn.Module, word: str, tensor: Tensor) -> Tensor:
    """Give a module another tensor of the same values."""
    if word in module._parameters:
        module._parameters[word] = nn.Parameter(tensor, requires_grad=False)
    else:
        module._buffers[word] = tensor
    return tensor


# Inferences and their outcomes


def scores_of(out: Any) -> Tensor:
    """Scores of what a forward returned; spikes are counted."""
    out = out[0] if isinstance(out, (tuple, list)) else out
    scores: Tensor = out.sum(0) if out.ndim == 3 else out
    return scores.detach().float()


@dataclass
class Outcomes:
    """What one fault did.

    Attributes:
        pairs: outcome, whether a score is not finite, whether it is correct; per sample.
        doubtful: samples whose scores are so near to another outcome that rounding decides.
    """

    pairs: list[tuple[str, bool, bool]]
    doubtful: set[int]

    @cached_property
    def counts(self) -> Counter[str]:
        """By column of the results."""
        found = Counter(dict.fromkeys(COUNTS, 0))
        for outcome, non_finite, correct in self.pairs:
            found[outcome] += 1
            found["non_finite"] += non_finite
            found["correct"] += correct
        return found


class ModuleOracle:
    """Counts of faults in the networks that ``make`` makes.

    Args:
        make: gives a network of its own in each call, always with the same words.
        batches: the test set, events ``[time, batch, ...]``.
        time_axis: where the forward wants time.
        rounds: whether scores hang on the order of summation.
    """

    def __init__(
        self,
        make: Callable[[], nn.Module],
        batches: Iterable[Batch],
        time_axis: int = 0,
        rounds: bool = False,
    ) -> None:
        self.make, self.time_axis, self.rounds = make, time_axis, rounds
        self.batches = list(batches)
        self.dtype = next(make().parameters()).dtype
        self.calls = [self._record(events) for events, _ in self.batches]
        self.golden = [self._infer(self._make(), events) for events, _ in self.batches]

    @property
    def samples(self) -> int:
        """Of the test set."""
        return sum(len(labels) for _, labels in self.batches)

    def _make(self) -> nn.Module:
        network = self.make().eval().requires_grad_(False)
        forget(network)
        return network

    def _infer(self, network: nn.Module, events: Tensor) -> Tensor:
        with torch.no_grad():
            return scores_of(network(self.prepared(events).movedim(0, self.time_axis)))

    def _record(self, events: Tensor) -> Calls:
        return record_calls(self._make(), lambda net: self._infer(net, events), len(events))

    def prepared(self, events: Tensor) -> Tensor:
        """Events of one's own, in the type that the network computes in."""
        dtype = self.dtype if self.dtype == torch.float64 else torch.float32
        return events.to(dtype, copy=True)

    def scores(self, fault: AnyFault, width: int = 32, noise: int | None = None) -> list[Tensor]:
        """Per batch, the scores ``[batch, classes]`` under that fault, with noise of that seed."""
        found = []
        for (events, _), calls in zip(self.batches, self.calls, strict=True):
            network = self._make()
            if noise is not None:
                add_noise(network, noise)
            if fault.layer == "input":
                events = self.prepared(events)
                for step in range(len(events)):
                    if is_active(fault, step):
                        events[step] = change_values(events[step], fault)
            else:
                inject(network, fault, calls, width)
            found.append(self._infer(network, events))
        return found

    def spikes(self, fault: AnyFault | None) -> list[dict[str, Tensor]]:
        """Per batch, what each neuron gave at each of its calls, ``[calls, batch, ...]``."""
        found = []
        for (events, _), calls in zip(self.batches, self.calls, strict=True):
            network, events = self._make(), self.prepared(events)
            if fault is not None and fault.layer == "input":
                for step in range(len(events)):
                    if is_active(fault, step):
                        events[step] = change_values(events[step], fault)
            elif fault is not None:
                inject(network, fault, calls)
            trains: dict[str, list[Tensor]] = {name: [] for name in neurons_of(network)}

            def note(module: nn.Module, args: Any, out: Any, train: list[Tensor]) -> None:
                train.append((out[0] if isinstance(out, tuple) else out).detach().clone())

            for name, neuron in neurons_of(network).items():
                neuron.register_forward_hook(partial(note, train=trains[name]))
            self._infer(network, events)
            found.append({name: torch.stack(train) for name, train in trains.items()})
        return found

    def expected(self, fault: AnyFault, width: int = 32, noise: int | None = None) -> Outcomes:
        """What that fault does."""
        pairs: list[tuple[str, bool, bool]] = []
        doubtful: set[int] = set()
        faulty = self.scores(fault, width, noise)
        for (_, labels), before, after in zip(self.batches, self.golden, faulty, strict=True):
            for one, other, label in zip(
                before.tolist(), after.tolist(), labels.tolist(), strict=True
            ):
                nan = any(score != score for score in other)
                correct = not nan and other.index(max(other)) == label
                if self.rounds and is_doubtful(one, other):
                    doubtful.add(len(pairs))
                finite = all(map(math.isfinite, other))
                pairs.append((judge(one, other), not finite, correct))
        return Outcomes(pairs, doubtful)

    def count_doubtful(self, fault: AnyFault, width: int = 32) -> int:
        """How many pairs of that fault rounding decides: slow, for what does not agree."""
        clean = self.expected(fault, width)
        doubtful = set(clean.doubtful)
        for noise in range(3):
            other = self.expected(fault, width, noise).pairs
            for place, (one, two) in enumerate(zip(clean.pairs, other, strict=True)):
                unmoved = one == two or (self.rounds and "fully_masked" in (one[0], two[0]))
                doubtful |= set() if unmoved else {place}
        return len(doubtful)


def add_noise(network: nn.Module, seed: int) -> None:
    """Change all currents by a few units in the last place."""
    draw = torch.Generator().manual_seed(seed)

    def disturb(module: nn.Module, args: Any, out: Tensor) -> Tensor:
        return out * (1 + NOISE * torch.randn(out.shape, generator=draw)).to(out.dtype)

    for module in network.modules():
        if isinstance(module, (nn.Linear, nn.Conv2d)):
            module.register_forward_hook(disturb)


def judge(golden: Sequence[float], faulty: Sequence[float]) -> str:
    """What one pair did, by top-1 class and score."""
    if any(score != score for score in faulty):
        return "sdc_1"
    best, now = golden.index(max(golden)), faulty.index(max(faulty))
    if best != now:
        return "sdc_1"
    before, after = golden[best], faulty[now]
    if before == after:
        return "fully_masked"
    change = abs(after - before) / abs(before) * 100 if before else math.inf
    bands = ((5, "sdc_0_5"), (10, "sdc_5_10"), (20, "sdc_10_20"))
    return next((name for end, name in bands if change < end), "sdc_20")


def is_doubtful(golden: Sequence[float], faulty: Sequence[float]) -> bool:
    """Whether scores that differ by rounding could have another outcome; equal ones could not."""
    if list(golden) == list(faulty) or not all(map(math.isfinite, faulty)):
        return False
    sizes = sorted(faulty, reverse=True)
    near = ROUNDING * max(abs(size) for size in (*faulty, *golden))
    if len(sizes) > 1 and sizes[0] - sizes[1] <= near:
        return True
    before, after = max(golden), max(faulty)
    edges = (before * (1 + sign * end / 100) for end in (0, 5, 10, 20) for sign in (1, -1))
    return any(abs(after - edge) <= near for edge in edges)
