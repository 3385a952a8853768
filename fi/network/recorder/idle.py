"""Modules whose words change no score: those that no inference reads, and those read for nothing.

That a word is in no expression of a stage or of the scores is what was recorded; that the network
gives the same scores with other words there is tried.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from fi.network.recorder.expression.expressions import Applied, Node, NotRecordable, Word, walk
from fi.network.recorder.recorded_network import RecordedNetwork
from fi.network.recorder.recording import Recording
from fi.network.stages import Stage

#: What words are made into: what spoils every sum, and what turns signs and passes thresholds.
_CHANGES: tuple[Callable[[Tensor], Tensor], ...] = (
    lambda word: torch.full_like(word, float("nan")),
    lambda word: -1000 * word + 1000,
)


def find_idle(
    network: nn.Module,
    recorded: RecordedNetwork,
    recordings: Iterable[Recording],
    roots: Iterable[Node],
) -> list[str]:
    """Names of modules of which no word is in a stage, or in what scores are made of.

    Args:
        network: that was recorded.
        recorded: its stages, and what makes scores.
        recordings: of inferences.
        roots: the expressions of what drives the stages, and of the scores.
    """
    used = {id(module) for stage in recorded.stages() for module in _modules_of(stage)}
    used |= {id(module) for module in recorded.closing_modules()}
    used |= {id(module) for root in roots for module in _read_by(root)}
    used |= set().union(*(recording.escaped for recording in recordings))
    return [name for name, module in network.named_modules() if id(module) not in used]


def _modules_of(stage: Stage) -> Iterator[nn.Module]:
    for part in (*stage.modules, stage.neuron, stage.recurrent):
        if part is not None:
            yield from part.modules()


def _read_by(root: Node) -> Iterator[nn.Module]:
    """The modules that an expression calls, or whose words it reads."""
    for node in walk(root):
        if isinstance(node, Applied) and isinstance(node.function, nn.Module):
            yield from node.function.modules()
        if isinstance(node, Word):
            yield node.owner


@torch.no_grad()
def check_idle(
    network: nn.Module, idle: Collection[str], infer: Callable[[Tensor], Tensor], events: Tensor
) -> None:
    """Raise ``NotRecordable`` where other words in ``idle`` modules give other scores.

    A forward may read words where no function of PyTorch shows it. The neurons' states are not
    words; what ``infer`` changes is the caller's to put back.
    """
    words = [word for name, word in _list_words(network) if name in idle]
    if not words:
        return
    golden = infer(events)
    for change in _CHANGES:
        with _changed(words, change):
            try:
                scores = infer(events)
            except Exception as error:  # whatever a forward checks its words for
                raise NotRecordable(_describe(network, idle)) from error
        if not torch.equal(scores, golden):
            raise NotRecordable(_describe(network, idle))


def _list_words(network: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Floating-point parameters and saved buffers, with the names of their modules."""
    for name, module in network.named_modules():
        transient = module._non_persistent_buffers_set
        for key, word in (*module._parameters.items(), *module._buffers.items()):
            if word is not None and word.is_floating_point() and key not in transient:
                yield name, word.data


def _describe(network: nn.Module, idle: Collection[str]) -> str:
    names = dict.fromkeys(name or type(network).__name__ for name, _ in _list_words(network)
                          if name in idle)  # fmt: skip
    return f"words of {', '.join(names)} change scores, but are read where no function shows it"


@contextmanager
def _changed(words: Sequence[Tensor], change: Callable[[Tensor], Tensor]) -> Iterator[None]:
    golden = [word.clone() for word in words]
    try:
        for word in words:
            word.copy_(change(word))
        yield
    finally:
        for word, value in zip(words, golden, strict=True):
            word.copy_(value)
