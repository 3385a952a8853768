"""What the recording knows of PyTorch's functions, and of stacks of steps."""

from __future__ import annotations

from typing import Any

from fi.network.recorder.expression.expressions import AllFired, Applied, Fired, Node, Part

#: Functions that give their first argument's values, where the type stays.
SAME = frozenset({
    "clone", "detach", "detach_", "contiguous", "requires_grad_", "to", "float", "double", "cpu",
    "cuda", "data", "alias",
})  # fmt: skip
#: Functions that tell what a tensor is, not what is in it.
ABOUT = frozenset({
    "shape", "size", "dim", "ndim", "ndimension", "numel", "nelement", "__len__", "stride",
    "device", "dtype", "layout", "is_cuda", "requires_grad", "is_floating_point", "is_complex",
    "is_contiguous", "element_size", "data_ptr", "is_leaf", "storage_offset", "grad", "grad_fn",
    "untyped_storage", "get_device", "is_sparse", "is_quantized", "names", "type", "is_nested",
    "has_names", "__hash__", "__repr__", "__format__", "is_same_size", "_version", "itemsize",
    "nbytes", "is_inference", "is_conj", "is_neg", "is_signed", "result_type",
    "__array_priority__",
})  # fmt: skip
#: Functions that draw random numbers.
RANDOM = frozenset({
    "rand", "randn", "randint", "randperm", "rand_like", "randn_like", "randint_like",
    "bernoulli", "bernoulli_", "multinomial", "normal", "normal_", "poisson", "uniform_",
    "random_", "exponential_", "rrelu",
})  # fmt: skip


def simplify(node: Applied) -> Node:
    """A step taken out of a stack of steps is that step."""
    if node.name in ("__getitem__", "select") and len(node.arguments) >= 2:
        source, *where = node.arguments
        place = where[-1] if node.name == "__getitem__" or where[0] == 0 else None
        items = stacked(source)
        if items is not None and type(place) is int and -len(items) <= place < len(items):
            return items[place]
    return node


def stacked(node: Any, any_axis: bool = False) -> list[Node] | None:
    """The tensors of which a stack is made, over a new first axis or over ``any_axis``."""
    if not isinstance(node, Applied) or node.name != "stack":
        return None
    axis = node.options.get("dim", node.arguments[1] if len(node.arguments) > 1 else 0)
    items = node.arguments[0] if node.arguments else node.options.get("tensors")
    return list(items) if (axis == 0 or any_axis) and items else None


def unstack(node: Node) -> Node:
    """A part of a stack over steps is what was stacked; all outputs of a neuron are one node."""
    if isinstance(node, Part) and isinstance(node.whole, Applied) and node.whole.name == "unbind":
        whole = node.whole
        axis = whole.options.get("dim", whole.arguments[1] if len(whole.arguments) > 1 else 0)
        items = stacked(whole.arguments[0]) if axis == 0 else None
        if items is not None:
            item: Node = items[node.place]
            return item
    return node


def all_fired(node: Node, calls: int) -> AllFired | None:
    """The stack of all outputs of one neuron, in order."""
    items = stacked(node)
    if items is None or len(items) != calls or not isinstance(items[0], Fired):
        return None
    first = items[0]
    for number, item in enumerate(items):
        if not isinstance(item, Fired) or not is_output(item, first.neuron, first.output, number):
            return None
    return AllFired(first.neuron, first.output)


def is_output(node: Fired, name: str, state: str, call: int) -> bool:
    return (node.neuron, node.output, node.call) == (name, state, call)
