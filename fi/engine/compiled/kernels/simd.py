"""Vectors of 16 numbers as values in compiled kernels: one operation for all, kept in registers.

numba leaves it to LLVM to find loops that can run on vectors. Where loops are short, as over the
neurons of a small layer, it finds none, or checks before each that no two arrays overlap, which
takes longer than the loop. A ``Vector`` is what LLVM would have found: ``load`` one from an array,
compute with ``+ - * > |``, ``store`` it. Arithmetic is that of the numbers one by one, in the same
order and without contraction. Where kernels are compiled with checks of bounds, ``load`` and
``store`` raise ``IndexError`` for what is not in the array.
"""

# mypy: allow-subclassing-any, allow-untyped-calls, allow-untyped-decorators
from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.errors import TypingError
from numba.core.extending import intrinsic, lower_builtin, models, register_model
from numba.core.typing.templates import AbstractTemplate, infer_global

from fi.engine.compiled.kernels.arrays import Array
from fi.engine.compiled.kernels.building.compiling import CHECK_BOUNDS, compiled, inlined

#: Numbers in a vector.
WIDTH = 16
#: Bytes in a line of the cache.
_LINE = 64


class Vector(types.Type):
    """The type of ``WIDTH`` numbers of one type."""

    def __init__(self, element: types.Type) -> None:
        self.element = element
        super().__init__(name=f"Vector({element})")


class Mask(types.Type):
    """The type of ``WIDTH`` answers to a comparison."""

    def __init__(self) -> None:
        super().__init__(name="Mask")


@register_model(Vector)
class _VectorModel(models.PrimitiveModel):
    def __init__(self, manager: Any, kind: Vector) -> None:
        element = manager.lookup(kind.element).get_value_type()
        super().__init__(manager, kind, ir.VectorType(element, WIDTH))


@register_model(Mask)
class _MaskModel(models.PrimitiveModel):
    def __init__(self, manager: Any, kind: Mask) -> None:
        super().__init__(manager, kind, ir.VectorType(ir.IntType(1), WIDTH))


_MASK = Mask()
_Built = Callable[..., Any]
#: What makes an operation out of the code that builds it; compiled code calls it without the first.
_intrinsic: Any = intrinsic


def _contiguous(array: Any) -> Any:
    """The array's own type."""
    if array.layout != "C":
        raise TypingError(f"vectors are of contiguous arrays, not of {array}")
    return array


def _check_bounds(context: Any, builder: Any, length: Any, index: Any, width: Any) -> None:
    """Raise where ``width`` numbers from ``index`` on are not in an array of this ``length``."""
    below = builder.icmp_signed("<", index, ir.Constant(index.type, 0))
    beyond = builder.icmp_signed(">", builder.add(index, width), length)
    with builder.if_then(builder.or_(below, beyond), likely=False):
        context.call_conv.return_user_exc(builder, IndexError, ("a vector is out of bounds",))


def _place(context: Any, builder: Any, array: Any, values: Any, kind: Any) -> tuple[Any, int]:
    """Where ``array[index]`` begins, as a pointer to a vector, and its alignment."""
    struct = context.make_array(array)(context, builder, values[0])
    if CHECK_BOUNDS:
        width = ir.Constant(struct.nitems.type, WIDTH)
        _check_bounds(context, builder, struct.nitems, values[1], width)
    place = builder.bitcast(builder.gep(struct.data, [values[1]]), kind.as_pointer())
    return place, array.dtype.bitwidth // 8


@_intrinsic
def load(typing: Any, array: Any, index: Any) -> tuple[Any, _Built]:
    """``array.ravel()[index : index + WIDTH]`` of a contiguous array."""
    vector = Vector(_contiguous(array).dtype)

    def built(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        place, align = _place(context, builder, array, values, context.get_value_type(vector))
        return builder.load(place, align=align)

    return vector(array, types.intp), built


@_intrinsic
def store(typing: Any, array: Any, index: Any, vector: Any) -> tuple[Any, _Built]:
    """``array.ravel()[index : index + WIDTH] = vector``, of a contiguous array."""

    def built(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        place, align = _place(context, builder, array, values, values[2].type)
        builder.store(values[2], place, align=align)
        return context.get_dummy_value()

    return types.void(_contiguous(array), types.intp, vector), built


@_intrinsic
def prefetch(typing: Any, array: Any, index: Any) -> tuple[Any, _Built]:
    """Bring what is at ``array.ravel()[index]`` into the cache; nothing where that is no memory."""

    def built(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        struct = context.make_array(array)(context, builder, values[0])
        kind, whole = ir.IntType(8).as_pointer(), ir.IntType(32)
        place = builder.bitcast(builder.gep(struct.data, [values[1]]), kind)
        called = builder.module.declare_intrinsic(
            "llvm.prefetch", [kind], ir.FunctionType(ir.VoidType(), [kind, whole, whole, whole])
        )
        builder.call(called, [place, *(whole(value) for value in (0, 3, 1))])
        return context.get_dummy_value()

    return types.void(_contiguous(array), types.intp), built


@compiled
def aligned_zeros(size: int, like: Array) -> Array:
    """Zeros ``[size]`` of the type of ``like``, of which no vector is in two lines of the cache."""
    itemsize = like.itemsize
    room = np.zeros(size + _LINE // itemsize, like.dtype)
    begin = -room.ctypes.data % _LINE // itemsize
    return room[begin : begin + size]


def begin_at_line(array: Array) -> Array:
    """A copy of an array, not empty, that begins where a line of the cache does."""
    copy = np.empty(array.nbytes + _LINE, np.uint8)
    begin = -copy.ctypes.data % _LINE
    found = copy[begin : begin + array.nbytes].view(array.dtype).reshape(array.shape)
    found[...] = array
    return found


@_intrinsic
def _load_some(typing: Any, array: Any, index: Any, count: Any) -> tuple[Any, _Built]:
    """The first ``count`` of what ``load`` loads, 0 behind them, which is not read."""
    vector = Vector(_contiguous(array).dtype)

    def built(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        struct = context.make_array(array)(context, builder, values[0])
        if CHECK_BOUNDS:
            _check_bounds(context, builder, struct.nitems, values[1], values[2])
        kind = context.get_value_type(vector)
        room = cgutils.alloca_once(builder, kind)
        builder.store(ir.Constant(kind, None), room)
        target = builder.bitcast(room, kind.element.as_pointer())
        place = builder.gep(struct.data, [values[1]])
        cgutils.raw_memcpy(builder, target, place, values[2], array.dtype.bitwidth // 8)
        return builder.load(room)

    return vector(array, types.intp, types.intp), built


@inlined
def load_first(array: Any, index: int, count: int) -> Any:
    """``load`` of no more than ``count`` numbers: 0 behind them, which is not read."""
    if count >= WIDTH:
        return load(array, index)
    return _load_some(array, index, count)


def _constant(value: float) -> Any:
    def typed(typing: Any, vector: Any) -> tuple[Any, _Built]:
        def built(context: Any, builder: Any, signature: Any, values: Any) -> Any:
            return ir.Constant(values[0].type, [value] * WIDTH)

        return vector(vector), built

    return _intrinsic(typed)


#: Vectors of floats that are 0 and 1 everywhere, of the type of another one.
zeros_like, ones_like = _constant(0.0), _constant(1.0)


@_intrinsic
def spread(typing: Any, value: Any) -> tuple[Any, _Built]:
    """A vector that is ``value`` everywhere."""

    def built(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        kind = ir.VectorType(values[0].type, WIDTH)
        empty, first = ir.Constant(kind, ir.Undefined), ir.Constant(ir.IntType(32), 0)
        everywhere = ir.Constant(ir.VectorType(ir.IntType(32), WIDTH), [0] * WIDTH)
        one = builder.insert_element(empty, values[0], first)
        return builder.shuffle_vector(one, empty, everywhere)

    return Vector(value)(value), built


@_intrinsic
def select(typing: Any, mask: Any, one: Any, other: Any) -> tuple[Any, _Built]:
    """``one`` where the mask is true, ``other`` elsewhere."""

    def built(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        return builder.select(*values)

    return one(mask, one, other), built


@_intrinsic
def nonzero(typing: Any, vector: Any) -> tuple[Any, _Built]:
    """Which of a vector of integers are not 0."""

    def built(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        return builder.icmp_unsigned("!=", values[0], ir.Constant(values[0].type, None))

    return _MASK(vector), built


@_intrinsic
def bits(typing: Any, mask: Any) -> tuple[Any, _Built]:
    """A ``uint32`` whose bit ``i`` is lane ``i`` of a mask."""

    def built(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        return builder.zext(builder.bitcast(values[0], ir.IntType(WIDTH)), ir.IntType(32))

    return types.uint32(mask), built


@_intrinsic
def count_trailing_zeros(typing: Any, word: Any) -> tuple[Any, _Built]:
    """How many bits of a word that is not 0 are 0 below the lowest that is 1."""

    def built(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        place = builder.cttz(values[0], ir.Constant(ir.IntType(1), 1))
        kind = ir.IntType(64)
        return place if place.type == kind else builder.zext(place, kind)

    return types.int64(word), built


def _comparison(symbol: str, ordered: bool = True) -> Any:
    def typed(typing: Any, one: Any, other: Any) -> tuple[Any, _Built]:
        def built(context: Any, builder: Any, signature: Any, values: Any) -> Any:
            compared = builder.fcmp_ordered if ordered else builder.fcmp_unordered
            return compared(symbol, *values)

        return _MASK(one, other), built

    return _intrinsic(typed)


#: Lanes of two vectors of floats that differ; NaN differs from everything.
differing = _comparison("!=", ordered=False)


@_intrinsic
def larger(typing: Any, seen: Any, best: Any) -> tuple[Any, _Built]:
    """``seen`` where it is larger than ``best`` or NaN: a NaN stays, as in ``torch.max``."""

    def built(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        seen_value, best_value = values
        above = builder.fcmp_ordered(">", seen_value, best_value)
        strange = builder.fcmp_unordered("!=", seen_value, seen_value)
        return builder.select(builder.or_(above, strange), seen_value, best_value)

    return best(seen, best), built


def _define_operator(symbol: Any, kind: Any, build: Callable[[Any, Any, Any], Any]) -> None:
    """Let compiled code write ``symbol`` between two vectors, or masks, of one type.

    Not by ``overload(inline="always")``: where numba inlines, it takes an array that is a field of
    a tuple for one that nobody reads, and leaves out what is written to it.
    """

    class Operator(AbstractTemplate):
        def generic(self, arguments: Any, named: Any) -> Any:
            one, *others = arguments
            if not isinstance(one, kind) or others != [one]:
                return None
            return (_MASK if symbol in (operator.gt, operator.lt) else one)(one, one)

    def lower(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        return build(builder, *values)

    infer_global(symbol)(Operator)
    lower_builtin(symbol, kind, kind)(lower)


_define_operator(operator.add, Vector, lambda builder, a, b: builder.fadd(a, b))
_define_operator(operator.sub, Vector, lambda builder, a, b: builder.fsub(a, b))
_define_operator(operator.mul, Vector, lambda builder, a, b: builder.fmul(a, b))
_define_operator(operator.gt, Vector, lambda builder, a, b: builder.fcmp_ordered(">", a, b))
_define_operator(operator.lt, Vector, lambda builder, a, b: builder.fcmp_ordered("<", a, b))
for _kind in (Vector, Mask):
    _define_operator(operator.or_, _kind, lambda builder, a, b: builder.or_(a, b))
