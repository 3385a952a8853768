"""One function after another as modules, compared bit for bit with what was recorded."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from fi.network.recorder.expression.expression_paths import find_path, replace
from fi.network.recorder.expression.expressions import Applied, Incoming, Node, Part
from fi.network.recorder.expression.plain_modules import SHAPING, module_of
from fi.network.recorder.expression.replay import Line, Replay
from fi.network.stages import has_own_behaviour

#: The value of an expression of one source, of its signal.
Evaluate = Callable[[Node, Line, Tensor], Tensor]


def make_chain(root: Node, line: Line, given: Tensor, evaluate: Evaluate) -> list[nn.Module]:
    """Modules, one after another, that make an expression of one signal.

    Args:
        root: the expression.
        line: its source.
        given: random numbers in place of the signal, ``[batch, ...]``.
        evaluate: gives values of expressions.
    """
    path = find_path(root)
    chain = _Chain(line, path[0], given, evaluate)
    for node in path[1:]:
        chain.add(node)
    return chain.finish()


class _Chain:
    """Modules found so far, the signal that they give, and what was recorded there."""

    def __init__(self, line: Line, start: Node, given: Tensor, evaluate: Evaluate) -> None:
        self.line, self.evaluate = line, evaluate
        self.modules: list[nn.Module] = []
        self.given = self.signal = given
        self.node = start
        self.value = evaluate(start, line, given)
        # where the signal is what was recorded, in shape as well: modules so far, node
        self.aligned: tuple[int, Node | None, Tensor] = (0, None, self.signal)
        self.open = self.value.numel() != self.signal.numel() or not _same_bits(
            self.signal.reshape(-1), self.value.reshape(-1)
        )
        self._align()
        if self.open:
            self._close()

    def add(self, node: Node) -> None:
        """Take the next function of the path."""
        value = self.evaluate(node, self.line, self.given)
        if not self.open:
            if self._is_shaping(node, value) or self._add_module(node, value):
                self.node, self.value = node, value
                self._align()
                return
            self.open = True
        self.node, self.value = node, value
        self._close()

    def finish(self) -> list[nn.Module]:
        """All modules; the last shape is that of the expression."""
        if self.open or self.value.shape[:1] != self.signal.shape[:1]:
            self._replay()
        elif self.value.shape != self.signal.shape:
            found = self._shaped(tuple(self.value.shape[1:]))
            if found is None:
                self._replay()
            else:
                self.modules += found
        return self.modules

    def _align(self) -> None:
        if not self.open and self.value.shape == self.signal.shape:
            self.aligned = (len(self.modules), self.node, self.signal)

    def _close(self) -> None:
        """End a part that no module is known for, where its result has the samples first."""
        if self.value.shape[:1] == self.given.shape[:1]:
            self._replay()

    def _replay(self) -> None:
        """Replay what was recorded since signal and expression were the same."""
        count, node, signal = self.aligned
        del self.modules[count:]
        if node is None:
            piece = Replay(self.node, [self.line])
        else:
            shape = tuple(signal.shape[1:])
            piece = Replay(replace(self.node, node, Incoming()), [Line(None, shape)])
        self.modules.append(piece)
        self.signal, self.open = self.value, False
        self._align()

    def _is_shaping(self, node: Node, value: Tensor) -> bool:
        whole = node.whole if isinstance(node, Part) else node
        name = whole.name if isinstance(whole, Applied) else ""
        module = node.function if isinstance(node, Applied) else None
        if isinstance(module, nn.Module) and has_own_behaviour(module):
            return False
        numbers = value.numel() == self.signal.numel() and value.dtype == self.signal.dtype
        return (
            name in SHAPING and numbers and _same_bits(value.reshape(-1), self.signal.reshape(-1))
        )

    def _add_module(self, node: Node, value: Tensor) -> bool:
        """Take the module of a function, if it gives the same numbers of the signal."""
        module = module_of(node)
        if module is None:
            return False
        samples = len(self.signal)
        shapes = [tuple(self.value.shape[1:])]
        if self.value.shape[:2] == (1, samples):
            shapes.insert(0, tuple(self.value.shape[2:]))
        for shape in shapes:
            before = self._shaped(shape)
            if before is None:
                continue
            found = _try(module, self.signal.reshape(samples, *shape))
            if found is not None and _is_of(found, value, samples):
                self.modules += [*before, module]
                self.signal = found
                return True
        return False

    def _shaped(self, shape: tuple[int, ...]) -> list[nn.Module] | None:
        """The modules that bring the signal into a shape of one sample."""
        own = tuple(self.signal.shape[1:])
        if shape == own:
            return []
        if self.signal[0].numel() != torch.Size(shape).numel():
            return None
        flat: list[nn.Module] = [] if len(own) == 1 else [nn.Flatten()]
        return flat if len(shape) == 1 else [*flat, nn.Unflatten(1, shape)]


def _is_of(found: Tensor, value: Tensor, samples: int) -> bool:
    """Whether what a module gave has the numbers that were recorded, the samples first."""
    alike = found.numel() == value.numel() and found.shape[:1] == (samples,)
    return alike and _same_bits(found.reshape(-1), value.reshape(-1))


def _same_bits(one: Tensor, other: Tensor) -> bool:
    return one.dtype == other.dtype and torch.equal(
        one.nan_to_num(nan=-1.25e30), other.nan_to_num(nan=-1.25e30)
    )


def _try(module: nn.Module, signal: Tensor) -> Tensor | None:
    try:
        value = module(signal)
    except (RuntimeError, ValueError, IndexError, TypeError):
        return None
    return value if isinstance(value, Tensor) else None
