"""Options of a network that the weights from a file undo."""

from __future__ import annotations

import warnings
from pathlib import Path

import torch
from jsonargparse import Namespace
from torch import Tensor

from fi.cli.parser import CommandParser


def warn_of_overridden(parser: CommandParser, options: Namespace, path: Path) -> None:
    """Warn of each ``--model.x`` that only gives values to tensors which ``path`` replaces.

    Such as ``--model.beta 0.5`` where the file brings its own betas. Options that change shapes, or
    no tensor at all, are left alone.
    """
    key = "model_args"
    usual = parser.get_defaults().get(key)
    if key not in options or usual is None:
        return
    for name, value in vars(options[key]).items():
        if name not in usual or value == usual[name]:
            continue
        other = options.clone()
        other[key][name] = usual[name]
        words = _differing(_state(parser, options), _state(parser, other))
        if words:
            warnings.warn(
                f"--model.{name} {value} has no effect: {path} brings {', '.join(words)}",
                stacklevel=2,
            )


def _state(parser: CommandParser, options: Namespace) -> dict[str, Tensor]:
    """The tensors of a new network, random ones drawn alike each time."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return dict(parser.build(options, "model").state_dict())


def _differing(one: dict[str, Tensor], other: dict[str, Tensor]) -> list[str]:
    """Tensors with other values; none where any has another shape: then these say enough."""
    shapes = [{name: value.shape for name, value in state.items()} for state in (one, other)]
    if shapes[0] != shapes[1]:
        return []
    return [name for name, value in one.items() if not torch.equal(value, other[name])]
