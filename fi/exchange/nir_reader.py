"""A NIR file as a network of stages, which the fast engine runs."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from fi.base.errors import UserError
from fi.base.usable_memory import find_usable_memory
from fi.exchange.nir_network import NirNetwork
from fi.exchange.nir_neurons import RESETS, NirNeuron, ThresholdNeuron
from fi.exchange.nir_nodes import (
    CHANNELS_LAST,
    DT,
    NEURONS,
    RESET,
    RULE,
    THROUGH,
    WORD_SHAPE,
    NirGraph,
    NirNode,
    read_graph,
)
from fi.exchange.nir_plan import Path as NirPath
from fi.exchange.nir_plan import PlannedStage, StagePlan, plan_stages
from fi.exchange.nir_synapses import Branches, make_synapse, to_words
from fi.exchange.rules import RULES, Discretisation
from fi.network.readouts import MaxMembrane, Readout, SpikeCount
from fi.network.recorder.expression.replay import Passive
from fi.network.stages import Stage

#: A part of the memory that the values of a file may take; they are held twice.
_PART = 4


def read_network(
    path: Path,
    rule: str | None = None,
    dt: float | None = None,
    reset: str | None = None,
    readout: Literal["count", "membrane-max"] | None = None,
    softmax: bool = True,
) -> NirNetwork:
    """The network of a NIR file.

    What is ``None`` is as the file's metadata say, where this tool has written it, else as usual
    for the rule; a rule that neither says is snnTorch's, with a warning.

    Args:
        path: of the file.
        rule: of discretisation, one of ``RULES``, with variants behind a colon.
        dt: seconds a step.
        reset: ``value`` or ``subtract``.
        readout: ``count`` adds up what leaves the output, ``membrane-max`` takes the largest
            membrane; by default the count, of an output without spikes the largest membrane.
        softmax: scores are a softmax of that.

    Raises:
        UserError: the file is damaged or has what is not known; the node is named.
    """
    graph = read_graph(path, find_usable_memory() // _PART)
    chosen = choose_discretisation(path, graph, rule, dt, reset)
    try:
        plan = plan_stages(graph)
        network = _Builder(graph, plan, chosen).build(readout, softmax)
    except UserError as error:
        raise UserError(f"{path}: {error}") from error
    return network


def choose_discretisation(
    path: Path, graph: NirGraph, rule: str | None, dt: float | None, reset: str | None
) -> Discretisation:
    """The rule, the step and the reset of a file."""
    said = graph.metadata
    rule = rule or _read_text(said, RULE)
    if rule is None:
        rule = next(iter(RULES))
        usual = RULES[rule]
        warnings.warn(
            f"{path} does not say by which rule its neurons take a step: --nir-rule {rule} is "
            f"taken, --dt {dt or usual.dt}",
            stacklevel=2,
        )
    written = said.get(DT)
    if dt is None and isinstance(written, np.ndarray) and written.shape == ():
        dt = float(written)
    rule_name = rule.partition(":")[0]
    usual = RULES.get(rule_name, RULES["snntorch"])
    return Discretisation(rule, usual.dt if dt is None else dt, reset or usual.reset)


def _read_text(tree: Mapping[str, Any], key: str) -> str | None:
    value = tree.get(key)
    return value if isinstance(value, str) else None


class _Builder:
    """Modules of nodes, then stages of modules."""

    def __init__(self, graph: NirGraph, plan: StagePlan, chosen: Discretisation) -> None:
        self.graph, self.plan, self.chosen = graph, plan, chosen
        self.input = graph.only("Input").name
        self.modules: dict[str, nn.Module] = {}
        self.channels_last = bool(np.all(graph.metadata.get(CHANNELS_LAST, 1)))

    def build(self, readout: str | None, softmax: bool) -> NirNetwork:
        for name, node in self.graph.nodes.items():
            if node.type not in ("Input", "Output", THROUGH):
                self.modules[name] = self._make_module(node)
        stages = [self._make_stage(planned) for planned in self.plan.stages]
        shape = self.plan.outputs[self.input]
        scores = self.plan.outputs[self.graph.only("Output").name]
        if len(scores) != 1:
            stages[-1] = flatten_last(stages[-1], scores)
        chosen = choose_readout(readout, softmax, stages[-1])
        return NirNetwork(self.modules, stages, shape, chosen)

    def _make_module(self, node: NirNode) -> nn.Module:
        if node.type not in NEURONS:
            return make_synapse(node, self.plan.shapes[node.name])
        words = {name: torch.from_numpy(value) for name, value in node.words.items()}
        words = _share(node, words)
        if node.type == "Threshold":
            return ThresholdNeuron(to_words(words["threshold"].numpy()))
        return self._make_neuron(node, words)

    def _make_neuron(self, node: NirNode, words: Mapping[str, Tensor]) -> NirNeuron:
        reset = _read_text(node.metadata, RESET) or self.chosen.reset
        if reset not in RESETS:
            raise UserError(f"{node}: its metadata name a reset {reset!r:.40}, which is not known")

        return self.chosen.make_neuron(node.type, words, reset)

    def _make_stage(self, planned: PlannedStage) -> Stage:
        neuron = Passive() if planned.neuron is None else self.modules[planned.neuron]
        recurrent = None
        if planned.recurrent is not None:
            chain = [self.modules[name] for name in planned.recurrent]
            recurrent = chain[0] if len(chain) == 1 else nn.Sequential(*chain)
        first, *others = planned.paths
        if not others:
            synapse: list[nn.Module] = [self.modules[name] for name in first.chain]
            sources = self._find_sources(planned.paths)
            return Stage(synapse, neuron, recurrent, sources, channels_last=self.channels_last)
        return self._make_branches(planned, neuron, recurrent)

    def _make_branches(
        self, planned: PlannedStage, neuron: nn.Module, recurrent: nn.Module | None
    ) -> Stage:
        """A stage into which several synapses add up."""
        paths = [part for path in planned.paths for part in _split(path, planned)]
        branches = [nn.Sequential(*(self.modules[name] for name in path.chain)) for path in paths]
        shapes = [self.plan.outputs[path.sources[0]] for path in paths]
        sources = self._find_sources(paths)
        joined = [Branches(branches, shapes)]
        return Stage(joined, neuron, recurrent, sources, "concatenate", self.channels_last)

    def _find_sources(self, paths: Any) -> tuple[Any, ...]:
        """The neurons of some paths, ``None`` for the input."""
        names = [source for path in paths for source in path.sources]
        return tuple(None if name == self.input else self.modules[name] for name in names)


def _split(path: NirPath, planned: PlannedStage) -> list[NirPath]:
    """A path of one source for each of its own; a synapse of a sum cannot be split."""
    if len(path.sources) > 1 and path.chain:
        raise UserError(f"node {planned.neuron!r}: a synapse of a sum beside another synapse")
    return [NirPath((source,), path.chain) for source in path.sources]


def _share(node: NirNode, words: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Words that several neurons share, as the metadata of our own files say."""
    shared = dict(words)
    for name, value in words.items():
        said = _read_text(node.metadata, f"{WORD_SHAPE}.{name}")
        if said is None:
            continue
        sizes = said.split(",") if said else []
        own = tuple(int(size) if size.isdecimal() and len(size) < 9 else 0 for size in sizes)
        pick = _find_first_uses(own, tuple(value.shape))
        if pick is None or not _is_spread(value, value.flatten()[pick].reshape(own)):
            raise UserError(f"{node}: its metadata say {name} is shared as [{said:.40}]; it is not")
        shared[name] = value.flatten()[pick].reshape(own)
    return shared


def _is_spread(value: Tensor, own: Tensor) -> bool:
    return torch.equal(own.expand_as(value), value)


def _find_first_uses(own: tuple[int, ...], shape: tuple[int, ...]) -> Tensor | None:
    """For each shared word the first place that it spreads to; ``None`` where it does not."""
    if len(own) > len(shape) or min(own, default=1) < 1:
        return None
    aligned = shape[len(shape) - len(own) :]
    if any(a not in (1, b) for a, b in zip(own, aligned, strict=True)):
        return None
    spread = torch.arange(int(np.prod(own))).reshape(own).expand(shape).flatten()
    first = torch.full((int(np.prod(own)),), spread.numel())
    return first.scatter_reduce(0, spread, torch.arange(spread.numel()), "amin")


def flatten_last(stage: Stage, shape: tuple[int, ...]) -> Stage:
    """The last stage, whose neurons have several axes, with one axis of classes.

    Raises:
        UserError: its words or its recurrence have several axes.
    """
    words = [word for word in stage.neuron.buffers() if word.numel() > 1]
    if stage.recurrent is not None or any(word.numel() != math.prod(shape) for word in words):
        raise UserError(f"the output has shape {list(shape)}; wanted is one axis, of classes")
    for word in words:
        word.set_(word.flatten())
    return replace(stage, synapse=[*stage.modules, nn.Flatten()])


def choose_readout(name: str | None, softmax: bool, last: Stage) -> Readout:
    """The readout of an output; what has no spikes is read by its membrane."""
    spikes = getattr(last.neuron, "fires", not isinstance(last.neuron, Passive))
    chosen = name or ("count" if spikes else "membrane-max")
    return SpikeCount(softmax) if chosen == "count" else MaxMembrane(softmax)
