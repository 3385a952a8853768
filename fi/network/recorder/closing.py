"""What makes scores of what was gathered over all steps: modules, whose words may be read there."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from fi.network.readouts import Readout
from fi.network.recorder.expression.expressions import (
    Applied,
    Fired,
    Moment,
    Node,
    NotRecordable,
    Word,
    evaluate,
    signals_of,
    walk,
)
from fi.network.recorder.expression.replay import find_parts
from fi.network.recorder.folds import OtherSteps


class ReadsWords(NotRecordable):
    """A word is read after the last step that no module there has: a fault in it has no place."""

    def __init__(self, module: nn.Module, word: str) -> None:
        super().__init__(f"{type(module).__name__}.{word} is read after the last step")
        self.module, self.word = module, word


def list_words(root: Node) -> list[tuple[nn.Module, str]]:
    """Words that an expression reads: module and name."""
    found = []
    for node in walk(root):
        if isinstance(node, Word):
            found.append((node.owner, node.name))
        if isinstance(node, Applied) and isinstance(node.function, nn.Module):
            found += [(node.function, name) for name in node.function.state_dict()]
    return found


def check_words(root: Node) -> None:
    """Raise ``ReadsWords`` where an expression reads a word of a module that has others in it."""
    for node in walk(root):
        if isinstance(node, Word) and node.owner._modules:
            raise ReadsWords(node.owner, node.name)


class StackedSteps(nn.Module):
    """Scores of a stack of all steps, however many: ``[batch, time, ...]``.

    Args:
        root: the expression, in which ``stack`` stands for the stack.
        node: how it was made.

    Attributes:
        parts: the modules whose words are read; they are the network's own.
    """

    def __init__(self, root: Node, node: Applied, stack: Node) -> None:
        super().__init__()
        check_words(root)
        self.root, self.node, self.stack = root, node, stack
        self.steps = len(node.arguments[0])
        self.parts = nn.ModuleList(find_parts(root))

    def forward(self, statistic: Tensor) -> Tensor:
        """Scores ``[batch, classes]``.

        Raises:
            OtherSteps: what follows the stack wants as many steps as were recorded.
        """
        try:
            return self._close(statistic)
        except (RuntimeError, ValueError, IndexError) as error:
            if statistic.shape[1] == self.steps:
                raise
            raise OtherSteps(_say_steps(self.steps, statistic.shape[1])) from error

    def _close(self, statistic: Tensor) -> Tensor:
        arguments, options = self.node.arguments[1:], dict(self.node.options)
        stacked = self.node.function(list(statistic.unbind(1)), *arguments, **options)
        moment = Moment(0, statistic.shape[1], len(statistic))
        value: Tensor = evaluate(
            self.root, moment, statistic, lambda node: stacked if node is self.stack else None
        )
        return value


class RecordedStepsOnly(nn.Module):
    """Scores of as many steps as were recorded, ``[batch, time, ...]``.

    Attributes:
        parts: the modules whose words are read; they are the network's own.
    """

    def __init__(self, root: Node) -> None:
        super().__init__()
        check_words(root)
        self.root = root
        self.steps = 1 + max(n.call for n in signals_of(root) if isinstance(n, Fired))
        self.parts = nn.ModuleList(find_parts(root))

    def forward(self, statistic: Tensor) -> Tensor:
        """Scores ``[batch, classes]``.

        Raises:
            OtherSteps: there are more steps, or fewer.
        """
        steps = statistic.shape[1]
        if steps != self.steps:
            raise OtherSteps(_say_steps(self.steps, steps))
        moment = Moment(0, self.steps, len(statistic))

        def known(node: Node) -> Tensor | None:
            return statistic[:, node.call] if isinstance(node, Fired) else None

        value: Tensor = evaluate(self.root, moment, statistic, known)
        return value


def _say_steps(recorded: int, steps: int) -> str:
    return f"scores: it was recorded for {recorded} steps, not {steps}"


def check_samples(readout: Readout, statistic: Tensor) -> None:
    """Raise ``NotRecordable`` where the scores of a sample depend on the others in its batch.

    Args:
        readout: makes scores.
        statistic: that it has gathered of three samples or more, ``[batch, ...]``.
    """
    scores = readout.scores(statistic)[:2]
    beside = torch.cat([statistic[:2], 2 * statistic[2:] + 1])
    same = torch.equal(readout.scores(beside)[:2], scores)
    fewer = readout.scores(statistic[:2])
    if not same or not torch.allclose(fewer, scores, rtol=1e-4, atol=1e-4, equal_nan=True):
        raise NotRecordable("the scores of a sample depend on the others in its batch")
