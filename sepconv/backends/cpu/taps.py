"""The tile of the filters: vectors of neighbouring outputs, each a weighted sum of vectors that lie anywhere in scratch."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from ..filters import ANTISYMMETRIC_TAPS, GENERAL
from .simd import I64, Vectors, integer, rolled

ADD = 3  # besides the kinds of `filters`: as GENERAL, on top of what is there


@intrinsic(prefer_literal=True)
def weighted(typing: Any, dtype: Any, lanes: Any, vectors: Any, kind: Any, fused: Any, x: Any, places: Any, weights: Any, count: Any, y: Any) -> Any:
    """y[v] = sum over t < count of weights[t] * x[v + places[t]], for lanes * vectors outputs v; places are byte offsets, an int64 each.

    kind, a literal: GENERAL as said; symmetric: after the first tap, places come in pairs, whose sum (antisymmetric: difference) is weighted;
    ADD: on top of y. The sum is taken from t = 0 on, rounded after each product too unless `fused`. weights and y are of `dtype`, as x is.
    """
    literals = (dtype, lanes, vectors, kind, fused)
    name, width, many, sort, fuse = (t.literal_value for t in literals)

    def codegen(context: Any, b: ir.IRBuilder, signature: Any, args: Any) -> Any:
        m = Vectors(context, b, name, width)
        x, places, weights, count, y = args[len(literals) :]
        size = m.size * width

        def load(base: Any) -> list[Any]:
            return [m.load(m.at(base, u * size)) for u in range(many)]

        def place(index: Any) -> Any:
            return m.at(m.pointer(x), b.load(b.gep(b.inttoptr(places, I64.as_pointer()), [index]), align=8))

        def term(t: Any, base: Any) -> None:
            weight = m.splat(m.at(m.pointer(weights), b.mul(t, integer(m.size))))
            values = load(base)
            if sort not in (GENERAL, ADD):
                other = load(place(b.mul(t, integer(2))))
                join = b.fsub if sort == ANTISYMMETRIC_TAPS else b.fadd
                values = [join(one, two) for one, two in zip(values, other)]
            for value, slot in zip(values, acc):
                if fuse:
                    m.fma(value, weight, slot)
                else:
                    b.store(b.fadd(b.load(slot), b.fmul(value, weight)), slot)

        if sort == ADD:
            acc, begin = m.accumulators(load(m.pointer(y))), 0
        else:
            first = m.splat(m.pointer(weights))
            acc, begin = m.accumulators([b.fmul(value, first) for value in load(place(integer(0)))]), 1
        with rolled(b, b.sub(count, integer(begin))) as loop:
            t = b.add(loop.index, integer(begin))
            term(t, place(t if sort in (GENERAL, ADD) else b.sub(b.mul(t, integer(2)), integer(1))))
        for u, slot in enumerate(acc):
            m.store(b.load(slot), m.at(m.pointer(y), u * size))
        return context.get_dummy_value()

    return types.void(*literals, *[types.int64] * 5), codegen


@intrinsic(prefer_literal=True)
def joined(typing: Any, dtype: Any, lanes: Any, vectors: Any, kind: Any, x: Any, other: Any, y: Any) -> Any:
    """y = x + other, or with kind 1 x / other, where `other` is one number: lanes * vectors elements, all read before any is written."""
    literals = (dtype, lanes, vectors, kind)
    name, width, many, sort = (t.literal_value for t in literals)

    def codegen(context: Any, b: ir.IRBuilder, signature: Any, args: Any) -> Any:
        m = Vectors(context, b, name, width)
        x, other, y = (m.pointer(a) for a in args[len(literals) :])
        parts = range(0, many * width * m.size, width * m.size)
        left = [m.load(m.at(x, part)) for part in parts]
        if sort:
            divisor = m.splat(other)
            done = [b.fdiv(value, divisor) for value in left]
        else:
            right = [m.load(m.at(other, part)) for part in parts]
            done = [b.fadd(one, two) for one, two in zip(left, right)]
        for value, part in zip(done, parts):
            m.store(value, m.at(y, part))
        return context.get_dummy_value()

    return types.void(*literals, *[types.int64] * 3), codegen
