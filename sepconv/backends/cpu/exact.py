"""Sums in float64 and SciPy's order, and float32 ones that are cut to whole numbers as these would be."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from ..filters import ANTISYMMETRIC_TAPS, GENERAL
from .bands import Lanes, offset, width
from .jit import callee
from .simd import I32, integer, rolled


def _store_wrapped(m: Lanes, value: ir.Value, name: str, to: ir.Value) -> None:
    """Sums, float32 or float64, cut to whole numbers that wrap as uint8 does: as elements of the dtype `name`, uint8 or float32."""
    whole = m.b.fptosi(value, ir.VectorType(I32, m.count))
    whole = m.b.and_(whole, ir.Constant(whole.type, [255] * m.count))
    f = Lanes(m.b, "float32", m.count)
    f.store(m.b.sitofp(whole, f.type) if name == "float32" else f.narrowed(whole, name), to, 0, name)


@intrinsic(prefer_literal=True)
def cut(typing: Any, lanes: Any, write: Any, x: Any, near: Any, to: Any) -> Any:
    """Float32 sums at x as uint8 to `to`, itself of the dtype `write`; whether one is so `near`, the address of a float32, to a whole number
    that the exact sum may lie on its other side. Near 0 it does not matter: both sides are cut to 0."""
    literals = (lanes, write)
    count, name = (t.literal_value for t in literals)

    def codegen(context: Any, b: ir.IRBuilder, signature: Any, args: Any) -> Any:
        m = Lanes(b, "float32", count)
        x, near, to = args[len(literals) :]
        value = m.load(x)
        closest = m.call("rint", [value])
        away = m.call("fabs", [b.fsub(value, closest)])
        unsure = b.and_(b.fcmp_unordered("<", away, m.splat(near)), b.fcmp_unordered("!=", closest, m.zero))
        _store_wrapped(m, value, name, to)
        bits = b.bitcast(unsure, ir.IntType(count))
        return b.icmp_unsigned("!=", bits, ir.Constant(bits.type, 0))

    return types.boolean(*literals, *[types.int64] * 3), codegen


@intrinsic(prefer_literal=True)
def exactly(typing: Any, lanes: Any, vectors: Any, read: Any, write: Any, add: Any, table: Any, at: Any, weights: Any, taps: Any, kind: Any,
            to: Any) -> Any:  # fmt: skip
    """The sums of one row as by `summed`, in float64 and SciPy's order, rounded after each product too: of a `kind` of `filters`. With `add` 1 they
    are added to what is there, from the first tap to the last."""
    literals = (lanes, vectors, read, write, add)
    count, many, source, name, further = (t.literal_value for t in literals)

    def codegen(context: Any, b: ir.IRBuilder, signature: Any, args: Any) -> Any:
        m = Lanes(b, "float64", count)
        table, at, weights, taps, kind, to = args[len(literals) :]
        span = count * width(source)

        def values(j: ir.Value) -> list[ir.Value]:
            place = b.add(offset(b, table, j), at)
            return [m.load(place, u * span, source) for u in range(many)]

        def products(terms: list[ir.Value], j: ir.Value) -> list[ir.Value]:
            weight = m.splat(weights, b.mul(j, integer(8)))
            return [b.fmul(each, weight) for each in terms]

        def rest(count: ir.Value, join: Callable[..., ir.Value] | None = None) -> None:
            with rolled(b, count) as loop:
                terms = values(loop.index)
                if join is not None:
                    terms = [join(*pair) for pair in zip(terms, values(b.sub(last, loop.index)))]
                for product, slot in zip(products(terms, loop.index), acc):
                    b.store(b.fadd(b.load(slot), product), slot)

        if further:
            acc = [cgutils.alloca_once_value(b, m.load(to, u * count * 8)) for u in range(many)]
            rest(taps)
        else:
            last, general = b.sub(taps, integer(1)), b.icmp_signed("==", kind, integer(GENERAL))
            first = b.select(general, last, b.sdiv(taps, integer(2)))
            acc = [cgutils.alloca_once_value(b, each) for each in products(values(first), first)]
            with b.if_else(general) as (yes, no):
                with yes:
                    rest(first)
                with no, b.if_else(b.icmp_signed("==", kind, integer(ANTISYMMETRIC_TAPS))) as (minus, plus):
                    with minus:
                        rest(first, b.fsub)
                    with plus:
                        rest(first, b.fadd)
        for u, slot in enumerate(acc):
            place = b.add(to, integer(u * count * width(name)))
            if name == "float64":
                m.store(b.load(slot), place)
            else:
                _store_wrapped(m, b.load(slot), name, place)
        return context.get_dummy_value()

    return types.void(*literals, *[types.int64] * 6), codegen


@callee
def whole(lanes, read, write, inside, outside, sums, table, base, low, stop, near, weights, taps, kind, to):  # type: ignore[no-untyped-def]
    """Float32 sums of the outputs low to stop as whole numbers to address `to` on: where that is in doubt, from `exactly`, whose table has the
    addresses of elements of `inside` bytes, each plus `base`."""
    at = low
    while at < stop:
        at = min(at, stop - lanes)
        place = to + (at - low) * outside
        if cut(lanes, write, sums + (at - low) * 4, near, place):
            exactly(lanes, 1, read, write, 0, table, base + at * inside, weights, taps, kind, place)
        at += lanes
