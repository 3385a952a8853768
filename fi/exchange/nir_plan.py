"""A NIR graph as a plan of stages: for each neuron what drives it, and its recurrence."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from fi.base.errors import UserError
from fi.exchange.nir_nodes import NEURONS, THROUGH, NirGraph, NirNode
from fi.exchange.nir_shapes import Shape, find_output_shape


@dataclass(frozen=True)
class Path:
    """What comes from some sources through a chain of synapses.

    Attributes:
        sources: names of neurons, or of the input; they add up.
        chain: names of the nodes behind them, in order.
    """

    sources: tuple[str, ...]
    chain: tuple[str, ...] = ()


@dataclass(frozen=True)
class PlannedStage:
    """One stage.

    Attributes:
        neuron: its name; ``None`` behind the last neurons, where a synapse makes the output.
        paths: what drives it.
        recurrent: the chain of its recurrence; ``None`` is none.
    """

    neuron: str | None
    paths: tuple[Path, ...]
    recurrent: tuple[str, ...] | None = None


@dataclass(frozen=True)
class StagePlan:
    """All stages, each behind those that feed it; the last one makes the output.

    Attributes:
        stages: in order.
        shapes: of what comes into each node, and, of the input, out of it.
        outputs: of what leaves each node.
    """

    stages: tuple[PlannedStage, ...]
    shapes: dict[str, Shape]
    outputs: dict[str, Shape]


def plan_stages(graph: NirGraph) -> StagePlan:
    """The stages of a graph.

    Raises:
        UserError: it is no graph of stages, or shapes do not fit; the node is named.
    """
    planned = _Planner(graph).plan()
    shape = _read_input(graph.only("Input"))
    try:
        shapes, outputs = _find_shapes(graph, shape)
    except UserError:
        if len(shape) < 2:
            raise
        try:  # norse writes the batch into the shape of the input
            shapes, outputs = _find_shapes(graph, shape[1:])
        except UserError:
            shapes, outputs = _find_shapes(graph, shape)  # what is wrong with it as it stands
    return StagePlan(planned, shapes, outputs)


class _Planner:
    def __init__(self, graph: NirGraph) -> None:
        self.graph = graph
        self.input = graph.only("Input").name
        self.output = graph.only("Output").name

    def plan(self) -> tuple[PlannedStage, ...]:
        if not any(node.type in NEURONS for node in self.graph.nodes.values()):
            raise UserError("no node is a neuron: there is no spike to compare")
        last = self._plan_output()
        stages = {last.neuron or self.output: last}
        waiting = [source for path in last.paths for source in path.sources]
        while waiting:
            name = waiting.pop()
            if name != self.input and name not in stages:
                stages[name] = self._plan_neuron(name)
                waiting += [source for path in stages[name].paths for source in path.sources]
        self._check_all_used(stages.values())
        return self._put_in_order(stages)

    def _plan_output(self) -> PlannedStage:
        paths = self._find_paths(self.output)
        (first, *others) = paths
        if not others and not first.chain and len(first.sources) == 1:
            if first.sources[0] == self.input:
                raise UserError("the output is the input: there is no spike to compare")
            return self._plan_neuron(first.sources[0])
        return PlannedStage(None, paths)

    def _plan_neuron(self, name: str) -> PlannedStage:
        own = [path for path in self._find_paths(name) if name in path.sources]
        driving = tuple(path for path in self._find_paths(name) if name not in path.sources)
        node = self.graph.nodes[name]
        if len(own) > 1 or any(path.sources != (name,) for path in own):
            raise UserError(f"{node}: its spikes come back to it on several ways")
        if not driving:
            raise UserError(f"{node}: nothing but its own spikes comes in")
        return PlannedStage(name, driving, own[0].chain if own else None)

    def _find_paths(self, name: str) -> tuple[Path, ...]:
        """What comes into a node; direct sources are one path."""
        paths = [self._walk(source, (name,)) for source in self.graph.sources_of(name)]
        if not paths:
            raise UserError(f"{self.graph.nodes[name]}: nothing comes in")
        direct = [path for path in paths if not path.chain and name not in path.sources]
        if len(direct) < 2:
            return tuple(paths)
        joined = Path(tuple(source for path in direct for source in path.sources))
        return (joined, *(path for path in paths if path not in direct))

    def _walk(self, name: str, passed: tuple[str, ...]) -> Path:
        """From a node back to neurons or the input."""
        node = self.graph.nodes[name]
        if node.type in NEURONS or name == self.input:
            return Path((name,))
        if name in passed:
            raise UserError(f"{node} is in a circle without a neuron")
        if len(passed) > 500:
            raise UserError(f"{node} is behind more than 500 nodes without a neuron")
        paths = [self._walk(source, (*passed, name)) for source in self.graph.sources_of(name)]
        if not paths:
            raise UserError(f"{node}: nothing comes in")
        own = () if node.type == THROUGH else (name,)
        if len(paths) == 1:
            return Path(paths[0].sources, (*paths[0].chain, *own))
        if any(path.chain for path in paths):
            raise UserError(f"{node}: several synapses add up in front of a synapse")
        return Path(tuple(source for path in paths for source in path.sources), own)

    def _check_all_used(self, stages: Iterable[PlannedStage]) -> None:
        used = {self.input, self.output}
        for stage in stages:
            used |= {name for path in stage.paths for name in path.chain}
            used |= {name for name in (stage.neuron, *(stage.recurrent or ())) if name}
        for name, node in self.graph.nodes.items():
            if name not in used and node.type != THROUGH:
                raise UserError(f"{node} leads to no output")

    def _put_in_order(self, stages: dict[str, PlannedStage]) -> tuple[PlannedStage, ...]:
        ordered: dict[str, PlannedStage] = {}
        while len(ordered) < len(stages):
            ready = [
                name
                for name, stage in stages.items()
                if name not in ordered
                and all(s in ordered or s == self.input for p in stage.paths for s in p.sources)
            ]
            if not ready:
                first = next(name for name in stages if name not in ordered)
                node = self.graph.nodes[first]
                raise UserError(f"{node}: feedback over several layers of neurons is not known")
            ordered[ready[0]] = stages[ready[0]]
        return tuple(ordered.values())


def _find_shapes(graph: NirGraph, shape: Shape) -> tuple[dict[str, Shape], dict[str, Shape]]:
    """The shapes that come into and leave each node; ``shape`` leaves the input."""
    inputs: dict[str, Shape] = {}
    outputs = {graph.only("Input").name: shape}
    waiting = list(outputs)
    while waiting:
        name = waiting.pop(0)
        for target in graph.targets_of(name):
            shape, node = outputs[name], graph.nodes[target]
            if target in inputs and inputs[target] != shape:
                raise UserError(
                    f"{node}: {list(inputs[target])} and {list(shape)} come in and cannot add up"
                )
            if target not in inputs:
                inputs[target] = shape
                outputs[target] = find_output_shape(node, shape)
                waiting.append(target)
    return inputs, outputs


def _read_input(node: NirNode) -> Shape:
    shape = node.settings.get("shape")
    if not isinstance(shape, tuple) or not shape or min(shape) < 1:
        raise UserError(f"{node}: its shape {shape!s:.40} is not one number or more, each above 0")
    return shape
