"""Functions of which PyTorch has a module: the module that computes the same."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from torch import nn

from fi.network.recorder.expression.expressions import Applied, Node

#: Names of the arguments behind the first, in their order.
_POOL = ("kernel_size", "stride", "padding")
_SIGNATURES: dict[str, tuple[str, ...]] = {
    **{f"max_pool{n}d": (*_POOL, "dilation", "ceil_mode", "return_indices") for n in (1, 2, 3)},
    "avg_pool1d": (*_POOL, "ceil_mode", "count_include_pad"),
    **{
        f"avg_pool{n}d": (*_POOL, "ceil_mode", "count_include_pad", "divisor_override")
        for n in (2, 3)
    },
    **{f"adaptive_{kind}_pool{n}d": ("output_size",) for kind in ("avg", "max") for n in (1, 2, 3)},
    "relu": ("inplace",),
    "leaky_relu": ("negative_slope", "inplace"),
    "hardtanh": ("min_val", "max_val", "inplace"),
    "sigmoid": (),
    "tanh": (),
    "flatten": ("start_dim", "end_dim"),
}
_MODULES: dict[str, Callable[..., nn.Module]] = {
    **{f"max_pool{n}d": getattr(nn, f"MaxPool{n}d") for n in (1, 2, 3)},
    **{f"avg_pool{n}d": getattr(nn, f"AvgPool{n}d") for n in (1, 2, 3)},
    **{
        f"adaptive_{kind}_pool{n}d": getattr(nn, f"Adaptive{kind.capitalize()}Pool{n}d")
        for kind in ("avg", "max")
        for n in (1, 2, 3)
    },
    "relu": nn.ReLU,
    "leaky_relu": nn.LeakyReLU,
    "hardtanh": nn.Hardtanh,
    "sigmoid": nn.Sigmoid,
    "tanh": nn.Tanh,
    "flatten": nn.Flatten,
}
#: Functions that may do nothing but put the same numbers into another shape.
SHAPING = frozenset({
    "__getitem__", "select", "unbind", "movedim", "moveaxis", "permute", "transpose", "swapaxes",
    "flatten", "view", "reshape", "unflatten", "squeeze", "unsqueeze", "narrow", "view_as",
    "reshape_as", "expand", "Identity", "Dropout", "Dropout1d", "Dropout2d", "Dropout3d",
    "AlphaDropout", "dropout", "type_as", "to", "float", "stack",
})  # fmt: skip


def module_of(node: Node) -> nn.Module | None:
    """The module that is called, or that PyTorch has for a function; ``None`` where there is none.

    Only of functions of one signal, their first argument.
    """
    if not isinstance(node, Applied) or not node.arguments:
        return None
    function, (_, *others), options = node.function, node.arguments, dict(node.options)
    if isinstance(function, nn.Module):
        if others or options:
            return None
        works_in_place = getattr(function, "inplace", False) and not function.state_dict()
        return _on_its_own(function) if works_in_place else function
    if node.name not in _MODULES:
        return None
    given = dict(zip(_SIGNATURES[node.name], others, strict=False)) | options
    return _make(node.name, given) if _is_plain(list(given.values())) else None


def _on_its_own(module: nn.Module) -> nn.Module:
    """The same function, which leaves what it is given as it is."""
    copied = type(module).__new__(type(module))
    copied.__dict__.update(vars(module) | {"inplace": False})
    return copied


def _make(name: str, given: dict[str, Any]) -> nn.Module | None:
    given.pop("inplace", None)
    if not given.pop("return_indices", False) and set(given) <= set(_SIGNATURES[name]):
        if given.get("stride", 1) in (None, [], ()):
            given.pop("stride")
        if name == "flatten":
            given.setdefault("start_dim", 0)
        try:
            return _MODULES[name](**given)
        except TypeError:
            return None
    return None


def _is_plain(values: Sequence[Any]) -> bool:
    """Whether arguments are fixed values."""
    flat = [p for v in values for p in (v if isinstance(v, (tuple, list)) else [v])]
    return all(isinstance(value, (int, float, str, type(None))) for value in flat)
