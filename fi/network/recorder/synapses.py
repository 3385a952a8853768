"""The expression of a stage's current as modules, sources, and a recurrence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from fi.network.recorder.chains import make_chain
from fi.network.recorder.expression.expression_paths import (
    ADD,
    changes_shapes_only,
    find_path,
    reads,
    replace,
    terms_of,
)
from fi.network.recorder.expression.expressions import (
    AllFired,
    Applied,
    Events,
    Fired,
    Incoming,
    Moment,
    Node,
    NotRecordable,
    Varying,
    Word,
    evaluate,
    rebuild,
    signals_of,
    walk,
)
from fi.network.recorder.expression.replay import Line, Passive, Replay
from fi.network.stages import Stage

#: Samples of the random signals on which modules are compared with what was recorded.
_SAMPLES = 5


@dataclass(frozen=True)
class Synapse:
    """What a stage is made of, but for its neuron.

    Attributes:
        modules: in the order of their use.
        sources: names of the neurons that drive it, ``None`` for the events.
        merge: how several sources become one.
        recurrent: fed with the stage's own spikes of the step before.
    """

    modules: list[nn.Module]
    sources: tuple[str | None, ...]
    merge: Literal["add", "concatenate"] = "add"
    recurrent: nn.Module | None = None


class SynapseMaker:
    """Makes synapses of expressions.

    Args:
        steps: of the inference that was recorded.
        event_steps: that its events have; 1 where they are images.
        shapes: of one sample, by neuron, and of an event frame under ``None``.
        dtype, device: of the signals.
        names: of modules, by id, for what is said.
    """

    def __init__(
        self,
        steps: int,
        event_steps: int,
        shapes: Mapping[str | None, tuple[int, ...]],
        dtype: torch.dtype,
        device: torch.device,
        names: Mapping[int, str] | None = None,
    ) -> None:
        self.names = names or {}
        self.steps, self.event_steps = steps, event_steps
        self.shapes, self.dtype, self.device = shapes, dtype, device

    def make(self, root: Node, neuron: str | None) -> Synapse:
        """The synapse of a neuron, whose own spikes of the step before may be in it.

        Raises:
            NotRecordable: there is none.
        """
        self._check_words(root)
        synapse = self._make(root, neuron)
        read = {*synapse.sources} | ({neuron} if synapse.recurrent is not None else set())
        signals = {source: self._all_steps(source) for source in read}
        for step in sorted({0, self.steps // 2, self.steps - 1}):
            self._check(root, synapse, neuron, step, signals)
        return synapse

    def _check_words(self, root: Node) -> None:
        """Raise where a word is read at another place at each step: frames do not know theirs."""
        for node in walk(root):
            if isinstance(node, Applied) and not signals_of(node) and _follows_step(node):
                for word in walk(node):
                    if isinstance(word, Word):
                        owner = self.names.get(id(word.owner), "")
                        name = f"{owner}.{word.name}" if owner else word.name
                        raise NotRecordable(f"it reads another part of {name} at each step")

    def _check(
        self,
        root: Node,
        synapse: Synapse,
        neuron: str | None,
        step: int,
        signals: Mapping[str | None, Tensor],
    ) -> None:
        """Raise where what drives a step, all of them random, is not what the modules make of it.

        An expression of all steps may mix them.
        """

        def known(node: Node) -> Tensor | None:
            if isinstance(node, Fired):
                at = step + node.call
                spikes = signals[node.neuron][:, max(at, 0)]
                return spikes if at >= 0 else torch.zeros_like(spikes)
            if isinstance(node, (Events, AllFired)):
                source = None if isinstance(node, Events) else node.neuron
                return signals[source].movedim(1, 0)
            return None

        moment = Moment(step, self.steps, _SAMPLES)
        try:
            wanted = evaluate(root, moment, signals[synapse.sources[0]], known)
        except (RuntimeError, ValueError, IndexError, TypeError) as error:
            said = str(error).partition("\n")[0]
            raise NotRecordable(f"what drives it cannot be computed anew: {said}") from None
        numbers = [step if s is not None or self.event_steps > 1 else 0 for s in synapse.sources]
        now = [signals[s][:, n] for s, n in zip(synapse.sources, numbers, strict=True)]
        sources = (None,) * len(now)
        stage = Stage(
            synapse.modules or [nn.Identity()],
            Passive(),
            None,
            sources,
            synapse.merge,
            channels_last=False,
        )
        merged = stage.merge_sources(now, 1)
        current = _conduct(stage, merged)
        if not _are_close(_conduct(stage, merged[:2]), current[:2]):
            raise NotRecordable("what drives a sample depends on the others in its batch")
        if synapse.recurrent is not None:
            before = signals[neuron][:, max(step - 1, 0)]
            before = before if step else torch.zeros_like(before)
            current = current + synapse.recurrent(before)
        if not _are_close(current, wanted):
            raise NotRecordable("what drives it depends on the step, or on several steps")

    def _all_steps(self, source: str | None) -> Tensor:
        """Random signals ``[batch, time, ...]`` of a source."""
        steps = self.event_steps if source is None else self.steps
        return self._signal((steps, *self.shapes[source]))

    def _make(self, root: Node, neuron: str | None) -> Synapse:
        root, feedback = self._part_feedback(root, neuron)
        lines = self._find_lines(root)
        if not lines:
            raise NotRecordable("no events and no spikes drive it")
        recurrent = None
        if feedback is not None:
            recurrent = self._recurrent(feedback, neuron)
        if len(lines) == 1:
            return Synapse(self._chain(root, lines[0]), (lines[0].source,), recurrent=recurrent)
        join = find_path(root)[0]
        merged = self._merge(join, lines)
        if merged is None:
            modules: list[nn.Module] = [Replay(join, lines)]
            sources, merge = tuple(line.source for line in lines), "concatenate"
            self._check_merged(lines)
        else:
            modules, (sources, merge) = [], merged
        incoming = Incoming()
        shape = self._shape_of(join, lines)
        rest = replace(root, join, incoming)
        modules += self._chain(rest, Line(None, shape))
        return Synapse(modules, sources, merge, recurrent)  # type: ignore[arg-type]

    # -- sources ---------------------------------------------------------------------------------

    def _part_feedback(self, root: Node, neuron: str | None) -> tuple[Node, Node | None]:
        """What drives a neuron without, and with, its own spikes of the step before."""
        fed = [node for node in signals_of(root) if isinstance(node, Fired) and node.call != 0]
        if not fed:
            return root, None
        for node in fed:
            if node.call != -1 or node.neuron != neuron or node.output != "spk":
                when = "later" if node.call > 0 else f"{-node.call} steps before"
                raise NotRecordable(f"it is driven by {node.output} of {node.neuron}, {when}")
        if isinstance(root, Applied) and root.name in ADD and not root.options:
            terms = [term for term in root.arguments if isinstance(term, Node)]
            own = [term for term in terms if reads(term, fed)]
            others = [term for term in terms if not reads(term, fed)]
            if len(own) == len(others) == 1 and all(n in fed for n in signals_of(own[0])):
                return others[0], own[0]
        raise NotRecordable("its spikes come back otherwise than added to what drives it")

    def _recurrent(self, feedback: Node, neuron: str | None) -> nn.Module:
        modules = self._chain(feedback, Line(neuron, self.shapes[neuron]))
        if not modules:
            return nn.Identity()
        return modules[0] if len(modules) == 1 else nn.Sequential(*modules)

    def _find_lines(self, root: Node) -> list[Line]:
        """The sources of an expression, in the order in which they are used."""
        sources: list[str | None] = []
        for node in signals_of(root):
            if isinstance(node, Events):
                source = None
            else:
                assert isinstance(node, (Fired, AllFired))
                if node.output != "spk":
                    raise NotRecordable(f"it reads {node.output} of {node.neuron}, no spikes")
                source = node.neuron
            if source not in sources:
                sources.append(source)
        return [Line(source, self.shapes[source]) for source in sources]

    def _merge(
        self, join: Node, lines: Sequence[Line]
    ) -> tuple[tuple[str | None, ...], str] | None:
        """The sources that a sum, or a concatenation, is of; ``None`` where it is anything else."""
        if not isinstance(join, Applied):
            return None
        if join.name in ADD and not join.options:
            terms = terms_of(join)
            sources = [self._raw_source(term) for term in terms]
            alike = len({self.shapes.get(s[0]) for s in sources if s}) == 1
            if alike and all(sources) and len(set(sources)) == len(sources):
                return tuple(s[0] for s in sources if s), "add"
        if join.name in ("cat", "concat", "concatenate") and isinstance(
            join.arguments[0], (list, tuple)
        ):
            sources = [self._raw_source(term) for term in join.arguments[0]]
            axis = join.options.get("dim", join.arguments[1] if len(join.arguments) > 1 else 0)
            if all(sources) and len(set(sources)) == len(sources):
                named = tuple(s[0] for s in sources if s)
                shapes = [self.shapes[source] for source in named]
                first = axis == 1 or axis == -len(shapes[0])
                if first and len({shape[1:] for shape in shapes}) == 1:
                    return named, "concatenate"
        return None

    def _raw_source(self, term: Any) -> tuple[str | None] | None:
        """The source whose signal of this step a term is, in a tuple; ``None``: it is another."""
        if isinstance(term, Fired) and term.call == 0:
            return (term.neuron,)
        if not isinstance(term, Node) or len(self._find_lines(term)) != 1:
            return None
        (line,) = self._find_lines(term)
        signal = self._signal(line.shape)
        value = self._evaluate(term, [line], signal)
        same = value.shape == signal.shape and torch.equal(value, signal)
        return (line.source,) if same and changes_shapes_only(term) else None

    def _check_merged(self, lines: Sequence[Line]) -> None:
        if any(not line.shape for line in lines):
            raise NotRecordable("its sources have no axis beside the samples")

    # -- chains ----------------------------------------------------------------------------------

    def _chain(self, root: Node, line: Line) -> list[nn.Module]:
        """Modules, one after another, that make ``root`` of one signal."""
        given = self._signal(line.shape)
        return make_chain(root, line, given, lambda node, of, at: self._evaluate(node, [of], at))

    def _signal(self, shape: Sequence[int], samples: int = _SAMPLES) -> Tensor:
        draw = torch.Generator().manual_seed(1)
        return torch.randn(samples, *shape, generator=draw, dtype=self.dtype).to(self.device)

    def _evaluate(self, root: Node, lines: Sequence[Line], signal: Tensor) -> Tensor:
        try:
            value = Replay(root, lines)(signal)
        except (RuntimeError, ValueError, IndexError, TypeError) as error:
            said = str(error).partition("\n")[0]
            raise NotRecordable(
                f"what drives it cannot be made of one step alone: {said}"
            ) from None
        if not isinstance(value, Tensor):
            raise NotRecordable("what drives it is no tensor")
        return value

    def shape_of(self, root: Node) -> tuple[int, ...]:
        """The shape of one sample of an expression of one step.

        Raises:
            NotRecordable: it cannot be computed.
        """
        return self._shape_of(root, self._find_lines(root))

    def _shape_of(self, root: Node, lines: Sequence[Line]) -> tuple[int, ...]:
        if any(line.source is None for line in lines) or len(lines) > 1:
            shapes = [line.shape for line in lines]
            signals = [self._signal(shape) for shape in shapes]
            same = len({shape[1:] for shape in shapes}) == 1
            merged = torch.cat([s if same else s.flatten(1) for s in signals], dim=1)
            return tuple(self._evaluate(root, lines, merged).shape[1:])
        return tuple(self._evaluate(root, lines, self._signal(lines[0].shape)).shape[1:])


def _conduct(stage: Stage, signal: Tensor) -> Tensor:
    for module in stage.modules:
        signal = module(signal)
    return signal


def _follows_step(node: Applied) -> bool:
    """Whether a number that a function takes follows the step."""
    found: list[Any] = []
    rebuild((node.arguments, dict(node.options)), found.append)
    return any(isinstance(value, Varying) and value.kind == "step" for value in found)


def _are_close(one: Tensor, other: Tensor) -> bool:
    """Whether two currents are the same but for the order of summation."""
    scale = 1 + float(other.abs().max()) if other.numel() else 1.0
    close = {"rtol": 0.0, "atol": 1e-4 * scale, "equal_nan": True}
    return one.shape == other.shape and torch.allclose(one, other, **close)  # type: ignore[arg-type]
