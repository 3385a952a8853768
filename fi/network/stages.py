"""A spiking network as a graph of stages: the form that makes fault injection fast."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from snntorch import SpikingNeuron
from torch import Tensor, nn

from fi.network.neurons import cast_spikes, output_spikes, reset_neurons
from fi.network.readouts import Readout, SpikeCount


@dataclass(frozen=True)
class StageActivity:
    """What one stage did, step by step.

    Attributes:
        inputs: ``[time, batch, ...]``, the spikes (or events) that came in.
        currents: ``[time, batch, ...]``, what the synapse made of them, recurrence not included.
        spikes: ``[time, batch, ...]``, the neuron's output.
        states: one dict a step, by snnTorch attribute (``mem``, ``syn``), ``[batch, ...]`` each.
        unpooled: what a maximum pool at the end of the synapse has seen, ``[time * batch, ...]``;
            ``None`` where it was not kept.
        entered: what its weights have seen where something stands in front of them, alike.
    """

    inputs: Tensor
    currents: Tensor
    spikes: Tensor
    states: list[dict[str, Tensor]]
    unpooled: Tensor | None = None
    entered: Tensor | None = None


#: The number of the events among the stages that may be a source.
EVENTS = -1

#: About how many images a CPU convolves at a time: feature maps of many more are memory that the
#: system maps anew each time, which takes as long as the convolution.
IMAGES = 256


def has_own_behaviour(module: nn.Module, by_element: bool = False) -> bool:
    """Whether a module does more than the forward of its class: hooks, or another forward.

    A hook that casts a neuron's spikes is none: ``Stage.fire`` does the same. With ``by_element``
    nor is one that says by ``elementwise = True`` that it treats each element by itself.
    """
    hooks = (*module._forward_pre_hooks.values(), *module._forward_hooks.values())
    own = [hook for hook in hooks if hook is not cast_spikes]
    if by_element:
        own = [hook for hook in own if not getattr(hook, "elementwise", False)]
    return bool(own) or "forward" in vars(module)


@dataclass(frozen=True)
class Stage:
    """A synapse, the neurons that it feeds, and optionally their recurrence.

    Attributes:
        synapse: any stateless module or a sequence of them (conv, pool, norm, flatten, linear).
        neuron: a snnTorch neuron.
        recurrent: a module fed with the stage's own spikes of the step before.
        sources: the neurons of earlier stages whose spikes come in, ``None`` for the events; where
            nothing is said, those of the stage before.
        merge: how several sources become one input: they ``add`` up, or ``concatenate`` puts their
            channels (or their lines, flattened, where they are of other sizes) one after another.
        channels_last: whether images are given the layout in which a CPU convolves and pools
            fastest; sums are rounded otherwise in it.

    Example:
        >>> import snntorch as snn
        >>> import torch
        >>> from torch import nn
        >>> stage = Stage([nn.Conv2d(2, 4, 3), nn.MaxPool2d(2)], snn.Leaky(beta=0.9))
        >>> activity = stage.run(torch.ones(5, 3, 2, 10, 10))
        >>> activity.spikes.shape
        torch.Size([5, 3, 4, 4, 4])
    """

    synapse: nn.Module | Sequence[nn.Module]
    neuron: SpikingNeuron
    recurrent: nn.Module | None = None
    sources: tuple[SpikingNeuron | None, ...] = ()
    merge: Literal["add", "concatenate"] = "add"
    channels_last: bool = True

    def merge_sources(self, signals: Sequence[Tensor], leading: int) -> Tensor:
        """What comes in of what the sources give, whose first ``leading`` axes are no features."""
        first, *others = signals
        if not others:
            return first
        if self.merge == "add":
            for other in others:
                first = first + other
            return first
        if any(other.shape[leading + 1 :] != first.shape[leading + 1 :] for other in others):
            signals = [signal.flatten(leading) for signal in signals]
        return torch.cat(list(signals), dim=leading)

    @property
    def modules(self) -> list[nn.Module]:
        """The synapse as a list of modules, in the order of their use."""
        synapse = [self.synapse] if isinstance(self.synapse, nn.Module) else list(self.synapse)
        flat: list[nn.Module] = []
        for module in synapse:
            plain = type(module) is nn.Sequential and not has_own_behaviour(module)
            flat.extend(module.children() if plain else [module])
        return flat

    def conduct(self, signal: Tensor) -> Tensor:
        """Currents ``[batch, ...]`` of ``signal`` ``[batch, ...]``; any leading batch will do."""
        signal = self.lay_out(signal)
        for module in self.modules:
            signal = module(signal)
        return signal

    def lay_out(self, signal: Tensor) -> Tensor:
        """``signal`` ``[batch, ...]`` in the layout of memory in which the synapse takes it."""
        if signal.ndim == 4 and self.channels_last:
            return signal.contiguous(memory_format=torch.channels_last)
        return signal.contiguous()

    def currents(self, inputs: Tensor) -> Tensor:
        """Currents of ``inputs``, all steps at once; both are ``[time, batch, ...]``."""
        parts = list(self.conduct_parts(inputs))
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    def conduct_parts(self, inputs: Tensor) -> Iterator[Tensor]:
        """The same some steps at a time where that is faster, ``[steps, batch, ...]`` each."""
        signal = inputs.flatten(0, 1)
        separable = not any(module.training for module in self.modules)  # no statistics of a batch
        if signal.ndim == 4 and signal.device.type == "cpu" and separable and len(signal):
            batch = inputs.shape[1]
            images = batch * max(1, IMAGES // batch)  # whole steps
            for chunk in torch.split(signal, images):
                yield torch.unflatten(self.conduct(chunk), 0, (-1, batch))
        else:
            yield torch.unflatten(self.conduct(signal), 0, inputs.shape[:2])

    def fire(self, current: Tensor, previous: Tensor | None) -> Tensor:
        """Spikes ``[batch, ...]`` of one step; ``previous`` are those of the step before."""
        if self.recurrent is not None:
            fed_back = torch.zeros_like(current) if previous is None else previous
            current = current + self.recurrent(fed_back)
        spikes = output_spikes(self.neuron(current))
        return spikes.to(current.dtype)  # snnTorch's surrogates return float32 for float64 too

    def may_read(self, word: Tensor) -> bool:
        """Whether the synapse may read the memory of ``word``: it has it, or may know it."""
        storage = word.untyped_storage().data_ptr()
        for module in (inner for part in self.modules for inner in part.modules()):
            if not type(module).__module__.startswith("torch.nn.") or has_own_behaviour(module):
                return True  # a forward or a hook of the user's may read anything
            own = (*module._parameters.values(), *module._buffers.values())
            if any(t is not None and t.untyped_storage().data_ptr() == storage for t in own):
                return True
        return False

    def states(self) -> dict[str, Tensor]:
        """The neuron's states after its last step."""
        names = self.neuron._non_persistent_buffers_set
        return {name: getattr(self.neuron, name) for name in names}

    def run(self, inputs: Tensor) -> StageActivity:
        """All steps of this stage on ``inputs`` ``[time, batch, ...]``."""
        return self.integrate(inputs, self.currents(inputs))

    def integrate(
        self, inputs: Tensor, currents: Tensor, before: Callable[[int], None] | None = None
    ) -> StageActivity:
        """What the neurons make of ``currents`` ``[time, batch, ...]``; ``before`` every step."""
        spikes: list[Tensor] = []
        states: list[dict[str, Tensor]] = []
        for step, current in enumerate(currents):
            if before is not None:
                before(step)
            spikes.append(self.fire(current, spikes[-1] if spikes else None))
            states.append(self.states())
        return StageActivity(inputs, currents, torch.stack(spikes), states)


#: Methods that say how stages become scores: a network that replaces one computes something else.
DATA_FLOW = ("forward", "statistic", "activities")


class SpikingNetwork(nn.Module):
    """A network that declares its data flow in ``stages``.

    Define the layers under the names that users expect, then return them as stages.

    Args:
        readout: how the last stage's activity becomes scores; a ``SpikeCount`` by default.

    Class attributes:
        default_data: the datamodule that the commands use for it.
        default_checkpoint: file name in ``models/pretrained``.
        layer_by_layer: run each stage over all steps before the next one (fast), else step by step.

    Example:
        >>> import snntorch as snn
        >>> import torch
        >>> from torch import nn
        >>> class Small(SpikingNetwork):
        ...     def __init__(self) -> None:
        ...         super().__init__()
        ...         self.fc1, self.lif1 = nn.Linear(12, 8), snn.Leaky(beta=torch.full((8,), 0.9))
        ...         self.fc2, self.lif2 = nn.Linear(8, 3), snn.Leaky(beta=torch.full((3,), 0.9))
        ...
        ...     def stages(self) -> list[Stage]:
        ...         return [Stage(self.fc1, self.lif1), Stage(self.fc2, self.lif2)]
        >>> scores = Small()(torch.ones(5, 4, 12))
        >>> scores.shape
        torch.Size([4, 3])
        >>> torch.allclose(scores.sum(1), torch.ones(4))
        True
    """

    default_data: ClassVar[str | None] = None
    default_checkpoint: ClassVar[str | None] = None
    layer_by_layer: bool = True

    def __init__(self, readout: Readout | None = None) -> None:
        super().__init__()
        self.readout = readout or SpikeCount()

    def stages(self) -> list[Stage]:
        """The stages in the order in which spikes pass them."""
        raise NotImplementedError(f"{type(self).__name__} must define stages()")

    def encode(self, events: Tensor) -> Tensor:
        """What the first stage sees of ``events`` ``[time, batch, ...]``: resizing and the like."""
        return events

    def forward(self, events: Tensor) -> Tensor:
        """Scores ``[batch, classes]`` of ``events`` ``[time, batch, ...]``."""
        return self.readout.scores(self.statistic(events))

    def statistic(self, events: Tensor) -> Tensor:
        """What the readout gathered, ``[batch, classes]``: the scores before any softmax."""
        if not self.layer_by_layer:
            return self.readout.gather(self._step_by_step(events))
        last = deque(self.activities(events), maxlen=1).pop()
        membranes = (state["mem"] for state in last.states)
        return self.readout.gather(zip(last.spikes, membranes, strict=True))

    def activities(self, events: Tensor) -> Iterator[StageActivity]:
        """Every stage's activity in turn, the network run layer by layer."""
        reset_neurons(self)
        stages = self.stages()
        sources = find_sources(stages)
        signals = {EVENTS: self.encode(events)}
        for number, stage in enumerate(stages):
            inputs = stage.merge_sources([signals[source] for source in sources[number]], 2)
            activity = self.run_stage(stage, inputs)
            yield activity
            signals[number] = activity.spikes
            needed = {source for later in sources[number + 1 :] for source in later}
            signals = {source: signal for source, signal in signals.items() if source in needed}

    def run_stage(self, stage: Stage, inputs: Tensor) -> StageActivity:
        """All steps of one stage; faults that last for some steps replace this."""
        return stage.run(inputs)

    @property
    def runs_by_stage(self) -> bool:
        """Whether its forward runs all steps of a stage before the next one begins."""
        return self.layer_by_layer and not self.replaced_methods()

    def replaced_methods(self) -> list[str]:
        """Which methods that say how stages become scores are its own."""
        kind = type(self)
        return [
            name
            for name in DATA_FLOW
            if getattr(kind, name) is not getattr(SpikingNetwork, name) or name in vars(self)
        ]

    def _step_by_step(self, events: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """``(spikes, membrane)`` of the last stage per step."""
        reset_neurons(self)
        stages = self.stages()
        sources = find_sources(stages)
        fired: dict[int, Tensor] = {}
        for events_now in self.encode(events):
            fired[EVENTS] = events_now
            for number, stage in enumerate(stages):
                signal = stage.merge_sources([fired[source] for source in sources[number]], 1)
                fired[number] = stage.fire(stage.conduct(signal), fired.get(number))
            yield fired[len(stages) - 1], stages[-1].states()["mem"]


def find_sources(stages: Sequence[Stage]) -> list[tuple[int, ...]]:
    """The numbers of the stages that feed each stage; the events are ``EVENTS``.

    Raises:
        ValueError: a source is the neuron of no earlier stage.
    """
    numbers: dict[int, int] = {}
    found: list[tuple[int, ...]] = []
    for number, stage in enumerate(stages):
        for source in stage.sources:
            if source is not None and id(source) not in numbers:
                raise ValueError(
                    f"stage {number + 1}: a source ({type(source).__name__}) is the neuron of no "
                    "earlier stage"
                )
        own = tuple(EVENTS if source is None else numbers[id(source)] for source in stage.sources)
        found.append(own or (number - 1,))
        numbers[id(stage.neuron)] = number
    return found
