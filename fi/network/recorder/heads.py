"""How what a forward returns becomes scores: the layer that is read, a fold, and what follows."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from fi.network.readouts import MaxMembrane, Readout, SpikeCount
from fi.network.recorder.closing import (
    RecordedStepsOnly,
    StackedSteps,
    check_words,
    list_words,
)
from fi.network.recorder.expression.expression_paths import (
    find_path,
    replace,
    replace_all,
    terms_of,
)
from fi.network.recorder.expression.expressions import (
    Applied,
    Fired,
    Incoming,
    Moment,
    Node,
    NotRecordable,
    Part,
    children,
    evaluate,
    signals_of,
    walk,
)
from fi.network.recorder.expression.functions import stacked
from fi.network.recorder.expression.plain_modules import SHAPING
from fi.network.recorder.expression.replay import Line, Replay
from fi.network.recorder.folds import (
    RecordedCount,
    RecordedLast,
    RecordedMaximum,
    RecordedSteps,
    RecordedSum,
    Rest,
    unchanged,
)
from fi.network.recorder.generalising import Differs, Generaliser


@dataclass(frozen=True)
class Head:
    """What is read, at each step, and how.

    Attributes:
        layer: the expression of one step that is read.
        readout: makes scores of it.
    """

    layer: Node
    readout: Readout


def find_head(
    scores: Node,
    steps: int,
    like: Tensor,
    whole: Collection[str],
    shape_of: Callable[[Node], tuple[int, ...]],
) -> Head:
    """What the scores of an inference of so many steps read, and how.

    Args:
        scores: the expression, of all steps.
        steps: of the inference.
        like: some signal, for its type and device.
        whole: neurons whose spikes are whole numbers: their sum has no order.
        shape_of: gives the shape of one sample of an expression of one step.

    Raises:
        NotRecordable: they are no function of one layer's steps.
    """
    head = _find_folded(scores, steps, like, whole) or _find_last(scores, steps)
    if head is None and not list_words(scores):
        head = _find_whole(scores)
    head = head or _find_without_neurons(scores, steps, shape_of) or _find_whole(scores)
    if head is None:
        raise NotRecordable("the scores are no function of what one layer does at each step")
    return head


def _find_folded(scores: Node, steps: int, like: Tensor, whole: Collection[str]) -> Head | None:
    """A head whose steps are stacked, or summed up one by one."""
    path = find_path(scores)
    for place in reversed(range(len(path))):
        node = path[place]
        items = stacked(node, any_axis=True)
        if items is not None and len(items) == steps:
            layer = _find_layer(items, steps)
            above = path[place + 1 :]
            if layer is None:
                return None
            ordered = not isinstance(layer, Fired) or layer.neuron not in whole
            return _fold_stack(scores, node, items, above, layer, ordered)
    items = _running_sum(path[0], steps, like)
    layer = _find_layer(items, steps) if items is not None else None
    if layer is None:
        return None
    rest = _replay(replace(scores, path[0], Incoming()))
    return Head(layer, RecordedSum(rest or unchanged) if _is_membrane(layer) else _count(rest))


def _running_sum(node: Node, steps: int, like: Tensor) -> list[Node] | None:
    """The terms of a sum of all steps; zeros that it starts from are none."""
    terms = terms_of(node)
    if len(terms) == steps + 1 and isinstance(terms[0], Node) and not signals_of(terms[0]):
        zeros = evaluate(terms[0], Moment(0, steps, 2), like, lambda _: None)
        terms = terms[1:] if not bool(torch.as_tensor(zeros).any()) else terms
    alike = len(terms) == steps and all(isinstance(term, Node) for term in terms)
    return terms if alike and steps > 1 else None


def _find_layer(items: Sequence[Node], steps: int) -> Node | None:
    """The expression of one step that all items are."""
    moments = [Moment(step, steps, 0) for step in range(steps)]
    try:
        return Generaliser(moments, [{}] * steps, by_step=True).node(items)
    except Differs:
        return None


def _is_membrane(layer: Node) -> bool:
    return isinstance(layer, Fired) and layer.output != "spk"


def _fold_stack(
    scores: Node,
    node: Node,
    items: Sequence[Node],
    above: Sequence[Node],
    layer: Node,
    ordered: bool,
) -> Head:
    """The fold over a stack of steps; any that is not known keeps them all.

    So does a sum that is ``ordered``: PyTorch adds up a stack in another order than a fold.
    """
    assert isinstance(node, Applied)
    membranes, spikes = _is_membrane(layer), isinstance(layer, Fired) and layer.output == "spk"
    folding = next((one for one in above if _kind(one)), node)
    stack = Incoming()
    folds = not list_words(replace(folding, node, stack))  # no bias is added up
    kind = _kind(folding) if folds else ""
    steps = StackedSteps(replace(scores, node, stack), node, stack)
    rest = replace(scores, node, _stack_of(node, [Incoming()]))
    if kind == "max" and not spikes:
        made = _replay(rest)
        return Head(layer, MaxMembrane(softmax=False) if made is None else RecordedMaximum(made))
    if kind == "mean" and spikes and not ordered:
        inner = replace(folding, node, _stack_of(node, [Incoming()]))
        divided = replace(scores, folding, Applied(torch.div, (inner, len(items)), {}))
        return Head(layer, RecordedCount(_replay(divided) or unchanged))
    if kind == "sum" and spikes and not ordered:
        return Head(layer, _count(_replay(rest)))
    return Head(layer, RecordedSteps(steps, membranes))


def _stack_of(node: Applied, items: Sequence[Node]) -> Node:
    """The same stack, of other items."""
    return Applied(node.function, (list(items), *node.arguments[1:]), node.options)


def _kind(node: Node) -> str:
    """Which fold over time a function may be."""
    node = node.whole if isinstance(node, Part) else node
    name = node.name if isinstance(node, Applied) else ""
    return {"sum": "sum", "mean": "mean", "amax": "max", "max": "max"}.get(name, "")


def _find_last(scores: Node, steps: int) -> Head | None:
    """A head that reads the last step only."""
    signals = signals_of(scores)
    if not signals or not all(isinstance(n, Fired) and n.call == steps - 1 for n in signals):
        return None
    (signal, *others) = signals
    assert isinstance(signal, Fired)
    if not others and (_is_membrane(signal) or not list_words(scores)):
        read = Fired(signal.neuron, signal.output, 0)
        rest = _replay(replace(scores, signal, Incoming())) or unchanged
        return Head(read, RecordedLast(rest, _is_membrane(read)))
    try:
        layer = Generaliser([Moment(steps - 1, steps, 0)], [{}], by_step=True).node([scores])
    except Differs:
        return None
    return Head(layer, RecordedLast(unchanged, membranes=False))


def _find_whole(scores: Node) -> Head | None:
    """Scores that are any function of one neuron's spikes, or of its membranes."""
    signals = [node for node in signals_of(scores) if isinstance(node, Fired)]
    read = {(node.neuron, node.output) for node in signals}
    if len(read) != 1 or len(signals) != len(signals_of(scores)):
        return None
    ((neuron, output),) = read
    layer = Fired(neuron, output, 0)
    return Head(layer, RecordedSteps(RecordedStepsOnly(scores), _is_membrane(layer)))


def _find_without_neurons(
    scores: Node, steps: int, shape_of: Callable[[Node], tuple[int, ...]]
) -> Head | None:
    """Scores that are any function of layers without neurons, each of the spikes of one step."""
    by_step = _find_single_steps(scores)
    if sorted(by_step) != list(range(steps)) or steps < 3:
        return None
    columns = list(zip(*(by_step[step] for step in range(1, steps)), strict=False))
    layers: list[Node] = []
    leaves: dict[int, Node] = {}
    start = 0
    for column in columns:
        alike = _complete(by_step[0], column, steps)
        if alike is None or len(shape := shape_of(alike[1])) != 1:
            return None
        layers.append(alike[1])
        lines = (slice(None), slice(start, start + shape[0]))
        start += shape[0]
        for step, node in enumerate((alike[0], *column)):
            leaves[id(node)] = Applied(Tensor.__getitem__, (Fired("", "", step), lines), {})
    layer = layers[0] if len(layers) == 1 else Applied(torch.cat, (layers, 1), {})
    rest = replace_all(scores, leaves)
    return Head(layer, RecordedSteps(RecordedStepsOnly(rest), membranes=False))


def _find_single_steps(scores: Node) -> dict[int, list[Node]]:
    """The largest expressions of the signals of one step alone, by step."""
    steps: dict[int, set[int]] = {}
    for node in walk(scores):
        own = {node.call} if isinstance(node, Fired) else set[int]()
        steps[id(node)] = own.union(*(steps[id(child)] for child in children(node)))
    found: dict[int, list[Node]] = {}
    for node in walk(scores):
        if len(steps[id(node)]) > 1:
            for child in children(node):
                if len(steps[id(child)]) == 1:
                    (step,) = steps[id(child)]
                    found.setdefault(step, []).append(child)
    return found


def _complete(
    firsts: Sequence[Node], column: Sequence[Node], steps: int
) -> tuple[Node, Node] | None:
    """The expression of the first step that is like those of all others, and that of them all.

    A recurrence starts from zeros: what is of the first step alone is more than in later ones.
    """
    for node in (inner for first in firsts for inner in reversed(walk(first))):
        layer = _find_layer([node, *column], steps)
        if layer is not None:
            return node, layer
    return None


def _count(rest: Rest | None) -> SpikeCount:
    return SpikeCount(softmax=False) if rest is None else RecordedCount(rest)


def _replay(root: Node) -> Rest | None:
    """What follows a fold; ``None`` where nothing does.

    Raises:
        ReadsWords: it reads a word that no module there has.
    """
    check_words(root)
    replay = Replay(root, [Line(None, ())])
    names = {node.name for node in walk(root) if isinstance(node, Applied)}
    if not names <= SHAPING | {"stack", "sum", "amax", "max"}:
        return replay
    numbers = torch.randn(5, 7, generator=torch.Generator().manual_seed(1))
    try:
        found = replay(numbers)
    except (RuntimeError, ValueError, IndexError):
        return replay  # it wants another number of lines
    return None if found.shape == numbers.shape and torch.equal(found, numbers) else replay
