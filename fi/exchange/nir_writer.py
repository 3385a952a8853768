"""A network of stages as a NIR file, read back and compared."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from fi.base.errors import UserError
from fi.exchange.input_nodes import find_input_nodes
from fi.exchange.nir_nodes import CHANNELS_LAST, DT, RULE
from fi.exchange.nir_synapses import Branches
from fi.exchange.node_makers import Made, Unsayable, make_neuron_node, make_synapse_node
from fi.exchange.rules import Discretisation
from fi.network.neurons import reset_neurons
from fi.network.recorder.expression.replay import Passive
from fi.network.stages import EVENTS, SpikingNetwork, Stage, StageActivity, find_sources


@dataclass
class WrittenGraph:
    """Nodes and edges found so far.

    Attributes:
        nodes: by name, as ``nir`` makes them.
        edges: from a node to a node.
        notes: what the file does not say, a sentence each.
    """

    nodes: dict[str, Made] = field(default_factory=dict)
    edges: list[tuple[str, str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def add(self, name: str, made: Made) -> str:
        """Put a node in; ``Unsayable`` where there is one of that name."""
        if name in self.nodes:
            raise Unsayable(f"{name} is used in two places")
        self.nodes[name] = made
        return name

    def find_free(self, name: str) -> str:
        """``name``, or the first ``name_1`` that no node has."""
        numbered = (f"{name}_{number}" if number else name for number in range(len(self.nodes) + 1))
        return next(candidate for candidate in numbered if candidate not in self.nodes)


@torch.no_grad()
def describe_graph(
    network: nn.Module, staged: SpikingNetwork, events: Tensor, chosen: Discretisation
) -> WrittenGraph:
    """The graph of a network.

    Args:
        network: whose modules have the names.
        staged: the same as stages.
        events: of a sample or more, ``[time, batch, ...]``.
        chosen: by which the file is to be read.

    Raises:
        Unsayable: NIR has no node for something in it.
    """
    activities = list(staged.activities(events[:, :1]))
    reset_neurons(staged)
    if getattr(staged, "closing", None) is not None:
        raise Unsayable("a layer behind the last step (a head on sums) has no place in NIR")
    return _Describer(network, staged, activities, chosen).describe(events)


class _Describer:
    def __init__(
        self,
        network: nn.Module,
        staged: SpikingNetwork,
        activities: Sequence[StageActivity],
        chosen: Discretisation,
    ) -> None:
        self.names = {id(module): name for name, module in network.named_modules()}
        self.staged, self.activities, self.chosen = staged, activities, chosen
        self.graph = WrittenGraph()
        self.reserved = set(self.names.values())
        self.ends: dict[int, str] = {}

    def describe(self, events: Tensor) -> WrittenGraph:
        stages = self.staged.stages()
        self.ends[EVENTS] = self._add_input(events)
        for number, (stage, sources) in enumerate(zip(stages, find_sources(stages), strict=True)):
            self.ends[number] = self._add_stage(number, stage, [self.ends[s] for s in sources])
        shape = self.activities[-1].spikes.shape[2:]
        output = self._add("output", ("Output", {"output_type": np.array(shape)}, {}))
        self.graph.edges.append((self.ends[len(stages) - 1], output))
        readout = self.staged.readout
        softmax = ", a softmax of it" if getattr(readout, "softmax", False) else ""
        self.graph.notes.append(f"the readout, {type(readout).__name__}{softmax}")
        return self.graph

    def _add(self, name: str, made: Made) -> str:
        """A node that is no module of the network, under a name that none has."""
        free = name if name not in self.reserved else f"{name}_node"
        return self.graph.add(self.graph.find_free(free), made)

    def _add_input(self, events: Tensor) -> str:
        shape, nodes, note = find_input_nodes(self.staged, events)
        if note:
            self.graph.notes.append(note)
        last = self._add("input", ("Input", {"input_type": np.array(shape)}, {}))
        for name, made in nodes:
            added = self._add(name, made)
            self.graph.edges.append((last, added))
            last = added
        return last

    def _add_stage(self, number: int, stage: Stage, sources: Sequence[str]) -> str:
        activity = self.activities[number]
        inputs = activity.inputs[0]
        (first, *others) = stage.modules or [nn.Identity()]
        if isinstance(first, Branches) and not others:
            ends = self._add_branches(first, sources, inputs)
        elif len(sources) > 1 and stage.merge != "add":
            raise Unsayable(f"stage {number + 1} sees its sources side by side; NIR adds them up")
        else:
            ends = self._add_chain(stage.modules, list(sources), inputs)
        if isinstance(stage.neuron, Passive):
            return self._join(ends)
        name = self.names.get(id(stage.neuron), "neuron")
        shape = tuple(activity.spikes.shape[2:])
        neuron = self.graph.add(name, make_neuron_node(name, stage.neuron, shape, self.chosen.dt))
        self.graph.edges += [(end, neuron) for end in ends]
        if stage.recurrent is not None:
            parts = Stage(stage.recurrent, stage.neuron).modules
            back = self._add_chain(parts, [neuron], activity.spikes[0])
            self.graph.edges += [(end, neuron) for end in back]
        return neuron

    def _add_branches(self, module: Branches, sources: Sequence[str], inputs: Tensor) -> list[str]:
        ends = []
        flat = inputs.flatten(1).split([int(np.prod(shape)) for shape in module.shapes], dim=1)
        for branch, source, part, shape in zip(
            module.branches, sources, flat, module.shapes, strict=True
        ):
            signal = part.unflatten(1, shape)
            ends += self._add_chain(list(branch.children()), [source], signal)
        return ends

    def _add_chain(
        self, modules: Sequence[nn.Module], ends: list[str], signal: Tensor
    ) -> list[str]:
        """Nodes one after another; the ends whose sum is their output."""
        for module in modules:
            own = self.names.get(id(module))
            name = own or type(module).__name__.lower()
            made = make_synapse_node(name, module, tuple(signal.shape[1:]))
            signal = module(signal)
            if made is not None:
                added = self.graph.add(own, made) if own else self._add(name, made)
                self.graph.edges += [(end, added) for end in ends]
                ends = [added]
        return ends

    def _join(self, ends: Sequence[str]) -> str:
        if len(ends) != 1:
            raise Unsayable("several layers that add up without a neuron are the output")
        return ends[0]


def write_graph(
    path: Path, graph: WrittenGraph, chosen: Discretisation, channels_last: bool = True
) -> None:
    """Write a NIR file.

    Raises:
        UserError: ``nir`` is not installed, or the file cannot be written.
    """
    try:
        import nir
    except ImportError as error:
        raise UserError(
            f"--save {path}: NIR files are written by nir: pip install '.[nir]'"
        ) from error

    def make(made: Made) -> Any:
        kind, arguments, metadata = made
        node = getattr(nir, kind)(**arguments)
        node.metadata = metadata
        return node

    metadata: dict[str, Any] = {RULE: chosen.rule, DT: chosen.dt}
    if not channels_last:
        metadata[CHANNELS_LAST] = 0
    nodes = {name: make(made) for name, made in graph.nodes.items()}
    whole = nir.NIRGraph(nodes=nodes, edges=list(graph.edges))
    whole.metadata = metadata
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        nir.write(path, whole)
    except OSError as error:
        raise UserError(f"--save {path}: it cannot be written: {error}") from error
