"""Vectors of 16 numbers as values in compiled kernels: one operation for all, kept in registers.

numba leaves it to LLVM to find loops that can run on vectors. Where loops are short, as over the
neurons of a small layer, it finds none, or checks before each that no two arrays overlap, which
takes longer than the loop. A ``Vector`` is what LLVM would have found: ``load`` one from an array,
compute with ``+ - * > |``, ``store`` it. Arithmetic is that of the numbers one by one, in the same
order and without contraction.
"""

# mypy: disable-error-code="no-untyped-def"
from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.core.extending import intrinsic, models, overload, register_model

#: Numbers in a vector.
WIDTH = 16


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


def _place(context: Any, builder: Any, array: Any, values: Any, kind: Any) -> tuple[Any, int]:
    """Where ``array[index]`` begins, as a pointer to a vector, and its alignment."""
    data = context.make_array(array)(context, builder, values[0]).data
    place = builder.bitcast(builder.gep(data, [values[1]]), kind.as_pointer())
    return place, array.dtype.bitwidth // 8


@intrinsic
def load(typing: Any, array: Any, index: Any) -> tuple[Any, _Built]:
    """``array[index : index + WIDTH]`` of a contiguous array of one dimension; no checks."""
    vector = Vector(array.dtype)

    def built(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        place, align = _place(context, builder, array, values, context.get_value_type(vector))
        return builder.load(place, align=align)

    return vector(array, types.intp), built


@intrinsic
def store(typing: Any, array: Any, index: Any, vector: Any) -> tuple[Any, _Built]:
    """``array[index : index + WIDTH] = vector``; no checks."""

    def built(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        place, align = _place(context, builder, array, values, values[2].type)
        builder.store(values[2], place, align=align)
        return context.get_dummy_value()

    return types.void(array, types.intp, vector), built


@intrinsic
def spread(typing: Any, value: Any) -> tuple[Any, _Built]:
    """A vector that is ``value`` everywhere."""

    def built(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        kind = ir.VectorType(values[0].type, WIDTH)
        empty, first = ir.Constant(kind, ir.Undefined), ir.Constant(ir.IntType(32), 0)
        everywhere = ir.Constant(ir.VectorType(ir.IntType(32), WIDTH), [0] * WIDTH)
        one = builder.insert_element(empty, values[0], first)
        return builder.shuffle_vector(one, empty, everywhere)

    return Vector(value)(value), built


@intrinsic
def select(typing: Any, mask: Any, one: Any, other: Any) -> tuple[Any, _Built]:
    """``one`` where the mask is true, ``other`` elsewhere."""

    def built(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        return builder.select(*values)

    return one(mask, one, other), built


@intrinsic
def nonzero(typing: Any, vector: Any) -> tuple[Any, _Built]:
    """Which of a vector of integers are not 0."""

    def built(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        return builder.icmp_unsigned("!=", values[0], ir.Constant(values[0].type, None))

    return _MASK(vector), built


@intrinsic
def bits(typing: Any, mask: Any) -> tuple[Any, _Built]:
    """A ``uint32`` whose bit ``i`` is lane ``i`` of a mask."""

    def built(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        return builder.zext(builder.bitcast(values[0], ir.IntType(WIDTH)), ir.IntType(32))

    return types.uint32(mask), built


@intrinsic
def lowest(typing: Any, word: Any) -> tuple[Any, _Built]:
    """The number of the lowest set bit of a word that is not 0."""

    def built(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        place = builder.cttz(values[0], ir.Constant(ir.IntType(1), 1))
        kind = ir.IntType(64)
        return place if place.type == kind else builder.zext(place, kind)

    return types.int64(word), built


def _operation(name: str) -> Any:
    def typed(typing: Any, one: Any, other: Any) -> tuple[Any, _Built]:
        def built(context: Any, builder: Any, signature: Any, values: Any) -> Any:
            return getattr(builder, name)(*values)

        return one(one, other), built

    return intrinsic(typed)


def _comparison(symbol: str, ordered: bool = True) -> Any:
    def typed(typing: Any, one: Any, other: Any) -> tuple[Any, _Built]:
        def built(context: Any, builder: Any, signature: Any, values: Any) -> Any:
            compared = builder.fcmp_ordered if ordered else builder.fcmp_unordered
            return compared(symbol, *values)

        return _MASK(one, other), built

    return intrinsic(typed)


_add, _subtract, _multiply = _operation("fadd"), _operation("fsub"), _operation("fmul")
_either, _greater, _less = _operation("or_"), _comparison(">"), _comparison("<")
#: Lanes of two vectors of floats that differ; NaN differs from everything.
differing = _comparison("!=", ordered=False)


@intrinsic
def larger(typing: Any, seen: Any, best: Any) -> tuple[Any, _Built]:
    """``seen`` where it is larger than ``best`` or NaN: a NaN stays, as in ``torch.max``."""

    def built(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        seen_value, best_value = values
        above = builder.fcmp_ordered(">", seen_value, best_value)
        strange = builder.fcmp_unordered("!=", seen_value, seen_value)
        return builder.select(builder.or_(above, strange), seen_value, best_value)

    return best(seen, best), built


def _overloaded(symbol, operation, kinds):
    """Let compiled code write ``symbol`` for the operation."""

    def chosen(one, other):
        return (lambda one, other: operation(one, other)) if isinstance(one, kinds) else None

    overload(symbol, inline="always")(chosen)


_overloaded(operator.add, _add, Vector)
_overloaded(operator.sub, _subtract, Vector)
_overloaded(operator.mul, _multiply, Vector)
_overloaded(operator.gt, _greater, Vector)
_overloaded(operator.lt, _less, Vector)
_overloaded(operator.or_, _either, (Vector, Mask))
